import { ERROR_CODES, SentinelError, type ErrorCode } from "../../errors.js"
import { blameOf, LinkError } from "../link.js"
import type { Frame } from "./frame.js"
import type { Port } from "./oip.js"

/** A model as a worker announces it. */
export interface Model {
  name: string
  version: string
  sha256: string
  state: string
  reason: string
  provider: string
  inputs: Port[]
  outputs: Port[]
}

export interface Hello {
  type: "hello"
  server: string
  workerId: string
  maxMessageBytes: number
  credits: number
  heartbeatMs: number
  allowsUpload: boolean
  models: Model[]
}

export interface Failure {
  type: "error"
  /** Undefined where it says why the connection ends. */
  id: string | undefined
  code: ErrorCode
  error: string
  retryAfterMs: number | undefined
}

/** What a worker says. */
export type FromWorker =
  | Hello
  | { type: "models"; models: Model[] }
  | { type: "output"; id: string; modelVersion: string; outputs: unknown; payload: Uint8Array }
  | Failure
  | { type: "pong"; id: string }
  | { type: "draining" }
  | { type: "upload_state"; id: string; offset: number }
  | { type: "uploaded"; id: string; model: Model }
  | { type: "opened"; id: string; subject: string; partBytes: number }
  | { type: "working"; id: string; workerId: string }
  | { type: "part"; id: string; index: number; count: number; payload: Uint8Array }

export const PROTOCOL = 1
const MAX_TEXT = 1000
const MAX_MODELS = 10_000
const MAX_PORTS = 256
const MAX_CREDITS = 65_536
// The ends are those of a timer: one of no time would take all of it, one of more than 24 days fires at once.
const MIN_HEARTBEAT_MS = 50
const MAX_HEARTBEAT_MS = 600_000

/**
 * Reads what a worker says.
 *
 * @throws `INVALID_INPUT` for what is no such message, a `LinkError` for the greeting of another protocol.
 */
export function readMessage({ header, payload }: Frame): FromWorker {
  const { type } = header
  switch (type) {
    case "hello":
      return readHello(header)
    case "models":
      return { type, models: readModels(header["models"]) }
    case "output":
      return { type, id: id(header), modelVersion: optionalText(header, "model_version"), outputs: header["outputs"], payload }
    case "error":
      return { ...readFailure(header, "INTERNAL"), id: header["id"] === undefined || header["id"] === "" ? undefined : id(header) }
    case "pong":
      return { type, id: id(header) }
    case "draining":
      return { type }
    case "upload_state":
      return { type, id: id(header), offset: count(header, "offset") }
    case "uploaded":
      return { type, id: id(header), model: readModel(header["model"]) }
    case "opened":
      return { type, id: id(header), subject: text(header, "subject"), partBytes: count(header, "part_bytes", 1) }
    case "working":
      return { type, id: id(header), workerId: text(header, "worker_id") }
    case "part":
      return { type, id: id(header), index: count(header, "index"), count: count(header, "count", 1), payload }
    default:
      throw wrong(`"${String(type).slice(0, 64)}" is no type of message`)
  }
}

/** What an error's header says; `otherwise` is its code where it names none that is known. */
export function readFailure(header: Readonly<Record<string, unknown>>, otherwise: ErrorCode): Failure {
  const { code, error, retry_after_ms: retryAfterMs } = header
  return {
    type: "error",
    id: undefined,
    code: (ERROR_CODES as readonly unknown[]).includes(code) ? (code as ErrorCode) : otherwise,
    error: typeof error === "string" && error !== "" ? error.slice(0, MAX_TEXT) : "it does not say why",
    retryAfterMs: typeof retryAfterMs === "number" && retryAfterMs >= 0 ? Math.min(retryAfterMs, MAX_HEARTBEAT_MS) : undefined,
  }
}

/** The error of a worker as one of ours. */
export function toLinkError(place: string, { code, error, retryAfterMs }: Failure): LinkError {
  return new LinkError(blameOf(code), code, `${place}: ${error}`, { retryAfterMs })
}

function readHello(header: Readonly<Record<string, unknown>>): Hello {
  if (header["protocol"] !== PROTOCOL) {
    const given = String(header["protocol"]).slice(0, 20)
    throw new LinkError("setting", "WORKER_UNAVAILABLE", `it speaks protocol ${given}, expected ${PROTOCOL}: one of the two is too old`)
  }
  const limits = object(header["limits"], "limits")
  const heartbeatMs = count(header, "heartbeat_ms", 1)
  return {
    type: "hello",
    server: `${optionalText(header, "server")} ${optionalText(header, "version")}`.trim(),
    workerId: text(header, "worker_id"),
    maxMessageBytes: count(limits, "max_message_bytes", 1),
    credits: Math.min(count(header, "credits", 1), MAX_CREDITS),
    heartbeatMs: Math.min(Math.max(heartbeatMs, MIN_HEARTBEAT_MS), MAX_HEARTBEAT_MS),
    allowsUpload: header["allows_upload"] === true,
    models: readModels(header["models"]),
  }
}

function readModels(value: unknown): Model[] {
  if (!Array.isArray(value) || value.length > MAX_MODELS) throw wrong(`models: expected a list of ${MAX_MODELS} at most`)
  return value.map(readModel)
}

function readModel(value: unknown): Model {
  const model = object(value, "model")
  return {
    name: text(model, "name"),
    version: text(model, "version"),
    sha256: optionalText(model, "sha256").toLowerCase(),
    state: text(model, "state"),
    reason: optionalText(model, "reason"),
    provider: optionalText(model, "provider"),
    inputs: readPorts(model["inputs"], "inputs"),
    outputs: readPorts(model["outputs"], "outputs"),
  }
}

/** @throws `INVALID_INPUT` for other than a short list of inputs or outputs. */
export function readPorts(value: unknown, name: string): Port[] {
  if (!Array.isArray(value) || value.length > MAX_PORTS) throw wrong(`${name}: expected a list of ${MAX_PORTS} at most`)
  return value.map(each => {
    const port = object(each, name)
    return { name: text(port, "name"), datatype: text(port, "datatype") }
  })
}

function id(header: Readonly<Record<string, unknown>>): string {
  return text(header, "id")
}

function text(object: Readonly<Record<string, unknown>>, name: string): string {
  const value = object[name]
  if (typeof value !== "string" || value.length > MAX_TEXT) throw wrong(`${name}: expected text of ${MAX_TEXT} characters at most`)
  return value
}

function optionalText(object: Readonly<Record<string, unknown>>, name: string): string {
  const value = object[name]
  return typeof value === "string" ? value.slice(0, MAX_TEXT) : ""
}

function count(object: Readonly<Record<string, unknown>>, name: string, least = 0): number {
  const value = object[name]
  if (!Number.isSafeInteger(value) || (value as number) < least) throw wrong(`${name}: expected a whole number of ${least} or more`)
  return value as number
}

function object(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(`${name}: expected an object`)
  return value as Readonly<Record<string, unknown>>
}

function wrong(why: string): SentinelError {
  return new SentinelError("INVALID_INPUT", `message: ${why}`)
}
