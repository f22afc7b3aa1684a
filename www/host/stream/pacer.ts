/**
 * What becomes of inputs for which there is no room. `latest`: the newest replaces the oldest that waits. `queue`: the source
 * waits. `drop-new`: it is dropped itself.
 */
export type StreamPolicy = "latest" | "queue" | "drop-new"

/** The bounds of one stream. */
export interface Pace {
  policy: StreamPolicy
  /** The most inputs that wait. */
  maxQueueSize: number
  /** The most inputs that are computed, or whose results are not given yet. */
  maxInFlight: number
  /** The most inputs that are computed at once: one, where each needs the state that the one before leaves. */
  maxComputing: number
  /** From one question to the source to the next, on a grid that does not drift; 0 asks as soon as there is room. */
  intervalMs: number
}

/** What a stream is to do now. `give`: `dropped` inputs were dropped since the result before. */
export type Step =
  | { do: "ask" }
  | { do: "drop"; id: number }
  | { do: "compute"; id: number }
  | { do: "give"; id: number; dropped: number }
  | { do: "cancel"; id: number }
  | { do: "end" }

type Flight = { id: number; is: "computing" | "computed" | "failed" }

/**
 * Decides what one stream does when: a state machine without I/O and without a clock of its own. Told what happened, it
 * says what to do, step by step, until there is nothing more at this moment.
 *
 * Every input that arrives is given, dropped or cancelled by exactly one step, unless it failed. Results are given one after
 * the other in the order of their inputs.
 */
export class Pacer {
  readonly #pace: Pace
  readonly #waiting: number[] = []
  readonly #outcasts: number[] = []
  /** What is computed or not given yet, in order. */
  readonly #flights: Flight[] = []
  #source: "idle" | "asked" | "ended" = "idle"
  #isGiving = false
  #isPaused = false
  #isStopped = false
  #isOver = false
  #nextId = 0
  #nDropped = 0
  #dueMs: number | undefined

  constructor(pace: Pace) {
    this.#pace = pace
  }

  get nWaiting(): number {
    return this.#waiting.length
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** When to poll next, if nothing happens before. */
  get wakeMs(): number | undefined {
    return this.#mayAsk() && this.#dueMs !== undefined ? this.#dueMs : undefined
  }

  /** The source gave an input, whose number this is. */
  arrived(): number {
    const { policy, maxQueueSize } = this.#pace
    const id = this.#nextId
    this.#nextId += 1
    this.#source = "idle"
    this.#waiting.push(id)
    if (this.#isPaused && policy === "latest") this.#dropWaiting(0)
    else if (policy === "latest") this.#dropWaiting(maxQueueSize)
    else if (policy === "drop-new" && this.#waiting.length > maxQueueSize) this.#outcasts.push(...this.#waiting.splice(-1))
    return id
  }

  /** The source had nothing this time. */
  hadNothing(): void {
    this.#source = "idle"
  }

  sourceEnded(): void {
    this.#source = "ended"
  }

  /** An input has its result, or there will be none. */
  settled(id: number, is: "computed" | "failed"): void {
    const flight = this.#flights.find(each => each.id === id)
    if (flight !== undefined) flight.is = is
  }

  /** The result that was given last was taken. */
  taken(): void {
    if (!this.#isGiving) return
    this.#isGiving = false
    this.#flights.shift()
  }

  /** Asks the source for nothing and computes nothing more. What waits grows stale: `latest` drops it. */
  pause(): void {
    this.#isPaused = true
    if (this.#pace.policy === "latest") this.#dropWaiting(0)
  }

  resume(): void {
    this.#isPaused = false
    this.#dueMs = undefined
  }

  /** Cancels what is not given yet. What is computed at present is waited for, the taker of a result is not. */
  stop(): void {
    this.#isStopped = true
    this.#source = "ended"
  }

  /** What to do at this moment; asked again until there is nothing. */
  poll(nowMs: number): Step | undefined {
    const outcast = this.#outcasts.shift()
    if (outcast !== undefined) {
      this.#nDropped += 1
      return { do: "drop", id: outcast }
    }
    return (this.#isStopped ? this.#cancel() : this.#give() ?? this.#compute() ?? this.#ask(nowMs)) ?? this.#end()
  }

  #give(): Step | undefined {
    if (this.#isGiving) return undefined
    while (this.#flights[0]?.is === "failed") this.#flights.shift()
    const [first] = this.#flights
    if (first?.is !== "computed") return undefined
    this.#isGiving = true
    const dropped = this.#nDropped
    this.#nDropped = 0
    return { do: "give", id: first.id, dropped }
  }

  #compute(): Step | undefined {
    const { maxInFlight, maxComputing } = this.#pace
    if (this.#isPaused || this.#flights.length >= maxInFlight || this.#nComputing() >= maxComputing) return undefined
    const id = this.#waiting.shift()
    if (id === undefined) return undefined
    this.#flights.push({ id, is: "computing" })
    return { do: "compute", id }
  }

  #ask(nowMs: number): Step | undefined {
    if (!this.#mayAsk() || (this.#dueMs !== undefined && nowMs < this.#dueMs)) return undefined
    const { intervalMs } = this.#pace
    if (intervalMs > 0) {
      const dueMs = this.#dueMs ?? nowMs
      // Beats that were missed are left out; those to come stay where they were.
      this.#dueMs = dueMs + intervalMs * (Math.floor((nowMs - dueMs) / intervalMs) + 1)
    }
    this.#source = "asked"
    return { do: "ask" }
  }

  #cancel(): Step | undefined {
    if (this.#isGiving) {
      this.#isGiving = false
      this.#flights.shift()
    }
    const id = this.#waiting.shift()
    if (id !== undefined) return { do: "cancel", id }
    const at = this.#flights.findIndex(({ is }) => is !== "computing")
    const [flight] = at < 0 ? [] : this.#flights.splice(at, 1)
    if (flight === undefined) return undefined
    return flight.is === "computed" ? { do: "cancel", id: flight.id } : this.#cancel()
  }

  #end(): Step | undefined {
    const isIdle = this.#waiting.length === 0 && this.#flights.length === 0
    if (this.#isOver || this.#source !== "ended" || !isIdle) return undefined
    this.#isOver = true
    return { do: "end" }
  }

  #mayAsk(): boolean {
    const { policy, maxQueueSize } = this.#pace
    if (this.#isPaused || this.#isStopped || this.#source !== "idle") return false
    return policy !== "queue" || this.#waiting.length < maxQueueSize
  }

  #nComputing(): number {
    return this.#flights.filter(({ is }) => is === "computing").length
  }

  #dropWaiting(nKept: number): void {
    const nTooMany = this.#waiting.length - nKept
    if (nTooMany <= 0) return
    for (const id of this.#waiting.splice(0, nTooMany)) this.#outcasts.push(id)
  }
}
