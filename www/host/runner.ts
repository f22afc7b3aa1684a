import platform from "#platform"
import type { InferenceSession, Tensor } from "onnxruntime-common"
import { openGpu, type SharedGpu } from "./device.js"
import { toSentinelError, type SentinelError } from "./errors.js"
import type { GpuChoice } from "./gpu.js"
import { Handle, type Instance } from "./instance.js"
import type { BackendName } from "./providers.js"
import { RecentlyUsed } from "./recent.js"
import { readModel } from "./source.js"
import { toFeed } from "./tensors.js"
import { applyDebug, timed } from "./trace.js"
import { loadEngine, loadWonnx } from "./wasm.js"
import type {
  AdapterFacts,
  EngineModule,
  EngineOptions,
  EngineSession,
  Feed,
  GpuBytes,
  NodeTime,
  Observed,
  Output,
  Placement,
  TensorData,
  WonnxSession,
} from "./wasm.js"

/** Each compiled session of wonnx holds the model's weights on the GPU. */
const COMPILED_SHAPES = 4

/** What leaves the work to the CPU where the caller allows it: another device would not do better. */
const DEFEATS = ["OUT_OF_MEMORY", "INTERNAL", "MODEL_UNSUPPORTED"]

/** Who computes for one set of input shapes. */
interface Route {
  backend: BackendName
  wonnx: Handle<WonnxSession> | undefined
  placement: Placement[]
}

/** What a session is made from; kept, to make it again when its device is lost. */
export interface Recipe {
  source: string | Uint8Array
  options: InferenceSession.SessionOptions
  backends: readonly BackendName[] | undefined
  strict: boolean
  choice: GpuChoice
  facts: AdapterFacts | undefined
  /** Every value inside the model is kept, for `observe`. */
  observes: boolean
  /** Why a backend that the caller may expect is not among them. */
  passedOver?: string
}

/** A model on its backends, with everything that is lost with a device. */
export class Runner {
  readonly recipe: Recipe
  readonly instance: Instance<EngineModule>
  readonly #engine: Handle<EngineSession>
  readonly #routes = new RecentlyUsed<Route>(COMPILED_SHAPES, route => route.wonnx?.free())
  #gpu: SharedGpu | undefined
  /** Why wonnx is not tried any more; undefined while it may be used. */
  #wonnxFailure: string | undefined
  #latestPlacement: Placement[] | undefined

  /** Reads the model, lets the engine decide where it runs, and compiles it if its shapes are known. */
  static async open(recipe: Recipe): Promise<Runner> {
    const instance = await loadEngine()
    const { bytes, external } = await timed("read", () => readModel(instance, recipe.source, recipe.options))
    const options = engineOptions(recipe)
    applyDebug(instance)
    const session = await timed("prepare", async () => instance.use(module => module.EngineSession.create(bytes, external, options)))
    const runner = new Runner(recipe, instance, new Handle(instance, session))
    try {
      if (session.preferred === "webgpu") await runner.#openGpu()
      else await runner.#compileStaticShapes()
    } catch (thrown) {
      runner.free()
      throw thrown
    }
    return runner
  }

  private constructor(recipe: Recipe, instance: Instance<EngineModule>, engine: Handle<EngineSession>) {
    this.recipe = recipe
    this.instance = instance
    this.#engine = engine
  }

  /** The device that runs use; undefined where they use none of ours. */
  get gpu(): SharedGpu | undefined {
    return this.#gpu
  }

  get fault(): SentinelError | undefined {
    return this.#engine.fault
  }

  use<Result>(work: (session: EngineSession) => Result): Result {
    return this.#engine.use(work)
  }

  /** Computes the outputs of these names; those in `onGpu` stay there where the session is on a GPU. */
  async run(tensors: Readonly<Record<string, Tensor>>, names: string[], onGpu: string[], isTimed: boolean): Promise<Record<string, Output>> {
    if (this.#gpu !== undefined) return this.#runOnGpu(this.#gpu, tensors, names, onGpu, isTimed)
    const feeds = (await toFeeds(tensors, undefined)) as Record<string, TensorData>
    if (this.#isCpuOnly()) return this.#engine.use(session => session.run(feeds, names))
    const checked = this.#engine.use(session => session.checkFeeds(feeds))
    const dims = Object.fromEntries(Object.entries(checked).map(([name, tensor]) => [name, tensor.dims]))
    const { backend, wonnx } = await this.#route(dims)
    if (wonnx !== undefined) return wonnx.wait(session => session.run(checked))
    if (backend !== "webgpu") return this.#engine.use(session => session.run(checked, names))
    return this.#runOnGpu(await this.#openGpu(), tensors, names, onGpu, isTimed)
  }

  /** Every value that a node computes, on the GPU where the session is on one and else on the CPU. */
  async observe(tensors: Readonly<Record<string, Tensor>>): Promise<Observed[]> {
    const feeds = await toFeeds(tensors, this.#gpu)
    return this.#engine.wait(session => session.observe(feeds))
  }

  /** How long the launches of the latest timed run took. */
  timings(): NodeTime[] {
    return this.#gpu === undefined ? [] : this.#engine.use(session => session.timings())
  }

  placement(): Placement[] {
    const rows = this.#latestPlacement ?? this.#engine.use(session => session.placement())
    const { passedOver } = this.recipe
    return passedOver === undefined ? rows : rows.map(row => ({ ...row, reason: passedOver }))
  }

  memory(): GpuBytes {
    return this.#engine.use(session => session.memory())
  }

  planText(): string {
    return this.#engine.use(session => session.planText())
  }

  /** What to open instead after this failure, where the caller allows for the CPU. */
  static fallback(recipe: Recipe, error: SentinelError, runner: Runner | undefined): Recipe | undefined {
    const { backends = ["webgpu", "cpu"], facts, strict } = recipe
    if (strict || !backends.includes("webgpu") || !backends.includes("cpu") || facts?.present !== true) return undefined
    if (recipe.backends === undefined && facts.software) return undefined
    // While a session is made, there is no next run that could do better on another device.
    const isDefeat = DEFEATS.includes(error.code) || (runner === undefined && error.code === "DEVICE_LOST")
    if (!isDefeat || (runner !== undefined && (runner.gpu === undefined || runner.fault !== undefined))) return undefined
    const passedOver = `webgpu failed on ${facts.description}: ${error.code}: ${error.message}`
    return { ...recipe, backends: backends.filter(backend => backend !== "webgpu"), passedOver }
  }

  /** What was compiled for a lost device is lost with it. */
  forgetRoutes(): void {
    this.#routes.clear()
  }

  free(): void {
    this.#routes.clear()
    this.#engine.free()
  }

  async #openGpu(): Promise<SharedGpu> {
    const gpu = await openGpu(this.instance, this.recipe.choice)
    await timed("compile", () => this.#engine.wait(session => gpu.engine.use(engine => session.openGpu(engine))))
    this.#gpu = gpu
    this.#latestPlacement = undefined
    return gpu
  }

  async #runOnGpu(gpu: SharedGpu, tensors: Readonly<Record<string, Tensor>>, names: string[], onGpu: string[], isTimed: boolean) {
    const feeds = await toFeeds(tensors, gpu)
    return this.#engine.wait(session => session.runGpu(feeds, names, onGpu, isTimed))
  }

  #isCpuOnly(): boolean {
    return this.recipe.backends?.every(backend => backend === "cpu") === true || this.#wonnxFailure !== undefined
  }

  async #compileStaticShapes(): Promise<void> {
    const dims = Object.fromEntries(this.#engine.use(session => session.inputs).map(({ name, shape }) => [name, shape]))
    // An input of unknown rank has an empty shape too; then the engine has not placed anything yet.
    const isPlaced = this.#engine.use(session => session.placement()).length > 0
    if (isPlaced && isStatic(dims) && !this.#isCpuOnly()) await this.#route(dims)
  }

  async #route(inputDims: Record<string, number[]>): Promise<Route> {
    const key = JSON.stringify(Object.entries(inputDims).sort(([a], [b]) => (a < b ? -1 : 1)))
    let route = this.#routes.get(key)
    // What was compiled in a module that another session spoilt is compiled again in a new one.
    if (route?.wonnx?.fault !== undefined) {
      this.#routes.clear()
      route = undefined
    }
    if (route === undefined) {
      route = await this.#compile(inputDims)
      this.#routes.add(key, route)
    }
    this.#latestPlacement = route.placement
    return route
  }

  async #compile(inputDims: Record<string, number[]>): Promise<Route> {
    const { backend, model } = this.#engine.use(session => session.plan(inputDims))
    const placement = this.#engine.use(session => session.placement())
    if (backend !== "wonnx" || model === undefined) return { backend, wonnx: undefined, placement }
    try {
      await platform.exposeGpu()
      const wonnx = await loadWonnx()
      const session = await timed("compile", () => wonnx.wait(module => module.WonnxSession.create(model)))
      return { backend, wonnx: new Handle(wonnx, session), placement }
    } catch (thrown) {
      const error = toSentinelError(thrown, "wonnx")
      // The caller who names only wonnx wants to know; the others are served by the cpu, and placement() says why.
      const { backends, facts } = this.recipe
      if (backends !== undefined && !backends.includes("cpu")) throw error
      const reason = `wonnx failed on ${facts?.description ?? "WebGPU"}: ${error.code}: ${error.message}`
      this.#wonnxFailure = reason
      return { backend: "cpu", wonnx: undefined, placement: placement.map(node => ({ ...node, backend: "cpu", reason })) }
    }
  }
}

async function toFeeds(tensors: Readonly<Record<string, Tensor>>, gpu: SharedGpu | undefined): Promise<Record<string, Feed>> {
  const converted = Object.entries(tensors).map(async ([name, tensor]) => [name, await toFeed(name, tensor, gpu)] as const)
  return Object.fromEntries(await Promise.all(converted))
}

function engineOptions({ backends, strict, facts, observes, options }: Recipe): EngineOptions {
  const { batchAxis, freeDimensionOverrides, rebatch } = options
  return {
    ...(backends === undefined ? {} : { executionProviders: [...backends] }),
    ...(strict ? { strict } : {}),
    ...(facts === undefined ? {} : { adapter: facts }),
    ...(observes ? { observes } : {}),
    ...(batchAxis === undefined ? {} : { batchAxis }),
    ...(rebatch === undefined ? {} : { rebatch }),
    ...(freeDimensionOverrides === undefined ? {} : { freeDimensionOverrides: { ...freeDimensionOverrides } }),
  }
}

function isStatic(dims: Record<string, (number | string)[]>): dims is Record<string, number[]> {
  return Object.values(dims).every(shape => shape.every(dim => typeof dim === "number"))
}
