import { Aborts } from "../batch/aborts.js"
import type { Outputs, ResultCallback } from "../batch/engine.js"
import { cancelled, checkNames, copyOf, expired, named, notStarted } from "../batch/inputs.js"
import type { Tensors } from "../batch/join.js"
import { map, type MapItem, type MapOptions, type SettledItem } from "../batch/map.js"
import { inputPlan, wrongOption, type InputOptions, type InputPlan } from "../batch/options.js"
import { Waiting } from "../batch/waiting.js"
import { realWorld, type World } from "../batch/world.js"
import { SentinelError, toSentinelError } from "../errors.js"
import { Handle } from "../instance.js"
import { Listeners } from "../listeners.js"
import { disposeOnGpu } from "../tensors.js"
import { loadScheduler, type Counters, type Statistics } from "../wasm.js"
import type { Choose } from "./balance.js"
import { Dispatcher, type Fault } from "./dispatcher.js"
import { Fleet } from "./fleet.js"
import { LinkError, shownUrl, type Link, type OpenLink, type WorkerTarget } from "./link.js"
import { openLink } from "./links/index.js"
import { LOCAL_URL, openLocal, type OpenLocal } from "./local.js"
import { ModelOnWorkers } from "./model.js"
import { distributedPlan, workerTarget, type ChooseWorker, type DistributedEngineOptions, type DistributedPlan } from "./options.js"
import type { StationState } from "./roster.js"
import type { Step, WorkerState } from "./steps.js"

/** What happened to a worker, and why; `local` is this machine. */
export interface WorkerEvent {
  url: string
  state: WorkerState
  reason: string
  error?: SentinelError
}

export type WorkerListener = (event: WorkerEvent) => void

/** One worker; times are from sending an input to its outputs, of the latest 256. */
export interface WorkerStatistics extends Omit<StationState, "key"> {
  server: string
  /** Over NATS: the workers that answered. */
  members: readonly string[]
}

/**
 * What a distributed engine has done, and who. Batches are the workers' business, and not counted here; `avgInferenceTime` is from
 * sending an input to its outputs.
 */
export interface DistributedStatistics extends Statistics {
  workers: WorkerStatistics[]
}

/** How the outside is reached; tests have an outside of their own. */
export interface DistributedWorld {
  time: World
  openLink: OpenLink
  openLocal: OpenLocal
  random(): number
}

const REAL_WORLD: DistributedWorld = { time: realWorld, openLink, openLocal, random: Math.random }

/** No timer is set for longer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** An input without an answer. */
interface Pending {
  id: string
  feeds: Tensors
  priority: number
  deadlineMs: number
  sinceMs: number
  settle(outputs: Outputs | undefined, error: SentinelError | undefined): void
}

type State =
  | { name: "new" }
  | { name: "starting"; started: Promise<void> }
  | { name: "running" }
  | { name: "stopped"; error: SentinelError; stopped: Promise<void> }

/** Runs inputs of one model on workers and on this machine: each input gets its outputs, or one error, whoever fails in between. */
export class DistributedInferenceEngine {
  readonly #plan: DistributedPlan
  readonly #model: ModelOnWorkers
  readonly #world: DistributedWorld
  readonly #dispatcher: Dispatcher
  readonly #fleet: Fleet
  readonly #listeners = new Listeners<WorkerEvent>("worker")
  readonly #room = new Waiting()
  readonly #idle = new Waiting()
  readonly #aborts = new Aborts()
  readonly #pending = new Map<number, Pending>()
  /** Those that are not being removed. */
  readonly #targets = new Map<number, WorkerTarget>()
  /** Workers that no pause helps; when all are, nobody waits for them at the start. */
  readonly #refusals = new Map<number, SentinelError>()
  readonly #inputs = { local: 0, remote: 0, elapsedMs: 0 }
  #counters: Handle<Counters> | undefined
  #state: State = { name: "new" }
  readonly #localWorker: number | undefined
  #inputNames: readonly string[] = []
  #begin: { done: () => void; fail: (error: SentinelError) => void } | undefined
  #nextNumber = 0
  #nextRun = 0
  #isPumping = false
  #final: DistributedStatistics | undefined
  #wakeMs = Infinity
  #callOff = () => {}

  constructor(options: DistributedEngineOptions)
  /** @internal */
  constructor(options: DistributedEngineOptions, world: DistributedWorld)
  constructor(options: DistributedEngineOptions, world: DistributedWorld = REAL_WORLD) {
    this.#plan = distributedPlan(options)
    this.#model = new ModelOnWorkers(options)
    this.#world = world
    const { balancing, workers, local } = this.#plan
    const policy = { ...this.#plan, balancing: typeof balancing === "function" ? this.#choice(balancing) : balancing }
    this.#dispatcher = new Dispatcher(policy, () => world.random())
    this.#fleet = new Fleet({
      opened: (worker, link) => { this.#opened(worker, link) },
      failedToOpen: (worker, fault) => { this.#failedToOpen(worker, fault) },
      draining: worker => { this.#change(nowMs => { this.#dispatcher.draining(nowMs, worker) }) },
      lost: (worker, fault) => { this.#change(nowMs => { this.#dispatcher.lost(nowMs, worker, fault) }) },
      answered: (attempt, outputs) => { this.#answered(attempt, outputs) },
      failed: (attempt, fault) => { this.#change(nowMs => { this.#dispatcher.failed(nowMs, attempt, fault) }) },
    })
    if (local !== undefined) this.#localWorker = this.#add({ url: LOCAL_URL, weight: local.weight })
    for (const target of workers) this.#add(target)
  }

  /**
   * Opens the ways to all workers; settles when the first of them is open, and others may follow.
   *
   * @throws why each worker cannot be used, when none could be opened within `startTimeoutMs`; at once where waiting does not help.
   */
  async start(): Promise<void> {
    if (this.#state.name === "new") {
      const started = this.#start()
      this.#state = { name: "starting", started }
      started.catch(() => undefined)
    }
    if (this.#state.name === "stopped") throw this.#state.error
    if (this.#state.name === "starting") await this.#state.started
  }

  /**
   * Takes an input in; `callback` is told once what came of it. Tensors are read when they are sent: until then, they stay as they
   * are.
   *
   * @throws `QUEUE_FULL` when `maxQueueSize` inputs wait; `await engine.ready()` tells when there is room.
   */
  addInput(id: string, inputs: Tensors, callback: ResultCallback, options: InputOptions = {}): void {
    if (typeof callback !== "function") throw wrongOption(`"${id}": callback`, "a function", callback)
    const isTaken = this.#submit(id, copyOf(id, inputs), this.#inputPlan(options), (outputs, error) => {
      try {
        callback(id, outputs, error)
      } catch (thrown) {
        // It is the caller's own, and no reason to leave others without an answer.
        queueMicrotask(() => { throw thrown })
      }
    })
    if (!isTaken) throw new SentinelError("QUEUE_FULL", `"${id}": ${this.#plan.maxQueueSize} inputs wait; await engine.ready() tells when there is room`)
  }

  /**
   * The outputs of one input; waits for room in the queue.
   *
   * @throws `CANCELLED` by its signal or by `stop()`, `TIMEOUT` when its time is over, `WORKER_UNAVAILABLE` when nobody can be
   * reached, and what the model makes of the input.
   */
  run(inputs: Tensors, options: InputOptions = {}): Promise<Outputs> {
    return new Promise((resolve, reject) => {
      const id = `run ${this.#nextRun}`
      this.#nextRun += 1
      const plan = this.#inputPlan(options)
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
    return map(this, inputs, options, this.#plan.maxQueueSize)
  }

  /** Waits until the queue has room. */
  async ready(options: { signal?: AbortSignal } = {}): Promise<void> {
    this.#checkRunning()
    const plan = inputPlan(options, this.#now())
    if (this.#room.size > 0 || this.#nFree() <= 0) await this.#waitForRoom("ready", plan, () => true)
  }

  /** Adds a worker, which is used as soon as it is open. */
  addWorker(worker: string | WorkerTarget): void {
    if (this.#state.name === "stopped") throw this.#state.error
    const target = workerTarget(worker)
    const isKnown = [...this.#targets.values()].some(({ url }) => url === target.url)
    if (isKnown) throw new SentinelError("INVALID_INPUT", `addWorker: ${shownUrl(target.url)} is there already`)
    this.#add(target)
  }

  /** Sends nothing more there; what the worker has it answers, and an event tells when it is gone. `local` is this machine. */
  removeWorker(url: string): void {
    if (this.#state.name === "stopped") throw this.#state.error
    const known = [...this.#targets].map(([worker, target]) => ({ worker, url: target.url, shown: shownUrl(target.url) }))
    // As it was given, or as an event tells it.
    const { worker } = known.find(each => each.url === url) ?? known.find(each => each.shown === url) ?? {}
    if (worker === undefined) throw new SentinelError("INVALID_INPUT", `removeWorker: expected one of ${known.map(({ shown }) => shown).join(", ")}, got ${shownUrl(String(url))}`)
    this.#targets.delete(worker)
    this.#refusals.delete(worker)
    this.#change(nowMs => { this.#dispatcher.removeWorker(nowMs, worker) })
  }

  /** Tells what happens to workers; gives what ends it. */
  on(kind: "worker", listener: WorkerListener): () => void {
    return this.#listeners.add(kind, listener)
  }

  getStats(): DistributedStatistics {
    if (this.#final !== undefined) return this.#final
    if (this.#counters === undefined) throw notStarted()
    const { local, remote, elapsedMs } = this.#inputs
    return {
      ...this.#counters.use(counters => counters.statistics(this.#now(), this.#dispatcher.queueDepth)),
      localInputs: local,
      remoteInputs: remote,
      avgInferenceTime: elapsedMs / Math.max(1, local + remote),
      workers: this.#dispatcher.workers().map(({ key, ...state }) => {
        const { server = "", members = [] } = this.#fleet.link(key)?.facts ?? {}
        return { ...state, server, members }
      }),
    }
  }

  /** Waits until every input has its answer. */
  async drain(): Promise<void> {
    this.#checkRunning()
    while (this.#pending.size > 0) await this.#idle.next()
  }

  /** Answers what waits and what is under way with `CANCELLED`, and closes every way. */
  async stop(): Promise<void> {
    const why = "the engine was stopped"
    this.#fail(new SentinelError("CANCELLED", why), new SentinelError("RELEASED", why))
    if (this.#state.name === "stopped") await this.#state.stopped
  }

  async #start(): Promise<void> {
    const begun = new Promise<void>((done, fail) => { this.#begin = { done, fail } })
    begun.catch(() => undefined)
    let callOff = () => {}
    try {
      const scheduler = await loadScheduler()
      if (this.#state.name === "starting") {
        this.#counters = new Handle(scheduler, scheduler.use(({ Counters }) => new Counters()))
        callOff = this.#world.time.after(this.#plan.startTimeoutMs, () => { this.#isLate() })
        this.#pumpSoon()
        await begun
      }
    } catch (thrown) {
      this.#fail(toSentinelError(thrown, "start"))
    } finally {
      callOff()
      this.#begin = undefined
    }
    if (this.#state.name === "stopped") throw this.#state.error
  }

  #isLate(): void {
    const why = `start: no worker within ${this.#plan.startTimeoutMs} ms: ${this.#dispatcher.reasons()}`
    this.#begin?.fail(new SentinelError("WORKER_UNAVAILABLE", why))
  }

  #add(target: WorkerTarget): number {
    const worker = this.#dispatcher.addWorker(shownUrl(target.url), target.weight ?? 1)
    this.#targets.set(worker, target)
    this.#pumpSoon()
    return worker
  }

  async #connect(target: WorkerTarget, signal: AbortSignal): Promise<Link> {
    const { local } = this.#plan
    if (target.url === LOCAL_URL && local !== undefined) return this.#world.openLocal(local, signal)
    let model
    try {
      model = await this.#model.wanted()
    } catch (thrown) {
      // No worker is at fault, and none would do better.
      const { code, message } = toSentinelError(thrown, "model")
      throw new LinkError("setting", code, message, { cause: thrown })
    }
    return this.#world.openLink(target, model, signal)
  }

  #opened(worker: number, link: Link): void {
    // Its removal is on its way, and closes it.
    if (!this.#targets.has(worker)) return
    const { provider, inputNames } = link.facts
    if (inputNames.length > 0) this.#inputNames = inputNames
    this.#refusals.delete(worker)
    this.#change(nowMs => { this.#dispatcher.opened(nowMs, worker, link.capacity, provider) })
    if (this.#state.name === "starting") this.#state = { name: "running" }
    this.#begin?.done()
  }

  #failedToOpen(worker: number, fault: Fault): void {
    // Of one that is being removed nothing is expected.
    if (!this.#targets.has(worker)) return
    if (fault.blame === "setting" || fault.blame === "input") this.#refusals.set(worker, fault.error)
    else this.#refusals.delete(worker)
    this.#change(nowMs => { this.#dispatcher.failedToOpen(nowMs, worker, fault) })
    if (this.#refusals.size < this.#targets.size) return
    const [first] = this.#refusals.values()
    this.#begin?.fail(new SentinelError(first?.code ?? "WORKER_UNAVAILABLE", `start: no worker can be used: ${this.#dispatcher.reasons()}`, { cause: first }))
  }

  #choice(choose: ChooseWorker): Choose {
    return (workers, request) => {
      const { id, feeds, priority } = this.#pending.get(request) as Pending
      return choose(workers, { id, inputs: feeds, priority })
    }
  }

  #now(): number {
    return this.#world.time.now()
  }

  #checkRunning(): void {
    if (this.#state.name === "running") return
    throw this.#state.name === "stopped" ? this.#state.error : notStarted()
  }

  #inputPlan(options: InputOptions): InputPlan {
    const plan = inputPlan(options, this.#now())
    return plan.deadlineMs === Infinity ? { ...plan, deadlineMs: this.#now() + this.#plan.timeoutMs } : plan
  }

  /** False where the queue is full. */
  #submit(id: string, feeds: Tensors, { signal, deadlineMs, priority }: InputPlan, settle: Pending["settle"]): boolean {
    this.#checkRunning()
    if (signal?.aborted === true) throw cancelled(id)
    if (this.#inputNames.length > 0) checkNames(id, feeds, this.#inputNames)
    const key = this.#nextNumber
    const sinceMs = this.#now()
    if (!this.#dispatcher.submit(sinceMs, key, priority, deadlineMs)) return false
    this.#nextNumber += 1
    const ignoreAbort = this.#aborts.on(signal, () => { this.#cancel(key) })
    this.#pending.set(key, {
      id,
      feeds,
      priority,
      deadlineMs,
      sinceMs,
      settle(outputs, error) {
        ignoreAbort()
        settle(outputs, error)
      },
    })
    this.#count(counters => counters.input())
    this.#pumpSoon()
    return true
  }

  #cancel(key: number): void {
    const id = this.#pending.get(key)?.id
    if (id === undefined) return
    this.#dispatcher.cancel(this.#now(), key)
    this.#answer(key, undefined, cancelled(id))
    this.#pumpSoon()
  }

  #answered(attempt: number, outputs: Outputs): void {
    const nowMs = this.#now()
    const answer = this.#isOver ? undefined : this.#dispatcher.answered(nowMs, attempt)
    if (answer === undefined) return disposeOnGpu(outputs)
    this.#inputs[answer.worker === this.#localWorker ? "local" : "remote"] += 1
    this.#inputs.elapsedMs += answer.elapsedMs
    this.#answer(answer.request, outputs, undefined)
    this.#pumpSoon()
  }

  /** Tells an input what came of it. */
  #answer(key: number, outputs: Outputs | undefined, error: SentinelError | undefined): void {
    const pending = this.#pending.get(key)
    if (pending === undefined) return
    this.#pending.delete(key)
    const nowMs = this.#now()
    this.#count(counters => {
      if (error === undefined) counters.output(nowMs, nowMs - pending.sinceMs)
      else if (error.code === "CANCELLED") counters.cancelled()
      else counters.error()
    })
    pending.settle(outputs, error)
  }

  /** Waits for a turn; `enter` is called at it, and gives false where there is no room after all. */
  async #waitForRoom(id: string, { signal, deadlineMs }: InputPlan, enter: () => boolean): Promise<void> {
    this.#checkRunning()
    if (signal?.aborted === true) throw cancelled(id)
    const turn = this.#room.next(enter)
    const ignoreAbort = this.#aborts.on(signal, () => { turn.reject(cancelled(id)) })
    const late = () => { turn.reject(expired(id)) }
    const callOff = deadlineMs === Infinity ? () => {} : this.#world.time.after(deadlineMs - this.#now(), late)
    try {
      await turn
    } finally {
      callOff()
      ignoreAbort()
    }
  }

  get #isOver(): boolean {
    return this.#state.name === "stopped"
  }

  /** Tells the dispatcher what happened, and looks what follows from it. */
  #change(happen: (nowMs: number) => void): void {
    if (this.#isOver) return
    happen(this.#now())
    this.#pumpSoon()
  }

  // What is added in one turn of the event loop is looked at together.
  #pumpSoon(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    queueMicrotask(() => {
      this.#isPumping = false
      this.#pump()
    })
  }

  /** Does what the dispatcher wants done at this moment. */
  #pump(): void {
    // Whoever is answered may stop the engine.
    while (!this.#isOver && this.#counters !== undefined) {
      const step = this.#dispatcher.poll(this.#now())
      if (step === undefined) break
      this.#do(step)
    }
    if (this.#isOver || this.#counters === undefined) return
    this.#wakeAt(this.#dispatcher.wake() ?? Infinity)
    if (this.#room.size > 0) this.#giveRoom()
    if (this.#pending.size === 0) this.#idle.release()
  }

  #do(step: Step): void {
    switch (step.do) {
      case "open": {
        const target = this.#targets.get(step.worker)
        return target === undefined ? undefined : this.#fleet.open(step.worker, signal => this.#connect(target, signal))
      }
      case "close":
        return this.#fleet.close(step.worker)
      case "send": {
        const pending = this.#pending.get(step.request)
        // Whoever was answered a moment ago may have taken it back.
        if (pending === undefined) return
        const { feeds, priority, deadlineMs } = pending
        const request = { inputs: feeds, outputNames: this.#plan.outputNames, timeoutMs: Math.max(0, deadlineMs - this.#now()), priority }
        return this.#fleet.send(step.worker, step.attempt, request)
      }
      case "revoke":
        return this.#fleet.revoke(step.attempt)
      case "answer":
        return this.#answer(step.request, undefined, named(this.#pending.get(step.request)?.id, step.error))
      case "tell": {
        const { url, state, reason, error } = step
        return this.#listeners.tell({ url, state, reason, ...(error === undefined ? {} : { error }) })
      }
    }
  }

  #giveRoom(): void {
    this.#room.release(this.#nFree())
    // Who was only told of room may leave it to the next.
    if (this.#room.size > 0 && this.#nFree() > 0) void this.#world.time.nextTurn().then(() => { this.#pumpSoon() })
  }

  /** How many inputs the queue has room for; fewer than none where some came back from a worker. */
  #nFree(): number {
    return this.#plan.maxQueueSize - this.#dispatcher.queueDepth
  }

  /** A timer that is too early does no harm, and is not set again for every input. */
  #wakeAt(wakeMs: number): void {
    if (wakeMs >= this.#wakeMs && wakeMs < Infinity) return
    this.#callOff()
    this.#callOff = () => {}
    this.#wakeMs = wakeMs
    if (wakeMs === Infinity) return
    this.#callOff = this.#world.time.after(Math.min(LONGEST_TIMER_MS, Math.max(0, wakeMs - this.#now())), () => {
      this.#wakeMs = Infinity
      this.#pump()
    })
  }

  #count(work: (counters: Counters) => void): void {
    this.#counters?.use(work)
  }

  /** Ends the engine: everybody who waits is told why, and whoever asks later. */
  #fail(error: SentinelError, later = error): void {
    if (this.#state.name === "stopped") return
    this.#dispatcher.abandon()
    this.#callOff()
    this.#state = { name: "stopped", error: later, stopped: this.#fleet.closeAll() }
    for (const [key, { id }] of [...this.#pending]) this.#answer(key, undefined, named(id, error))
    if (this.#counters !== undefined) this.#final = this.getStats()
    this.#counters?.free()
    this.#counters = undefined
    this.#begin?.fail(error)
    this.#room.fail(error)
    this.#idle.release()
  }
}
