import { batchPolicy, count, milliseconds, wrongOption, type BatchEngineOptions } from "../batch/options.js"
import type { Tensors } from "../batch/join.js"
import type { WorkerView } from "./balance.js"
import type { DispatchPolicy } from "./dispatcher.js"
import { shownUrl, type WorkerTarget } from "./link.js"

/** How the calling machine takes part: the options of its own batch engine, and its share of the work. */
export interface LocalOptions extends Omit<BatchEngineOptions, "model" | "outputNames"> {
  /** Its share, for "weighted" (1). */
  weight?: number
}

/** A request as a balancing function sees it. */
export interface RequestView {
  id: string
  inputs: Tensors
  priority: number
}

/** Chooses one of the workers that have room; undefined leaves it to "least-loaded". */
export type ChooseWorker = (workers: readonly WorkerView[], request: RequestView) => WorkerView | undefined

/** What a distributed engine is made from: a model, who computes it, and what happens when somebody does not. */
export interface DistributedEngineOptions {
  /**
   * A path or URL, or the bytes of a model: workers have to have this very file, and this machine may compute it too. Or the name of
   * a model that the workers have.
   */
  model: string | Uint8Array | { name: string; version?: string }
  /** What a model given as a file is called by the workers; its file name without the extension unless said otherwise. */
  modelName?: string
  modelVersion?: string
  /** `ws://`, `wss://`, `http://`, `https://`, `nats://`, `nats+ws://`, `nats+wss://`. More may come and go later. */
  workers?: readonly (string | WorkerTarget)[]
  /** Whether this machine computes too, as one more worker; it does where the model is a file, unless said otherwise. */
  local?: boolean | LocalOptions
  /**
   * Who gets the next request. "least-loaded" (the default): who has least to do for its weight and capacity, the fastest of those.
   * "round-robin": one after the other. "weighted": in the proportion of the weights. "latency": the one of two random workers that
   * should answer sooner.
   */
  balancing?: "least-loaded" | "round-robin" | "weighted" | "latency" | ChooseWorker
  /** For the batches of this machine, as `BatchInferenceEngine` has them. */
  batchSize?: number | "auto"
  maxDelayMs?: number
  /** The most inputs that wait to be sent (1,024). */
  maxQueueSize?: number
  /** How often an input that failed on one worker is sent again, to another where there is one (2). */
  retries?: number
  /** An input without outputs by then fails with `TIMEOUT`; unlimited unless said otherwise. */
  timeoutMs?: number
  /**
   * An input without outputs by then is sent to a second worker, and the first answer counts; "p95" takes what 95 of 100 inputs
   * keep to. At most one of twenty inputs under way is there for the second time, but ten may be.
   */
  hedgeMs?: number | "p95"
  /** How long inputs wait while no worker can be reached (30,000). */
  unavailableMs?: number
  /** How long `start()` tries to reach a worker (10,000). */
  startTimeoutMs?: number
  /** Sends the model to workers that do not have it and allow that. */
  uploadModel?: boolean
  /** The outputs that are computed; all of them unless said otherwise. */
  outputNames?: readonly string[]
}

/** The options, complete and checked. */
export interface DistributedPlan extends Omit<DispatchPolicy, "balancing"> {
  balancing: NonNullable<DistributedEngineOptions["balancing"]>
  workers: WorkerTarget[]
  /** Undefined where this machine takes no part. */
  local: (BatchEngineOptions & { weight: number }) | undefined
  timeoutMs: number
  startTimeoutMs: number
  outputNames: readonly string[] | undefined
}

const BALANCINGS = ["least-loaded", "round-robin", "weighted", "latency"] as const

/** @throws `INVALID_INPUT` naming the option, what it may be and what it is. */
export function distributedPlan(options: DistributedEngineOptions): DistributedPlan {
  if (typeof options !== "object" || options === null) throw wrongOption("options", "an object", options)
  const { balancing = "least-loaded", workers = [], retries = 2, hedgeMs, timeoutMs, outputNames } = options
  if (typeof balancing !== "function" && !BALANCINGS.includes(balancing)) throw wrongOption("balancing", `one of "${BALANCINGS.join('", "')}", or a function`, balancing)
  if (!Array.isArray(workers)) throw wrongOption("workers", "a list of URLs", workers)
  const targets = workers.map(workerTarget)
  const twice = targets.find(({ url }, at) => targets.findIndex(other => other.url === url) !== at)
  if (twice !== undefined) throw wrongOption("workers", "each URL once", shownUrl(twice.url))
  const local = localOptions(options)
  if (targets.length === 0 && local === undefined) throw wrongOption("workers", "at least one, or local: true", "none")
  return {
    balancing,
    workers: targets,
    local,
    outputNames,
    maxQueueSize: count("maxQueueSize", options.maxQueueSize ?? 1024, 1, 1_000_000),
    retries: count("retries", retries, 0, 100),
    hedgeMs: hedgeMs === "p95" ? hedgeMs : hedgeMs === undefined ? Infinity : milliseconds("hedgeMs", hedgeMs),
    timeoutMs: timeoutMs === undefined ? Infinity : milliseconds("timeoutMs", timeoutMs),
    unavailableMs: milliseconds("unavailableMs", options.unavailableMs ?? 30_000),
    startTimeoutMs: milliseconds("startTimeoutMs", options.startTimeoutMs ?? 10_000),
  }
}

/** @throws `INVALID_INPUT` for what is no URL, or no share. */
export function workerTarget(given: string | WorkerTarget): WorkerTarget {
  const target = typeof given === "string" ? { url: given } : given
  if (typeof target !== "object" || target === null || typeof target.url !== "string" || !URL.canParse(target.url)) {
    const url: unknown = typeof target === "object" && target !== null ? target.url : given
    throw wrongOption("workers", "a URL like \"wss://host:8070\", or { url, token, weight }", typeof url === "string" ? shownUrl(url) : url)
  }
  const { token, weight, maxInFlight } = target
  checkWeight(weight)
  if (token !== undefined && typeof token !== "string") throw wrongOption("token", "a string", typeof token)
  if (maxInFlight !== undefined) count("maxInFlight", maxInFlight, 1, 65_536)
  return target
}

function localOptions(options: DistributedEngineOptions): DistributedPlan["local"] {
  const { model, local = isFile(model), batchSize, maxDelayMs, outputNames } = options
  if (local === false) return undefined
  if (!isFile(model)) throw wrongOption("local", "false where the model is only named: this machine has no file of it", local)
  if (local !== true && (typeof local !== "object" || local === null)) throw wrongOption("local", "true, false or options", local)
  const { weight = 1, ...own } = local === true ? {} : local
  checkWeight(weight)
  const complete = {
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(maxDelayMs === undefined ? {} : { maxDelayMs }),
    ...(outputNames === undefined ? {} : { outputNames }),
    ...own,
    model,
    weight,
  }
  batchPolicy(complete)
  return complete
}

function isFile(model: DistributedEngineOptions["model"]): model is string | Uint8Array {
  return typeof model === "string" || model instanceof Uint8Array
}

function checkWeight(weight: number | undefined): void {
  if (weight !== undefined && !(typeof weight === "number" && weight > 0 && weight < Infinity)) throw wrongOption("weight", "a number above 0", weight)
}
