import { DistributedInferenceEngine, InferenceSession, SentinelError, type DistributedStatistics, type Tensor, type WorkerTarget } from "../host/index.js"
import type { ModelSource } from "./bench.js"
import { distinctInputs, taken, type Choices } from "./live.js"
import { byId, milliseconds } from "./view.js"
import { TICK_MS, WorkersView } from "./workersview.js"

type Feeds = Record<string, Tensor>
type Balancing = "least-loaded" | "latency" | "weighted" | "round-robin"

/** What an engine was made from: where any of it changes, another one is made. */
interface Setting {
  model: ModelSource
  local: boolean
  balancing: Balancing
}

const N_MADE_UP = 16

/** The workers of the page, and the engine that sends work to them. */
class Fleet {
  readonly #targets = new Map<string, WorkerTarget>()
  #engine: { engine: DistributedInferenceEngine; setting: Setting } | undefined

  /** Adds a worker, or tries one again that is there already. */
  async add(target: WorkerTarget, setting: Setting): Promise<void> {
    const isKnown = this.#targets.has(target.url)
    if (isKnown) await this.remove(target.url)
    this.#targets.set(target.url, target)
    if (this.#engine !== undefined && isSame(this.#engine.setting, setting)) return this.#engine.engine.addWorker(target)
    try {
      await this.engine(setting)
    } catch (thrown) {
      this.#targets.delete(target.url)
      throw thrown
    }
  }

  async remove(url: string): Promise<void> {
    this.#targets.delete(url)
    if (this.#targets.size === 0) await this.#stop()
    else this.#engine?.engine.removeWorker(url)
  }

  /** The engine for this setting. */
  async engine(setting: Setting): Promise<DistributedInferenceEngine> {
    if (this.#engine !== undefined && isSame(this.#engine.setting, setting)) return this.#engine.engine
    await this.#stop()
    const { model, local, balancing } = setting
    const engine = new DistributedInferenceEngine({
      model: model.model,
      modelName: model.name.replace(/\.onnx$/i, "").replace(/[^A-Za-z0-9_.-]/g, "_"),
      workers: [...this.#targets.values()],
      uploadModel: true,
      local,
      balancing,
    })
    this.#engine = { engine, setting }
    try {
      await engine.start()
      return engine
    } catch (thrown) {
      await this.#stop()
      throw thrown
    }
  }

  get size(): number {
    return this.#targets.size
  }

  statistics(): DistributedStatistics | undefined {
    return this.#engine?.engine.getStats()
  }

  async #stop(): Promise<void> {
    const { engine } = this.#engine ?? {}
    this.#engine = undefined
    await engine?.stop()
  }
}

const isSame = (a: Setting, b: Setting) => a.model === b.model && a.local === b.local && a.balancing === b.balancing

/** Makes the section of workers work. */
export function wireWorkers(choices: Choices): void {
  const fleet = new Fleet()
  const setting = (): Setting => ({
    model: choices.model(),
    local: byId<HTMLInputElement>("worker-local").checked,
    balancing: byId<HTMLSelectElement>("worker-balancing").value as Balancing,
  })
  const view = new WorkersView(url => { void attempt(view, fleet, `Removing ${url}`, async () => {
    await fleet.remove(url)
    return `Removed ${url}`
  }) })
  const url = byId<HTMLInputElement>("worker-url")
  let running: AbortController | undefined
  byId("worker-add").addEventListener("submit", event => {
    event.preventDefault()
    const [address, token] = [url.value.trim(), byId<HTMLInputElement>("worker-token").value]
    void attempt(view, fleet, `Asking ${address}`, async () => {
      await fleet.add(token === "" ? { url: address } : { url: address, token }, setting())
      return `Added ${address}`
    })
  })
  byId("worker-run").addEventListener("submit", event => {
    event.preventDefault()
    if (running !== undefined) return
    const abort = new AbortController()
    running = abort
    view.running(true)
    void attempt(view, fleet, "Making inputs", () => run(fleet, setting(), choices, view, abort.signal)).finally(() => {
      running = undefined
      view.running(false)
    })
  })
  byId("worker-stop").addEventListener("click", () => running?.abort())
  setInterval(() => view.statistics(fleet.statistics()), TICK_MS)
}

/** Tells the section which model the rest of the page has. */
export function showWorkersModel(choices: Choices): void {
  byId("workers-model").textContent = choices.model().name
}

async function attempt(view: WorkersView, fleet: Fleet, beginning: string, work: () => Promise<string>): Promise<void> {
  view.begin(beginning)
  try {
    view.say(await work())
  } catch (thrown) {
    view.fail(thrown instanceof SentinelError ? thrown.code : "INTERNAL", (thrown as Error).message)
  } finally {
    view.size(fleet.size)
    view.statistics(fleet.statistics())
  }
}

/** Sends as many inputs as are asked for; what came of it. */
async function run(fleet: Fleet, setting: Setting, choices: Choices, view: WorkersView, signal: AbortSignal): Promise<string> {
  const nInputs = byId<HTMLInputElement>("worker-inputs").valueAsNumber
  const engine = await fleet.engine(setting)
  const distinct: Feeds[] = await distinctInputs(await inputsOf(setting.model), choices, Math.min(nInputs, N_MADE_UP))
  view.say(`Running ${nInputs} inputs`)
  const startedMs = performance.now()
  let [nDone, failed]: [number, SentinelError | undefined] = [0, undefined]
  try {
    for await (const { outputs, error } of engine.map(taken(distinct, nInputs), { signal, ordered: false, onError: "yield" })) {
      if (outputs !== undefined) nDone += 1
      failed ??= error
    }
  } catch (thrown) {
    if (!signal.aborted) throw thrown
    return `Stopped after ${nDone} of ${nInputs}`
  }
  if (failed !== undefined) throw failed
  const elapsedMs = performance.now() - startedMs
  return `${nDone} of ${nInputs} in ${milliseconds(elapsedMs)}, ${((nDone / elapsedMs) * 1000).toFixed(0)} per second`
}

async function inputsOf({ model, externalData }: ModelSource): Promise<InferenceSession["inputMetadata"]> {
  const session = await InferenceSession.create(model as string, { externalData, executionProviders: ["cpu"] })
  try {
    return session.inputMetadata
  } finally {
    await session.release()
  }
}
