/** What an engine knows of time; tests have a clock of their own. */
export interface World {
  /** Milliseconds since any one moment. */
  now(): number
  /** Calls back once; gives what calls it off. */
  after(delayMs: number, callback: () => void): () => void
  /** Lets what else waits for this thread have its turn. */
  nextTurn(): Promise<void>
}

export const realWorld: World = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
  nextTurn,
}

// A timer of no time waits for milliseconds in pages; a message does not.
function nextTurn(): Promise<void> {
  return new Promise(resolve => {
    if (typeof setImmediate === "function") return void setImmediate(resolve)
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(undefined)
  })
}
