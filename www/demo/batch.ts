import { BatchInferenceEngine, type BatchEngineOptions, type BatchStatistics } from "../host/index.js"
import { milliseconds, printable, type Paint } from "../cli/terminal.js"
import { placeName, placeOf } from "./place.js"
import { showHistogram, showStatistics } from "./statistics.js"
import type { Feeds, Subject } from "./subject.js"

/** What came of a run in batches. */
export interface BatchReport {
  mode: "batch" | "async"
  model: string
  inputs: string
  /** None is the calling thread. */
  nWorkers: number
  backend: string
  reason: string
  /** How inputs are joined, or why they run alone. */
  joining: { mode: string; reason: string }
  startMs: number
  elapsedMs: number
  statistics: BatchStatistics
  /** Inputs that were answered with an error, and the first of them. */
  failures: { count: number; first: { id: string; code: string; message: string } | undefined }
  /** Of the answers whose truth is known. */
  right: number | undefined
}

/** One answer: outputs, or why there are none. */
interface Answer {
  at: number
  outputs: Feeds | undefined
  error: { code: string; message: string } | undefined
}

interface BatchOptions {
  mode: "batch" | "async"
  nInputs: number
  engine: Omit<BatchEngineOptions, "model">
  progress(share: number, text: string): void
}

/** Sends `nInputs` inputs through an engine; answers come by callback, or are awaited in their order. */
export async function runBatches(subject: Subject, { mode, nInputs, engine: options, progress }: BatchOptions): Promise<BatchReport> {
  const startedMs = performance.now()
  const engine = new BatchInferenceEngine({ ...options, model: subject.path })
  try {
    await engine.start()
    const startMs = performance.now() - startedMs
    const { inputMetadata } = engine.facts
    for (let at = 0; at < Math.min(nInputs, subject.nDistinct); at += 1) await subject.input(at, inputMetadata)
    const begunMs = performance.now()
    const failures: BatchReport["failures"] = { count: 0, first: undefined }
    let [nAnswered, nRight] = [0, 0]
    let checks = Promise.resolve()
    const check = async (outputs: Feeds, at: number) => {
      if ((await subject.isRight?.(outputs, at)) === true) nRight += 1
    }
    await (mode === "batch" ? callBack : iterate)(engine, subject, nInputs, ({ at, outputs, error }) => {
      nAnswered += 1
      if (outputs !== undefined) checks = checks.then(() => check(outputs, at))
      if (error !== undefined) {
        failures.count += 1
        failures.first ??= { id: `input_${at}`, code: error.code, message: error.message }
      }
      progress(nAnswered / nInputs, `${nAnswered} of ${nInputs}`)
    })
    const elapsedMs = performance.now() - begunMs
    await checks
    return {
      mode,
      model: subject.name,
      inputs: subject.about,
      nWorkers: options.workers === 0 ? 0 : engine.getStats().workers.length,
      ...placeOf(engine.placement()),
      joining: { mode: engine.joining.mode, reason: engine.joining.reason },
      startMs,
      elapsedMs,
      statistics: engine.getStats(),
      failures,
      right: subject.isRight === undefined ? undefined : nRight,
    }
  } finally {
    await engine.stop()
  }
}

type Take = (answer: Answer) => void

async function callBack(engine: BatchInferenceEngine, subject: Subject, nInputs: number, take: Take): Promise<void> {
  for (let at = 0; at < nInputs; at += 1) {
    const feeds = await subject.input(at, engine.facts.inputMetadata)
    await engine.ready()
    engine.addInput(`input_${at}`, feeds, (_, outputs, error) => take({ at, outputs, error }))
  }
  await engine.drain()
}

async function iterate(engine: BatchInferenceEngine, subject: Subject, nInputs: number, take: Take): Promise<void> {
  const inputs = async function* () {
    for (let at = 0; at < nInputs; at += 1) yield subject.input(at, engine.facts.inputMetadata)
  }
  for await (const { id, outputs, error } of engine.map(inputs(), { onError: "yield" })) take({ at: id, outputs, error })
}

/** The report for people. */
export function showBatches(report: BatchReport, paint: Paint): string {
  const { model, inputs, nWorkers, backend, reason, joining, startMs, elapsedMs, statistics, failures, right } = report
  const { totalInputs, totalOutputs, histogram } = statistics
  const joined = joining.mode === "alone" ? `one by one: ${joining.reason}` : statistics.batchSize === 1 ? "one by one" : `in batches of up to ${statistics.batchSize}`
  const failed = failures.first === undefined ? [] : [paint.bad(`  ${failures.count} failed; ${failures.first.id}: ${failures.first.code}: ${printable(failures.first.message)}`)]
  return [
    `${paint.bold(model)}  ${paint.dim(printable(inputs))}`,
    `  ${paint.accent(backend)} on ${placeName(nWorkers)}, ${printable(joined)}`,
    ...(reason === "" ? [] : [paint.dim(`  ${backend}: ${printable(reason)}`)]),
    "",
    `  ${totalOutputs} of ${totalInputs} in ${milliseconds(elapsedMs)}, ${perSecond(totalOutputs, elapsedMs)} ${paint.dim(`(start ${milliseconds(startMs)})`)}`,
    ...(right === undefined ? [] : [`  ${(right === totalInputs ? paint.good : paint.bad)(`${right} of ${totalInputs} right`)}`]),
    ...failed,
    "",
    showStatistics(statistics, paint),
    "",
    showHistogram(histogram, paint),
    "",
  ].join("\n")
}

function perSecond(count: number, elapsedMs: number): string {
  return `${((count / elapsedMs) * 1000).toFixed(0)} per second`
}
