import type { InferenceSession } from "onnxruntime-common"
import { SentinelError } from "../errors.js"

/** What a batch engine is made from: a model, how inputs become batches, and the options of its sessions. */
export interface BatchEngineOptions extends InferenceSession.SessionOptions {
  /** A path or URL, or the bytes of a model. */
  model: string | Uint8Array
  /**
   * The most rows in one batch (8). With "auto", size and delay are found by measuring: the best throughput under
   * `targetLatencyMs`.
   */
  batchSize?: number | "auto"
  /** The longest that the first input of a batch waits for others, in milliseconds (5). */
  maxDelayMs?: number
  /** For "auto": from the arrival of an input to its outputs, in milliseconds (50). */
  targetLatencyMs?: number
  /** For "auto": the largest size that is tried (64). */
  maxBatchSize?: number
  /** The most inputs that wait (256). */
  maxQueueSize?: number
  /**
   * How many Web Workers, or worker threads in Node, run batches; with 0 (the default) the calling thread does. "auto" takes
   * one for each core that is left beside the calling thread, eight at most, and one where a GPU computes. Workers keep a Node
   * process alive while they open and run, not while they are idle.
   */
  workers?: number | "auto"
  /** A batch that runs longer costs its worker, and its inputs run once more; on the calling thread nothing can be stopped. */
  batchTimeoutMs?: number
  /** The axis along which inputs are joined (0). */
  batchAxis?: number
  /** What fills the free places of a model whose batch has a fixed size: the last row again, or zeros ("repeat"). */
  padding?: Padding
  /**
   * Joins inputs of a model that was made for a batch of one, where the engine can prove that its rows do not mix; `start()` fails
   * with the reason where it cannot.
   */
  rebatch?: boolean
  /** The outputs that are computed; all of them unless said otherwise. */
  outputNames?: readonly string[]
}

export type Padding = "repeat" | "zeros"

/** For one input. */
export interface InputOptions {
  /** Takes the input back; where its batch is running, its outputs are thrown away. */
  signal?: AbortSignal
  /** The input is answered with `TIMEOUT` when it has no outputs by then. */
  timeoutMs?: number
  /** The larger, the sooner (0). */
  priority?: number
}

/** The options that decide about batches, complete and checked. */
export interface BatchPolicy {
  batchSize: number | "auto"
  maxDelayMs: number
  targetLatencyMs: number
  maxBatchSize: number
  maxQueueSize: number
  workers: number | "auto"
  /** Infinite where nobody said. */
  batchTimeoutMs: number
  batchAxis: number
  padding: Padding
}

/** True where outputs are to stay in GPU buffers. */
export function wantsOutputsOnGpu({ preferredOutputLocation = "cpu" }: BatchEngineOptions): boolean {
  const locations: readonly string[] = typeof preferredOutputLocation === "string" ? [preferredOutputLocation] : Object.values(preferredOutputLocation)
  return locations.includes("gpu-buffer")
}

/** @throws `INVALID_INPUT` naming the option, what it may be and what it is. */
export function batchPolicy(options: BatchEngineOptions): BatchPolicy {
  const { batchSize = 8, workers = 0, padding = "repeat" } = options
  if (typeof options.model !== "string" && !(options.model instanceof Uint8Array)) {
    throw wrongOption("model", "a path, a URL or a Uint8Array", options.model)
  }
  if (padding !== "repeat" && padding !== "zeros") throw wrongOption("padding", '"repeat" or "zeros"', padding)
  return {
    batchSize: batchSize === "auto" ? "auto" : count("batchSize", batchSize, 1, 65_536),
    maxDelayMs: milliseconds("maxDelayMs", options.maxDelayMs ?? 5),
    targetLatencyMs: milliseconds("targetLatencyMs", options.targetLatencyMs ?? 50),
    maxBatchSize: count("maxBatchSize", options.maxBatchSize ?? 64, 1, 65_536),
    maxQueueSize: count("maxQueueSize", options.maxQueueSize ?? 256, 1, 1_000_000),
    workers: workers === "auto" ? "auto" : count("workers", workers, 0, 64),
    batchTimeoutMs: options.batchTimeoutMs === undefined ? Infinity : milliseconds("batchTimeoutMs", options.batchTimeoutMs),
    batchAxis: count("batchAxis", options.batchAxis ?? 0, 0, 15),
    padding,
  }
}

/** The options of one input, complete and checked. */
export interface InputPlan {
  signal: AbortSignal | undefined
  /** When it stops being waited for; infinite where nobody said. */
  deadlineMs: number
  priority: number
}

/** @throws `INVALID_INPUT` naming the option, what it may be and what it is. */
export function inputPlan(options: InputOptions, nowMs: number): InputPlan {
  if (typeof options !== "object" || options === null) throw wrongOption("options", "an object", options)
  const { signal, timeoutMs, priority = 0 } = options
  checkSignal(signal)
  return {
    signal,
    deadlineMs: timeoutMs === undefined ? Infinity : nowMs + milliseconds("timeoutMs", timeoutMs),
    priority: count("priority", priority, -(2 ** 31), 2 ** 31 - 1),
  }
}

/** @throws `INVALID_INPUT` where it could not be listened to. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && typeof signal?.addEventListener !== "function") throw wrongOption("signal", "an AbortSignal", signal)
}

export function count(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw wrongOption(name, `a whole number from ${least} to ${most}`, value)
}

export function milliseconds(name: string, value: number): number {
  if (typeof value === "number" && value >= 0 && value < 2 ** 31) return value
  throw wrongOption(name, "milliseconds from 0 to 2^31", value)
}

export function wrongOption(name: string, expected: string, value: unknown): SentinelError {
  return new SentinelError("INVALID_INPUT", `${name}: expected ${expected}, got ${typeof value === "string" ? `"${value}"` : String(value)}`)
}
