import { SentinelError, toSentinelError } from "../errors.js"
import type { Policy } from "./balance.js"
import { Heap } from "./heap.js"
import type { Blame } from "./link.js"
import { Recent } from "./pace.js"
import type { Attempt, Pending } from "./pending.js"
import { hasRoom, isSooner, Roster, type Station, type StationState } from "./roster.js"
import type { Step } from "./steps.js"

/** How requests are spread over workers. */
export interface DispatchPolicy {
  balancing: Policy
  /** The most requests that wait. */
  maxQueueSize: number
  /** How often a request that failed is sent again. */
  retries: number
  /** A request without an answer by then is sent a second time; "p95": when it takes longer than 95 of 100. Infinite for never. */
  hedgeMs: number | "p95"
  /** How long requests wait while no worker can be reached. */
  unavailableMs: number
}

/** Why there are no outputs, or no worker. */
export interface Fault {
  blame: Blame
  error: SentinelError
  retryAfterMs?: number | undefined
}

/** Second tries are at most this share of what is under way, or so many: when everything is slow, they would make it slower. */
const HEDGE_SHARE = 0.05
const MOST_HEDGES = 10
/** After so many answers it is looked again what is slow. */
const ANSWERS_PER_LOOK = 32

/**
 * Decides which request goes to which worker, and what happens when there is no answer. It does nothing by itself: it is told what
 * happened and when, and `poll` gives what to do. Every request that was taken in is answered once.
 */
export class Dispatcher {
  readonly #policy: DispatchPolicy
  readonly #roster: Roster
  readonly #steps: Step[] = []
  #nTaken = 0
  readonly #requests = new Map<number, Pending>()
  readonly #attempts = new Map<number, Attempt>()
  readonly #waiting = new Heap<Pending>(isSooner)
  /** The same requests, those first who have waited longest. */
  readonly #patience = new Heap<Pending>((a, b) => a.waitingSinceMs < b.waitingSinceMs)
  readonly #deadlines = new Heap<Pending>((a, b) => a.deadlineMs < b.deadlineMs)
  readonly #hedges = new Heap<Pending>((a, b) => a.hedgeAtMs < b.hedgeAtMs)
  /** Workers for which requests wait that no other worker is to have. */
  readonly #reserving = new Set<Station>()
  #nReserved = 0
  readonly #answers = new Recent()
  #nAnswersToLook = ANSWERS_PER_LOOK
  #slowMs = Infinity
  /** Requests that are at two workers. */
  #nHedged = 0
  #nextNumber = 0
  #nextAttempt = 0

  /** `random` gives numbers from 0 to below 1. */
  constructor(policy: DispatchPolicy, random: () => number) {
    this.#policy = policy
    this.#roster = new Roster(policy.balancing, random, this.#steps)
  }

  /** How many requests wait to be sent. */
  get queueDepth(): number {
    return this.#waiting.size + this.#nReserved
  }

  /** How many requests have no answer. */
  get pending(): number {
    return this.#requests.size
  }

  /** Why no worker can be reached. */
  reasons(): string {
    return this.#roster.reasons()
  }

  workers(): StationState[] {
    return this.#roster.states()
  }

  /** Gives the number by which the worker is known from now on. */
  addWorker(url: string, weight: number): number {
    return this.#roster.add(url, weight)
  }

  /** What it has is answered first. */
  removeWorker(nowMs: number, worker: number): void {
    const station = this.#roster.get(worker)
    if (station === undefined) return
    station.isLeaving = true
    if (station.attempts.size > 0) this.#roster.drain(nowMs, station, "it is being removed")
    this.#moveReserved(nowMs, station)
    this.#closeIfDone(nowMs, station)
  }

  opened(nowMs: number, worker: number, capacity: number, provider = ""): void {
    const station = this.#roster.get(worker)
    if (station?.state === "opening") this.#roster.opened(nowMs, station, capacity, provider)
  }

  /** It could not be opened. */
  failedToOpen(nowMs: number, worker: number, { blame, error, retryAfterMs }: Fault): void {
    const station = this.#roster.get(worker)
    if (station?.state !== "opening") return
    // Nothing that it refuses before the first request changes by asking again.
    this.#roster.putAside(nowMs, station, error, blame === "setting" || blame === "input", retryAfterMs)
  }

  draining(nowMs: number, worker: number): void {
    const station = this.#roster.get(worker)
    if (station?.state !== "open") return
    this.#roster.drain(nowMs, station, "it takes no new requests")
    this.#moveReserved(nowMs, station)
    this.#closeIfDone(nowMs, station)
  }

  /** It carries nothing any more: what it had has failed. */
  lost(nowMs: number, worker: number, { blame, error }: Fault): void {
    const station = this.#roster.get(worker)
    if (station === undefined || (station.state !== "open" && station.state !== "draining")) return
    const attempts = [...station.attempts]
    this.#putAside(nowMs, station, error, blame === "setting")
    for (const attempt of attempts) this.#failed(nowMs, attempt, error)
  }

  /** False where the queue is full. */
  submit(nowMs: number, key: number, priority: number, deadlineMs: number): boolean {
    if (this.queueDepth >= this.#policy.maxQueueSize) return false
    const request: Pending = {
      key, priority, deadlineMs, number: this.#nextNumber, waitingSinceMs: nowMs, sentMs: undefined, hedgeAtMs: Infinity,
      attempts: new Set(), avoided: new Set(), failures: 0, isHedged: false, reservedAt: undefined, lastError: undefined,
    }
    this.#nextNumber += 1
    this.#requests.set(key, request)
    if (deadlineMs < Infinity) this.#deadlines.put(request)
    this.#wait(nowMs, request)
    return true
  }

  /** True where the request had no answer yet; it gets none any more. */
  cancel(nowMs: number, key: number): boolean {
    const request = this.#requests.get(key)
    if (request === undefined) return false
    this.#remove(nowMs, request)
    return true
  }

  /** The request that these outputs are for, and what they took; undefined where it has its answer. */
  answered(nowMs: number, id: number): { request: number; worker: number; elapsedMs: number } | undefined {
    const attempt = this.#take(id)
    if (attempt === undefined) return undefined
    const { station, request, sentMs } = attempt
    station.circuit.answered()
    const elapsedMs = nowMs - sentMs
    station.pace.answered(nowMs, elapsedMs)
    station.done += 1
    this.#settleIn(nowMs, station)
    this.#learn(nowMs - (request.sentMs ?? sentMs))
    this.#remove(nowMs, request)
    return { request: request.key, worker: station.key, elapsedMs }
  }

  /** There are no outputs. */
  failed(nowMs: number, id: number, { blame, error, retryAfterMs }: Fault): void {
    const attempt = this.#take(id)
    if (attempt === undefined) return
    const { station, request } = attempt
    station.failed += blame === "busy" ? 0 : 1
    switch (blame) {
      case "input":
        station.circuit.answered()
        this.#settleIn(nowMs, station)
        return this.#answer(nowMs, request, error)
      case "busy":
        this.#roster.busy(nowMs, station, retryAfterMs)
        this.#settleIn(nowMs, station)
        request.lastError = error
        return this.#waitAgain(nowMs, request)
      case "worker":
      case "setting":
        station.lastError = error
        if (blame === "setting" || station.circuit.failed()) this.#abandon(nowMs, station, error, blame === "setting")
        else this.#settleIn(nowMs, station)
        return this.#failed(nowMs, attempt, error)
    }
  }

  /** What to do at this moment; asked again until there is nothing. */
  poll(nowMs: number): Step | undefined {
    if (this.#nTaken === this.#steps.length) {
      this.#steps.length = 0
      this.#nTaken = 0
      this.#decide(nowMs)
    }
    const step = this.#steps[this.#nTaken]
    if (step !== undefined) this.#nTaken += 1
    return step
  }

  /** When to poll next if nothing happens before. */
  wake(): number | undefined {
    const wakeMs = Math.min(
      this.#roster.wakeMs,
      this.#deadlines.first?.deadlineMs ?? Infinity,
      this.#hedges.first?.hedgeAtMs ?? Infinity,
      this.#givesUpAtMs,
    )
    return wakeMs === Infinity ? undefined : wakeMs
  }

  /** Forgets every request: nobody waits for answers any more, nor for those that `poll` has not given yet. */
  abandon(): void {
    for (const heap of [this.#waiting, this.#patience, this.#deadlines, this.#hedges]) heap.clear()
    this.#requests.clear()
    for (const id of [...this.#attempts.keys()]) this.#take(id)
    this.#reserving.clear()
    this.#nReserved = 0
    this.#steps.length = 0
    this.#nTaken = 0
  }

  #decide(nowMs: number): void {
    for (let { first } = this.#deadlines; first !== undefined && first.deadlineMs <= nowMs; { first } = this.#deadlines) {
      this.#answer(nowMs, first, expired(first))
    }
    this.#roster.wake(nowMs)
    for (const station of this.#reserving) this.#sendReserved(nowMs, station)
    this.#sendWaiting(nowMs)
    this.#hedge(nowMs)
    while (this.#givesUpAtMs <= nowMs) {
      const why = `no worker can be reached: ${this.#roster.reasons()}`
      this.#answer(nowMs, this.#patience.first as Pending, new SentinelError("WORKER_UNAVAILABLE", why))
    }
  }

  /** When the request that has waited longest is told that there is nobody. */
  get #givesUpAtMs(): number {
    const { first } = this.#patience
    const { awaySinceMs } = this.#roster
    if (first === undefined || awaySinceMs === Infinity) return Infinity
    return Math.max(first.waitingSinceMs, awaySinceMs) + this.#policy.unavailableMs
  }

  #sendWaiting(nowMs: number): void {
    for (let { first } = this.#waiting; first !== undefined; { first } = this.#waiting) {
      try {
        const station = this.#roster.pick(first.key, first.avoided)
        if (station !== undefined) {
          this.#send(nowMs, first, station)
          continue
        }
        // Where others than those at which it failed are only full, it waits for one of them.
        const crowded = first.avoided.size === 0 ? undefined : this.#roster.leastCrowded(first.avoided)
        if (crowded !== undefined) {
          this.#reserve(first, crowded)
          continue
        }
        const again = first.avoided.size === 0 ? undefined : this.#roster.pick(first.key)
        if (again === undefined) return
        this.#send(nowMs, first, again)
      } catch (thrown) {
        // The caller's own function was asked which worker to take.
        this.#answer(nowMs, first, toSentinelError(thrown, "balancing"))
      }
    }
  }

  #sendReserved(nowMs: number, station: Station): void {
    while (hasRoom(nowMs, station) && station.reserved.first !== undefined) this.#send(nowMs, station.reserved.first, station)
  }

  /** False where whoever chose the worker has taken the request back meanwhile, or has removed the worker. */
  #send(nowMs: number, request: Pending, station: Station): boolean {
    if (!this.#requests.has(request.key) || !hasRoom(nowMs, station)) return false
    this.#leaveQueue(request)
    const attempt: Attempt = { id: this.#nextAttempt, request, station, sentMs: nowMs }
    this.#nextAttempt += 1
    this.#attempts.set(attempt.id, attempt)
    request.attempts.add(attempt)
    request.sentMs ??= nowMs
    station.attempts.add(attempt)
    this.#roster.picked(station)
    this.#roster.refresh(nowMs, station)
    this.#steps.push({ do: "send", worker: station.key, attempt: attempt.id, request: request.key })
    this.#hedgeLater(nowMs, request)
    return true
  }

  #hedgeLater(nowMs: number, request: Pending): void {
    const { hedgeMs } = this.#policy
    const delayMs = hedgeMs === "p95" ? this.#slowMs : hedgeMs
    if (request.isHedged || delayMs === Infinity) return this.#hedges.delete(request)
    request.hedgeAtMs = nowMs + Math.max(1, delayMs)
    this.#hedges.put(request)
  }

  /** Sends a second time what takes long, where another worker has room. */
  #hedge(nowMs: number): void {
    for (let { first } = this.#hedges; first !== undefined && first.hedgeAtMs <= nowMs; { first } = this.#hedges) {
      const excluded = new Set([...first.avoided, ...[...first.attempts].map(({ station }) => station)])
      const mayHedge = this.#nHedged < Math.max(MOST_HEDGES, HEDGE_SHARE * this.#attempts.size)
      const station = !mayHedge ? undefined : this.#pickQuietly(first.key, excluded)
      const [slow] = first.attempts
      if (station === undefined || slow === undefined || !this.#send(nowMs, first, station)) {
        this.#hedges.delete(first)
        if (this.#requests.has(first.key)) this.#hedgeLater(nowMs, first)
        continue
      }
      this.#hedges.delete(first)
      first.isHedged = true
      this.#nHedged += 1
      slow.station.hedged += 1
    }
  }

  /** A second try is a favour: where the caller's own function fails at it, the first one stands. */
  #pickQuietly(request: number, excluded: ReadonlySet<Station>): Station | undefined {
    try {
      return this.#roster.pick(request, excluded)
    } catch {
      return undefined
    }
  }

  #wait(nowMs: number, request: Pending): void {
    request.waitingSinceMs = nowMs
    this.#hedges.delete(request)
    this.#waiting.put(request)
    this.#patience.put(request)
  }

  /** Unless it is elsewhere too. */
  #waitAgain(nowMs: number, request: Pending): void {
    if (request.attempts.size === 0) this.#wait(nowMs, request)
  }

  #leaveQueue(request: Pending): void {
    this.#waiting.delete(request)
    this.#patience.delete(request)
    const station = request.reservedAt
    if (station === undefined) return
    request.reservedAt = undefined
    station.reserved.delete(request)
    this.#nReserved -= 1
    if (station.reserved.size === 0) this.#reserving.delete(station)
  }

  #reserve(request: Pending, station: Station): void {
    this.#leaveQueue(request)
    request.reservedAt = station
    station.reserved.put(request)
    this.#nReserved += 1
    this.#reserving.add(station)
  }

  #moveReserved(nowMs: number, station: Station): void {
    for (const request of [...station.reserved.values()]) {
      this.#leaveQueue(request)
      this.#wait(nowMs, request)
    }
  }

  /** An attempt without outputs, after its worker was told. */
  #failed(nowMs: number, { request, station }: Attempt, error: SentinelError): void {
    request.failures += 1
    request.avoided.add(station)
    request.lastError = error
    if (request.attempts.size > 0) return
    if (request.failures > this.#policy.retries) return this.#answer(nowMs, request, error)
    station.retried += 1
    this.#wait(nowMs, request)
  }

  /** Puts a worker aside that can still be reached; what it has goes elsewhere, which is no fault of those requests. */
  #abandon(nowMs: number, station: Station, error: SentinelError, isSetting: boolean): void {
    const attempts = [...station.attempts]
    for (const { id } of attempts) this.#steps.push({ do: "revoke", attempt: id })
    this.#putAside(nowMs, station, error, isSetting)
    for (const { request } of attempts) this.#waitAgain(nowMs, request)
  }

  #putAside(nowMs: number, station: Station, error: SentinelError, isSetting: boolean): void {
    for (const { id } of station.attempts) this.#take(id)
    this.#roster.putAside(nowMs, station, error, isSetting)
    this.#moveReserved(nowMs, station)
  }

  #take(id: number): Attempt | undefined {
    const attempt = this.#attempts.get(id)
    if (attempt === undefined) return undefined
    this.#attempts.delete(id)
    if (attempt.request.attempts.size === 2) this.#nHedged -= 1
    attempt.station.attempts.delete(attempt)
    attempt.request.attempts.delete(attempt)
    return attempt
  }

  /** A worker has one request less. */
  #settleIn(nowMs: number, station: Station): void {
    this.#roster.refresh(nowMs, station)
    this.#closeIfDone(nowMs, station)
  }

  #closeIfDone(nowMs: number, station: Station): void {
    if (station.attempts.size > 0 || (station.state !== "draining" && !station.isLeaving)) return
    this.#roster.putAside(nowMs, station, new SentinelError("WORKER_UNAVAILABLE", "it takes no new requests"), false)
  }

  #answer(nowMs: number, request: Pending, error: SentinelError): void {
    if (!this.#requests.has(request.key)) return
    this.#remove(nowMs, request)
    this.#steps.push({ do: "answer", request: request.key, error })
  }

  #remove(nowMs: number, request: Pending): void {
    this.#requests.delete(request.key)
    this.#leaveQueue(request)
    this.#deadlines.delete(request)
    this.#hedges.delete(request)
    for (const attempt of [...request.attempts]) {
      this.#take(attempt.id)
      this.#steps.push({ do: "revoke", attempt: attempt.id })
      attempt.station.pace.gaveUp(nowMs, nowMs - attempt.sentMs)
      this.#settleIn(nowMs, attempt.station)
    }
  }

  /** What counts as slow follows from how long requests took. */
  #learn(elapsedMs: number): void {
    if (this.#policy.hedgeMs !== "p95") return
    this.#answers.add(elapsedMs)
    this.#nAnswersToLook -= 1
    if (this.#nAnswersToLook > 0) return
    this.#nAnswersToLook = ANSWERS_PER_LOOK
    this.#slowMs = this.#answers.quantiles([0.95])[0] as number
  }
}

function expired({ lastError }: Pending): SentinelError {
  const before = lastError === undefined ? "" : `; the last try: ${lastError.message}`
  return new SentinelError("TIMEOUT", `no outputs within its time${before}`, { cause: lastError })
}
