import { BatchInferenceEngine, type Outputs } from "../batch/engine.js"
import { batchPolicy, type BatchEngineOptions } from "../batch/options.js"
import { toSentinelError, type SentinelError } from "../errors.js"
import { version } from "../version.js"
import { blameOf, LinkError, type Link, type LinkFacts, type LinkRequest } from "./link.js"

/** What the calling machine is called among the workers. */
export const LOCAL_URL = "local"

/** How many batches it takes at once for each place where they run: one that runs, and one that fills. */
const BATCHES_UNDER_WAY = 2

export type OpenLocal = (options: BatchEngineOptions, signal: AbortSignal) => Promise<Link>

/** Opens this machine as a worker. */
export const openLocal: OpenLocal = async (options, signal) => {
  // What waits here is bounded by the capacity.
  const engine = new BatchInferenceEngine({ ...options, maxQueueSize: 1_000_000 })
  const giveUp = () => { void engine.stop() }
  signal.addEventListener("abort", giveUp, { once: true })
  try {
    await engine.start()
    return new LocalLink(engine, options)
  } catch (thrown) {
    await engine.stop()
    const error = toSentinelError(thrown, LOCAL_URL)
    throw new LinkError(blameOf(error.code), error.code, error.message, { cause: error })
  } finally {
    signal.removeEventListener("abort", giveUp)
  }
}

/** The calling machine as one of the workers. */
class LocalLink implements Link {
  readonly facts: LinkFacts
  readonly capacity: number
  readonly lost = new Promise<SentinelError>(() => {})
  readonly draining = new AbortController().signal
  readonly #engine: BatchInferenceEngine

  constructor(engine: BatchInferenceEngine, options: BatchEngineOptions) {
    const { batchSize, maxBatchSize } = batchPolicy(options)
    const { facts: { inputNames, outputNames }, joining } = engine
    const [placed] = engine.placement()
    const rows = joining.mode === "alone" ? 1 : batchSize === "auto" ? maxBatchSize : batchSize
    this.#engine = engine
    this.capacity = BATCHES_UNDER_WAY * rows * engine.getStats().workers.length
    this.facts = {
      workerId: LOCAL_URL, server: `sentinel-inference ${version}`, provider: placed?.backend ?? "", modelVersion: "", members: [],
      inputNames, outputNames,
    }
  }

  async run({ inputs, timeoutMs, priority, signal }: LinkRequest): Promise<Outputs> {
    try {
      return await this.#engine.run(inputs, { signal, priority, ...(timeoutMs === Infinity ? {} : { timeoutMs }) })
    } catch (thrown) {
      const error = toSentinelError(thrown, LOCAL_URL)
      // The number that its own engine gave it says nothing to who asked.
      const message = error.message.replace(/^"run \d+": /, `${LOCAL_URL}: `)
      throw new LinkError(blameOf(error.code), error.code, message, { cause: error })
    }
  }

  close(): Promise<void> {
    return this.#engine.stop()
  }
}
