import type { Tensor } from "onnxruntime-common"
import { SentinelError } from "../errors.js"
import { toTensorData } from "../tensors.js"
import type { Placement, TensorData } from "../wasm.js"
import { join, toTensors, type Joining, type Tensors } from "./join.js"
import type { Lane, ModelFacts } from "./lane.js"
import { buffersOf, type Answers } from "./messages.js"
import { own } from "./own.js"
import type { WorkerLink } from "./worker-link.js"
import type { World } from "./world.js"

/** A worker that is closed may finish its batch, which nobody waits for, so long. */
const GRACE_MS = 1000

/** A session in a worker. */
export class WorkerLane implements Lane {
  readonly facts: ModelFacts
  readonly #link: WorkerLink
  #placement: Placement[]
  readonly #batchTimeoutMs: number
  readonly #world: World

  constructor(link: WorkerLink, { facts, placement }: Answers["open"], batchTimeoutMs: number, world: World) {
    this.#link = link
    this.facts = facts
    this.#placement = placement
    this.#batchTimeoutMs = batchTimeoutMs
    this.#world = world
  }

  placement(): Placement[] {
    return this.#placement
  }

  get fault(): SentinelError | undefined {
    return this.#link.fault
  }

  get lost(): Promise<SentinelError> {
    return this.#link.lost
  }

  async run(parts: readonly Tensors[], rows: readonly number[] | undefined): Promise<Record<string, Tensor>[]> {
    for (const part of parts) checkPlaces(part)
    if (rows !== undefined) return this.#run(joined(parts, this.facts.joining), rows)
    const outputs = await Promise.all(parts.map(part => this.#run(copied(part), undefined)))
    return outputs.flat()
  }

  async close(): Promise<void> {
    const callOff = this.#world.after(GRACE_MS, () => { void this.#link.end() })
    try {
      await this.#link.ask({ type: "close" })
    } catch {
      // It is gone already, or too slow.
    } finally {
      callOff()
      await this.#link.end()
    }
  }

  async #run(feeds: Record<string, TensorData>, rows: readonly number[] | undefined): Promise<Record<string, Tensor>[]> {
    const late = () => {
      this.#link.lose(new SentinelError("TIMEOUT", `a batch ran longer than ${this.#batchTimeoutMs} ms (batchTimeoutMs)`))
    }
    const callOff = this.#batchTimeoutMs === Infinity ? () => {} : this.#world.after(this.#batchTimeoutMs, late)
    try {
      const { outputs, placement } = await this.#link.ask({ type: "run", feeds, rows }, buffersOf(feeds))
      this.#placement = placement ?? this.#placement
      return outputs.map(toTensors)
    } finally {
      callOff()
    }
  }
}

function checkPlaces(part: Tensors): void {
  for (const [name, { location }] of Object.entries(part)) {
    if (location === "cpu" || location === "cpu-pinned" || location === "none") continue
    const why = `its data is in a ${location}, which stays on its thread; an engine with workers: 0 takes it`
    throw new SentinelError("INVALID_INPUT", `"${name}": ${why}`)
  }
}

/** The caller's tensors stay the caller's: what is joined is a buffer of its own, and what is not is copied. */
function joined(parts: readonly Tensors[], joining: Joining): Record<string, TensorData> {
  const feeds = Object.entries(join(parts, joining))
  return Object.fromEntries(feeds.map(([name, value]) => [name, own(joining.inputs, name) === undefined ? copy(value) : value]))
}

function copied(part: Tensors): Record<string, TensorData> {
  return Object.fromEntries(Object.entries(part).map(([name, tensor]) => [name, copy(toTensorData(name, tensor))]))
}

const copy = (value: TensorData): TensorData => ({ ...value, data: value.data.slice() })
