import { InferenceSession, SentinelError, type Tensor } from "../host/index.js"
import type { Step } from "./part.js"
import { placeOf } from "./place.js"

/** Extra runs stop here, so that a slow device does not hold up the demo. */
const REPEAT_BUDGET_MS = 1500

/** What one model took. */
export interface Timing {
  loadMs: number
  firstMs: number
  /** Of `runs` runs, the first left out where there are others. */
  medianMs: number
  runs: number
}

/** A model with what it took so far. */
export interface Measured {
  readonly backend: string
  /** Why that one, when the whole model runs there for one reason. */
  readonly reason: string
  readonly timing: Timing
  readonly inputMetadata: readonly InferenceSession.ValueMetadata[]
  readonly nNodes: number
  run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>
  release(): Promise<void>
}

/** Loads a model; its first `run` is repeated to find out what a run takes. */
export async function measured(path: string, options: InferenceSession.SessionOptions, repeat: number): Promise<Measured> {
  const startedMs = performance.now()
  const session = await InferenceSession.create(path, options)
  const timing: Timing = { loadMs: performance.now() - startedMs, firstMs: 0, medianMs: 0, runs: 0 }
  return {
    timing,
    inputMetadata: session.inputMetadata,
    get nNodes() {
      return session.placement().length
    },
    get backend() {
      return placeOf(session.placement()).backend
    },
    get reason() {
      return placeOf(session.placement()).reason
    },
    async run(feeds) {
      const { outputs, ms } = await timedRun(session, feeds)
      if (timing.runs === 0) Object.assign(timing, await repeated(session, feeds, repeat, ms))
      return outputs
    },
    release: () => session.release(),
  }
}

/** The only output of a model that has one. */
export function onlyOutput(outputs: Record<string, Tensor>): Tensor {
  const [tensor] = Object.values(outputs)
  if (tensor === undefined) throw new SentinelError("INTERNAL", "a model without outputs")
  return tensor
}

/** The name and the figures of a model for the report. */
export function stepOf(name: string, { backend, reason, timing }: Measured): Step {
  return { name, backend, reason, ...timing }
}

async function timedRun(session: InferenceSession, feeds: Record<string, Tensor>) {
  const startedMs = performance.now()
  const outputs = (await session.run(feeds)) as Record<string, Tensor>
  return { outputs, ms: performance.now() - startedMs }
}

async function repeated(session: InferenceSession, feeds: Record<string, Tensor>, repeat: number, firstMs: number): Promise<Partial<Timing>> {
  const laterMs: number[] = []
  const untilMs = performance.now() + REPEAT_BUDGET_MS
  while (laterMs.length < repeat && performance.now() + firstMs < untilMs) laterMs.push((await timedRun(session, feeds)).ms)
  return { firstMs, medianMs: median(laterMs) ?? firstMs, runs: Math.max(1, laterMs.length) }
}

function median(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[values.length >> 1]
}
