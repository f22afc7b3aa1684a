/** A binary heap that knows where its items are, so that any of them can leave or change its place. */
export class Heap<Item> {
  readonly #isBefore: (a: Item, b: Item) => boolean
  readonly #items: Item[] = []
  readonly #places = new Map<Item, number>()

  constructor(isBefore: (a: Item, b: Item) => boolean) {
    this.#isBefore = isBefore
  }

  get size(): number {
    return this.#items.length
  }

  get first(): Item | undefined {
    return this.#items[0]
  }

  has(item: Item): boolean {
    return this.#places.has(item)
  }

  /** Adds an item, or moves it where it belongs since it changed. */
  put(item: Item): void {
    const place = this.#places.get(item) ?? this.#items.push(item) - 1
    if (!this.#rise(item, place)) this.#sink(item, place)
  }

  delete(item: Item): void {
    const place = this.#places.get(item)
    if (place === undefined) return
    this.#places.delete(item)
    const last = this.#items.pop() as Item
    if (last !== item && !this.#rise(last, place)) this.#sink(last, place)
  }

  takeFirst(): Item | undefined {
    const { first } = this
    if (first !== undefined) this.delete(first)
    return first
  }

  /** In no order. */
  values(): readonly Item[] {
    return this.#items
  }

  clear(): void {
    this.#items.length = 0
    this.#places.clear()
  }

  #rise(item: Item, from: number): boolean {
    let place = from
    while (place > 0) {
      const above = (place - 1) >> 1
      const parent = this.#items[above] as Item
      if (!this.#isBefore(item, parent)) break
      this.#set(parent, place)
      place = above
    }
    this.#set(item, place)
    return place !== from
  }

  #sink(item: Item, from: number): void {
    let place = from
    for (;;) {
      let below = 2 * place + 1
      if (below >= this.#items.length) break
      const right = this.#items[below + 1]
      if (right !== undefined && this.#isBefore(right, this.#items[below] as Item)) below += 1
      const child = this.#items[below] as Item
      if (!this.#isBefore(child, item)) break
      this.#set(child, place)
      place = below
    }
    this.#set(item, place)
  }

  #set(item: Item, place: number): void {
    this.#items[place] = item
    this.#places.set(item, place)
  }
}
