import { SentinelError } from "../errors.js"
import { disposeOnGpu } from "../tensors.js"
import type { Outputs } from "./engine.js"
import type { Tensors } from "./join.js"
import { inputPlan, type InputOptions } from "./options.js"

export interface MapOptions extends InputOptions {
  /** In the order of the inputs (the default), or as they finish. */
  ordered?: boolean
  /** How many inputs are under way at once; `maxQueueSize` unless said otherwise. */
  concurrency?: number
  /** What an input without outputs does: it ends the iteration with its error (the default), or is an item like others. */
  onError?: "throw" | "yield"
}

/** What came of one input; `id` is its number. */
export interface MapItem {
  id: number
  outputs: Outputs
}

/** What came of one input, where errors are items too. */
export type SettledItem = (MapItem & { error: undefined }) | { id: number; outputs: undefined; error: SentinelError }

interface Task {
  id: number
  /** Fires when nobody reads its item any more. */
  leave: AbortController
  item: SettledItem | undefined
}

interface Runner {
  run(inputs: Tensors, options: InputOptions): Promise<Outputs>
}

/** The outputs of many inputs. Inputs are asked for while fewer than `concurrency` are under way or not yet read. */
export async function* map(
  engine: Runner,
  inputs: Iterable<Tensors> | AsyncIterable<Tensors>,
  options: MapOptions,
  maxUnderWay: number,
): AsyncGenerator<SettledItem, void, undefined> {
  inputPlan(options, 0)
  const { ordered = true, onError = "throw", signal, ...rest } = options
  const concurrency = concurrencyOf(options, maxUnderWay)
  const iterator = iteratorOf(inputs)
  const tasks = new Set<Task>()
  const finished: Task[] = []
  const source: { state: "idle" | "asked" | "ended"; failure?: { thrown: unknown } } = { state: "idle" }
  let wake = () => {}
  let nextId = 0

  const begin = (feeds: Tensors) => {
    const task: Task = { id: nextId, leave: new AbortController(), item: undefined }
    nextId += 1
    tasks.add(task)
    const { id, leave } = task
    const finish = (item: SettledItem) => {
      if (leave.signal.aborted) return disposeOnGpu(item.outputs ?? {})
      task.item = item
      if (!ordered) finished.push(task)
      wake()
    }
    engine.run(feeds, { ...rest, signal: leave.signal }).then(
      outputs => { finish({ id, outputs, error: undefined }) },
      (error: SentinelError) => { finish({ id, outputs: undefined, error }) },
    )
  }
  const ask = async () => {
    source.state = "asked"
    try {
      const { done, value } = await iterator.next()
      // Nobody may be left to read what comes of it.
      if (source.state !== "asked") return
      source.state = done === true ? "ended" : "idle"
      if (done !== true) begin(value)
    } catch (thrown) {
      source.state = "ended"
      source.failure = { thrown }
    }
    wake()
  }
  const abort = () => { wake() }

  signal?.addEventListener("abort", abort, { once: true })
  try {
    for (;;) {
      const woken = new Promise<void>(resolve => { wake = resolve })
      if (signal?.aborted === true) throw new SentinelError("CANCELLED", "map: cancelled by its signal")
      if (source.failure !== undefined) throw source.failure.thrown
      const [first] = tasks
      const task = ordered ? first : finished.shift()
      if (task?.item !== undefined) {
        tasks.delete(task)
        if (task.item.error !== undefined && onError === "throw") throw task.item.error
        yield task.item
        continue
      }
      if (source.state === "idle" && tasks.size < concurrency) void ask()
      else if (source.state === "ended" && tasks.size === 0) return
      await woken
    }
  } finally {
    signal?.removeEventListener("abort", abort)
    for (const { leave, item } of tasks) {
      leave.abort()
      disposeOnGpu(item?.outputs ?? {})
    }
    const { state } = source
    source.state = "ended"
    const returned = state === "ended" ? undefined : iterator.return?.()
    // A source that is still busy with the next input may stay so: it is told, and not waited for.
    if (state === "asked") Promise.resolve(returned).catch(() => undefined)
    else await returned
  }
}

function concurrencyOf({ concurrency }: MapOptions, maxUnderWay: number): number {
  if (concurrency === undefined) return maxUnderWay
  if (Number.isInteger(concurrency) && concurrency >= 1) return concurrency
  throw new SentinelError("INVALID_INPUT", `concurrency: expected a whole number from 1, got ${String(concurrency)}`)
}

function iteratorOf(inputs: Iterable<Tensors> | AsyncIterable<Tensors>): Iterator<Tensors> | AsyncIterator<Tensors> {
  const given: Partial<Iterable<Tensors> & AsyncIterable<Tensors>> | null | undefined = inputs
  const iterator = given?.[Symbol.asyncIterator]?.() ?? given?.[Symbol.iterator]?.()
  if (iterator === undefined) throw new SentinelError("INVALID_INPUT", "map: expected inputs that can be iterated")
  return iterator
}
