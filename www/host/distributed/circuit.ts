/** `closed`: requests flow. `open`: none do. `half-open`: one at a time does, to see whether it is answered. */
export type CircuitState = "closed" | "half-open" | "open"

/** The pause before a worker is tried again grows from the first to the second. */
const FIRST_PAUSE_MS = 250
const LONGEST_PAUSE_MS = 30_000
/** Where no pause helps, it is only looked from time to time whether somebody helped. */
const SETTING_PAUSE_MS = 120_000
/** How much of what was known one more answer leaves, and the share of failures at which the worker is put aside. */
const MEMORY = 0.8
const MOST_FAILURES = 0.5

/** Whether a worker is worth sending to. */
export class Circuit {
  #state: CircuitState = "closed"
  /** The share of failures among the latest answers, about five of them. */
  #failureShare = 0
  /** How often it was opened without an answer in between. */
  #openings = 0

  get state(): CircuitState {
    return this.#state
  }

  answered(): void {
    this.#state = "closed"
    this.#openings = 0
    this.#failureShare *= MEMORY
  }

  /** True where it is time to put the worker aside. */
  failed(): boolean {
    this.#failureShare = this.#failureShare * MEMORY + (1 - MEMORY)
    return this.#state === "half-open" || this.#failureShare >= MOST_FAILURES
  }

  /** Gives the pause until the next try. Pauses are of different lengths, so that many clients do not come back at once. */
  open(isSetting: boolean, random: () => number): number {
    this.#state = "open"
    this.#failureShare = 0
    const pauseMs = isSetting ? SETTING_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#openings)
    this.#openings += 1
    return pauseMs * (0.5 + random() / 2)
  }

  /** The worker can be reached again. */
  tryAgain(): void {
    if (this.#state === "open") this.#state = "half-open"
  }
}
