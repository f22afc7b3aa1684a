import { InferenceSession, tools, type Placement, type ProgressListener, type Tensor } from "../host/index.js"

const SHOWN_CLASSES = 5
const SHOWN_VALUES = 12
/** Longer rows are maps or feature vectors, not classes. */
const MOST_CLASSES = 100_000
/** Repeated runs stop here, so that a slow device does not block the page. */
const REPEAT_BUDGET_MS = 3000

/** A model to load: a file of the page's own server or bytes, with the files that belong to it. */
export interface ModelSource {
  name: string
  model: string | Uint8Array
  externalData: { path: string; data: Blob }[]
}

/** A session, what it says of itself, and what loading took. */
export interface Loaded {
  name: string
  session: InferenceSession
  loadMs: number
}

/** One output: its best classes, or its first values. */
export interface OutputReport {
  name: string
  about: string
  classes?: { index: number; probability: number }[]
  values?: string
}

/** What a run gave and took. */
export interface RunReport {
  outputs: OutputReport[]
  placement: Placement[]
  firstMs: number
  medianMs: number
  runs: number
}

/** Loads a model for a provider, or for the engine's choice. */
export async function load(source: ModelSource, provider: string, onProgress: ProgressListener, signal: AbortSignal): Promise<Loaded> {
  const options: InferenceSession.SessionOptions = { onProgress, signal, externalData: source.externalData }
  if (provider !== "auto") options.executionProviders = [provider]
  const startedMs = performance.now()
  const { model } = source
  const session = typeof model === "string" ? await InferenceSession.create(model, options) : await InferenceSession.create(model, options)
  return { name: source.name, session, loadMs: performance.now() - startedMs }
}

/** Runs once for the answer, then up to `repeat` times for the median. */
export async function run({ session }: Loaded, feeds: Record<string, Tensor>, repeat: number): Promise<RunReport> {
  const startedMs = performance.now()
  const outputs = (await session.run(feeds)) as Record<string, Tensor>
  const firstMs = performance.now() - startedMs
  const laterMs: number[] = []
  const untilMs = performance.now() + REPEAT_BUDGET_MS
  while (laterMs.length < repeat && performance.now() + firstMs < untilMs) {
    const againMs = performance.now()
    await session.run(feeds)
    laterMs.push(performance.now() - againMs)
  }
  laterMs.sort((a, b) => a - b)
  const reports = await Promise.all(Object.entries(outputs).map(([name, tensor]) => describeOutput(name, tensor)))
  return {
    outputs: reports,
    placement: session.placement(),
    firstMs,
    medianMs: laterMs[laterMs.length >> 1] ?? firstMs,
    runs: Math.max(1, laterMs.length),
  }
}

/** The best classes of an output that is one row of scores, the first values of any other. */
export async function describeOutput(name: string, tensor: Tensor): Promise<OutputReport> {
  const about = `${tensor.type} [${tensor.dims.join(", ")}]`
  const classes = tensor.dims.at(-1) ?? 0
  const isRow = tensor.size === classes && classes > 1 && classes <= MOST_CLASSES
  if (isRow && tensor.type.startsWith("float")) return { name, about, classes: await tools.topClasses(tensor, SHOWN_CLASSES) }
  const values = Array.from(tensor.data.slice(0, SHOWN_VALUES) as ArrayLike<unknown>, shown).join("  ")
  return { name, about, values: tensor.size > SHOWN_VALUES ? `${values}  …` : values }
}

function shown(value: unknown): string {
  return typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(4) : String(value)
}
