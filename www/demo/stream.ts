import { milliseconds, printable, type Paint } from "../cli/terminal.js"
import { StreamingInferenceEngine, type BatchEngineOptions, type Statistics, type StreamStatistics } from "../host/index.js"
import { placeOf, placeName } from "./place.js"
import type { Policy } from "./options.js"
import { showHistogram, showStatistics } from "./statistics.js"
import type { Feeds, Subject } from "./subject.js"

const NAME = "demo"
const TICK_MS = 100

/** What came of a stream. */
export interface StreamReport {
  mode: "stream"
  model: string
  inputs: string
  /** None is the calling thread. */
  nWorkers: number
  backend: string
  reason: string
  startMs: number
  elapsedMs: number
  statistics: Figures
  /** Inputs that were answered with an error, and the first of them. */
  failures: { count: number; first: { code: string; message: string } | undefined }
  /** Of the answers whose truth is known. */
  right: number | undefined
  /** What the answers say, where the model is one that the demo knows. */
  finding: string | undefined
}

/** Of the stream, and of the batches that its inputs were in. */
type Figures = Statistics & Pick<StreamStatistics, "state" | "fps">

interface StreamRun {
  durationS: number
  fps: number
  policy: Policy | undefined
  engine: Omit<BatchEngineOptions, "model">
  progress(share: number, text: string): void
}

/** Streams a model's inputs for some seconds, or until Ctrl-C. */
export async function runStream(subject: Subject, { durationS, fps, policy, engine: options, progress }: StreamRun): Promise<StreamReport> {
  const startedMs = performance.now()
  const { live } = subject
  const engine = new StreamingInferenceEngine({ ...options, ...(live === undefined ? {} : { constants: live.constants }), model: subject.path })
  const failures: StreamReport["failures"] = { count: 0, first: undefined }
  engine.on("stream", ({ type, message, error }) => {
    if (type !== "error" && type !== "failed") return
    failures.count += 1
    failures.first ??= { code: error?.code ?? "INTERNAL", message: error?.message ?? message }
  })
  try {
    await engine.start()
    const { inputMetadata } = engine.facts
    const startMs = performance.now() - startedMs
    for (let at = 0; at < subject.nDistinct; at += 1) await subject.input(at, inputMetadata)
    const begunMs = performance.now()
    let nRight = 0
    const handle = async (outputs: Feeds, { id }: { id: number }) => {
      live?.hear(outputs)
      if ((await subject.isRight?.(outputs, id)) === true) nRight += 1
    }
    const chosen = policy === undefined ? {} : { policy }
    if (live === undefined) await engine.startStream(NAME, polled(subject, inputMetadata), handle, { maxFps: fps, ...chosen })
    else await engine.startStream(NAME, live.source(), handle, { ...live.options, ...chosen })
    await watched(engine, durationS * 1000, elapsedMs => {
      const { totalOutputs, fps: now, queueDepth } = engine.getStats().streams[NAME] as StreamStatistics
      progress(elapsedMs / (durationS * 1000), `${totalOutputs} results, ${now.toFixed(1)} per second, ${queueDepth} waiting${live === undefined ? "" : `  ${live.sign()}`}`)
    })
    await engine.stopStream(NAME)
    return {
      mode: "stream",
      model: subject.name,
      inputs: live?.about ?? subject.about,
      nWorkers: options.workers === 0 ? 0 : engine.getStats().workers.length,
      ...placeOf(engine.placement()),
      startMs,
      elapsedMs: performance.now() - begunMs,
      statistics: figuresOf(engine),
      failures,
      right: subject.isRight === undefined ? undefined : nRight,
      finding: live?.finding(),
    }
  } finally {
    await engine.stop()
  }
}

function polled(subject: Subject, metadata: Parameters<Subject["input"]>[1]): () => Promise<Feeds> {
  let at = -1
  return () => subject.input((at += 1), metadata)
}

/** Waits until the time is over, the stream is, or the person presses Ctrl-C; an end by an error is told by its event. */
async function watched(engine: StreamingInferenceEngine, durationMs: number, tick: (elapsedMs: number) => void): Promise<void> {
  const begunMs = performance.now()
  const timer = setInterval(() => tick(performance.now() - begunMs), TICK_MS)
  let stop = () => {}
  const stopped = new Promise<void>(resolve => { stop = resolve })
  const timeout = setTimeout(stop, durationMs)
  process.once("SIGINT", stop)
  try {
    await Promise.race([stopped, engine.finished(NAME).catch(() => undefined)])
  } finally {
    process.off("SIGINT", stop)
    clearTimeout(timeout)
    clearInterval(timer)
  }
}

function figuresOf(engine: StreamingInferenceEngine): Figures {
  const { streams, totalBatches, avgBatchSize, avgInferenceTime, localInputs, remoteInputs } = engine.getStats()
  const { lastError: _, ...stream } = streams[NAME] as StreamStatistics
  return { ...stream, totalBatches, avgBatchSize, avgInferenceTime, localInputs, remoteInputs }
}

/** The report for people. */
export function showStream({ model, inputs, nWorkers, backend, reason, startMs, elapsedMs, statistics, failures, right, finding }: StreamReport, paint: Paint): string {
  const { totalInputs, totalOutputs, totalDropped, histogram, ...figures } = statistics
  const { count, first } = failures
  return [
    `${paint.bold(model)}  ${paint.dim(printable(inputs))}`,
    `  ${paint.accent(backend)} on ${placeName(nWorkers)}`,
    ...(reason === "" ? [] : [paint.dim(`  ${backend}: ${printable(reason)}`)]),
    "",
    `  ${totalOutputs} results of ${totalInputs} inputs in ${(elapsedMs / 1000).toFixed(1)} s, ${totalDropped} dropped ${paint.dim(`(start ${milliseconds(startMs)})`)}`,
    ...(right === undefined ? [] : [`  ${(right === totalOutputs ? paint.good : paint.bad)(`${right} of ${totalOutputs} right`)}`]),
    ...(finding === undefined ? [] : [`  ${paint.good(finding)}`]),
    ...(first === undefined ? [] : [paint.bad(`  ${count} failed; the first: ${first.code}: ${printable(first.message)}`)]),
    "",
    showStatistics({ totalInputs, totalOutputs, totalDropped, ...figures }, paint),
    "",
    showHistogram(histogram, paint),
    "",
  ].join("\n")
}
