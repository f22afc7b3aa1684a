import { SentinelError } from "../errors.js"
import type { Tensors } from "./join.js"
import { own } from "./own.js"

/** The inputs as they are now: the object may be used again for the next ones. */
export function copyOf(id: string, inputs: Tensors): Tensors {
  if (typeof inputs === "object" && inputs !== null) return { ...inputs }
  throw new SentinelError("INVALID_INPUT", `"${id}": expected an object of tensors by input name`)
}

export function checkNames(id: string, feeds: Tensors, known: readonly string[]): void {
  const missing = known.find(name => own(feeds, name) === undefined)
  const unknown = Object.keys(feeds).find(name => !known.includes(name))
  const wrong = missing ?? unknown
  if (wrong === undefined) return
  const why = wrong === missing ? "is missing" : "is not in the model"
  throw new SentinelError("INVALID_INPUT", `"${id}": input "${wrong}" ${why}; the model's inputs are "${known.join('", "')}"`)
}

export function named(id: string | undefined, error: SentinelError): SentinelError {
  return new SentinelError(error.code, `"${id ?? ""}": ${error.message}`, { cause: error })
}

export const cancelled = (id: string) => new SentinelError("CANCELLED", `"${id}": cancelled by its signal`)
export const expired = (id: string) => new SentinelError("TIMEOUT", `"${id}": no outputs within its time`)
export const notStarted = () => new SentinelError("INVALID_INPUT", "the engine is not started: await engine.start()")
