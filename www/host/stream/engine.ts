import { BatchInferenceEngine, type BatchStatistics, type Outputs } from "../batch/engine.js"
import type { ModelFacts } from "../batch/lane.js"
import type { Tensors } from "../batch/join.js"
import { batchPolicy, inputPlan, wrongOption, type BatchEngineOptions, type InputOptions } from "../batch/options.js"
import { SentinelError, toSentinelError } from "../errors.js"
import { Handle, type Instance } from "../instance.js"
import { Listeners } from "../listeners.js"
import { disposeOnGpu } from "../tensors.js"
import { loadScheduler, type Placement, type SchedulerModule } from "../wasm.js"
import type { StreamEvent, StreamListener } from "./events.js"
import { streamPlan, type StreamOptions, type StreamResult } from "./options.js"
import { openPreparation } from "./preparation.js"
import { Results } from "./results.js"
import { sinkOf, type Sink, type StreamTarget } from "./sinks.js"
import { sourceOf, type Source, type StreamSource } from "./sources.js"
import { checkName, RecurrentState } from "./state.js"
import { Stream, type StreamStatistics } from "./stream.js"
import { realStreamWorld, type StreamWorld } from "./world.js"

/**
 * What a streaming engine is made from. `maxDelayMs` is 0 unless said otherwise: inputs that come while a batch runs are joined in
 * the next one, and none waits for others while nothing runs.
 */
export interface StreamingEngineOptions extends BatchEngineOptions {
  /** Inputs of the model that are the same for every step of every stream. */
  constants?: Tensors
}

/** What all streams have done together, and each of them. */
export interface StreamingStatistics extends BatchStatistics {
  streams: Record<string, StreamStatistics>
}

/**
 * The part of the batch engine that streams use.
 *
 * @internal
 */
export type StreamBatcher = Pick<BatchInferenceEngine, "start" | "facts" | "gpu" | "placement" | "run" | "getStats" | "stop">

/** So many streams that are over are remembered. */
const MAX_REMEMBERED = 64

/** Runs many named streams through one model, in common batches: each in its order, at its pace and within its bounds. */
export class StreamingInferenceEngine {
  readonly #constants: Tensors
  readonly #batchRows: number
  readonly #world: StreamWorld
  readonly #batcher: StreamBatcher
  readonly #streams = new Map<string, Stream>()
  readonly #listeners = new Listeners<StreamEvent>("stream")
  #scheduler: Instance<SchedulerModule> | undefined
  #turn: Promise<void> | undefined
  #isStopped = false

  constructor(options: StreamingEngineOptions)
  /** @internal */
  constructor(options: StreamingEngineOptions, world?: StreamWorld, batcher?: StreamBatcher)
  constructor(options: StreamingEngineOptions, world: StreamWorld = realStreamWorld, batcher?: StreamBatcher) {
    const { constants = {}, maxDelayMs = 0, ...rest } = options
    const batchOptions = { ...rest, maxDelayMs }
    const { batchSize, maxBatchSize } = batchPolicy(batchOptions)
    this.#constants = constants
    this.#batchRows = batchSize === "auto" ? maxBatchSize : batchSize
    this.#world = world
    this.#batcher = batcher ?? new BatchInferenceEngine(batchOptions, world)
  }

  /** Reads the model and opens the places where batches run. */
  async start(): Promise<void> {
    const [scheduler] = await Promise.all([loadScheduler(), this.#batcher.start()])
    this.#scheduler = scheduler
  }

  /** What inputs and outputs the model has. */
  get facts(): ModelFacts {
    return this.#batcher.facts
  }

  /** Where each node of the model runs, and why there. */
  placement(): Placement[] {
    return this.#batcher.placement()
  }

  /**
   * Starts a stream. Its results go to `target`: a function, which is waited for, or a writable, which is left open; and to
   * `results(name)`, where without a target they wait for their reader.
   *
   * A stream ends when its source does and every result was given. What one input or one call of the handler did wrong is told as an
   * event, and the stream goes on; an error of the source, or of a writable, is its end.
   */
  async startStream<Value = Tensors, Result = Outputs>(
    name: string,
    source: StreamSource<Value>,
    target?: StreamTarget<Result>,
    options: StreamOptions<Value, Result> = {},
  ): Promise<void> {
    const { facts } = this
    if (this.#isStopped) throw new SentinelError("RELEASED", "the engine was stopped")
    if (typeof name !== "string") throw wrongOption("name", "a string", name)
    if (this.#scheduler === undefined) throw new SentinelError("INVALID_INPUT", "the engine is not started: await engine.start()")
    if (this.#streams.get(name)?.isOver === false) throw new SentinelError("INVALID_INPUT", `"${name}": a stream of this name runs; stopStream("${name}") ends it`)
    const stream = this.#open(name, source, target as StreamTarget<unknown> | undefined, options as StreamOptions<never, unknown>, facts, this.#scheduler)
    this.#streams.delete(name)
    this.#streams.set(name, stream)
    this.#forget()
    stream.begin()
  }

  /**
   * The results of a stream as they come, from now on; without a target, those that wait, too. It ends with the stream, and
   * fails with it. Leaving the iteration ends nothing else: a stream without a target waits for its next reader.
   */
  results<Result = Outputs>(name: string): AsyncIterableIterator<StreamResult<Result>, undefined> {
    return this.#stream(name).results.read() as AsyncIterableIterator<StreamResult<Result>, undefined>
  }

  /** Settles when the stream is over, by its source or by `stopStream`; fails with its error. */
  async finished(name: string): Promise<void> {
    const stream = this.#stream(name)
    await stream.over
    if (stream.failure !== undefined) throw stream.failure
  }

  /** Takes no more inputs until `resumeStream`; those that wait stay, unless the policy is "latest". */
  pauseStream(name: string): void {
    this.#stream(name).pause()
  }

  resumeStream(name: string): void {
    this.#stream(name).resume()
  }

  /** The next step of the stream starts from its first state. */
  resetState(name: string): void {
    this.#stream(name).state.reset()
  }

  /**
   * Ends a stream and releases its source. Resolves when nothing of it runs any more, except calls of your own functions, one of
   * which may wait for this; there are no further ones.
   */
  async stopStream(name: string): Promise<void> {
    await this.#stream(name).stop()
  }

  /** Ends all streams and gives everything back. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await Promise.all([...this.#streams.values()].map(stream => stream.stop()))
    await this.#batcher.stop()
  }

  /** Has `listener` told what happens to streams; gives what ends that. */
  on(kind: "stream", listener: StreamListener): () => void {
    return this.#listeners.add(kind, listener)
  }

  getStats(): StreamingStatistics {
    const streams = Object.fromEntries([...this.#streams].map(([name, stream]) => [name, stream.statistics()]))
    return { ...this.#batcher.getStats(), streams }
  }

  #stream(name: string): Stream {
    const stream = this.#streams.get(name)
    if (stream !== undefined) return stream
    throw new SentinelError("INVALID_INPUT", `"${name}": there is no stream of this name; startStream("${name}", …) starts one`)
  }

  #open(
    name: string,
    input: unknown,
    target: StreamTarget<unknown> | undefined,
    options: StreamOptions<never, unknown>,
    facts: ModelFacts,
    scheduler: Instance<SchedulerModule>,
  ): Stream {
    const world = this.#world
    // What no input could run with is refused before anything is opened.
    inputPlan(options, world.now())
    const abort = new AbortController()
    const { signal } = abort
    const { policy, isPaced, open } = sourceOf(input, { options, world, signal, tell: event => { stream.hear(event) } })
    const nLanes = Math.max(1, this.#batcher.getStats().workers.length)
    const plan = streamPlan(options, { policy, maxInFlight: this.#batchRows * nLanes })
    const constants = { ...this.#constants, ...options.constants }
    for (const input of Object.keys(constants)) checkName("constants", "input", input, facts.inputNames)
    const state = new RecurrentState(options.state ?? {}, options.initialState ?? {}, facts)
    const given = [...state.inputNames, ...Object.keys(constants)]
    const preparation = openPreparation(options.preprocess, facts, given, { openPictures: world.openPictures, gpu: () => this.#batcher.gpu })
    const sink = target === undefined ? undefined : sinkOf(target)
    // What a function of the caller made is the caller's.
    const release = ({ outputs }: StreamResult<unknown>) => { if (options.postprocess === undefined) disposeOnGpu(outputs as Outputs) }
    const stream: Stream = new Stream({
      name,
      plan: isPaced ? { ...plan, intervalMs: 0 } : plan,
      options,
      world,
      source: openSource(open, sink),
      preparation,
      constants,
      state,
      sink,
      results: new Results(plan.maxQueueSize, plan.policy, target === undefined, release),
      release,
      counters: new Handle(scheduler, scheduler.use(({ Counters }) => new Counters())),
      abort,
      run: (feeds, runOptions) => this.#run(feeds, runOptions),
      fault: () => this.#fault(),
      tell: event => { this.#listeners.tell(event) },
    })
    return stream
  }

  async #run(feeds: Tensors, options: InputOptions): Promise<Outputs> {
    // What becomes ready in one turn of the event loop is joined, where it would fill a batch one by one otherwise.
    this.#turn ??= this.#world.nextTurn().finally(() => { this.#turn = undefined })
    await this.#turn
    return this.#batcher.run(feeds, options)
  }

  #fault(): SentinelError | undefined {
    try {
      void this.#batcher.facts
      return undefined
    } catch (thrown) {
      return toSentinelError(thrown)
    }
  }

  #forget(): void {
    const over = [...this.#streams].filter(([, stream]) => stream.isOver).map(([name]) => name)
    for (const name of over.slice(0, Math.max(0, over.length - MAX_REMEMBERED))) this.#streams.delete(name)
  }
}

function openSource(open: () => Source, sink: Sink<unknown> | undefined): Source {
  try {
    return open()
  } catch (thrown) {
    sink?.release()
    throw toSentinelError(thrown, "source")
  }
}
