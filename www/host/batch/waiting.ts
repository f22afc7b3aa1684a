/** A promise that can be failed from outside. */
export interface Turn extends Promise<void> {
  reject(error: Error): void
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

/** Those who wait for their turn, in the order they came. */
export class Waiting {
  readonly #waiters = new Set<Waiter>()

  get size(): number {
    return this.#waiters.size
  }

  next(): Turn {
    let reject: (error: Error) => void = () => {}
    const turn = new Promise<void>((resolve, fail) => {
      const waiter: Waiter = { resolve, reject: fail }
      this.#waiters.add(waiter)
      reject = error => {
        this.#waiters.delete(waiter)
        fail(error)
      }
    })
    return Object.assign(turn, { reject })
  }

  /** It is the turn of the first `n`. */
  release(n = Infinity): void {
    for (const waiter of this.#take(n)) waiter.resolve()
  }

  fail(error: Error): void {
    for (const waiter of this.#take(Infinity)) waiter.reject(error)
  }

  #take(n: number): Waiter[] {
    const taken: Waiter[] = []
    for (const waiter of this.#waiters) {
      if (taken.length >= n) break
      taken.push(waiter)
    }
    for (const waiter of taken) this.#waiters.delete(waiter)
    return taken
  }
}
