import type { InferenceSession, InferenceSessionHandler, OnnxValue, Tensor } from "onnxruntime-common"
import { isAlive, type SharedGpu } from "./device.js"
import { SentinelError, toSentinelError } from "./errors.js"
import { adapterFacts, gpuChoice } from "./gpu.js"
import type { Instance } from "./instance.js"
import { namedBackends, useWebGpu, type BackendName } from "./providers.js"
import { SerialQueue } from "./queue.js"
import { Runner, type Recipe } from "./runner.js"
import { toOutput } from "./tensors.js"
import { Profile, timed, type Trace } from "./trace.js"
import type { BatchRows, EngineModule, GpuBytes, Observed, Placement, ValueInfo } from "./wasm.js"

type Feeds = Readonly<Record<string, OnnxValue>>
type Fetches = Readonly<Record<string, OnnxValue | null>>

/** A device of the engine, and the instance of the engine that uses it. */
export interface SessionGpu {
  readonly gpu: SharedGpu
  readonly instance: Instance<EngineModule>
}

/** One model, ready to run. */
export class SessionHandler implements InferenceSessionHandler {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly inputMetadata: readonly InferenceSession.ValueMetadata[]
  readonly outputMetadata: readonly InferenceSession.ValueMetadata[]

  readonly #queue = new SerialQueue()
  #recipe: Recipe
  /** Undefined between the loss of a device and the next run. */
  #runner: Runner | undefined
  #isReleased = false
  #outputsOnGpu: readonly string[] = []
  #profile: Profile | undefined

  /** With `observes`, the session keeps every value inside the model for `observe`. */
  static async create(source: string | Uint8Array, options: InferenceSession.SessionOptions, observes = false): Promise<SessionHandler> {
    const backends = namedBackends(options)
    const choice = gpuChoice(options)
    const facts = useWebGpu(backends) ? await adapterFacts(choice) : undefined
    if (facts?.present === false && backends?.every(backend => backend !== "cpu") === true) {
      throw new SentinelError("DEVICE_LOST", `executionProviders: '${backends.join("', '")}' needs WebGPU: ${facts.description}`)
    }
    const recipe: Recipe = { source, options, backends, strict: isStrict(options), choice, facts, observes }
    const profile = options.enableProfiling === true ? new Profile() : undefined
    const opening = () => openOrFallBack(recipe)
    const runner = await (profile === undefined ? opening() : profile.timed("create", opening))
    try {
      return new SessionHandler(runner, profile)
    } catch (thrown) {
      runner.free()
      throw thrown
    }
  }

  private constructor(runner: Runner, profile: Profile | undefined) {
    this.#runner = runner
    this.#recipe = runner.recipe
    this.#profile = profile
    const { inputs, outputs } = runner.use(({ inputs, outputs }) => ({ inputs, outputs }))
    this.inputNames = inputs.map(input => input.name)
    this.outputNames = outputs.map(output => output.name)
    this.inputMetadata = inputs.map(metadata)
    this.outputMetadata = outputs.map(metadata)
    this.#outputsOnGpu = outputsOnGpu(this.#recipe.options, this.outputNames, this.#recipe.backends)
    if (runner.gpu !== undefined) runner.use(session => session.checkOnGpu([...this.#outputsOnGpu]))
  }

  /** Computes the outputs named in `fetches`; a tensor given there receives the values. */
  run(feeds: Feeds, fetches: Fetches, options: InferenceSession.RunOptions): Promise<Record<string, Tensor>> {
    return this.#queue.add(async () => {
      this.#checkLive()
      if (options.signal?.aborted === true) throw new SentinelError("CANCELLED", "run: cancelled by its signal")
      try {
        const running = () => timed("run", () => this.#run(feeds, fetches))
        return await (this.#profile === undefined ? running() : this.#profile.timed("run", running))
      } catch (thrown) {
        throw this.#failed(thrown)
      }
    })
  }

  /** Runs, and gives every value that a node computes, in the order in which they were computed. */
  observe(feeds: Feeds): Promise<Observed[]> {
    return this.#queue.add(async () => {
      this.#checkLive()
      try {
        const runner = (this.#runner ??= await Runner.open(this.#recipe))
        return await timed("observe", () => runner.observe(feeds as Record<string, Tensor>))
      } catch (thrown) {
        throw this.#failed(thrown)
      }
    })
  }

  /** Where each node runs and why; for free dimensions, as of the latest run. */
  placement(): Placement[] {
    return this.#live()?.placement() ?? []
  }

  /** Which inputs may be joined and run at once; for sessions made with `batchAxis`. */
  async rows(): Promise<BatchRows> {
    this.#checkLive()
    const runner = (this.#runner ??= await Runner.open(this.#recipe))
    return runner.use(session => session.rows())
  }

  /** Bytes that the model takes on the GPU, for the shapes of the latest run. */
  memory(): GpuBytes {
    return this.#live()?.memory() ?? { weights: 0, activations: 0, staging: 0 }
  }

  /** What is done on the GPU and the CPU, in which order; for the shapes of the latest run. */
  planText(): string {
    return this.#live()?.planText() ?? ""
  }

  /** Waits for the runs that were asked for before, then gives everything back. */
  dispose(): Promise<void> {
    return this.#queue.add(async () => {
      this.#isReleased = true
      this.#dropRunner()
    })
  }

  /** The device that the session runs on; undefined where it runs elsewhere, or has to find another one. */
  get gpu(): SessionGpu | undefined {
    const { gpu, instance } = (this.#isReleased ? undefined : this.#runner) ?? {}
    return gpu === undefined || instance === undefined || !isAlive(gpu) ? undefined : { gpu, instance }
  }

  /** Why nothing can run here any more; undefined while something can. */
  get fault(): SentinelError | undefined {
    return this.#runner?.fault
  }

  startProfiling(): void {
    this.#profile = new Profile()
  }

  endProfiling(): Trace {
    const profile = this.#profile ?? new Profile()
    this.#profile = undefined
    return profile.trace()
  }

  #checkLive(): void {
    if (this.#isReleased) throw new SentinelError("RELEASED", "the session was released")
    if (this.#runner?.fault !== undefined) throw this.#runner.fault
  }

  #live(): Runner | undefined {
    this.#checkLive()
    return this.#runner
  }

  async #run(feeds: Feeds, fetches: Fetches): Promise<Record<string, Tensor>> {
    const runner = (this.#runner ??= await Runner.open(this.#recipe))
    try {
      return await this.#runOn(runner, feeds, fetches)
    } catch (thrown) {
      const recipe = Runner.fallback(this.#recipe, toSentinelError(thrown, "run"), runner)
      if (recipe === undefined) throw thrown
      this.#dropRunner()
      this.#recipe = recipe
      this.#runner = await Runner.open(recipe)
      return this.#runOn(this.#runner, feeds, fetches)
    }
  }

  async #runOn(runner: Runner, feeds: Feeds, fetches: Fetches): Promise<Record<string, Tensor>> {
    const names = Object.keys(fetches)
    const isOnGpu = (name: string) => {
      const target = fetches[name] as Tensor | null
      return target === null ? this.#outputsOnGpu.includes(name) : target.location === "gpu-buffer"
    }
    const startedMs = performance.now()
    const outputs = await runner.run(feeds as Record<string, Tensor>, names, names.filter(isOnGpu), this.#profile !== undefined)
    this.#profile?.launches(startedMs, runner.timings())
    const results: Record<string, Tensor> = {}
    for (const name of names) {
      const output = outputs[name]
      if (output === undefined) throw new SentinelError("INTERNAL", `output "${name}": the backend did not compute it`)
      results[name] = toOutput(name, output, fetches[name] as Tensor | null, runner.gpu, runner.instance)
    }
    return results
  }

  #dropRunner(): void {
    const runner = this.#runner
    this.#runner = undefined
    runner?.free()
  }

  /** What a failed run leaves behind it, and the error to throw. */
  #failed(thrown: unknown): SentinelError {
    const error = toSentinelError(thrown, "run")
    if (error.code === "DEVICE_LOST") {
      // What was made for a lost device is lost with it; the next run makes it again.
      if (this.#runner?.gpu === undefined) this.#runner?.forgetRoutes()
      else this.#dropRunner()
    }
    return error
  }
}

async function openOrFallBack(recipe: Recipe): Promise<Runner> {
  try {
    return await Runner.open(recipe)
  } catch (thrown) {
    const fallback = Runner.fallback(recipe, toSentinelError(thrown), undefined)
    if (fallback === undefined) throw thrown
    return Runner.open(fallback)
  }
}

/** `strict`, or onnxruntime's own switch against running on the CPU what the named providers do not take. */
function isStrict({ strict, extra }: InferenceSession.SessionOptions): boolean {
  if (strict !== undefined) return strict
  const session = extra?.["session"] as Record<string, unknown> | undefined
  return session?.["disable_cpu_ep_fallback"] === "1"
}

/** The outputs that the options want on the GPU. Where a session comes to run on the CPU, so do they. */
function outputsOnGpu(
  { preferredOutputLocation = "cpu" }: InferenceSession.SessionOptions,
  outputNames: readonly string[],
  backends: readonly BackendName[] | undefined,
): string[] {
  const wanted = typeof preferredOutputLocation === "string"
    ? outputNames.map(name => [name, preferredOutputLocation] as const)
    : Object.entries(preferredOutputLocation)
  const invalid = (why: string) => new SentinelError("INVALID_INPUT", `preferredOutputLocation: ${why}`)
  for (const [name, location] of wanted) {
    if (!outputNames.includes(name)) throw invalid(`the model has no output "${name}"; it has ${outputNames.map(each => `"${each}"`).join(", ")}`)
    if (!["cpu", "cpu-pinned", "gpu-buffer"].includes(location)) throw invalid(`"${name}": expected 'cpu' or 'gpu-buffer', got '${location}'`)
  }
  const names = wanted.flatMap(([name, location]) => (location === "gpu-buffer" ? [name] : []))
  const mayBeOnGpu = backends === undefined || backends.includes("webgpu")
  if (names.length > 0 && !mayBeOnGpu) throw invalid("'gpu-buffer' needs the execution provider 'webgpu'")
  return names
}

function metadata({ name, type, shape }: ValueInfo): InferenceSession.ValueMetadata {
  return { name, isTensor: true, type: type as Tensor.Type, shape }
}
