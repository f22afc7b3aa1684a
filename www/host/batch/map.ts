import type { SentinelError } from "../errors.js"
import type { Outputs } from "./engine.js"
import type { Tensors } from "./join.js"
import type { InputOptions } from "./options.js"

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

/** The outputs of many inputs. Inputs are asked for while fewer than `limit` are under way or not yet read. */
export async function* map(
  engine: Runner,
  inputs: Iterable<Tensors> | AsyncIterable<Tensors>,
  options: MapOptions,
  maxUnderWay: number,
): AsyncGenerator<SettledItem, void, undefined> {
  const { ordered = true, onError = "throw", concurrency = maxUnderWay, signal: given, ...rest } = options
  const iterator = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]()
  const tasks = new Set<Task>()
  const source: { state: "idle" | "asked" | "ended"; failure?: { thrown: unknown } } = { state: "idle" }
  let wake = () => {}
  let nextId = 0

  const begin = (feeds: Tensors) => {
    const task: Task = { id: nextId, leave: new AbortController(), item: undefined }
    nextId += 1
    tasks.add(task)
    const { id, leave } = task
    const finish = (item: SettledItem) => {
      task.item = item
      wake()
    }
    const signal = given === undefined ? leave.signal : AbortSignal.any([given, leave.signal])
    engine.run(feeds, { ...rest, signal }).then(
      outputs => { finish({ id, outputs, error: undefined }) },
      (error: SentinelError) => { finish({ id, outputs: undefined, error }) },
    )
  }
  const ask = async () => {
    source.state = "asked"
    try {
      const { done, value } = await iterator.next()
      source.state = done === true ? "ended" : "idle"
      if (done !== true) begin(value)
    } catch (thrown) {
      source.state = "ended"
      source.failure = { thrown }
    }
    wake()
  }

  try {
    for (;;) {
      const woken = new Promise<void>(resolve => { wake = resolve })
      if (source.failure !== undefined) throw source.failure.thrown
      const [first] = tasks
      const task = ordered ? first : [...tasks].find(({ item }) => item !== undefined)
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
    for (const { leave } of tasks) leave.abort()
    if (source.state !== "ended") await iterator.return?.()
  }
}
