/** Every code that an error of this package can carry. They are stable; messages are for people. */
export const ERROR_CODES = [
  "MODEL_PARSE",
  "MODEL_UNSUPPORTED",
  "INVALID_INPUT",
  "NOT_FOUND",
  "SHAPE_MISMATCH",
  "DTYPE_MISMATCH",
  "QUEUE_FULL",
  "TIMEOUT",
  "CANCELLED",
  "RELEASED",
  "DEVICE_LOST",
  "OUT_OF_MEMORY",
  "WORKER_UNAVAILABLE",
  "UNAUTHORIZED",
  "TOO_LARGE",
  "CONVERT_UNSUPPORTED",
  "IO",
  "INTERNAL",
] as const

export type ErrorCode = (typeof ERROR_CODES)[number]

/** What every function of this package throws: a stable `code`, and a message that names the place. */
export class SentinelError extends Error {
  override readonly name = "SentinelError"
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Anything thrown, as a `SentinelError`. `place` goes in front of messages that do not name one. */
export function toSentinelError(thrown: unknown, place?: string): SentinelError {
  if (thrown instanceof SentinelError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const code = property(thrown, "code")
  if (isErrorCode(code)) return new SentinelError(code, message, { cause: thrown })
  const placed = place === undefined ? message : `${place}: ${message}`
  return new SentinelError(kindOf(thrown, code), placed, { cause: thrown })
}

/** The same error with the file it is about in front. */
export function inFile(thrown: unknown, file: string): SentinelError {
  const { code, message } = toSentinelError(thrown)
  return new SentinelError(code, message.startsWith(`${file}: `) ? message : `${file}: ${message}`, { cause: thrown })
}

/** True when WebAssembly code was stopped in its middle: it trapped, or its stack was full. */
export function isTrap(thrown: unknown): boolean {
  if (thrown instanceof WebAssembly.RuntimeError) return true
  // V8 and JavaScriptCore throw a RangeError for a full stack, SpiderMonkey an InternalError.
  return thrown instanceof Error && /^(RangeError|InternalError)$/.test(thrown.name) && /call stack|recursion/i.test(thrown.message)
}

function kindOf(thrown: unknown, code: unknown): ErrorCode {
  if (property(thrown, "name") === "AbortError") return "CANCELLED"
  if (property(thrown, "name") === "TimeoutError") return "TIMEOUT"
  // Node's system errors have codes like ENOENT; a refused fetch is a TypeError with such a cause.
  if (typeof code === "string" && /^E[A-Z0-9]+$/.test(code)) return "IO"
  if (thrown instanceof RangeError && /alloc|memory/i.test(thrown.message)) return "OUT_OF_MEMORY"
  return "INTERNAL"
}

function isErrorCode(code: unknown): code is ErrorCode {
  return (ERROR_CODES as readonly unknown[]).includes(code)
}

function property(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined
}
