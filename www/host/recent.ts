/** Keeps the few values that were used last; `dispose` is called for each that leaves. */
export class RecentlyUsed<Value> {
  readonly #values = new Map<string, Value>()
  readonly #capacity: number
  readonly #dispose: (value: Value) => void

  constructor(capacity: number, dispose: (value: Value) => void) {
    this.#capacity = capacity
    this.#dispose = dispose
  }

  get(key: string): Value | undefined {
    const value = this.#values.get(key)
    if (value !== undefined) {
      // A Map keeps the order of insertion, so the oldest comes first.
      this.#values.delete(key)
      this.#values.set(key, value)
    }
    return value
  }

  /** Adds a value under a key that is not there yet. */
  add(key: string, value: Value): void {
    this.#values.set(key, value)
    for (const [oldestKey, oldest] of this.#values) {
      if (this.#values.size <= this.#capacity) break
      this.#values.delete(oldestKey)
      this.#dispose(oldest)
    }
  }

  clear(): void {
    const values = [...this.#values.values()]
    this.#values.clear()
    values.forEach(this.#dispose)
  }
}
