import { devices, init, SentinelError, type Placement } from "../host/index.js"
import { load, run, type Loaded, type ModelSource } from "./bench.js"
import { makeFeeds, type Normalisation, type PictureOptions } from "./inputs.js"
import { showChoices, wireLive, type Choices } from "./live.js"
import { showWorkersModel, wireWorkers } from "./workers.js"
import { byId, clearResults, hideError, hideFacts, hideProgress, showError, showFacts, showPlacement, showProgress, showRun } from "./view.js"

const DIGITS: ModelSource = { name: "digits.onnx", model: new URL("samples/digits.onnx", location.href).href, externalData: [] }
const SAMPLE_DIGIT = 3
/** Smaller pictures are shown with their pixels. */
const SMALL_PIXELS = 64

/** What the person chose. */
const chosen: {
  model: ModelSource | undefined
  input: { name: string; file: Blob; isArrays: boolean; isSample: boolean } | undefined
  labels: string[]
} = { model: undefined, input: undefined, labels: [] }

/** What the section of batches and streams goes by. */
const choices: Choices = {
  model: () => chosen.model ?? DIGITS,
  provider,
  labels: () => chosen.labels,
  picture: pictureOptions,
  sampleUrls: Array.from({ length: 10 }, (_, digit) => sampleUrl(digit)),
  async inputs() {
    const { model = DIGITS, input } = chosen
    if (model !== DIGITS || input?.isSample === false) return input === undefined ? [] : [input]
    return Promise.all(Array.from({ length: 10 }, async (_, digit) => ({ file: await fetchSample(digit), isArrays: false })))
  },
}

/** Tells the other sections what is chosen. */
function showEverywhere(): void {
  showChoices(choices)
  showWorkersModel(choices)
}

let loaded: Loaded | undefined
let placement: Placement[] = []
let working: { abort: AbortController; done: Promise<void> } | undefined

/** Stops what is being done, then loads the chosen model if it has changed, and runs it if there is an input. */
async function refresh({ reload }: { reload: boolean }): Promise<void> {
  const former = working
  former?.abort.abort()
  const abort = new AbortController()
  const done = (former?.done ?? Promise.resolve()).then(() => work(reload, abort.signal))
  working = { abort, done }
  await done
}

async function work(reload: boolean, signal: AbortSignal): Promise<void> {
  if (signal.aborted && !reload) return
  hideError()
  try {
    if (reload) await drop()
    if (signal.aborted) return
    if (loaded === undefined && chosen.model !== undefined) await loadModel(chosen.model, signal)
    if (loaded !== undefined && chosen.input !== undefined && !signal.aborted) await runModel(loaded, chosen.input)
  } catch (thrown) {
    if (!signal.aborted) showThrown(thrown)
  } finally {
    hideProgress()
    byId<HTMLButtonElement>("run").disabled = chosen.model === undefined || chosen.input === undefined
  }
}

async function drop(): Promise<void> {
  const former = loaded
  loaded = undefined
  clearResults()
  hideFacts()
  await former?.session.release()
}

async function loadModel(source: ModelSource, signal: AbortSignal): Promise<void> {
  showProgress(`Reading ${source.name}`)
  await painted()
  const onProgress = ({ loadedBytes, totalBytes }: { loadedBytes: number; totalBytes: number | undefined }) => {
    const isWhole = loadedBytes === totalBytes
    if (isWhole) showProgress(`Compiling ${source.name}`)
    else showProgress(`Downloading ${source.name}: ${megabytes(loadedBytes)}`, totalBytes === undefined ? undefined : loadedBytes / totalBytes)
  }
  if (typeof source.model !== "string") showProgress(`Compiling ${source.name}`)
  loaded = await load(source, provider(), onProgress, signal)
  placement = loaded.session.placement()
  showFacts(loaded, placement)
  refreshPlacement()
}

async function runModel(model: Loaded, { name, file, isArrays }: NonNullable<typeof chosen.input>): Promise<void> {
  showProgress(`Running ${model.name} on ${name}`)
  await painted()
  const repeat = byId<HTMLInputElement>("repeat").valueAsNumber
  const feeds = await makeFeeds(model.session.inputMetadata, file, isArrays, pictureOptions())
  const report = await run(model, feeds, Number.isInteger(repeat) ? Math.min(100, Math.max(1, repeat)) : 1)
  placement = report.placement
  showFacts(model, placement)
  showRun(report, model.loadMs, chosen.labels)
  refreshPlacement()
}

/** Runs what a person asked for; what goes wrong before the model is run is shown as well. */
async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action()
  } catch (thrown) {
    showThrown(thrown)
  }
}

function showThrown(thrown: unknown): void {
  showError(thrown instanceof SentinelError ? thrown.code : "INTERNAL", (thrown as Error).message)
}

/** Takes files of any kind: their names say what they are. */
async function take(files: readonly File[]): Promise<void> {
  const ofKind = (pattern: RegExp) => files.filter(({ name }) => pattern.test(name))
  const [model] = ofKind(/\.(onnx|ort)$/i)
  const [input] = ofKind(/\.(png|jpe?g|bmp|gif|webp|npz)$/i)
  const [labels] = ofKind(/\.(txt|json)$/i)
  const rest = files.filter(file => file !== model && file !== input && file !== labels)
  if (model !== undefined) {
    chooseModel({
      name: model.name,
      model: new Uint8Array(await model.arrayBuffer()),
      externalData: rest.map(file => ({ path: file.name, data: file })),
    })
  }
  if (input !== undefined) chooseInput(input.name, input)
  if (labels !== undefined) await chooseLabels(labels)
  if (model === undefined && input === undefined && labels === undefined) {
    const names = files.map(({ name }) => name).join(", ")
    throw new SentinelError("INVALID_INPUT", `${names}: expected a model (.onnx), a picture (.png, .jpg, .bmp, .gif, .webp), arrays (.npz) or class names (.txt)`)
  }
  await refresh({ reload: model !== undefined })
}

function chooseModel(source: ModelSource): void {
  chosen.model = source
  showEverywhere()
  byId("model-name").textContent = source.name
}

function chooseInput(name: string, file: Blob, sample?: number): void {
  const isArrays = /\.npz$/i.test(name)
  chosen.input = { name, file, isArrays, isSample: sample !== undefined }
  byId("input-name").textContent = name
  const preview = byId<HTMLImageElement>("preview")
  URL.revokeObjectURL(preview.src)
  preview.hidden = isArrays
  preview.alt = isArrays ? "" : `The chosen picture, ${name}`
  if (!isArrays) preview.src = URL.createObjectURL(file)
  for (const [digit, button] of [...byId("samples").children].entries()) button.ariaPressed = String(digit === sample)
}

async function chooseLabels(file: File): Promise<void> {
  const text = await file.text()
  chosen.labels = readLabels(file.name, text)
  byId("labels-name").textContent = `${file.name}: ${chosen.labels.length} names`
}

function readLabels(name: string, text: string): string[] {
  if (!/\.json$/i.test(name)) return text.trimEnd().split(/\r?\n/)
  try {
    const value: unknown = JSON.parse(text)
    if (Array.isArray(value)) return value.map(String)
  } catch {
    // The error below says what is expected.
  }
  throw new SentinelError("INVALID_INPUT", `${name}: expected a JSON array of class names`)
}

async function chooseSample(digit: number): Promise<void> {
  chooseInput(`digit_${digit}.png`, await fetchSample(digit), digit)
}

async function fetchSample(digit: number): Promise<Blob> {
  const response = await fetch(sampleUrl(digit))
  if (!response.ok) throw new SentinelError("IO", `digit_${digit}.png: the server answered ${response.status}`)
  return response.blob()
}

function sampleUrl(digit: number): string {
  return new URL(`samples/digit_${digit}.png`, location.href).href
}
function provider(): string {
  return new FormData(byId<HTMLFormElement>("choices")).get("provider") as string
}

function pictureOptions(): PictureOptions {
  const value = (id: string) => byId<HTMLSelectElement>(id).value
  return {
    normalisation: value("normalisation") as Normalisation,
    fit: value("fit") as PictureOptions["fit"],
    colorOrder: value("colors") as PictureOptions["colorOrder"],
  }
}

function refreshPlacement(): void {
  showPlacement(placement, byId<HTMLInputElement>("placement-filter").value)
}

/** Lets the browser show what changed before the main thread is busy. */
function painted(): Promise<void> {
  return new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

function wireFiles(): void {
  for (const id of ["model-file", "input-file", "labels-file"]) {
    const input = byId<HTMLInputElement>(id)
    input.addEventListener("change", () => {
      const files = [...(input.files ?? [])]
      // The same file may be chosen again after it has changed.
      if (id !== "labels-file") input.value = ""
      void attempt(() => take(files))
    })
  }
  let depth = 0
  const overlay = byId("drop")
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") === true
  addEventListener("dragenter", event => {
    if (!hasFiles(event)) return
    depth += 1
    overlay.hidden = false
  })
  addEventListener("dragleave", event => {
    if (!hasFiles(event)) return
    depth -= 1
    overlay.hidden = depth <= 0
  })
  addEventListener("dragover", event => event.preventDefault())
  addEventListener("drop", event => {
    event.preventDefault()
    depth = 0
    overlay.hidden = true
    const files = [...(event.dataTransfer?.files ?? [])]
    if (files.length > 0) void attempt(() => take(files))
  })
}

function wireChoices(): void {
  byId("choices").addEventListener("submit", event => {
    event.preventDefault()
    void refresh({ reload: loaded === undefined })
  })
  for (const radio of document.querySelectorAll("input[name=provider]")) {
    radio.addEventListener("change", () => {
      showEverywhere()
      void refresh({ reload: true })
    })
  }
  for (const id of ["normalisation", "fit", "colors"]) byId(id).addEventListener("change", () => void refresh({ reload: false }))
  byId("placement-filter").addEventListener("input", refreshPlacement)
  byId("model-sample").addEventListener("click", () => {
    chooseModel(DIGITS)
    void refresh({ reload: true })
  })
  const tryDigits = async () => {
    chooseModel(DIGITS)
    await chooseSample(SAMPLE_DIGIT)
    await refresh({ reload: true })
  }
  byId("try").addEventListener("click", () => void attempt(tryDigits))
  byId<HTMLImageElement>("preview").addEventListener("load", event => {
    const image = event.currentTarget as HTMLImageElement
    image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL_PIXELS)
  })
}

function wireSamples(): void {
  const buttons = Array.from({ length: 10 }, (_, digit) => {
    const button = document.createElement("button")
    const picture = document.createElement("img")
    button.type = "button"
    button.ariaPressed = "false"
    picture.src = sampleUrl(digit)
    picture.alt = `The digit ${digit}`
    button.append(picture)
    const use = async () => {
      await chooseSample(digit)
      await refresh({ reload: false })
    }
    button.addEventListener("click", () => void attempt(use))
    return button
  })
  byId("samples").append(...buttons)
}

async function describeDevice(): Promise<void> {
  const gpu = (await devices()).find(({ backend }) => backend === "webgpu")
  const chip = byId("device")
  chip.classList.toggle("ready", gpu?.available === true)
  const kind = gpu?.available === true ? (gpu.software ? "WebGPU in software: " : "WebGPU: ") : ""
  chip.textContent = `${kind}${gpu?.description ?? "no WebGPU"}`
}

wireFiles()
wireChoices()
wireSamples()
wireLive(choices)
wireWorkers(choices)
const debug = new URLSearchParams(location.search).get("debug")
await attempt(async () => {
  await init(debug === null ? {} : { debug })
  await describeDevice()
})
