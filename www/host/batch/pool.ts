import threads from "#threads"
import { env, type InferenceSession } from "onnxruntime-common"
import { cancelled } from "../download.js"
import { SentinelError } from "../errors.js"
import type { Threads } from "../platform/threads.js"
import { namedBackends, useWebGpu } from "../providers.js"
import { currentSettings, wasmBase } from "../settings.js"
import { readExternalData, readLimits, readModelFile } from "../source.js"
import { compileModule } from "../wasm.js"
import type { Lane, ModelFacts } from "./lane.js"
import type { WorkerOptions, WorkerSettings } from "./messages.js"
import { wantsOutputsOnGpu, type BatchEngineOptions, type BatchPolicy } from "./options.js"
import { WorkerLane } from "./worker-lane.js"
import { WorkerLink } from "./worker-link.js"
import { realWorld, type World } from "./world.js"

/** More than that on "auto" would take memory that the machine may not have. */
const MOST_WORKERS = 8

/** A model while workers are given it. */
interface Reading {
  bytes: Promise<Uint8Array>
  external: Promise<ReadonlyMap<string, Uint8Array>> | undefined
}

/** Workers with the same model: it is read once for all that open together, and the engine is compiled once for all. */
export class Pool {
  readonly #options: BatchEngineOptions
  readonly #policy: BatchPolicy
  readonly #threads: Threads
  readonly #world: World
  #engine: Promise<WebAssembly.Module> | undefined
  #reading: Reading | undefined
  #nOpening = 0
  /** Workers that have still to be opened for the first time; infinite until it is known how many there are to be. */
  #nMissing = Infinity

  /** @throws `INVALID_INPUT` for options that only hold on the calling thread. */
  constructor(options: BatchEngineOptions, policy: BatchPolicy, on = threads, world = realWorld) {
    checkOptions(options)
    this.#options = options
    this.#policy = policy
    this.#threads = on
    this.#world = world
  }

  /** How many workers there should be, known when one is open. */
  count({ isOnGpu }: ModelFacts): number {
    const { workers } = this.#policy
    const left = Math.min(MOST_WORKERS, Math.max(1, this.#threads.parallelism() - 1))
    const count = workers !== "auto" ? workers : isOnGpu ? 1 : left
    this.#nMissing = count - 1
    this.#forgetModel()
    return count
  }

  async open(given: AbortSignal): Promise<Lane> {
    // The caller's signal is about the start; a worker that is replaced later is not.
    const isStart = this.#nMissing > 0
    const { signal: starting } = this.#options
    const signal = isStart && starting !== undefined ? AbortSignal.any([given, starting]) : given
    if (signal.aborted) throw cancelled("start")
    const settings = workerSettings(this.#options)
    const link = new WorkerLink(this.#threads)
    const abort = () => { void link.end(cancelled("start")) }
    signal.addEventListener("abort", abort, { once: true })
    this.#nOpening += 1
    try {
      const options = { ...this.#options, signal, ...(isStart ? {} : { onProgress: () => {} }) }
      const reading = this.#read(options)
      const [engine, bytes] = await Promise.all([this.#compile(), reading.bytes, link.ready])
      const model = new Uint8Array(bytes)
      const { locations } = await link.ask({ type: "prepare", settings, engine, model }, [model.buffer])
      reading.external ??= readExternalData(this.#options.model, locations, options)
      const external = Array.from(await reading.external, ([path, data]) => ({ path, data: new Uint8Array(data) }))
      const request = { type: "open" as const, options: workerOptions(this.#options), external }
      const answer = await link.ask(request, external.map(({ data }) => data.buffer))
      if (isStart) this.#nMissing -= 1
      return new WorkerLane(link, answer, this.#policy.batchTimeoutMs, this.#world)
    } catch (thrown) {
      this.#reading = undefined
      await link.end()
      throw thrown
    } finally {
      signal.removeEventListener("abort", abort)
      this.#nOpening -= 1
      this.#forgetModel()
    }
  }

  #read(options: InferenceSession.SessionOptions): Reading {
    if (this.#reading === undefined) {
      const bytes = readModelFile(this.#options.model, readLimits(options))
      bytes.catch(() => undefined)
      this.#reading = { bytes, external: undefined }
    }
    return this.#reading
  }

  #compile(): Promise<WebAssembly.Module> {
    if (this.#engine === undefined) {
      const engine = compileModule("engine")
      engine.catch(() => { this.#engine = undefined })
      this.#engine = engine
    }
    return this.#engine
  }

  // A model that can be read again is not worth its memory while nobody opens.
  #forgetModel(): void {
    if (this.#nOpening === 0 && this.#nMissing <= 0) this.#reading = undefined
  }
}

function checkOptions(options: BatchEngineOptions): void {
  const { executionProviders = [] } = options
  if (wantsOutputsOnGpu(options)) {
    throw new SentinelError("INVALID_INPUT", "preferredOutputLocation: outputs of workers come to the CPU; an engine with workers: 0 leaves them on the GPU")
  }
  if (executionProviders.some(provider => typeof provider === "object" && "device" in provider && provider.device !== undefined)) {
    throw new SentinelError("INVALID_INPUT", "executionProviders: device: a GPUDevice stays on its thread; an engine with workers: 0 takes it")
  }
}

function workerOptions(options: BatchEngineOptions): WorkerOptions {
  const { model, externalData, onProgress, signal, ...rest } = options
  return rest
}

function workerSettings(options: BatchEngineOptions): WorkerSettings {
  const { debug, adapter, maxModelBytes, webgpu } = currentSettings()
  if (typeof webgpu === "object" && useWebGpu(namedBackends(options))) {
    throw new SentinelError("INVALID_INPUT", "init({ webgpu }): a module cannot be given to workers; give its name, its URL or its path")
  }
  const base = wasmBase()
  const { powerPreference, forceFallbackAdapter } = env.webgpu
  return {
    init: {
      ...(base === undefined ? {} : { wasmBase: absolute(base) }),
      ...(debug === undefined ? {} : { debug }),
      ...(adapter === undefined ? {} : { adapter }),
      ...(maxModelBytes === undefined ? {} : { maxModelBytes }),
      ...(typeof webgpu === "string" ? { webgpu } : {}),
    },
    powerPreference,
    forceFallbackAdapter,
  }
}

/** In a page: a worker may be of another address. */
function absolute(base: string): string {
  const page = globalThis.location?.href
  return page === undefined ? base : new URL(base, page).href
}
