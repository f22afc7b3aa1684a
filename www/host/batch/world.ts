/** What an engine knows of time; tests have a clock of their own. */
export interface World {
  /** Milliseconds since any one moment. */
  now(): number
  /** Calls back once; gives what calls it off. */
  after(delayMs: number, callback: () => void): () => void
}

export const realWorld: World = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}
