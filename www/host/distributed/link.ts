import type { Outputs } from "../batch/engine.js"
import type { Tensors } from "../batch/join.js"
import { SentinelError } from "../errors.js"

/** Where a request may go: a URL with what it takes to get in. */
export interface WorkerTarget {
  /**
   * `ws://`, `wss://`: a sentinel-worker. `http://`, `https://`: any server of the Open Inference Protocol. `nats://`, `nats+wss://`,
   * `nats+ws://`: all workers of a queue group. Events and statistics tell it without user, password and query.
   */
  url: string
  /** Its bearer token; for NATS, that of the server. */
  token?: string | undefined
  /** Its share of the work, for "weighted" (1). */
  weight?: number
  /** The most requests without an answer, where the worker does not say it itself: 8 over HTTP, 64 over NATS, unless said otherwise. */
  maxInFlight?: number
}

/** A worker's URL as messages, events and statistics have it: without what lets one in. */
export function shownUrl(url: string): string {
  return url.replace(/\/\/[^/?#]*@/, "//").replace(/[?#].*$/s, "")
}

/** The model that is asked for. */
export interface WantedModel {
  name: string
  /** The latest one, unless said otherwise. */
  version: string | undefined
  /** In hexadecimal, where a file decides which model it is: a worker with another one is refused. */
  sha256: string | undefined
  /** Its bytes, for workers that do not have it. */
  upload: (() => Promise<Uint8Array>) | undefined
}

/** What is known of a worker; what it does not tell is empty. */
export interface LinkFacts {
  /** Another one for each process. */
  workerId: string
  /** Software and version. */
  server: string
  provider: string
  modelVersion: string
  inputNames: readonly string[]
  outputNames: readonly string[]
  /** Over NATS: the workers that answered. */
  members: readonly string[]
}

export interface LinkRequest {
  inputs: Tensors
  /** All of them, where it is undefined. */
  outputNames: readonly string[] | undefined
  /** How long its sender waits; infinite where nobody said. */
  timeoutMs: number
  priority: number
  /** Takes the request back. */
  signal: AbortSignal
}

/** An open way to a worker. */
export interface Link {
  readonly facts: LinkFacts
  /** The most requests without an answer; the one place where that is decided. */
  readonly capacity: number
  /** Sends a request; settles once, with its outputs or with why there are none: a `LinkError`, or a `SentinelError` of the input's own. */
  run(request: LinkRequest): Promise<Outputs>
  /** Settles when it carries nothing any more: the worker closed, stalled or broke the protocol. Requests under way fail by it. */
  readonly lost: Promise<SentinelError>
  /** Fires where the worker takes no new requests any more; those under way get their answers. */
  readonly draining: AbortSignal
  close(): Promise<void>
}

/** Opens a link; `signal` gives up on it. Throws a `LinkError`. */
export type OpenLink = (target: WorkerTarget, model: WantedModel, signal: AbortSignal) => Promise<Link>

/**
 * Whose fault it is that a request has no outputs. `input`: it would fail everywhere. `busy`: it may be sent again, here too, after
 * `retryAfterMs`. `worker`: another worker may do better. `setting`: no pause helps; a person has to change something.
 */
export type Blame = "input" | "busy" | "worker" | "setting"

/** Why a worker gave no outputs, or could not be reached. */
export class LinkError extends SentinelError {
  readonly blame: Blame
  readonly retryAfterMs: number | undefined

  constructor(blame: Blame, code: SentinelError["code"], message: string, options: ErrorOptions & { retryAfterMs?: number | undefined } = {}) {
    super(code, message, options)
    this.blame = blame
    this.retryAfterMs = options.retryAfterMs
  }
}

/** Whose fault an error with this code is, where a worker answered with it. */
export function blameOf(code: SentinelError["code"]): Blame {
  switch (code) {
    case "INVALID_INPUT":
    case "SHAPE_MISMATCH":
    case "DTYPE_MISMATCH":
    case "TOO_LARGE":
    case "TIMEOUT":
    case "MODEL_PARSE":
    case "CONVERT_UNSUPPORTED":
      return "input"
    case "QUEUE_FULL":
      return "busy"
    case "UNAUTHORIZED":
    case "NOT_FOUND":
      return "setting"
    case "MODEL_UNSUPPORTED":
    case "RELEASED":
    // Whoever takes a request back hears no answer: this worker gave it up by itself.
    case "CANCELLED":
    case "DEVICE_LOST":
    case "OUT_OF_MEMORY":
    case "WORKER_UNAVAILABLE":
    case "IO":
    case "INTERNAL":
      return "worker"
  }
}
