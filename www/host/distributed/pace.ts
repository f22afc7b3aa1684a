/** So many of the latest durations are looked at. */
const MOST_RECENT = 256
/** What was seen so long ago counts a third. */
const MEMORY_MS = 10_000

/** The latest durations of something. */
export class Recent {
  #values = new Float64Array(8)
  #count = 0

  get size(): number {
    return Math.min(this.#count, this.#values.length)
  }

  add(durationMs: number): void {
    if (this.#count === this.#values.length && this.#count < MOST_RECENT) {
      const grown = new Float64Array(2 * this.#count)
      grown.set(this.#values)
      this.#values = grown
    }
    this.#values[this.#count % this.#values.length] = durationMs
    this.#count += 1
  }

  /** At these parts of the way from the shortest to the longest; zeros where nothing was added. */
  quantiles(parts: readonly number[]): number[] {
    const sorted = this.#values.slice(0, this.size).sort()
    return parts.map(part => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0)
  }
}

/** How long a worker takes: it grows at once with a longer answer, and shrinks slowly with shorter ones. */
export class Pace {
  readonly recent = new Recent()
  #expectedMs = 0
  #measuredMs = 0

  /** Zero where nothing is known, so that whoever is new is tried. */
  get expectedMs(): number {
    return this.#expectedMs
  }

  answered(nowMs: number, elapsedMs: number): void {
    this.recent.add(elapsedMs)
    if (this.#expectedMs === 0 || elapsedMs > this.#expectedMs) {
      this.#expectedMs = elapsedMs
    } else {
      const kept = Math.exp((this.#measuredMs - nowMs) / MEMORY_MS)
      this.#expectedMs = this.#expectedMs * kept + elapsedMs * (1 - kept)
    }
    this.#measuredMs = nowMs
  }

  /** Nobody waits for the answer any more: it would have taken longer than this. */
  gaveUp(nowMs: number, elapsedMs: number): void {
    if (elapsedMs <= this.#expectedMs) return
    this.#expectedMs = elapsedMs
    this.#measuredMs = nowMs
  }
}
