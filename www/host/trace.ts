import platform from "#platform"
import type { Instance } from "./instance.js"
import { currentSettings } from "./settings.js"
import type { EngineModule, NodeTime } from "./wasm.js"

/** The debug switches in force: those of `init({ debug })`, else those of the environment. */
function debugSwitches(): string {
  return currentSettings().debug ?? platform.debug ?? ""
}

/** Lets the engine tell on the console what the switches ask for. */
export function applyDebug(engine: Instance<EngineModule>): void {
  engine.use(module => module.setDebug(debugSwitches(), (name, text) => console.warn(`sentinel ${name}:\n${text.trimEnd()}`)))
}

/** Runs `work`; with the debug switch `time`, says on the console how long it took. */
export async function timed<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
  if (!debugSwitches().split(",").includes("time")) return work()
  const startedMs = performance.now()
  try {
    return await work()
  } finally {
    console.warn(`sentinel time: ${what} ${(performance.now() - startedMs).toFixed(1)} ms`)
  }
}

/** An event in the trace format of Chromium: what began when and took how long, in microseconds. */
export interface TraceEvent {
  name: string
  cat: string
  ph: "X" | "M"
  ts: number
  dur?: number
  pid: number
  tid: number
  args?: Record<string, unknown>
}

/** A file for `chrome://tracing` and Perfetto. */
export interface Trace {
  traceEvents: TraceEvent[]
  displayTimeUnit: "ms"
}

const HOST_THREAD = 1
const GPU_THREAD = 2

/** Gathers what a session does, until it is asked for. */
export class Profile {
  readonly #events: TraceEvent[] = []

  async timed<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    const startedMs = performance.now()
    try {
      return await work()
    } finally {
      this.#add({ name, cat: "host", tid: HOST_THREAD }, startedMs, performance.now() - startedMs)
    }
  }

  /** The device tells how long each launch took, not when: they stand one after the other. */
  launches(startedMs: number, times: readonly NodeTime[]): void {
    let atMs = startedMs
    for (const { node, op, kernel, ms } of times) {
      this.#add({ name: node === "" ? op : node, cat: "gpu", tid: GPU_THREAD, args: { op, kernel } }, atMs, ms)
      atMs += ms
    }
  }

  trace(): Trace {
    const thread = (tid: number, name: string): TraceEvent => ({ name: "thread_name", cat: "", ph: "M", ts: 0, pid: 1, tid, args: { name } })
    return { traceEvents: [thread(HOST_THREAD, "host"), thread(GPU_THREAD, "GPU"), ...this.#events], displayTimeUnit: "ms" }
  }

  #add(event: Pick<TraceEvent, "name" | "cat" | "tid" | "args">, startedMs: number, elapsedMs: number): void {
    this.#events.push({ ...event, ph: "X", pid: 1, ts: startedMs * 1000, dur: elapsedMs * 1000 })
  }
}
