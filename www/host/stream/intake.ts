import { checkSignal } from "../batch/options.js"
import { SentinelError, toSentinelError } from "../errors.js"

/** What became of the items of one source. When its iteration is over, `captured` is `taken` and `dropped` together. */
export interface CaptureCounters {
  captured: number
  taken: number
  /** Nobody took them in time. */
  dropped: number
  /** They came sooner than `maxFps` allows. */
  skipped: number
}

/**
 * Frames or windows as they come. It opens with the first `next()`, and is iterated once.
 *
 * A track that ends, by itself or unplugged, ends the iteration; what could not be opened rejects `next()`, and so
 * does the signal, with `CANCELLED`.
 */
export interface Capture<Item> extends AsyncIterable<Item, undefined> {
  readonly counters: Readonly<CaptureCounters>
}

export interface IntakeOptions<Item> {
  /** How many items wait to be taken; one more, and the oldest is dropped. */
  capacity: number
  /** Called by the first `next()`. */
  open: (intake: Intake<Item>) => Promise<void> | void
  /** Whether an item has waited so long that the next one is worth waiting for. */
  isStale?: (item: Item) => boolean
  /** Is given every item that nobody takes. */
  release?: (item: Item) => void
  /** Called when the taker ends the iteration, or the signal does: what was taken needs no longer to live. */
  abandon?: () => void
  signal?: AbortSignal | undefined
}

type Result<Item> = IteratorResult<Item, undefined>

interface Taker<Item> {
  resolve(result: Result<Item>): void
  reject(error: unknown): void
}

/** A bounded place between a source that pushes and a reader that pulls: the newest items win. */
export class Intake<Item> implements Capture<Item>, AsyncIterator<Item, undefined> {
  readonly counters: CaptureCounters = { captured: 0, taken: 0, dropped: 0, skipped: 0 }
  readonly #options: IntakeOptions<Item>
  readonly #waiting: Item[] = []
  readonly #takers: Taker<Item>[] = []
  readonly #releases: (() => void)[] = []
  #state: "new" | "open" | "ended" = "new"
  #isIterated = false
  #failure: { error: unknown } | undefined

  constructor(options: IntakeOptions<Item>) {
    checkSignal(options.signal)
    this.#options = options
  }

  [Symbol.asyncIterator](): AsyncIterator<Item, undefined> {
    if (this.#isIterated) throw new SentinelError("RELEASED", "capture: expected one iteration, given a second; make another source for it")
    this.#isIterated = true
    return this
  }

  get isEnded(): boolean {
    return this.#state === "ended"
  }

  /** Has `release` called when the source ends, or at once if it has ended: an opening may be overtaken by its end. */
  defer(release: () => void): void {
    if (this.isEnded) release()
    else this.#releases.push(release)
  }

  put(item: Item): void {
    this.counters.captured += 1
    if (this.isEnded) return this.#drop(item)
    const taker = this.#takers.shift()
    if (taker !== undefined) {
      this.counters.taken += 1
      return taker.resolve({ done: false, value: item })
    }
    this.#waiting.push(item)
    if (this.#waiting.length > this.#options.capacity) this.#drop(this.#waiting.shift()!)
  }

  /** Counts items that were lost before they could be put. */
  lose(count: number): void {
    this.counters.captured += count
    this.counters.dropped += count
  }

  /** No more items come; those that wait can still be taken. */
  end(): void {
    if (this.isEnded) return
    this.#state = "ended"
    for (const release of this.#releases.splice(0).reverse()) release()
    for (const taker of this.#takers.splice(0)) this.#settle(taker)
  }

  /** Ends with an error, which the next taker is told. */
  fail(error: unknown): void {
    if (this.isEnded) return
    this.#failure = { error }
    this.#close()
  }

  next(): Promise<Result<Item>> {
    if (this.#state === "new") this.#open()
    while (!this.isEnded && this.#waiting[0] !== undefined && this.#options.isStale?.(this.#waiting[0])) this.#drop(this.#waiting.shift()!)
    return new Promise((resolve, reject) => {
      const item = this.#waiting.shift()
      if (item !== undefined) {
        this.counters.taken += 1
        resolve({ done: false, value: item })
      } else if (this.isEnded) {
        this.#settle({ resolve, reject })
      } else {
        this.#takers.push({ resolve, reject })
      }
    })
  }

  async return(): Promise<Result<Item>> {
    this.#close()
    return { done: true, value: undefined }
  }

  async throw(thrown: unknown): Promise<Result<Item>> {
    this.#close()
    throw thrown
  }

  #open(): void {
    this.#state = "open"
    const { signal } = this.#options
    const cancel = () => this.fail(new SentinelError("CANCELLED", "capture: the signal was aborted", { cause: signal?.reason }))
    if (signal?.aborted) return cancel()
    signal?.addEventListener("abort", cancel)
    this.defer(() => signal?.removeEventListener("abort", cancel))
    // An opener may throw at once or later.
    Promise.resolve().then(() => this.isEnded ? undefined : this.#options.open(this)).catch(error => this.fail(toSentinelError(error, "capture")))
  }

  #close(): void {
    this.end()
    for (const item of this.#waiting.splice(0)) this.#drop(item)
    this.#options.abandon?.()
  }

  #settle({ resolve, reject }: Taker<Item>): void {
    const failure = this.#failure
    this.#failure = undefined
    if (failure === undefined) resolve({ done: true, value: undefined })
    else reject(failure.error)
  }

  #drop(item: Item): void {
    this.counters.dropped += 1
    this.#options.release?.(item)
  }
}
