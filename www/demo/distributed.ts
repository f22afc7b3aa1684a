import { basename } from "node:path"
import { milliseconds, printable, table, type Paint } from "../cli/terminal.js"
import { DistributedInferenceEngine, type DistributedEngineOptions, type DistributedStatistics, type InferenceSession } from "../host/index.js"
import { showHistogram, showStatistics } from "./statistics.js"
import type { Subject } from "./subject.js"
import { startWorkers, type LocalWorkers } from "./workers.js"

/** What came of a run on several workers. */
export interface DistributedReport {
  mode: "distributed"
  model: string
  inputs: string
  /** The workers were started by this run. */
  isOwn: boolean
  startMs: number
  elapsedMs: number
  statistics: DistributedStatistics
  /** Inputs that were answered with an error, and the first of them. */
  failures: { count: number; first: { id: string; code: string; message: string } | undefined }
  /** Of the answers whose truth is known. */
  right: number | undefined
  /** What happened to workers. */
  events: string[]
}

interface DistributedRun {
  workerUrls: readonly string[]
  token: string | undefined
  /** The worker's program, for runs that start their own. */
  binary: string
  nInputs: number
  engine: Omit<DistributedEngineOptions, "model" | "workers">
  /** What the model takes. */
  metadata: readonly InferenceSession.ValueMetadata[]
  progress(share: number, text: string): void
}

const N_OWN_WORKERS = 2
const MAX_EVENTS = 100

/** Sends `nInputs` inputs to workers, each answered by callback. */
export async function runDistributed(subject: Subject, run: DistributedRun): Promise<DistributedReport> {
  const { workerUrls, token, nInputs, metadata, progress } = run
  const own = workerUrls.length === 0 ? await startWorkers(run.binary, N_OWN_WORKERS, modelName(subject), subject.path) : undefined
  try {
    const urls = own?.urls ?? workerUrls
    const startedMs = performance.now()
    const engine = new DistributedInferenceEngine({
      ...run.engine,
      model: subject.path,
      modelName: modelName(subject),
      uploadModel: true,
      workers: urls.map(url => (token === undefined ? url : { url, token })),
    })
    const events: string[] = []
    engine.on("worker", ({ url, state, reason }) => {
      if (events.length < MAX_EVENTS) events.push(`${url} ${state}${reason === "" ? "" : `: ${reason}`}`)
    })
    try {
      await engine.start()
      const startMs = performance.now() - startedMs
      const inputs = []
      for (let at = 0; at < Math.min(nInputs, subject.nDistinct); at += 1) inputs.push(await subject.input(at, metadata))
      const begunMs = performance.now()
      const failures: DistributedReport["failures"] = { count: 0, first: undefined }
      const checks: Promise<boolean>[] = []
      let nAnswered = 0
      for (let at = 0; at < nInputs; at += 1) {
        await engine.ready()
        engine.addInput(`input_${at}`, inputs[at % inputs.length] ?? {}, (id, outputs, error) => {
          nAnswered += 1
          if (outputs !== undefined && subject.isRight !== undefined) checks.push(subject.isRight(outputs, at))
          if (error !== undefined) {
            failures.count += 1
            failures.first ??= { id, code: error.code, message: error.message }
          }
          progress(nAnswered / nInputs, `${nAnswered} of ${nInputs}`)
        })
      }
      await engine.drain()
      const elapsedMs = performance.now() - begunMs
      const right = (await Promise.all(checks)).filter(Boolean).length
      return {
        mode: "distributed",
        model: subject.name,
        inputs: subject.about,
        isOwn: own !== undefined,
        startMs,
        elapsedMs,
        statistics: engine.getStats(),
        failures,
        right: subject.isRight === undefined ? undefined : right,
        events,
      }
    } finally {
      await engine.stop()
    }
  } finally {
    await own?.stop()
  }
}

/** The file's name without what a name of a model cannot have. */
function modelName({ path }: Subject): string {
  return basename(path).replace(/\.onnx$/i, "").replace(/[^A-Za-z0-9_.-]/g, "_")
}

/** The report for people. */
export function showDistributed(report: DistributedReport, paint: Paint): string {
  const { model, inputs, isOwn, startMs, elapsedMs, statistics, failures, right, events } = report
  const { totalInputs, totalOutputs, workers, histogram } = statistics
  const rows = workers.map(({ url, state, provider, done, failed, retried, p50Latency, p95Latency }) => [
    printable(url),
    state,
    printable(provider),
    `${done} done`,
    failed === 0 ? "" : `${failed} failed`,
    retried === 0 ? "" : `${retried} retried`,
    `p50 ${milliseconds(p50Latency)}`,
    `p95 ${milliseconds(p95Latency)}`,
  ])
  const failed = failures.first === undefined ? [] : [paint.bad(`  ${failures.count} failed; ${failures.first.id}: ${failures.first.code}: ${printable(failures.first.message)}`)]
  return [
    `${paint.bold(model)}  ${paint.dim(printable(inputs))}`,
    `  ${isOwn ? `${workers.length} workers started on this machine` : `${workers.length} workers`}`,
    "",
    table(rows, [{ style: paint.accent }, {}, { style: paint.dim }, { align: "right" }, {}, {}, {}, {}]),
    "",
    `  ${totalOutputs} of ${totalInputs} in ${milliseconds(elapsedMs)}, ${((totalOutputs / elapsedMs) * 1000).toFixed(0)} per second ${paint.dim(`(start ${milliseconds(startMs)})`)}`,
    ...(right === undefined ? [] : [`  ${(right === totalInputs ? paint.good : paint.bad)(`${right} of ${totalInputs} right`)}`]),
    ...failed,
    ...events.map(event => paint.dim(`  ${printable(event)}`)),
    "",
    showStatistics(statistics, paint),
    "",
    showHistogram(histogram, paint),
    "",
  ].join("\n")
}
