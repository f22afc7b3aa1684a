import { InferenceSession as CommonSession, registerBackend } from "onnxruntime-common"
import type { Backend, InferenceSessionHandler } from "onnxruntime-common"
import type { ProgressListener } from "./download.js"
import { inFile, SentinelError, toSentinelError } from "./errors.js"
import { SessionHandler, type SessionGpu } from "./handler.js"
import { namedBackends, PROVIDERS } from "./providers.js"
import type { Trace } from "./trace.js"
import type { GpuBytes, Placement } from "./wasm.js"

declare module "onnxruntime-common" {
  interface InferenceSession {
    /** Where each node of the model runs, and why there. */
    placement(): Placement[]
    /** Bytes that the model takes on the GPU: none where it runs on the CPU. */
    memory(): GpuBytes
    /** What is done on the GPU and on the CPU, in which order, as text; empty where nothing is on the GPU. */
    planText(): string
    /** What was done since `startProfiling()`, or since the session option `enableProfiling`: for chrome://tracing. */
    endProfiling(): Trace
  }
  namespace InferenceSession {
    interface SessionOptions {
      /** The axis along which inputs may be joined and run at once. */
      batchAxis?: number
      /** Make a batch of a fixed size one of any size; `MODEL_UNSUPPORTED` for a model that mixes rows. */
      rebatch?: boolean
      /** Refuses a model that the named execution providers do not take, instead of running it on the CPU. */
      strict?: boolean
      /** Called while the model is downloaded. */
      onProgress?: ProgressListener
      /** Stops reading the model. */
      signal?: AbortSignal
      /** The largest model, and the largest set of external data, that is read. */
      maxModelBytes?: number
    }
    interface RunOptions {
      /** A run that has not started when it fires is not started. */
      signal?: AbortSignal
    }
  }
}

type SessionBase = new (handler: InferenceSessionHandler) => CommonSession

/** onnxruntime's session with `placement()`, and with a code on every error. */
class SentinelSession extends (CommonSession as unknown as SessionBase) {
  declare private readonly handler: SessionHandler

  static async create(...args: Parameters<typeof CommonSession.create>): Promise<CommonSession> {
    const options = args.slice(1).find(arg => typeof arg === "object" && arg !== null)
    namedBackends((options ?? {}) as CommonSession.SessionOptions)
    try {
      const session = await CommonSession.create(...args)
      return new SentinelSession((session as unknown as SentinelSession).handler)
    } catch (thrown) {
      throw isMisuse(thrown) ? thrown : toSentinelError(thrown)
    }
  }

  override async run(...args: [CommonSession.FeedsType, ...unknown[]]): Promise<CommonSession.ReturnType> {
    const [feeds, fetches] = args
    if (typeof feeds === "object" && feeds !== null) {
      const missing = this.inputNames.filter(name => feeds[name] === undefined)
      if (missing.length > 0) throw wrongNames("input", missing, "is missing", this.inputNames)
      const unknown = Object.keys(feeds).filter(name => !this.inputNames.includes(name))
      if (unknown.length > 0) throw wrongNames("input", unknown, "is not in the model", this.inputNames)
    }
    if (Array.isArray(fetches)) {
      const unknown = fetches.filter(name => typeof name === "string" && !this.outputNames.includes(name))
      if (unknown.length > 0) throw wrongNames("output", unknown, "is not in the model", this.outputNames)
    }
    return super.run(...(args as [CommonSession.FeedsType]))
  }

  override placement(): Placement[] {
    return this.handler.placement()
  }

  override memory(): GpuBytes {
    return this.handler.memory()
  }

  override planText(): string {
    return this.handler.planText()
  }

  override endProfiling(): Trace {
    return this.handler.endProfiling()
  }
}

/** The device of a session, for what feeds it there; undefined while it has none, and for sessions that are not ours. */
export function gpuOf(session: CommonSession): SessionGpu | undefined {
  const { handler } = session as unknown as { handler?: unknown }
  return handler instanceof SessionHandler ? handler.gpu : undefined
}

// onnxruntime's own complaints about wrong argument types stay as they are.
function isMisuse(thrown: unknown): boolean {
  return thrown instanceof TypeError || thrown instanceof RangeError
}

function wrongNames(what: string, names: string[], why: string, known: readonly string[]): SentinelError {
  const quoted = (all: readonly string[]) => all.map(name => `"${name}"`).join(", ")
  return new SentinelError("INVALID_INPUT", `${what} ${quoted(names)} ${why}; the model's ${what}s are ${quoted(known)}`)
}

const backend: Backend = {
  async init() {},
  async createInferenceSessionHandler(uriOrBytes, options = {}) {
    try {
      return await SessionHandler.create(uriOrBytes, options)
    } catch (thrown) {
      throw typeof uriOrBytes === "string" ? inFile(thrown, uriOrBytes) : toSentinelError(thrown, "model")
    }
  },
}

for (const name of PROVIDERS.keys()) registerBackend(name, backend, 10)

export const InferenceSession = SentinelSession as unknown as typeof CommonSession
export type InferenceSession = CommonSession

export declare namespace InferenceSession {
  export type SessionOptions = CommonSession.SessionOptions
  export type RunOptions = CommonSession.RunOptions
  export type FeedsType = CommonSession.FeedsType
  export type FetchesType = CommonSession.FetchesType
  export type ReturnType = CommonSession.ReturnType
  export type OnnxValueMapType = CommonSession.OnnxValueMapType
  export type ExecutionProviderConfig = CommonSession.ExecutionProviderConfig
  export type ValueMetadata = CommonSession.ValueMetadata
  export type TensorValueMetadata = CommonSession.TensorValueMetadata
}
