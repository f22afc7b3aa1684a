import type { Outputs } from "../batch/engine.js"
import type { Tensors } from "../batch/join.js"
import type { InputOptions } from "../batch/options.js"
import { SentinelError, toSentinelError } from "../errors.js"
import type { Handle } from "../instance.js"
import type { Counters, Statistics } from "../wasm.js"
import type { StreamEvent } from "./events.js"
import type { SourceEvent } from "./media.js"
import type { StreamInputInfo, StreamOptions, StreamPlan, StreamResult } from "./options.js"
import { Pacer } from "./pacer.js"
import type { Preparation } from "./preparation.js"
import type { Results } from "./results.js"
import type { Sink } from "./sinks.js"
import type { Arrival, Source } from "./sources.js"
import type { RecurrentState } from "./state.js"
import { whileWanted } from "./wanted.js"
import type { StreamWorld } from "./world.js"

/** What one stream has done. `totalInputs` counts the frames, too, that were lost before they could be taken. */
export interface StreamStatistics extends Statistics {
  state: "running" | "paused" | "ended" | "failed"
  /** Results per second over the latest five seconds: `throughput`. */
  fps: number
  lastError: SentinelError | undefined
}

/** What one stream is made of. */
export interface StreamParts {
  name: string
  plan: StreamPlan
  options: StreamOptions<never, unknown>
  world: StreamWorld
  source: Source
  preparation: Preparation
  constants: Tensors
  state: RecurrentState
  sink: Sink<unknown> | undefined
  results: Results<StreamResult<unknown>>
  /** Gives back what a result holds that nobody gets. */
  release(result: StreamResult<unknown>): void
  counters: Handle<Counters>
  /** Fires when the stream is stopped: for its source. */
  abort: AbortController
  run(feeds: Tensors, options: InputOptions): Promise<Outputs>
  /** Why nothing can be run any more. */
  fault(): SentinelError | undefined
  tell(event: StreamEvent): void
}

/** One stream: does what its pacer says, and tells it what came of it. */
export class Stream {
  readonly over: Promise<void>
  readonly #parts: StreamParts
  readonly #pacer: Pacer
  readonly #arrivals = new Map<number, Arrival>()
  /** To call off what is computed: a signal each, as one with many listeners looks like a leak. */
  readonly #computing = new Map<number, AbortController>()
  readonly #computed = new Map<number, StreamResult<unknown>>()
  #state: "running" | "ended" | "failed" = "running"
  #isStopping = false
  #isPumping = false
  #failure: SentinelError | undefined
  #lastError: SentinelError | undefined
  /** Why its source is about to end. */
  #sourceError: SentinelError | undefined
  #nErrorsInRow = 0
  /** Whether something came to nothing since the last question to the source. */
  #isIdling = false
  #final: Statistics | undefined
  #setOver = () => {}
  #callOff = () => {}

  constructor(parts: StreamParts) {
    this.#parts = parts
    this.#pacer = new Pacer(parts.plan)
    this.over = new Promise(resolve => { this.#setOver = resolve })
  }

  get isOver(): boolean {
    return this.#state !== "running"
  }

  /** Why it failed. */
  get failure(): SentinelError | undefined {
    return this.isOver ? this.#failure : undefined
  }

  get results(): Results<StreamResult<unknown>> {
    return this.#parts.results
  }

  get state(): RecurrentState {
    return this.#parts.state
  }

  begin(): void {
    const { signal } = this.#parts.options
    const stop = () => { void this.stop() }
    signal?.addEventListener("abort", stop, { once: true })
    void this.over.then(() => { signal?.removeEventListener("abort", stop) })
    this.#tell("started", "it reads its source")
    if (signal?.aborted === true) stop()
    this.#pump()
  }

  pause(): void {
    if (this.isOver || this.#pacer.isPaused) return
    this.#pacer.pause()
    this.#tell("paused", "it takes no inputs for now")
    this.#pump()
  }

  resume(): void {
    if (this.isOver || !this.#pacer.isPaused) return
    this.#pacer.resume()
    this.#tell("resumed", "it takes inputs again")
    this.#pump()
  }

  /** Ends it; resolves when nothing of it runs but functions of the caller, one of which may wait for this. */
  async stop(): Promise<void> {
    this.#halt()
    await this.over
  }

  statistics(): StreamStatistics {
    const counted = this.#final ?? this.#count()
    const state = this.#state === "running" && this.#pacer.isPaused ? "paused" : this.#state
    return { ...counted, state, fps: counted.throughput, lastError: this.#lastError }
  }

  #count(): Statistics {
    const { counters, world, source } = this.#parts
    const counted = counters.use(each => each.statistics(world.now(), this.#pacer.nWaiting))
    const { nMissed } = source
    return { ...counted, totalInputs: counted.totalInputs + nMissed, totalDropped: counted.totalDropped + nMissed }
  }

  /** What a camera, screen or microphone has to tell. */
  hear({ type, message, error, resume }: SourceEvent): void {
    if (this.isOver) return
    this.#sourceError = error ?? this.#sourceError
    this.#lastError = error ?? this.#lastError
    // The end of a track is the end of its stream, which is told when every result was given.
    if (type === "ended") return
    this.#tell(type, message, { ...(error === undefined ? {} : { error }), ...(resume === undefined ? {} : { resume }) })
  }

  #halt(failure?: SentinelError): void {
    if (this.#isStopping || this.isOver) return
    this.#isStopping = true
    this.#failure ??= failure
    this.#pacer.stop()
    for (const abort of [this.#parts.abort, ...this.#computing.values()]) abort.abort()
    this.#pump()
  }

  /** Does what is to be done at this moment. */
  #pump(): void {
    // What is called here may come back at once.
    if (this.#isPumping || this.isOver) return
    this.#isPumping = true
    this.#callOff()
    this.#callOff = () => {}
    const { counters, world } = this.#parts
    for (;;) {
      const step = this.#pacer.poll(world.now())
      if (step === undefined) break
      switch (step.do) {
        case "ask":
          void this.#ask()
          break
        case "compute":
          void this.#compute(step.id)
          break
        case "give":
          void this.#give(step.id, step.dropped)
          break
        case "drop":
          counters.use(each => each.dropped())
          this.#isIdling = true
          this.#close(step.id)
          break
        case "cancel":
          counters.use(each => each.cancelled())
          this.#cancel(step.id)
          break
        case "end":
          void this.#end()
      }
    }
    const { wakeMs } = this.#pacer
    if (wakeMs !== undefined) this.#callOff = world.after(Math.max(0, wakeMs - world.now()), () => { this.#pump() })
    this.#isPumping = false
  }

  #cancel(id: number): void {
    const result = this.#computed.get(id)
    this.#computed.delete(id)
    if (result !== undefined) this.#parts.release(result)
    this.#close(id)
  }

  async #ask(): Promise<void> {
    const { source, world, counters } = this.#parts
    try {
      // What is computed waits for its turn; a source of which nothing is computed could keep everything else from this thread.
      if (this.#isIdling) {
        this.#isIdling = false
        await world.nextTurn()
        if (this.#isStopping) return
      }
      const answer = await source.next()
      if (this.#isStopping) {
        if (typeof answer === "object") this.#shut(answer)
      } else if (answer === "end") {
        this.#failure ??= this.#sourceError
        this.#pacer.sourceEnded()
      } else if (answer === "nothing") {
        this.#isIdling = true
        this.#pacer.hadNothing()
      } else {
        counters.use(each => each.input())
        this.#arrivals.set(this.#pacer.arrived(), answer)
      }
    } catch (thrown) {
      if (this.#isStopping) return
      this.#failure ??= toSentinelError(thrown, `"${this.#parts.name}": source`)
      this.#pacer.sourceEnded()
    }
    this.#pump()
  }

  async #compute(id: number): Promise<void> {
    const { name, options } = this.#parts
    const { capturedMs } = this.#arrivals.get(id) as Arrival
    const abort = new AbortController()
    const info: StreamInputInfo = { stream: name, id, capturedMs, signal: abort.signal }
    this.#computing.set(id, abort)
    try {
      const outputs = await this.#parts.state.step(before => this.#step(info, before))
      const result = options.postprocess === undefined ? outputs : await whileWanted(abort.signal, options.postprocess(outputs, info))
      this.#computed.set(id, { stream: name, id, capturedMs, latencyMs: this.#parts.world.now() - capturedMs, dropped: 0, outputs: result })
      this.#nErrorsInRow = 0
      this.#pacer.settled(id, "computed")
    } catch (thrown) {
      this.#fail(id, thrown)
    }
    this.#computing.delete(id)
    this.#pump()
  }

  /** The outputs for one input and the state before it. */
  async #step(info: StreamInputInfo, before: Tensors): Promise<Outputs> {
    const { preparation, constants, run, options: { timeoutMs, priority } } = this.#parts
    const inputs = await this.#prepare(info)
    try {
      return await run({ ...constants, ...before, ...inputs }, {
        signal: info.signal,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...(priority === undefined ? {} : { priority }),
      })
    } finally {
      preparation.discard(inputs)
    }
  }

  async #prepare(info: StreamInputInfo): Promise<Tensors> {
    try {
      return await this.#parts.preparation.prepare(this.#arrivals.get(info.id)?.value, info)
    } finally {
      this.#close(info.id)
    }
  }

  #fail(id: number, thrown: unknown): void {
    const { counters, plan, fault } = this.#parts
    this.#pacer.settled(id, "failed")
    if (this.#isStopping) {
      counters.use(each => each.cancelled())
      return
    }
    const error = this.#note(thrown, id)
    counters.use(each => each.error())
    this.#nErrorsInRow += 1
    this.#isIdling = true
    if (fault() !== undefined || this.#nErrorsInRow >= plan.maxErrors) this.#halt(error)
  }

  async #give(id: number, dropped: number): Promise<void> {
    const { sink, results, counters, world } = this.#parts
    const result = { ...this.#computed.get(id) as StreamResult<unknown>, dropped }
    this.#computed.delete(id)
    counters.use(each => each.output(world.now(), result.latencyMs))
    try {
      await sink?.give(result)
    } catch (thrown) {
      if (this.isOver) return
      const error = this.#note(thrown, id)
      if (sink?.isSpoilt === true) this.#halt(error)
    }
    await results.put(result)
    this.#pacer.taken()
    this.#pump()
  }

  async #end(): Promise<void> {
    const { source, preparation, state, sink, results, counters } = this.#parts
    for (const release of [() => source.close(), () => preparation.close(), () => state.reset(), () => sink?.release()]) {
      try {
        await release()
      } catch (thrown) {
        this.#note(thrown)
      }
    }
    this.#final = this.#count()
    counters.free()
    // Who gave only inputs that failed wants to know why there is nothing.
    const { totalOutputs, totalErrors } = this.#final
    if (!this.#isStopping && totalOutputs === 0 && totalErrors > 0) this.#failure ??= this.#lastError
    this.#state = this.#failure === undefined ? "ended" : "failed"
    this.#lastError = this.#failure ?? this.#lastError
    if (this.#failure !== undefined) this.#tell("failed", this.#failure.message, { error: this.#failure })
    else if (this.#isStopping) this.#tell("stopped", "it was stopped")
    else this.#tell("ended", "its source has ended, and every result was given")
    results.close(this.#failure)
    this.#setOver()
  }

  /** Keeps an error after which the stream goes on, and tells it. */
  #note(thrown: unknown, id?: number): SentinelError {
    const { name } = this.#parts
    const { code, message } = toSentinelError(thrown)
    const error = new SentinelError(code, `"${name}"${id === undefined ? "" : `, input ${id}`}: ${message}`, { cause: thrown })
    this.#lastError = error
    this.#tell("error", error.message, { error, ...(id === undefined ? {} : { id }) })
    return error
  }

  #close(id: number): void {
    const arrival = this.#arrivals.get(id)
    this.#arrivals.delete(id)
    if (arrival !== undefined) this.#shut(arrival)
  }

  #shut(arrival: Arrival): void {
    try {
      arrival.close()
    } catch (thrown) {
      this.#note(thrown)
    }
  }

  #tell(type: StreamEvent["type"], message: string, more: Partial<StreamEvent> = {}): void {
    this.#parts.tell({ stream: this.#parts.name, type, message, ...more })
  }
}
