/** A promise that can be failed from outside. */
export interface Turn extends Promise<void> {
  reject(error: Error): void
}

interface Waiter {
  /** Takes the turn; false where that is not possible yet. */
  enter(): boolean
  resolve(): void
  reject(error: Error): void
}

/** Those who wait for their turn, in the order they came. */
export class Waiting {
  readonly #waiters = new Set<Waiter>()

  get size(): number {
    return this.#waiters.size
  }

  /** `enter` is called at the turn, before anybody else's. */
  next(enter = () => true): Turn {
    let reject: (error: Error) => void = () => {}
    const turn = new Promise<void>((resolve, fail) => {
      const waiter: Waiter = { enter, resolve, reject: fail }
      this.#waiters.add(waiter)
      reject = error => {
        this.#waiters.delete(waiter)
        fail(error)
      }
    })
    return Object.assign(turn, { reject })
  }

  /** It is the turn of the first `n`, as long as they can take it. */
  release(n = Infinity): void {
    let left = n
    for (const waiter of this.#waiters) {
      if (left <= 0) return
      try {
        if (!waiter.enter()) return
        left -= 1
        waiter.resolve()
      } catch (thrown) {
        waiter.reject(thrown as Error)
      }
      this.#waiters.delete(waiter)
    }
  }

  fail(error: Error): void {
    for (const waiter of this.#waiters) waiter.reject(error)
    this.#waiters.clear()
  }
}
