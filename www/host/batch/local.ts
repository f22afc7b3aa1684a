import type { InferenceSession, Tensor } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "../errors.js"
import { SessionHandler, type SessionGpu } from "../handler.js"
import { toTensorData } from "../tensors.js"
import type { Placement, TensorData } from "../wasm.js"
import { join, split, toTensors, type Joining, type Tensors } from "./join.js"
import { canJoinOnGpu, joinOnGpu, namesOnGpu } from "./join-gpu.js"
import { joiningOf } from "./joining.js"
import type { Lane, ModelFacts } from "./lane.js"
import { batchPolicy, wantsOutputsOnGpu, type BatchEngineOptions } from "./options.js"

/** A session on this thread. */
export class LocalLane implements Lane {
  readonly facts: ModelFacts
  readonly lost: Promise<SentinelError>
  readonly #session: SessionHandler
  readonly #fetches: Record<string, null>
  #fault: SentinelError | undefined
  #lose: (error: SentinelError) => void = () => {}

  static async open(options: BatchEngineOptions): Promise<LocalLane> {
    const { model, outputNames, ...sessionOptions } = options
    const { padding, batchAxis } = batchPolicy(options)
    const session = await SessionHandler.create(model, { ...sessionOptions, batchAxis } as InferenceSession.SessionOptions)
    try {
      const joining = joiningOf(await session.rows(), padding, wantsOutputsOnGpu(options))
      return new LocalLane(session, joining, outputNames ?? session.outputNames)
    } catch (thrown) {
      await session.dispose()
      throw thrown
    }
  }

  private constructor(session: SessionHandler, joining: Joining, outputNames: readonly string[]) {
    const unknown = outputNames.filter(name => !session.outputNames.includes(name))
    if (unknown.length > 0) {
      throw new SentinelError("INVALID_INPUT", `outputNames: "${unknown[0]}" is not in the model; its outputs are "${session.outputNames.join('", "')}"`)
    }
    this.#session = session
    this.#fetches = Object.fromEntries(outputNames.map(name => [name, null]))
    this.lost = new Promise(resolve => { this.#lose = resolve })
    const { inputNames, inputMetadata, outputMetadata } = session
    this.facts = { inputNames, outputNames, inputMetadata, outputMetadata, joining, isOnGpu: isOnGpu(session) }
  }

  get fault(): SentinelError | undefined {
    return this.#fault
  }

  placement(): Placement[] {
    return this.#session.placement()
  }

  get gpu(): SessionGpu | undefined {
    return this.#session.gpu
  }

  async run(parts: readonly Tensors[], rows: readonly number[] | undefined): Promise<Record<string, Tensor>[]> {
    if (rows === undefined) return Promise.all(parts.map(feeds => this.#run(feeds)))
    const [first = {}] = parts
    const onGpu = namesOnGpu(first)
    const outputs = onGpu.length === 0 ? await this.runJoined(join(parts, this.facts.joining), rows) : await this.#runOnGpu(parts, rows, onGpu)
    return outputs === undefined ? Promise.all(parts.map(feeds => this.#run(feeds))) : outputs.map(toTensors)
  }

  /** Runs a batch that is joined, or one input as it is where `rows` is undefined; each output has a buffer of its own. */
  async runJoined(feeds: Record<string, TensorData>, rows: readonly number[] | undefined): Promise<Record<string, TensorData>[]> {
    const outputs = await toHost(await this.#run(toTensors(feeds)))
    return rows === undefined ? [outputs] : split(outputs, rows, this.facts.joining)
  }

  close(): Promise<void> {
    return this.#session.dispose()
  }

  /** The same for inputs of which these are on the GPU; undefined where they cannot be joined there. */
  async #runOnGpu(parts: readonly Tensors[], rows: readonly number[], onGpu: readonly string[]): Promise<Record<string, TensorData>[] | undefined> {
    const { joining } = this.facts
    const gpu = this.gpu?.gpu
    const columns = onGpu.map(name => parts.map(part => part[name] as Tensor))
    if (gpu === undefined || !columns.every(tensors => canJoinOnGpu(tensors, gpu))) return undefined
    const onHost = parts.map(part => Object.fromEntries(Object.entries(part).filter(([name]) => !onGpu.includes(name))))
    const joined = columns.map(tensors => joinOnGpu(tensors, joining, gpu))
    try {
      const feeds = { ...toTensors(join(onHost, joining)), ...Object.fromEntries(onGpu.map((name, at) => [name, joined[at] as Tensor])) }
      return split(await toHost(await this.#run(feeds)), rows, joining)
    } finally {
      for (const tensor of joined) tensor.dispose()
    }
  }

  async #run(feeds: Tensors): Promise<Record<string, Tensor>> {
    try {
      return await this.#session.run(feeds, this.#fetches, {})
    } catch (thrown) {
      const error = toSentinelError(thrown, "run")
      // Neither a spoilt instance nor a lost device is an input's fault: it may run elsewhere.
      if (this.#session.fault !== undefined || error.code === "DEVICE_LOST") {
        this.#fault ??= error
        this.#lose(this.#fault)
      }
      throw error
    }
  }
}

function isOnGpu(session: SessionHandler): boolean {
  return session.gpu !== undefined || session.placement().some(({ backend }) => backend !== "cpu")
}

async function toHost(outputs: Record<string, Tensor>): Promise<Record<string, TensorData>> {
  const read = Object.entries(outputs).map(async ([name, tensor]) => {
    // With its data read, a tensor of a GPU is on the host.
    await tensor.getData(true)
    return [name, toTensorData(name, tensor)] as const
  })
  return Object.fromEntries(await Promise.all(read))
}
