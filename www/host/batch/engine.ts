import type { Tensor } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "../errors.js"
import type { SessionGpu } from "../handler.js"
import type { Handle } from "../instance.js"
import { disposeOnGpu } from "../tensors.js"
import { loadScheduler, type Placement, type Scheduler, type Statistics } from "../wasm.js"
import { Aborts } from "./aborts.js"
import { cancelled, checkNames, copyOf, expired, named, notStarted } from "./inputs.js"
import { signature, type Joining, type Tensors } from "./join.js"
import { Lanes, type LaneState } from "./lanes.js"
import type { ModelFacts } from "./lane.js"
import { map, type MapItem, type MapOptions, type SettledItem } from "./map.js"
import { batchPolicy, inputPlan, wrongOption, type BatchEngineOptions, type BatchPolicy, type InputOptions, type InputPlan } from "./options.js"
import { openLanes } from "./places.js"
import { openScheduler } from "./scheduler.js"
import { Turns } from "./turns.js"
import { Waiting } from "./waiting.js"
import { realWorld, type World } from "./world.js"

export type Outputs = Record<string, Tensor>

/** Told once about an input: its outputs, or why there are none. */
export type ResultCallback = (id: string, outputs: Outputs | undefined, error: SentinelError | undefined) => void

/** What a batch engine has done, and where. */
export interface BatchStatistics extends Statistics {
  /** The most rows in a batch, and the longest wait for more, at present. */
  batchSize: number
  maxDelayMs: number
  /** The places where batches run. */
  workers: LaneState[]
}

/** An input without an answer. */
interface Pending {
  id: string
  feeds: Tensors
  rows: number
  group: string | undefined
  settle(outputs: Outputs | undefined, error: SentinelError | undefined): void
  /** Why the lane that ran it last was lost. */
  lost: SentinelError | undefined
}

type State =
  | { name: "new" }
  | { name: "starting"; started: Promise<void> }
  | { name: "running"; facts: ModelFacts }
  | { name: "stopped"; error: SentinelError; stopped: Promise<void> }

/** Runs inputs of one model in batches, on this thread or on a pool of workers. */
export class BatchInferenceEngine {
  readonly #policy: BatchPolicy
  readonly #world: World
  readonly #lanes: Lanes
  readonly #turns: Turns
  readonly #room = new Waiting()
  readonly #idle = new Waiting()
  readonly #aborts = new Aborts()
  readonly #pending = new Map<number, Pending>()
  readonly #batches = new Map<number, { lane: number; keys: readonly number[] }>()
  /** Numbers for signatures that have inputs without an answer. */
  readonly #groups = new Map<string, { number: number; inputs: number }>()
  #scheduler: Handle<Scheduler> | undefined
  #state: State = { name: "new" }
  #nextNumber = 0
  #nextRun = 0
  #isPumping = false
  #final: BatchStatistics | undefined
  #nDraining = 0
  /** When the scheduler is asked next, and what calls that off. */
  #wakeMs: number | undefined
  #callOff = () => {}

  constructor(options: BatchEngineOptions)
  /** @internal */
  constructor(options: BatchEngineOptions, world: World, open?: typeof openLanes)
  constructor(options: BatchEngineOptions, world: World = realWorld, open = openLanes) {
    this.#policy = batchPolicy(options)
    this.#world = world
    this.#turns = new Turns(world)
    this.#lanes = new Lanes(open(options, this.#policy), world, {
      opened: lane => { this.#schedule(scheduler => scheduler.openLane(lane, 1)) },
      lost: (lane, error) => { this.#laneLost(lane, error) },
      gone: error => { this.#fail(error) },
    })
  }

  /** Reads the model and opens the places where batches run. */
  async start(): Promise<void> {
    if (this.#state.name === "new") {
      const started = this.#start()
      this.#state = { name: "starting", started }
      started.catch(() => undefined)
    }
    if (this.#state.name === "stopped") throw this.#state.error
    if (this.#state.name === "starting") await this.#state.started
  }

  /** What inputs and outputs the model has, and whether its inputs can be joined. */
  get facts(): ModelFacts {
    return this.#running()
  }

  /** How inputs are joined, or why they are not. */
  get joining(): Joining {
    return this.#running().joining
  }

  /** @internal */
  get gpu(): SessionGpu | undefined {
    return this.#lanes.gpu
  }

  /** Where each node of the model runs, and why there. */
  placement(): Placement[] {
    this.#running()
    return this.#lanes.placement()
  }

  /**
   * Takes an input in; `callback` is told once what came of it. Tensors are read when they run: until then, they stay as they are.
   *
   * @throws `QUEUE_FULL` when `maxQueueSize` inputs wait; `await engine.ready()` tells when there is room.
   */
  addInput(id: string, inputs: Tensors, callback: ResultCallback, options: InputOptions = {}): void {
    if (typeof callback !== "function") throw wrongOption(`"${id}": callback`, "a function", callback)
    const isTaken = this.#submit(id, copyOf(id, inputs), inputPlan(options, this.#world.now()), (outputs, error) => {
      try {
        callback(id, outputs, error)
      } catch (thrown) {
        // It is the caller's own, and no reason to leave others without an answer.
        queueMicrotask(() => { throw thrown })
      }
    })
    if (!isTaken) throw new SentinelError("QUEUE_FULL", `"${id}": ${this.#policy.maxQueueSize} inputs wait; await engine.ready() tells when there is room`)
  }

  /**
   * The outputs of one input; waits for room in the queue. Tensors are read when they run: until then, they stay as they are.
   *
   * @throws `CANCELLED` by its signal or by `stop()`, `TIMEOUT` when its time is over, and what the model makes of the input.
   */
  run(inputs: Tensors, options: InputOptions = {}): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      const id = `run ${this.#nextRun}`
      this.#nextRun += 1
      const plan = inputPlan(options, this.#world.now())
      const feeds = copyOf(id, inputs)
      const submit = () => this.#submit(id, feeds, plan, (outputs, error) => {
        if (outputs === undefined) reject(error)
        else resolve(outputs)
      })
      // Those who came before go first, even where a place has become free in the meantime.
      if (this.#room.size > 0 || !submit()) this.#waitForRoom(id, plan, submit).catch(reject)
    })
  }

  /** The outputs of many inputs, in their order or as they finish; no more are asked for than the queue takes. */
  map(inputs: Iterable<Tensors> | AsyncIterable<Tensors>, options: MapOptions & { onError: "yield" }): AsyncGenerator<SettledItem, void, undefined>
  map(inputs: Iterable<Tensors> | AsyncIterable<Tensors>, options?: MapOptions): AsyncGenerator<MapItem, void, undefined>
  map(inputs: Iterable<Tensors> | AsyncIterable<Tensors>, options: MapOptions = {}): AsyncGenerator<MapItem | SettledItem, void, undefined> {
    return map(this, inputs, options, this.#policy.maxQueueSize)
  }

  /** Waits until the queue has room. */
  async ready(options: { signal?: AbortSignal } = {}): Promise<void> {
    this.#running()
    const plan = inputPlan(options, this.#world.now())
    if (this.#room.size > 0 || this.#nFree() <= 0) await this.#waitForRoom("ready", plan, () => true)
  }

  getStats(): BatchStatistics {
    return this.#final ?? this.#use(scheduler => ({
      ...scheduler.statistics(this.#world.now()),
      batchSize: scheduler.batchSize,
      maxDelayMs: scheduler.maxDelayMs,
      workers: this.#lanes.states(),
    }))
  }

  /** Runs what waits without waiting for more, until every input has its answer. */
  async drain(): Promise<void> {
    this.#running()
    this.#nDraining += 1
    this.#schedule(scheduler => scheduler.setFlushing(true))
    try {
      while (this.#pending.size > 0) await this.#idle.next()
    } finally {
      this.#nDraining -= 1
      if (this.#nDraining === 0) this.#schedule(scheduler => scheduler.setFlushing(false))
    }
  }

  /** Answers what waits with `CANCELLED`, waits for what runs, and gives everything back. */
  async stop(): Promise<void> {
    const why = "the engine was stopped"
    this.#fail(new SentinelError("CANCELLED", why), new SentinelError("RELEASED", why))
    if (this.#state.name === "stopped") await this.#state.stopped
  }

  async #start(): Promise<void> {
    try {
      const [facts] = await Promise.all([this.#lanes.open(), loadScheduler()])
      const scheduler = await openScheduler(this.#policy, facts.joining)
      if (this.#state.name === "starting") {
        this.#scheduler = scheduler
        this.#state = { name: "running", facts }
        for (const [lane, { state }] of this.#lanes.states().entries()) {
          if (state === "idle") scheduler.use(each => each.openLane(lane, 1))
        }
      } else {
        scheduler.free()
      }
    } catch (thrown) {
      this.#fail(toSentinelError(thrown, "start"))
    }
    if (this.#state.name === "stopped") throw this.#state.error
  }

  #running(): ModelFacts {
    if (this.#state.name === "running") return this.#state.facts
    throw this.#state.name === "stopped" ? this.#state.error : notStarted()
  }

  /** False where the queue is full. */
  #submit(id: string, feeds: Tensors, { signal, deadlineMs, priority }: InputPlan, settle: Pending["settle"]): boolean {
    const { inputNames, joining } = this.#running()
    if (signal?.aborted === true) throw cancelled(id)
    checkNames(id, feeds, inputNames)
    const fit = signature(feeds, joining)
    const key = this.#nextNumber
    this.#nextNumber += 1
    const group = fit === undefined ? -1 : (this.#groups.get(fit.text)?.number ?? key % 2 ** 31)
    const rows = fit?.rows ?? 1
    const ignoreAbort = this.#aborts.on(signal, () => { this.#cancel(key) })
    const isTaken = this.#use(scheduler => scheduler.submit(this.#world.now(), key, group, rows, priority, deadlineMs))
    if (!isTaken) {
      ignoreAbort()
      return false
    }
    this.#pending.set(key, {
      id,
      feeds,
      rows,
      group: fit?.text,
      lost: undefined,
      settle(outputs, error) {
        ignoreAbort()
        settle(outputs, error)
      },
    })
    if (fit !== undefined) this.#countIn(fit.text, group)
    this.#pumpSoon()
    return true
  }

  #cancel(key: number): void {
    // Whoever is told that the engine was stopped may fire the signal of others.
    if (!this.#isScheduling()) return
    const id = this.#pending.get(key)?.id
    if (id !== undefined && this.#use(scheduler => scheduler.cancel(key))) this.#answer(key, undefined, cancelled(id))
    this.#pumpSoon()
  }

  /** Waits for a turn; `enter` is called at it, and gives false where there is no room after all. */
  async #waitForRoom(id: string, { signal, deadlineMs }: InputPlan, enter: () => boolean): Promise<void> {
    this.#running()
    if (signal?.aborted === true) throw cancelled(id)
    const turn = this.#room.next(enter)
    const ignoreAbort = this.#aborts.on(signal, () => { turn.reject(cancelled(id)) })
    const late = () => { turn.reject(expired(id)) }
    const callOff = deadlineMs === Infinity ? () => {} : this.#world.after(deadlineMs - this.#world.now(), late)
    try {
      await turn
    } finally {
      callOff()
      ignoreAbort()
    }
  }

  // What is added in one turn of the event loop is looked at together, so that it can run together.
  #pumpSoon(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    queueMicrotask(() => {
      this.#isPumping = false
      this.#pump()
    })
  }

  /** Does what the scheduler wants done at this moment. */
  #pump(): void {
    // Whoever is answered may stop the engine.
    while (this.#isScheduling()) {
      const step = this.#use(scheduler => scheduler.poll(this.#world.now()))
      if (step === undefined) break
      if ("batch" in step) void this.#run(step.batch, step.lane, step.keys)
      else this.#answer(step.key, undefined, this.#lossOf(step.key, step.loss))
    }
    if (!this.#isScheduling()) return
    this.#wakeAt(this.#use(scheduler => scheduler.wake()))
    if (this.#room.size > 0) this.#giveRoom()
    if (this.#pending.size === 0) this.#idle.release()
  }

  #giveRoom(): void {
    this.#room.release(this.#nFree())
    // Who was only told of room may leave it to the next.
    if (this.#room.size > 0 && this.#nFree() > 0) void this.#world.nextTurn().then(() => { this.#pumpSoon() })
  }

  /** How many inputs the queue has room for; fewer than none where some came back from a lost lane. */
  #nFree(): number {
    return this.#policy.maxQueueSize - this.#use(scheduler => scheduler.queueDepth)
  }

  #wakeAt(wakeMs: number | undefined): void {
    if (wakeMs === this.#wakeMs) return
    this.#callOff()
    this.#callOff = () => {}
    this.#wakeMs = wakeMs
    if (wakeMs === undefined) return
    this.#callOff = this.#world.after(Math.max(0, wakeMs - this.#world.now()), () => {
      this.#wakeMs = undefined
      this.#pump()
    })
  }

  #isScheduling(): boolean {
    return this.#state.name !== "stopped" && this.#scheduler !== undefined
  }

  async #run(batch: number, lane: number, keys: readonly number[]): Promise<void> {
    const inputs = keys.flatMap(key => this.#pending.get(key) ?? [])
    const rows = this.#isJoined(inputs) ? inputs.map(input => input.rows) : undefined
    this.#batches.set(batch, { lane, keys })
    try {
      for (let turn = this.#turns.due; turn !== undefined; turn = this.#turns.due) await turn
      // Its lane may have been lost in the meantime.
      if (!this.#batches.has(batch)) return
      const outputs = await this.#lanes.run(lane, inputs.map(({ feeds }) => feeds), rows)
      const unwanted = new Set(outputs)
      this.#schedule(scheduler => {
        for (const key of scheduler.complete(this.#world.now(), batch)) {
          const answer = outputs[keys.indexOf(key)] as Outputs
          unwanted.delete(answer)
          this.#answer(key, answer, undefined)
        }
      })
      for (const each of unwanted) disposeOnGpu(each)
    } catch (thrown) {
      const error = toSentinelError(thrown, "run")
      this.#schedule(scheduler => {
        for (const key of scheduler.fail(this.#world.now(), batch)) this.#answer(key, undefined, named(this.#pending.get(key)?.id, error))
      })
    } finally {
      this.#batches.delete(batch)
    }
  }

  #isJoined(inputs: readonly Pending[]): boolean {
    if (inputs.some(({ group }) => group === undefined)) return false
    // What would be the whole batch runs as it is.
    return inputs.length > 1 || this.joining.mode === "pad"
  }

  #laneLost(lane: number, error: SentinelError): void {
    for (const [number, batch] of this.#batches) {
      if (batch.lane !== lane) continue
      this.#batches.delete(number)
      for (const key of batch.keys) {
        const pending = this.#pending.get(key)
        if (pending !== undefined) pending.lost = error
      }
    }
    this.#schedule(scheduler => scheduler.closeLane(lane))
  }

  #lossOf(key: number, loss: "expired" | "lane-lost"): SentinelError {
    const { id = "", lost } = this.#pending.get(key) ?? {}
    if (loss === "expired") return expired(id)
    return named(id, lost ?? new SentinelError("WORKER_UNAVAILABLE", "every worker that ran it was lost"))
  }

  #answer(key: number, outputs: Outputs | undefined, error: SentinelError | undefined): void {
    const pending = this.#pending.get(key)
    if (pending === undefined) return
    this.#pending.delete(key)
    if (pending.group !== undefined) this.#countOut(pending.group)
    pending.settle(outputs, error)
  }

  /** Changes the scheduler's state, and looks what follows from it. */
  #schedule(change: (scheduler: Scheduler) => void): void {
    if (!this.#isScheduling()) return
    this.#use(change)
    this.#pumpSoon()
  }

  #use<Result>(work: (scheduler: Scheduler) => Result): Result {
    if (this.#scheduler === undefined) throw notStarted()
    return this.#scheduler.use(work)
  }

  #countIn(text: string, number: number): void {
    const group = this.#groups.get(text)
    if (group === undefined) this.#groups.set(text, { number, inputs: 1 })
    else group.inputs += 1
  }

  #countOut(text: string): void {
    const group = this.#groups.get(text)
    if (group === undefined) return
    group.inputs -= 1
    if (group.inputs === 0) this.#groups.delete(text)
  }

  /** Ends the engine: everybody who waits is told why, and whoever asks later. */
  #fail(error: SentinelError, later = error): void {
    if (this.#state.name === "stopped") return
    const scheduler = this.#scheduler
    const keys = scheduler?.use(each => [...each.abandon()]) ?? []
    if (scheduler !== undefined) this.#final = this.getStats()
    scheduler?.free()
    this.#callOff()
    this.#state = { name: "stopped", error: later, stopped: this.#lanes.close() }
    for (const key of keys) this.#answer(key, undefined, named(this.#pending.get(key)?.id, error))
    this.#room.fail(error)
    this.#idle.release()
  }
}
