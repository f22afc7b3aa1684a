import type { Tensor } from "onnxruntime-common"
import type { Outputs } from "../batch/engine.js"
import type { Tensors } from "../batch/join.js"
import { wrongOption } from "../batch/options.js"
import type { Pace, StreamPolicy } from "./pacer.js"
import type { PreprocessSpec } from "./preprocess.js"

/** What is known of an input while it is computed. */
export interface StreamInputInfo {
  stream: string
  /** Its number, from 0. */
  id: number
  /** When it was captured, or else arrived. */
  capturedMs: number
  /** Fires when the stream is stopped, which waits for nobody: a value that can be closed is closed then. */
  signal: AbortSignal
}

/** What is told about a result. */
export interface StreamResultInfo {
  stream: string
  /** The number of its input, from 0. */
  id: number
  capturedMs: number
  /** From the capture of the input to its outputs. */
  latencyMs: number
  /** Inputs and results between the result before and this one that were replaced by newer ones or found no room. */
  dropped: number
}

/** What `results()` gives, and what is written to a writable. */
export interface StreamResult<Result = Outputs> extends StreamResultInfo {
  outputs: Result
}

/** Windows of samples, as speech models want them. */
export interface AudioSpec {
  sampleRate: number
  windowSamples: number
  /** From the start of one window to the start of the next: less than a window overlaps (a window). */
  hopSamples?: number
  /** The model's input; not needed where there is only one that is neither state nor constant. */
  input?: string
}

/** How pictures become tensors; the model may know the rest. */
export interface PictureSpec extends PreprocessSpec {
  /** The model's input; not needed where there is only one that is neither state nor constant. */
  input?: string
}

/**
 * Makes the model's inputs, or the one that is neither state nor constant, from what the source gives. Tensors on a GPU that it
 * makes are disposed of after their step.
 */
export type Preprocess<Value> = (value: Value, info: StreamInputInfo) => Tensors | Tensor | Promise<Tensors | Tensor>

export interface StreamOptions<Value = unknown, Result = Outputs> {
  /**
   * What becomes of inputs for which there is no room. "latest": the newest replaces the oldest that waits (video, and functions with
   * an interval). "queue": the source waits (everything else). "drop-new": it is dropped itself.
   */
  policy?: StreamPolicy
  /** The most inputs that wait, and the most results that wait for a reader (1 for "latest", else 16). */
  maxQueueSize?: number
  /**
   * The most inputs that are computed, or whose results are not handled yet (1 for "latest" and with `state`, else as many as
   * fill the batches of all workers).
   */
  maxInFlight?: number
  /** From one call of a function, or one question to a source, to the next; they do not overlap, and a beat that is missed is left out. */
  intervalMs?: number
  /** The same as a rate. */
  maxFps?: number
  /** A function, or a description for pictures or audio. Without it the source gives the model's inputs. */
  preprocess?: Preprocess<Value> | PictureSpec | AudioSpec
  /** Makes of the outputs what the handler and the reader get. */
  postprocess?: (outputs: Outputs, info: StreamInputInfo) => Result | Promise<Result>
  /**
   * Inputs that are outputs of the step before: `{ input: output }`. They start as zeros; a step that fails leaves them as they were. The
   * outputs named here are not among those given.
   */
  state?: Readonly<Record<string, string>>
  /** What the state starts from, where zeros are wrong. */
  initialState?: Tensors
  /** Inputs that are the same in every step, on top of the engine's. */
  constants?: Tensors
  /** After so many errors in a row the stream fails with the last one (100). */
  maxErrors?: number
  /** Stops the stream. */
  signal?: AbortSignal
  /** An input without outputs within this time is an error. */
  timeoutMs?: number
  /** The larger, the sooner, among all streams (0). */
  priority?: number
}

/** The options that decide what is done when, complete and checked. */
export interface StreamPlan extends Pace {
  maxErrors: number
}

/** @throws `INVALID_INPUT` naming the option, what it may be and what it is. */
export function streamPlan(options: StreamOptions<never, unknown>, usual: { policy: StreamPolicy; maxInFlight: number }): StreamPlan {
  const { policy = usual.policy, state, intervalMs, maxFps, postprocess } = options
  if (!POLICIES.includes(policy)) throw wrongOption("policy", `"${POLICIES.join('", "')}"`, policy)
  if (postprocess !== undefined && typeof postprocess !== "function") throw wrongOption("postprocess", "a function", postprocess)
  if (intervalMs !== undefined && maxFps !== undefined) throw wrongOption("maxFps", "either intervalMs or maxFps", maxFps)
  if (intervalMs !== undefined && !(intervalMs >= 0 && intervalMs < 2 ** 31)) throw wrongOption("intervalMs", "milliseconds from 0 to 2^31", intervalMs)
  if (maxFps !== undefined && !(maxFps >= 0.001 && maxFps <= 1_000_000)) throw wrongOption("maxFps", "a number from 0.001 to 1000000", maxFps)
  const isLatest = policy === "latest"
  const hasState = state !== undefined && Object.keys(state).length > 0
  const maxInFlight = count("maxInFlight", options.maxInFlight ?? (isLatest || hasState ? 1 : usual.maxInFlight))
  return {
    policy,
    maxQueueSize: count("maxQueueSize", options.maxQueueSize ?? (isLatest ? 1 : 16)),
    maxInFlight,
    maxComputing: hasState ? 1 : maxInFlight,
    intervalMs: maxFps === undefined ? (intervalMs ?? 0) : 1000 / maxFps,
    maxErrors: options.maxErrors === Infinity ? Infinity : count("maxErrors", options.maxErrors ?? 100),
  }
}

export function isAudioSpec(preprocess: unknown): preprocess is AudioSpec {
  return typeof preprocess === "object" && preprocess !== null && "windowSamples" in preprocess
}

const POLICIES: readonly StreamPolicy[] = ["latest", "queue", "drop-new"]

function count(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1_000_000) return value
  throw wrongOption(name, "a whole number from 1 to 1000000", value)
}
