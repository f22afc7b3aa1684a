import { ERROR_CODES, SentinelError, toSentinelError, type ErrorCode } from "../errors.js"
import type { InitOptions } from "../settings.js"
import type { Placement, TensorData } from "../wasm.js"
import type { ModelFacts } from "./lane.js"
import type { BatchEngineOptions } from "./options.js"

/** What holds for the whole package on the calling thread, and has to hold in a worker too. */
export interface WorkerSettings {
  init: InitOptions
  powerPreference: "low-power" | "high-performance" | undefined
  forceFallbackAdapter: boolean | undefined
}

/** The options that go to a worker; it is given what the others lead to. */
export type WorkerOptions = Omit<BatchEngineOptions, "model" | "externalData" | "onProgress" | "signal">

/** What a worker is asked. */
export type Request =
  /** Which files does this model name? The first request. */
  | { type: "prepare"; settings: WorkerSettings; engine: WebAssembly.Module; model: Uint8Array }
  /** Makes a session of it. */
  | { type: "open"; options: WorkerOptions; external: { path: string; data: Uint8Array }[] }
  /** Runs a batch that is joined, or one input as it is where `rows` is undefined. */
  | { type: "run"; feeds: Record<string, TensorData>; rows: readonly number[] | undefined }
  /** Gives everything back. */
  | { type: "close" }

/** What it answers. */
export interface Answers {
  prepare: { locations: string[] }
  open: { facts: ModelFacts; placement: Placement[] }
  /** With the placement of nodes where inputs have other sizes than those before. */
  run: { outputs: Record<string, TensorData>[]; placement: Placement[] | undefined }
  close: Record<never, never>
}

/** An error on its way between threads, where a class of its own would lose its code. */
export interface PlainError {
  code: ErrorCode
  message: string
}

export type Message = { id: number; request: Request }

export type Reply =
  /** It listens, and holds this lock for life. */
  | { type: "ready"; lock: string | undefined }
  | { type: "answer"; id: number; answer: Answers[Request["type"]] }
  | { type: "failed"; id: number; error: PlainError }
  /** It can run nothing any more; said before the request fails that found out. */
  | { type: "faulted"; error: PlainError }

export function toPlain(thrown: unknown): PlainError {
  const { code, message } = toSentinelError(thrown, "worker")
  return { code, message }
}

export function fromPlain({ code, message }: PlainError): SentinelError {
  return new SentinelError(ERROR_CODES.includes(code) ? code : "INTERNAL", message)
}

/** The buffers that go along with these tensors, each of which has one of its own. */
export function buffersOf(values: Record<string, TensorData>): ArrayBuffer[] {
  return Object.values(values).flatMap(({ data }) => (data instanceof Uint8Array ? [data.buffer as ArrayBuffer] : []))
}
