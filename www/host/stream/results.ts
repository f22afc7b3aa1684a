import type { StreamResultInfo } from "./options.js"
import type { StreamPolicy } from "./pacer.js"

interface Taker<Result> {
  reader: symbol
  resolve(result: IteratorResult<Result, undefined>): void
  reject(error: Error): void
}

/** Results on their way to a reader: a bounded place, in which for "latest" the newest replaces the oldest. */
export class Results<Result extends StreamResultInfo> {
  readonly #maxSize: number
  readonly #policy: StreamPolicy
  /** Whether results wait for a reader that has not come yet. */
  readonly #isKept: boolean
  /** Is given every result that nobody has had. */
  readonly #release: (result: Result) => void
  readonly #items: Result[] = []
  readonly #takers: Taker<Result>[] = []
  #nReaders = 0
  #state: "open" | "closed" = "open"
  #failure: Error | undefined
  #whenRoom: (() => void) | undefined

  constructor(maxSize: number, policy: StreamPolicy, isKept: boolean, release: (result: Result) => void) {
    this.#maxSize = maxSize
    this.#policy = policy
    this.#isKept = isKept
    this.#release = release
  }

  /** Takes a result; the promise waits for room for the next. */
  async put(result: Result): Promise<void> {
    if (this.#state === "closed" || !(this.#isKept || this.#nReaders > 0)) return
    const taker = this.#takers.shift()
    if (taker !== undefined) return taker.resolve({ done: false, value: result })
    const oldest = this.#policy === "latest" && this.#items.length >= this.#maxSize ? this.#items.shift() : undefined
    this.#items.push(result)
    const next = this.#items[0] as Result
    if (oldest !== undefined) {
      this.#items[0] = { ...next, dropped: next.dropped + oldest.dropped + 1 }
      if (this.#isKept) this.#release(oldest)
    }
    if (this.#policy === "latest" || this.#items.length < this.#maxSize) return
    await new Promise<void>(resolve => { this.#whenRoom = resolve })
  }

  /** No more results come. Those that wait can still be read; then the first reader is told the failure. */
  close(failure: Error | undefined): void {
    if (this.#state === "closed") return
    this.#state = "closed"
    this.#failure = failure
    this.#whenRoom?.()
    for (const taker of this.#takers.splice(0)) this.#settle(taker)
  }

  /** Results as they come; each goes to one reader. */
  read(): AsyncIterableIterator<Result, undefined> {
    const reader = Symbol("reader")
    let isLeft = false
    this.#nReaders += 1
    const leave = () => {
      if (isLeft) return
      isLeft = true
      this.#nReaders -= 1
      const takers = this.#takers.splice(0)
      this.#takers.push(...takers.filter(taker => taker.reader !== reader))
      for (const { resolve } of takers.filter(taker => taker.reader === reader)) resolve({ done: true, value: undefined })
      if (this.#nReaders > 0 || this.#isKept) return
      this.#items.length = 0
      this.#whenRoom?.()
    }
    const iterator: AsyncIterableIterator<Result, undefined> = {
      [Symbol.asyncIterator]: () => iterator,
      next: () => new Promise((resolve, reject) => {
        if (isLeft) return resolve({ done: true, value: undefined })
        const value = this.#items.shift()
        if (value !== undefined) {
          this.#whenRoom?.()
          return resolve({ done: false, value })
        }
        const taker = { reader, resolve, reject }
        if (this.#state === "closed") this.#settle(taker)
        else this.#takers.push(taker)
      }),
      return: async () => {
        leave()
        return { done: true, value: undefined }
      },
    }
    return iterator
  }

  #settle({ resolve, reject }: Taker<Result>): void {
    const failure = this.#failure
    if (failure === undefined) return resolve({ done: true, value: undefined })
    this.#failure = undefined
    reject(failure)
  }
}
