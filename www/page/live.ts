import { BatchInferenceEngine, openCamera, openScreen, SentinelError, StreamingInferenceEngine, type BatchEngineOptions, type InferenceSession, type StreamEvent, type Tensor } from "../host/index.js"
import { describeOutput, type ModelSource } from "./bench.js"
import { openCanvas } from "./canvas.js"
import { madeUpFeeds, makeFeeds, pictureSpec, type PictureOptions } from "./inputs.js"
import { LiveView, TICK_MS } from "./liveview.js"
import { byId, milliseconds } from "./view.js"

type Feeds = Record<string, Tensor>
type Source = "batch" | "canvas" | "camera" | "screen"
type Policy = "latest" | "queue" | "drop-new"

/** What the rest of the page says about a run. */
export interface Choices {
  model(): ModelSource
  provider(): string
  labels(): readonly string[]
  picture(): PictureOptions
  /** The files that inputs are made from, in turn; none where they are made up. */
  inputs(): Promise<{ file: Blob; isArrays: boolean }[]>
  /** The pictures that the canvas moves. */
  sampleUrls: readonly string[]
}

const N_MADE_UP = 16

let working: AbortController | undefined

/** Makes the section of batches and streams work. */
export function wireLive(choices: Choices): void {
  const view = new LiveView()
  byId("live-choices").addEventListener("submit", event => {
    event.preventDefault()
    void work("batch", choices, view)
  })
  for (const button of document.querySelectorAll<HTMLButtonElement>("#live-buttons button[type=button][data-source]")) {
    button.addEventListener("click", () => {
      if (byId<HTMLFormElement>("live-choices").reportValidity()) void work(button.dataset["source"] as Source, choices, view)
    })
  }
  byId("live-stop").addEventListener("click", () => working?.abort())
}

/** Tells the section which model and which backend the rest of the page has. */
export function showChoices(choices: Choices): void {
  byId("live-model").textContent = choices.model().name
  byId("live-provider").textContent = choices.provider()
}

async function work(source: Source, choices: Choices, view: LiveView): Promise<void> {
  if (working !== undefined) return
  const abort = new AbortController()
  working = abort
  view.begin(`Reading ${choices.model().name}`)
  try {
    view.say(source === "batch" ? await runBatch(choices, view, abort.signal) : await runStream(source, choices, view, abort.signal))
  } catch (thrown) {
    if (abort.signal.aborted) view.say("Stopped")
    else view.fail(thrown instanceof SentinelError ? thrown.code : "INTERNAL", (thrown as Error).message)
  } finally {
    working = undefined
    view.end(source)
  }
}

function engineOptions(choices: Choices, signal: AbortSignal): BatchEngineOptions & { workers: number | "auto" } {
  const { model, externalData } = choices.model()
  const provider = choices.provider()
  const [batchSize, workers] = [value("live-batch-size"), value("live-workers")]
  return {
    model,
    externalData,
    signal,
    batchSize: batchSize === "auto" ? "auto" : Number(batchSize),
    workers: workers === "auto" ? "auto" : Number(workers),
    ...(provider === "auto" ? {} : { executionProviders: [provider] }),
  }
}

/** Runs as many inputs as are asked for; what came of it. */
async function runBatch(choices: Choices, view: LiveView, signal: AbortSignal): Promise<string> {
  const nInputs = byId<HTMLInputElement>("live-inputs").valueAsNumber
  const options = engineOptions(choices, signal)
  const engine = new BatchInferenceEngine(options)
  const latest = new Latest(choices, view)
  let timer: ReturnType<typeof setInterval> | undefined
  try {
    await engine.start()
    const distinct = await distinctInputs(engine.facts.inputMetadata, choices, Math.min(nInputs, N_MADE_UP))
    view.say(`Running ${nInputs} inputs`)
    const tick = () => {
      const statistics = engine.getStats()
      view.place(engine, statistics, options.workers !== 0, choices.provider())
      view.statistics(statistics)
      latest.show()
    }
    timer = setInterval(tick, TICK_MS)
    const startedMs = performance.now()
    let failed: SentinelError | undefined
    for await (const { outputs, error } of engine.map(taken(distinct, nInputs), { signal, onError: "yield" })) {
      if (outputs !== undefined) latest.outputs = outputs
      failed ??= error
    }
    const elapsedMs = performance.now() - startedMs
    tick()
    if (failed !== undefined) throw failed
    return `${engine.getStats().totalOutputs} of ${nInputs} in ${milliseconds(elapsedMs)}, ${((nInputs / elapsedMs) * 1000).toFixed(0)} per second`
  } finally {
    clearInterval(timer)
    await engine.stop()
  }
}

/** What the person chose as inputs, or made up ones, for a model that takes these. */
export async function distinctInputs(metadata: readonly InferenceSession.ValueMetadata[], choices: Choices, nMadeUp: number): Promise<Feeds[]> {
  const files = await choices.inputs()
  if (files.length === 0) return Array.from({ length: nMadeUp }, (_, seed) => madeUpFeeds(metadata, seed))
  return Promise.all(files.map(({ file, isArrays }) => makeFeeds(metadata, file, isArrays, choices.picture())))
}

/** `count` inputs, the distinct ones in turn. */
export function* taken(distinct: readonly Feeds[], count: number): Generator<Feeds> {
  for (let at = 0; at < count; at += 1) yield distinct[at % distinct.length] as Feeds
}

/** Streams until the source ends or the person stops it; what came of it. */
async function runStream(source: Exclude<Source, "batch">, choices: Choices, view: LiveView, signal: AbortSignal): Promise<string> {
  const options = engineOptions(choices, signal)
  const engine = new StreamingInferenceEngine(options)
  const latest = new Latest(choices, view)
  // First of all: browsers want to be asked for a camera or a screen in the turn of the click.
  const media = await opened(source, choices.sampleUrls)
  let timer: ReturnType<typeof setInterval> | undefined
  try {
    view.preview(media)
    await engine.start()
    const unheard = engine.on("stream", event => tellEvent(event, view))
    const { width = 0, height = 0 } = media.getVideoTracks()[0]?.getSettings() ?? {}
    const { name: input, spec } = pictureSpec(engine.facts.inputMetadata, { width, height }, choices.picture())
    await engine.startStream(source, media, outputs => { latest.outputs = outputs }, {
      policy: value("live-policy") as Policy,
      maxFps: byId<HTMLInputElement>("live-fps").valueAsNumber,
      preprocess: { ...spec, input },
      signal,
    })
    view.say(`Streaming the ${source}`)
    const tick = () => {
      const statistics = engine.getStats()
      const { streams, totalBatches, avgBatchSize, avgInferenceTime } = statistics
      const stream = streams[source]
      view.place(engine, statistics, options.workers !== 0, choices.provider())
      if (stream !== undefined) view.statistics({ ...stream, totalBatches, avgBatchSize, avgInferenceTime })
      latest.show()
    }
    timer = setInterval(tick, TICK_MS)
    await engine.finished(source)
    tick()
    unheard()
    const { totalOutputs = 0, totalDropped = 0 } = engine.getStats().streams[source] ?? {}
    return `The ${source} ${signal.aborted ? "was stopped" : "ended"}: ${totalOutputs} results, ${totalDropped} frames dropped`
  } finally {
    clearInterval(timer)
    await engine.stop()
    for (const track of media.getTracks()) track.stop()
  }
}

async function opened(source: Exclude<Source, "batch">, sampleUrls: readonly string[]): Promise<MediaStream> {
  switch (source) {
    case "canvas":
      return openCanvas(sampleUrls)
    case "camera":
      return (await openCamera({ width: { ideal: 640 } })) as MediaStream
    case "screen":
      return (await openScreen()) as MediaStream
  }
}

/** What goes wrong with single frames is shown, and the stream goes on. */
function tellEvent({ type, message, error }: StreamEvent, view: LiveView): void {
  if (type === "error" && error !== undefined) view.fail(error.code, error.message)
  else if (type !== "started" && type !== "ended" && type !== "stopped" && type !== "failed") view.say(message)
}

/** The newest outputs; ranking them takes a moment, so only what is shown is ranked. */
class Latest {
  outputs: Feeds | undefined
  readonly #choices: Choices
  readonly #view: LiveView

  constructor(choices: Choices, view: LiveView) {
    this.#choices = choices
    this.#view = view
  }

  show(): void {
    const { outputs } = this
    this.outputs = undefined
    if (outputs !== undefined) void this.#describe(outputs)
  }

  async #describe(outputs: Feeds): Promise<void> {
    const reports = await Promise.all(Object.entries(outputs).map(([name, tensor]) => describeOutput(name, tensor)))
    this.#view.outputs(reports, this.#choices.labels())
  }
}

function value(id: string): string {
  return byId<HTMLSelectElement>(id).value
}
