import type { Tensor } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "../errors.js"
import type { SessionGpu } from "../handler.js"
import type { Tensors } from "./join.js"
import type { Lane, ModelFacts, OpenLane } from "./lane.js"
import type { Placement } from "../wasm.js"
import type { World } from "./world.js"

/** One of the places where batches run. */
export interface LaneState {
  state: "opening" | "idle" | "running" | "closed"
  batches: number
  inputs: number
  /** How often it was lost and made again. */
  restarts: number
  /** Why it was lost the last time. */
  lastError: SentinelError | undefined
}

/** How many lanes to keep open, and how to make one. */
export interface LanePlan {
  /** Where it depends on the model, it is asked for when the first is open. */
  count: number | ((facts: ModelFacts) => number)
  open: OpenLane
}

/** What the engine is told. */
export interface LaneEvents {
  opened(lane: number): void
  lost(lane: number, error: SentinelError): void
  /** No lane is left, and none can be made. */
  gone(error: SentinelError): void
}

interface Slot {
  lane: Lane | undefined
  status: LaneState
  /** Openings that failed, and losses without work, since the latest batch. */
  failures: number
}

/** The pause before a lane is made again grows from the first to the second. */
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 5000
/** After so many failures in a row a lane is given up. */
const MAX_FAILURES = 5

/** Keeps lanes open: one that is lost is made again. */
export class Lanes {
  readonly #plan: LanePlan
  readonly #world: World
  readonly #events: LaneEvents
  readonly #slots: Slot[]
  readonly #closing = new AbortController()
  readonly #callOffs = new Set<() => void>()

  constructor(plan: LanePlan, world: World, events: LaneEvents) {
    this.#plan = plan
    this.#world = world
    this.#events = events
    this.#slots = typeof plan.count === "number" ? slots(plan.count) : slots(1)
  }

  /** Opens all of them; what the model is. */
  async open(): Promise<ModelFacts> {
    // The first alone: if the model is at fault, one says so; and what it compiles others need not.
    const { facts } = await this.#open(0)
    const { count } = this.#plan
    if (typeof count === "function") this.#slots.push(...slots(count(facts) - 1))
    await Promise.all(this.#slots.slice(1).map((_, at) => this.#open(at + 1)))
    return facts
  }

  /** The device on which a tensor is where every batch runs. */
  get gpu(): SessionGpu | undefined {
    const [slot, ...others] = this.#slots
    return others.length === 0 ? slot?.lane?.gpu : undefined
  }

  async run(at: number, parts: readonly Tensors[], rows: readonly number[] | undefined): Promise<Record<string, Tensor>[]> {
    const slot = this.#slots[at] as Slot
    const { lane, status } = slot
    if (lane === undefined) throw new SentinelError("WORKER_UNAVAILABLE", `worker ${at} is not open`)
    status.state = "running"
    try {
      const outputs = await lane.run(parts, rows)
      slot.failures = 0
      status.batches += 1
      status.inputs += parts.length
      return outputs
    } catch (thrown) {
      if (lane.fault !== undefined) this.#lost(at, lane, lane.fault)
      throw thrown
    } finally {
      if (status.state === "running") status.state = "idle"
    }
  }

  /** As the first one that is open has it. */
  placement(): Placement[] {
    return this.#slots.find(({ lane }) => lane !== undefined)?.lane?.placement() ?? []
  }

  states(): LaneState[] {
    return this.#slots.map(({ status }) => ({ ...status }))
  }

  /** Waits for what runs, and gives everything back. */
  async close(): Promise<void> {
    this.#closing.abort()
    for (const callOff of this.#callOffs) callOff()
    const closed = this.#slots.map(async slot => {
      const { lane } = slot
      slot.lane = undefined
      await lane?.close().catch(() => undefined)
      slot.status.state = "closed"
    })
    await Promise.all(closed)
  }

  async #open(at: number): Promise<Lane> {
    const slot = this.#slots[at] as Slot
    slot.status.state = "opening"
    const lane = await this.#plan.open(this.#closing.signal)
    if (this.#closing.signal.aborted) {
      await lane.close()
      throw new SentinelError("CANCELLED", "the engine was stopped")
    }
    slot.lane = lane
    slot.status.state = "idle"
    lane.lost.then(error => { this.#lost(at, lane, error) }, () => undefined)
    this.#events.opened(at)
    return lane
  }

  #lost(at: number, lane: Lane, error: SentinelError): void {
    const slot = this.#slots[at] as Slot
    if (slot.lane !== lane || this.#closing.signal.aborted) return
    // Work may have killed it, and is not given to a third one. What dies without any will die again.
    const isIdle = slot.status.state === "idle"
    slot.lane = undefined
    slot.status.restarts += 1
    slot.status.state = "opening"
    this.#events.lost(at, error)
    lane.close().catch(() => undefined)
    if (isIdle) return this.#failed(at, error)
    slot.status.lastError = error
    void this.#reopen(at)
  }

  async #reopen(at: number): Promise<void> {
    try {
      await this.#open(at)
    } catch (thrown) {
      if (!this.#closing.signal.aborted) this.#failed(at, toSentinelError(thrown, "worker"))
    }
  }

  /** Tries again after a pause, but not for ever. */
  #failed(at: number, error: SentinelError): void {
    const slot = this.#slots[at] as Slot
    slot.status.lastError = error
    slot.failures += 1
    if (slot.failures < MAX_FAILURES) return this.#later(at, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 4 ** slot.failures))
    slot.status.state = "closed"
    if (this.#slots.every(({ status }) => status.state === "closed")) this.#events.gone(error)
  }

  #later(at: number, pauseMs: number): void {
    const callOff = this.#world.after(pauseMs, () => {
      this.#callOffs.delete(callOff)
      void this.#reopen(at)
    })
    this.#callOffs.add(callOff)
  }
}

function slots(count: number): Slot[] {
  return Array.from({ length: count }, () => ({
    lane: undefined,
    status: { state: "opening", batches: 0, inputs: 0, restarts: 0, lastError: undefined },
    failures: 0,
  }))
}
