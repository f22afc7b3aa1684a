import type { InferenceSession, Tensor } from "onnxruntime-common"
import type { SentinelError } from "../errors.js"
import type { SessionGpu } from "../handler.js"
import type { Placement } from "../wasm.js"
import type { Joining, Tensors } from "./join.js"

/** What a model is, as far as batches are concerned; plain data. */
export interface ModelFacts {
  inputNames: readonly string[]
  outputNames: readonly string[]
  inputMetadata: readonly InferenceSession.ValueMetadata[]
  outputMetadata: readonly InferenceSession.ValueMetadata[]
  joining: Joining
  /** A GPU computes, or may. */
  isOnGpu: boolean
}

/** One place where batches run, one at a time: the calling thread, or a worker. */
export interface Lane {
  readonly facts: ModelFacts
  /** The device that it runs on, where tensors on it can be given to it. */
  readonly gpu?: SessionGpu | undefined
  /**
   * Runs inputs of one signature together, or one input as it is where `rows` is undefined; gives the outputs of each.
   * The caller's tensors stay the caller's.
   */
  run(parts: readonly Tensors[], rows: readonly number[] | undefined): Promise<Record<string, Tensor>[]>
  /** Where each node runs and why; for open sizes, as of the latest run. */
  placement(): Placement[]
  /** Why it can run nothing any more; known before the runs that fail by it. */
  readonly fault: SentinelError | undefined
  /** Settles with the fault, unless `close` was called before. */
  readonly lost: Promise<SentinelError>
  /** Waits for what runs, and gives everything back. */
  close(): Promise<void>
}

/** Makes a lane; `signal` gives up on it. */
export type OpenLane = (signal: AbortSignal) => Promise<Lane>
