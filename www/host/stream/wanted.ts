import { SentinelError } from "../errors.js"

/**
 * What a function of the caller gives, as long as the signal has not fired: it may never give anything, or wait for the one
 * who fired it. What it gives too late goes to `discard`.
 */
export function whileWanted<Value>(signal: AbortSignal, given: Value | PromiseLike<Value>, discard: (late: Value) => void = () => {}): Promise<Value> {
  return new Promise((resolve, reject) => {
    const cancel = () => { reject(new SentinelError("CANCELLED", "the stream was stopped")) }
    if (signal.aborted) cancel()
    else signal.addEventListener("abort", cancel, { once: true })
    Promise.resolve(given).then(value => {
      if (signal.aborted) discard(value)
      else resolve(value)
    }, reject)
  })
}
