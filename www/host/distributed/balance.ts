import { SentinelError } from "../errors.js"
import { Heap } from "./heap.js"
import type { Station } from "./roster.js"

/** A worker as a balancing function sees it. */
export interface WorkerView {
  readonly url: string
  readonly weight: number
  readonly provider: string
  /** The most requests that it takes at once, and how many it has. */
  readonly capacity: number
  readonly inFlight: number
  /** How long it takes, as far as is known; zero where nothing is. */
  readonly expectedMs: number
}

/** Chooses one of the workers; undefined leaves it to "least-loaded". */
export type Choose = (workers: readonly WorkerView[], request: number) => WorkerView | undefined

export type Policy = "least-loaded" | "round-robin" | "weighted" | "latency" | Choose

/** The workers that have room, in the order in which a policy wants them. */
export interface Balance {
  /** Says that a worker has room, or that something about it changed. */
  put(station: Station): void
  delete(station: Station): void
  /** The best of them that is not excluded. */
  pick(request: number, excluded: ReadonlySet<Station>): Station | undefined
}

export function balanceOf(policy: Policy, random: () => number): Balance {
  if (typeof policy === "function") return new Chosen(policy)
  switch (policy) {
    case "least-loaded":
      return new Ordered(isLessLoaded)
    case "round-robin":
      return new Ordered((a, b) => a.pickedNumber < b.pickedNumber)
    case "weighted":
      return new Weighted()
    case "latency":
      return new TwoChoices(random)
  }
}

function isLessLoaded(a: Station, b: Station): boolean {
  const difference = a.inFlight / (a.weight * a.capacity) - b.inFlight / (b.weight * b.capacity)
  if (difference !== 0) return difference < 0
  if (a.expectedMs !== b.expectedMs) return a.expectedMs < b.expectedMs
  return a.pickedNumber < b.pickedNumber
}

class Ordered implements Balance {
  readonly heap: Heap<Station>

  constructor(isBefore: (a: Station, b: Station) => boolean) {
    this.heap = new Heap(isBefore)
  }

  put(station: Station): void {
    this.heap.put(station)
  }

  delete(station: Station): void {
    this.heap.delete(station)
  }

  pick(_request: number, excluded: ReadonlySet<Station>): Station | undefined {
    const { heap } = this
    const passed: Station[] = []
    while (heap.first !== undefined && excluded.has(heap.first)) passed.push(heap.takeFirst() as Station)
    const { first } = heap
    for (const station of passed) heap.put(station)
    return first
  }
}

/** Each worker has turns at distances of one over its weight; the next turn is the earliest. */
class Weighted extends Ordered {
  readonly #turns = new WeakMap<Station, { turn: number; pickedNumber: number }>()
  #turn = 0

  constructor() {
    super((a, b) => {
      const [turnOfA, turnOfB] = [this.#turnOf(a), this.#turnOf(b)]
      return turnOfA === turnOfB ? a.pickedNumber < b.pickedNumber : turnOfA < turnOfB
    })
  }

  override put(station: Station): void {
    const { weight, pickedNumber } = station
    const known = this.#turns.get(station) ?? { turn: this.#turn + 1 / weight, pickedNumber }
    this.#turns.set(station, known)
    if (known.pickedNumber !== pickedNumber) {
      this.#turn = Math.max(this.#turn, known.turn)
      known.turn += 1 / weight
      known.pickedNumber = pickedNumber
    }
    // Whoever was away has not missed the turns of that time.
    if (!this.heap.has(station)) known.turn = Math.max(known.turn, this.#turn)
    super.put(station)
  }

  #turnOf(station: Station): number {
    return this.#turns.get(station)?.turn ?? 0
  }
}

/** Workers in no order, any of which is found and removed at once. */
class Unordered {
  readonly stations: Station[] = []
  readonly #places = new Map<Station, number>()

  put(station: Station): void {
    if (this.#places.has(station)) return
    this.#places.set(station, this.stations.push(station) - 1)
  }

  delete(station: Station): void {
    const place = this.#places.get(station)
    if (place === undefined) return
    const last = this.stations.pop() as Station
    this.#places.delete(station)
    if (last === station) return
    this.stations[place] = last
    this.#places.set(last, place)
  }
}

/** The one of two random workers that will answer sooner: nearly the best of all, and not the same one for everybody. */
class TwoChoices extends Unordered implements Balance {
  readonly #random: () => number

  constructor(random: () => number) {
    super()
    this.#random = random
  }

  pick(_request: number, excluded: ReadonlySet<Station>): Station | undefined {
    const able = excluded.size === 0 ? this.stations : this.stations.filter(station => !excluded.has(station))
    if (able.length < 2) return able[0]
    const at = Math.floor(this.#random() * able.length)
    const other = (at + 1 + Math.floor(this.#random() * (able.length - 1))) % able.length
    const [a, b] = [able[at] as Station, able[other] as Station]
    return costOf(b) < costOf(a) ? b : a
  }
}

const costOf = ({ expectedMs, inFlight, weight }: Station) => (expectedMs * (inFlight + 1)) / weight

/** As the caller says. */
class Chosen extends Unordered implements Balance {
  readonly #choose: Choose

  constructor(choose: Choose) {
    super()
    this.#choose = choose
  }

  pick(request: number, excluded: ReadonlySet<Station>): Station | undefined {
    const able = this.stations.filter(station => !excluded.has(station))
    if (able.length === 0) return undefined
    const views = able.map(({ url, weight, provider, capacity, inFlight, expectedMs }) => ({ url, weight, provider, capacity, inFlight, expectedMs }))
    const view = this.#choose(views, request)
    if (view === undefined) return able.reduce((best, station) => (isLessLoaded(station, best) ? station : best))
    const chosen = able[views.indexOf(view)]
    if (chosen === undefined) throw new SentinelError("INVALID_INPUT", `balancing: expected one of the ${able.length} workers that it was given, or undefined, got ${String(view)}`)
    return chosen
  }
}
