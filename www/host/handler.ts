import platform from "#platform"
import type { InferenceSession, InferenceSessionHandler, OnnxValue, Tensor } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "./errors.js"
import { adapterFacts } from "./gpu.js"
import { Handle } from "./instance.js"
import { namedBackends, type BackendName } from "./providers.js"
import { SerialQueue } from "./queue.js"
import { RecentlyUsed } from "./recent.js"
import { currentSettings } from "./settings.js"
import { readModel } from "./source.js"
import { fillPreallocated, fromTensorData, toTensorData } from "./tensors.js"
import { timed } from "./trace.js"
import { loadEngine, loadWonnx } from "./wasm.js"
import type { AdapterFacts, EngineOptions, EngineSession, Placement, TensorData, ValueInfo, WonnxSession } from "./wasm.js"

/** Each compiled session holds the model's weights on the GPU. */
const COMPILED_SHAPES = 4

/** Who computes for one set of input shapes: wonnx where there is a session of it, else the CPU. */
interface Route {
  wonnx: Handle<WonnxSession> | undefined
  placement: Placement[]
}

type Feeds = Readonly<Record<string, OnnxValue>>
type Fetches = Readonly<Record<string, OnnxValue | null>>

/** One model, ready to run. */
export class SessionHandler implements InferenceSessionHandler {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly inputMetadata: readonly InferenceSession.ValueMetadata[]
  readonly outputMetadata: readonly InferenceSession.ValueMetadata[]

  readonly #queue = new SerialQueue()
  readonly #routes = new RecentlyUsed<Route>(COMPILED_SHAPES, route => route.wonnx?.free())
  readonly #backends: readonly BackendName[] | undefined
  readonly #facts: AdapterFacts | undefined
  #engine: Handle<EngineSession> | undefined
  /** Why wonnx is not tried any more; undefined while it may be used. */
  #wonnxFailure: string | undefined
  #latestPlacement: Placement[] | undefined

  /** Reads the model, lets the engine decide where it runs, and compiles it if its shapes are known. */
  static async create(uriOrBytes: string | Uint8Array, options: InferenceSession.SessionOptions): Promise<SessionHandler> {
    const backends = namedBackends(options)
    if (options.preferredOutputLocation !== undefined && options.preferredOutputLocation !== "cpu") {
      throw new SentinelError("INVALID_INPUT", "preferredOutputLocation: outputs are on the CPU in this version")
    }
    const facts = backends === undefined || backends.includes("wonnx") ? await adapterFacts() : undefined
    if (backends?.join() === "wonnx" && facts?.present === false) {
      throw new SentinelError("DEVICE_LOST", `executionProviders: 'wonnx' needs WebGPU: ${facts.description}`)
    }
    const engine = await loadEngine()
    const { bytes, external } = await timed("read", () => readModel(engine, uriOrBytes, options))
    const engineOptions: EngineOptions = {}
    if (backends !== undefined) engineOptions.executionProviders = [...backends]
    if (isStrict(options)) engineOptions.strict = true
    if (facts !== undefined) engineOptions.adapter = facts
    if (options.freeDimensionOverrides !== undefined) engineOptions.freeDimensionOverrides = { ...options.freeDimensionOverrides }
    const debug = currentSettings().debug ?? platform.debug
    if (debug !== undefined) engineOptions.debug = debug
    const session = await timed("prepare", async () => engine.use(module => module.EngineSession.create(bytes, external, engineOptions)))
    const handler = new SessionHandler(new Handle(engine, session), backends, facts)
    try {
      await handler.#compileStaticShapes()
    } catch (thrown) {
      await handler.dispose()
      throw thrown
    }
    return handler
  }

  private constructor(engine: Handle<EngineSession>, backends: readonly BackendName[] | undefined, facts: AdapterFacts | undefined) {
    this.#engine = engine
    this.#backends = backends
    this.#facts = facts
    const { inputs, outputs } = engine.use(({ inputs, outputs }) => ({ inputs, outputs }))
    this.inputNames = inputs.map(input => input.name)
    this.outputNames = outputs.map(output => output.name)
    this.inputMetadata = inputs.map(metadata)
    this.outputMetadata = outputs.map(metadata)
  }

  /** Computes the outputs named in `fetches`; a tensor given there receives the values. */
  run(feeds: Feeds, fetches: Fetches, options: InferenceSession.RunOptions): Promise<Record<string, Tensor>> {
    return this.#queue.add(async () => {
      const engine = this.#live()
      if (options.signal?.aborted === true) throw new SentinelError("CANCELLED", "run: cancelled by its signal")
      try {
        const data = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, toTensorData(name, tensor)]))
        const outputs = await timed("run", () => this.#compute(engine, data, Object.keys(fetches)))
        return collect(outputs, fetches)
      } catch (thrown) {
        throw this.#failed(thrown)
      }
    })
  }

  /** Where each node runs and why; for free dimensions, as of the latest run. */
  placement(): Placement[] {
    const engine = this.#live()
    return this.#latestPlacement ?? engine.use(session => session.placement())
  }

  /** Waits for the runs that were asked for before, then gives everything back. */
  dispose(): Promise<void> {
    return this.#queue.add(async () => {
      this.#routes.clear()
      const engine = this.#engine
      this.#engine = undefined
      engine?.free()
    })
  }

  startProfiling(): void {}

  endProfiling(): void {}

  #live(): Handle<EngineSession> {
    if (this.#engine === undefined) throw new SentinelError("RELEASED", "the session was released")
    if (this.#engine.fault !== undefined) throw this.#engine.fault
    return this.#engine
  }

  async #compute(engine: Handle<EngineSession>, feeds: Record<string, TensorData>, names: string[]): Promise<Record<string, TensorData>> {
    if (this.#isCpuOnly()) return engine.use(session => session.run(feeds, names))
    const checked = engine.use(session => session.checkFeeds(feeds))
    const dims = Object.fromEntries(Object.entries(checked).map(([name, tensor]) => [name, tensor.dims]))
    const { wonnx } = await this.#route(engine, dims)
    if (wonnx !== undefined) return wonnx.wait(session => session.run(checked))
    return engine.use(session => session.run(checked, names))
  }

  #isCpuOnly(): boolean {
    return this.#backends?.includes("wonnx") === false || this.#wonnxFailure !== undefined
  }

  async #compileStaticShapes(): Promise<void> {
    const engine = this.#live()
    const dims = Object.fromEntries(engine.use(session => session.inputs).map(({ name, shape }) => [name, shape]))
    // An input of unknown rank has an empty shape too; then the engine has not placed anything yet.
    const isPlaced = engine.use(session => session.placement()).length > 0
    if (isPlaced && isStatic(dims) && !this.#isCpuOnly()) await this.#route(engine, dims)
  }

  async #route(engine: Handle<EngineSession>, inputDims: Record<string, number[]>): Promise<Route> {
    const key = JSON.stringify(Object.entries(inputDims).sort(([a], [b]) => (a < b ? -1 : 1)))
    let route = this.#routes.get(key)
    // What was compiled in a module that another session spoilt is compiled again in a new one.
    if (route?.wonnx?.fault !== undefined) {
      this.#routes.clear()
      route = undefined
    }
    if (route === undefined) {
      route = await this.#compile(engine, inputDims)
      this.#routes.add(key, route)
    }
    this.#latestPlacement = route.placement
    return route
  }

  async #compile(engine: Handle<EngineSession>, inputDims: Record<string, number[]>): Promise<Route> {
    const { backend, model } = engine.use(session => session.plan(inputDims))
    const placement = engine.use(session => session.placement())
    if (backend !== "wonnx" || model === undefined) return { wonnx: undefined, placement }
    try {
      await platform.exposeGpu()
      const wonnx = await loadWonnx()
      const session = await timed("compile", () => wonnx.wait(module => module.WonnxSession.create(model)))
      return { wonnx: new Handle(wonnx, session), placement }
    } catch (thrown) {
      const error = toSentinelError(thrown, "wonnx")
      // The caller who names only wonnx wants to know; the others are served by the cpu, and placement() says why.
      if (this.#backends !== undefined && !this.#backends.includes("cpu")) throw error
      const reason = `wonnx failed on ${this.#facts?.description ?? "WebGPU"}: ${error.code}: ${error.message}`
      this.#wonnxFailure = reason
      return { wonnx: undefined, placement: placement.map(node => ({ ...node, backend: "cpu", reason })) }
    }
  }

  /** What a failed run leaves behind it, and the error to throw. */
  #failed(thrown: unknown): SentinelError {
    const error = toSentinelError(thrown, "run")
    // What was compiled for a lost device is lost with it; the next run compiles again.
    if (error.code === "DEVICE_LOST") this.#routes.clear()
    return error
  }
}

/** `strict`, or onnxruntime's own switch against running on the CPU what the named providers do not take. */
function isStrict({ strict, extra }: InferenceSession.SessionOptions): boolean {
  if (strict !== undefined) return strict
  const session = extra?.["session"] as Record<string, unknown> | undefined
  return session?.["disable_cpu_ep_fallback"] === "1"
}

function metadata({ name, type, shape }: ValueInfo): InferenceSession.ValueMetadata {
  return { name, isTensor: true, type: type as Tensor.Type, shape }
}

function isStatic(dims: Record<string, (number | string)[]>): dims is Record<string, number[]> {
  return Object.values(dims).every(shape => shape.every(dim => typeof dim === "number"))
}

function collect(outputs: Record<string, TensorData>, fetches: Fetches): Record<string, Tensor> {
  const results: Record<string, Tensor> = {}
  for (const [name, target] of Object.entries(fetches)) {
    const output = outputs[name]
    if (output === undefined) throw new SentinelError("INTERNAL", `output "${name}": the backend did not compute it`)
    results[name] = target === null ? fromTensorData(name, output) : fillPreallocated(name, target, output)
  }
  return results
}
