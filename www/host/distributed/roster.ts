import { SentinelError } from "../errors.js"
import { balanceOf, type Balance, type Policy, type WorkerView } from "./balance.js"
import { Circuit, type CircuitState } from "./circuit.js"
import { Heap } from "./heap.js"
import { Pace } from "./pace.js"
import type { Attempt, Pending } from "./pending.js"
import type { Step } from "./steps.js"

/** A worker, as far as it is decided whether requests go there. */
export interface Station extends WorkerView {
  readonly key: number
  provider: string
  capacity: number
  expectedMs: number
  inFlight: number
  state: "opening" | "open" | "draining" | "aside"
  /** It goes when it has answered what it has. */
  isLeaving: boolean
  readonly attempts: Set<Attempt>
  /** Requests that failed everywhere else where there is room. */
  readonly reserved: Heap<Pending>
  readonly circuit: Circuit
  readonly pace: Pace
  /** Until then it takes nothing. */
  untilMs: number
  /** Of all picks, the number of the one that picked it last. */
  pickedNumber: number
  counted: Standing
  done: number
  failed: number
  /** Requests that failed here and were sent again, and those that were slow here and were sent a second time. */
  retried: number
  hedged: number
  lastError: SentinelError | undefined
}

/** `trying`: it was away, and has a request that shows whether it is well again. */
type Standing = "away" | "trying" | "well"

/** What is known of a worker from outside. */
export interface StationState {
  key: number
  url: string
  state: Station["state"]
  provider: string
  capacity: number
  inFlight: number
  done: number
  failed: number
  retried: number
  hedged: number
  p50Latency: number
  p95Latency: number
  p99Latency: number
  circuit: CircuitState
  lastError: SentinelError | undefined
}

/** The pause of a worker that is busy and does not say for how long, and the longest that one may say. */
const BUSY_PAUSE_MS = 100
const LONGEST_BUSY_MS = 60_000
/** More reasons than these make no message clearer. */
const MOST_REASONS = 8

const NOBODY: ReadonlySet<Station> = new Set()

/** The workers: which of them have room, and which are put aside for how long. */
export class Roster {
  readonly #stations = new Map<number, Station>()
  readonly #balance: Balance
  readonly #random: () => number
  readonly #steps: Step[]
  readonly #timers = new Heap<Station>((a, b) => a.untilMs < b.untilMs)
  readonly #counts: Record<Standing, number> = { away: 0, trying: 0, well: 0 }
  #nPicks = 0
  #nextKey = 0
  #awaySinceMs = -Infinity

  constructor(policy: Policy, random: () => number, steps: Step[]) {
    this.#balance = balanceOf(policy, random)
    this.#random = random
    this.#steps = steps
  }

  get(key: number): Station | undefined {
    return this.#stations.get(key)
  }

  add(url: string, weight: number): number {
    const key = this.#nextKey
    this.#nextKey += 1
    this.#stations.set(key, {
      key, url, weight, provider: "", capacity: 0, expectedMs: 0, inFlight: 0, state: "opening", isLeaving: false, attempts: new Set(),
      reserved: new Heap((a, b) => isSooner(a, b)), circuit: new Circuit(), pace: new Pace(), untilMs: 0, pickedNumber: 0,
      counted: "away", done: 0, failed: 0, retried: 0, hedged: 0, lastError: undefined,
    })
    this.#counts.away += 1
    this.#steps.push({ do: "open", worker: key })
    return key
  }

  opened(nowMs: number, station: Station, capacity: number, provider: string): void {
    const isBack = station.circuit.state !== "closed"
    station.circuit.tryAgain()
    Object.assign(station, { state: "open", capacity: Math.max(1, capacity), provider, untilMs: nowMs })
    this.refresh(nowMs, station)
    this.#tell(station, isBack ? "reopened" : "opened", isBack ? "it can be reached again" : "it is connected")
  }

  /** It takes no new requests; it is closed when it has answered what it has. */
  drain(nowMs: number, station: Station, reason: string): void {
    if (station.state !== "open") return
    station.state = "draining"
    this.refresh(nowMs, station)
    this.#tell(station, "draining", reason)
  }

  /** Closes it, and tries it again after a pause, not before `retryAfterMs`; its requests are the caller's business. */
  putAside(nowMs: number, station: Station, error: SentinelError, isSetting: boolean, retryAfterMs = 0): void {
    this.#steps.push({ do: "close", worker: station.key })
    if (station.isLeaving) return this.forget(nowMs, station)
    station.state = "aside"
    station.lastError = error
    const pauseMs = station.circuit.open(isSetting, this.#random)
    station.untilMs = nowMs + Math.max(pauseMs, Math.min(LONGEST_BUSY_MS, retryAfterMs))
    this.refresh(nowMs, station)
    this.#timers.put(station)
    this.#tell(station, "aside", error.message, error)
  }

  /** It has answered everything, and goes. */
  forget(nowMs: number, station: Station): void {
    station.state = "aside"
    this.refresh(nowMs, station)
    this.#timers.delete(station)
    this.#counts.away -= 1
    this.#stations.delete(station.key)
    this.#tell(station, "removed", "it was removed")
  }

  busy(nowMs: number, station: Station, retryAfterMs: number | undefined): void {
    if (station.state !== "open") return
    const pauseMs = Math.min(LONGEST_BUSY_MS, Math.max(1, retryAfterMs ?? BUSY_PAUSE_MS))
    station.untilMs = Math.max(station.untilMs, nowMs + pauseMs)
    this.#timers.put(station)
    this.refresh(nowMs, station)
  }

  /** Brings up to date what follows from a worker's state. */
  refresh(nowMs: number, station: Station): void {
    station.inFlight = station.attempts.size
    station.expectedMs = station.pace.expectedMs
    if (hasRoom(nowMs, station)) this.#balance.put(station)
    else this.#balance.delete(station)
    const standing = standingOf(station)
    if (standing === station.counted) return
    const isGone = station.counted === "well" && this.#counts.well === 1
    this.#counts[station.counted] -= 1
    this.#counts[standing] += 1
    station.counted = standing
    if (isGone) this.#awaySinceMs = nowMs
  }

  /** The best worker with room, other than these. */
  pick(request: number, excluded: ReadonlySet<Station> = NOBODY): Station | undefined {
    return this.#balance.pick(request, excluded)
  }

  picked(station: Station): void {
    this.#nPicks += 1
    station.pickedNumber = this.#nPicks
  }

  /** The one with the shortest queue that takes requests, though not at once, other than these. */
  leastCrowded(excluded: ReadonlySet<Station>): Station | undefined {
    const crowd = ({ inFlight, reserved, weight, capacity }: Station) => (inFlight + reserved.size) / (weight * capacity)
    let best: Station | undefined
    for (const station of this.#stations.values()) {
      if (station.state !== "open" || excluded.has(station)) continue
      if (best === undefined || crowd(station) < crowd(best)) best = station
    }
    return best
  }

  /** Does what is due: those aside are opened again, and those that were busy have room. */
  wake(nowMs: number): void {
    for (let { first } = this.#timers; first !== undefined && first.untilMs <= nowMs; { first } = this.#timers) {
      this.#timers.delete(first)
      if (first.state === "aside") {
        first.state = "opening"
        this.#steps.push({ do: "open", worker: first.key })
      } else {
        this.refresh(nowMs, first)
      }
    }
  }

  get wakeMs(): number {
    return this.#timers.first?.untilMs ?? Infinity
  }

  /** Since when no worker is well; infinite while one is, or while one shows whether it is. */
  get awaySinceMs(): number {
    return this.#counts.well > 0 || this.#counts.trying > 0 ? Infinity : this.#awaySinceMs
  }

  /** Why no worker can be reached. */
  reasons(): string {
    if (this.#stations.size === 0) return "there are none; addWorker(url) adds one"
    const away = [...this.#stations.values()]
    const reasons = away.slice(0, MOST_REASONS).map(({ url, lastError, state }) => {
      const why = lastError?.message ?? (state === "opening" ? "it has not answered yet" : state)
      return why.includes(url) ? why : `${url}: ${why}`
    })
    return [...reasons, ...(away.length > MOST_REASONS ? [`and ${away.length - MOST_REASONS} more`] : [])].join("; ")
  }

  states(): StationState[] {
    return [...this.#stations.values()].map(({ key, url, state, provider, capacity, attempts, done, failed, retried, hedged, circuit, pace, lastError }) => {
      const [p50Latency = 0, p95Latency = 0, p99Latency = 0] = pace.recent.quantiles([0.5, 0.95, 0.99])
      return { key, url, state, provider, capacity, inFlight: attempts.size, done, failed, retried, hedged, p50Latency, p95Latency, p99Latency, circuit: circuit.state, lastError }
    })
  }

  #tell(station: Station, state: (Step & { do: "tell" })["state"], reason: string, error?: SentinelError): void {
    this.#steps.push({ do: "tell", worker: station.key, url: station.url, state, reason, error })
  }
}

/** Those of higher priority first, and then those who came first. */
export function isSooner(a: Pending, b: Pending): boolean {
  return a.priority === b.priority ? a.number < b.number : a.priority > b.priority
}

export function hasRoom(nowMs: number, { state, untilMs, attempts, circuit, capacity }: Station): boolean {
  return state === "open" && untilMs <= nowMs && attempts.size < (circuit.state === "closed" ? capacity : 1)
}

function standingOf({ state, circuit, attempts }: Station): Standing {
  if (state !== "open") return "away"
  if (circuit.state === "closed") return "well"
  return attempts.size > 0 ? "trying" : "away"
}
