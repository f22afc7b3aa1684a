import platform from "#platform"
import makeEngine from "../generated/engine.js"
import makeScheduler from "../generated/scheduler.js"
import makeTools from "../generated/tools.js"
import makeWonnx from "../generated/wonnx.js"
import { SentinelError, toSentinelError } from "./errors.js"
import { Instance, type Glue, type GlueHooks } from "./instance.js"
import type { BackendName } from "./providers.js"

/** A tensor on its way in or out of WebAssembly: raw little-endian bytes in row-major order, or strings. */
export interface TensorData {
  type: string
  dims: number[]
  data: Uint8Array | string[]
}

/** A tensor on its way into the engine, in a buffer of the session's device. */
export interface GpuBufferData {
  type: string
  dims: number[]
  gpuBuffer: unknown
}

/** A tensor on its way out of the engine, in a buffer of its own. */
export interface GpuTensorData {
  type: string
  dims: number[]
  gpuTensor: GpuTensor
}

export type Feed = TensorData | GpuBufferData
export type Output = TensorData | GpuTensorData

/** What a model declares about an input or output; a string is the name of a free dimension. */
export interface ValueInfo {
  name: string
  type: string
  shape: (number | string)[]
}

/** What the host found out about the WebGPU adapter before any device is made. */
export interface AdapterFacts {
  present: boolean
  /** It computes on the CPU (SwiftShader, llvmpipe, WARP): correct, and slower than the `cpu` backend. */
  software: boolean
  description: string
  /** Those of WebGPU's optional features that the engine uses. */
  features?: string[]
  /** Those of WebGPU's limits that decide what fits. */
  limits?: Record<string, number>
}

/** Where one node of the model runs, and why there. */
export interface Placement {
  node: string
  op: string
  backend: string
  /** The shaders that compute it on `webgpu`; empty elsewhere. */
  kernel: string
  reason: string
  /** Of its outputs, where their sizes are known. */
  bytes: number
}

/** Bytes that a session takes on the GPU. */
export interface GpuBytes {
  weights: number
  /** Intermediate values, at their peak. */
  activations: number
  /** Buffers that the host reads from. */
  staging: number
}

/** How long one launch took on the GPU. */
export interface NodeTime {
  node: string
  op: string
  kernel: string
  ms: number
}

/** A value inside a model, and what computed it. */
export interface Observed {
  value: string
  node: string
  op: string
  backend: string
  /** The shaders that computed it on `webgpu`; empty elsewhere. */
  kernel: string
  tensor: TensorData
}

/** How far two tensors are apart. */
export interface Difference {
  /**
   * The largest `|left - right|` among the elements that are off, or among all where none is; infinite where only one of
   * them is a finite number, or types or shapes differ.
   */
  maxAbs: number
  /** Elements with `|left - right| > atol + rtol * |right|`. */
  nOff: number
  nElems: number
  /** The element that `maxAbs` is about, counted in row-major order, and its value on both sides. */
  at: number
  left: number
  right: number
}

/** What the engine decides for one set of concrete input shapes. */
export interface EnginePlan {
  backend: BackendName
  /** For `wonnx`: the model after preparation, with every shape known. */
  model?: Uint8Array
}

/** What a model does with the rows of a batch; axes are by name. */
export interface BatchRows {
  /** The axis along which an input carries rows; null where all rows share it. */
  inputs: Record<string, number | null>
  /** The axis along which an output has the rows; null where it is the same for all, or rows cannot be joined. */
  outputs: Record<string, number | null>
  /** Whether the model takes any number of rows, `size` of them, or has no such axis. */
  batch: "symbol" | "fixed" | "none"
  size?: number
  /** Rows may be joined, run at once and split again: each comes out as it does alone. */
  joinable: boolean
  /** Why not: the node that mixes rows, and how; empty where they may be joined. */
  reason: string
}

export interface EngineOptions {
  executionProviders?: BackendName[]
  /** Refuse what the named providers do not take, where it would run on the CPU otherwise. */
  strict?: boolean
  adapter?: AdapterFacts
  /** Keep every value that a node gives, for `observe`. */
  observes?: boolean
  /** The axis along which inputs may be joined, for `rows`. */
  batchAxis?: number
  /** Make a batch of a fixed size one of any size; `MODEL_UNSUPPORTED` where that cannot be. */
  rebatch?: boolean
  freeDimensionOverrides?: Record<string, number>
}

export type Stage = "model" | "graph" | "passes"

/** A tensor in a GPU buffer, which goes with it. */
export interface GpuTensor {
  readonly buffer: object
  read(): Promise<Uint8Array>
  /** To a `GPUBuffer` of the same device. */
  copyTo(buffer: unknown): void
  free(): void
}

/** Makes tensors of frames on a device, as one description says. */
export interface FrameImporter {
  /**
   * `source` is what WebGPU's `copyExternalImageToTexture` takes, or a `DecodedImage`; `width` and `height` are its size.
   * It may change once this is settled.
   */
  import(source: object, width: number, height: number): Promise<GpuTensorData>
  free(): void
}

/** A device with what its sessions share. */
export interface EngineGpu {
  /** What sessions and tensors hold on it at present. */
  memory(): { buffers: number; bytes: number }
  free(): void
}

export interface EngineSession {
  readonly inputs: ValueInfo[]
  readonly outputs: ValueInfo[]
  /** The backend that is asked first. */
  readonly preferred: BackendName
  plan(inputDims: Record<string, number[]>): EnginePlan
  placement(): Placement[]
  /** Which inputs may be joined; for sessions created with `batchAxis`. */
  rows(): BatchRows
  /** The feeds in the shapes that the model declares; throws what `run` would throw for them. */
  checkFeeds(feeds: Record<string, TensorData>): Record<string, TensorData>
  run(feeds: Record<string, TensorData>, fetches: string[]): Record<string, TensorData>
  /** Makes the model ready for a device, and compiles it if its shapes are known. */
  openGpu(gpu: EngineGpu): Promise<void>
  /** Throws where an output of these names cannot be in a GPU buffer. */
  checkOnGpu(names: string[]): void
  runGpu(feeds: Record<string, Feed>, fetches: string[], onGpu: string[], isTimed: boolean): Promise<Record<string, Output>>
  /** Every value that a node computes, in the order in which they were computed; on the device where one is open. */
  observe(feeds: Record<string, Feed>): Promise<Observed[]>
  memory(): GpuBytes
  planText(): string
  timings(): NodeTime[]
  free(): void
}

/** What a model file says about itself. */
export interface Inspection {
  irVersion: number
  producer: string
  /** Version by domain; the default domain is `""`. */
  opsets: Record<string, number>
  /** What its maker wrote into it, by key. */
  metadata: Record<string, string>
  inputs: ValueInfo[]
  outputs: ValueInfo[]
  /** How often each operator occurs. */
  ops: Record<string, number>
  /** Elements of all constants. */
  parameters: number
}

export interface EngineModule {
  /** `sink` is told the name of a switch and what there is to tell. */
  setDebug(switches: string, sink: (name: string, text: string) => void): void
  externalDataLocations(model: Uint8Array): string[]
  inspect(model: Uint8Array, external: Map<string, Uint8Array>): Inspection
  difference(left: TensorData, right: TensorData, rtol: number, atol: number): Difference
  modelText(model: Uint8Array, external: Map<string, Uint8Array>, options: EngineOptions, stage: Stage): string
  EngineSession: {
    create(model: Uint8Array, external: Map<string, Uint8Array>, options: EngineOptions): EngineSession
  }
  EngineGpu: {
    open(device: unknown, facts: AdapterFacts): EngineGpu
  }
  FrameImporter: {
    open(gpu: EngineGpu, spec: ImageSpec): FrameImporter
  }
}

export interface WonnxSession {
  run(feeds: Record<string, TensorData>): Promise<Record<string, TensorData>>
  free(): void
}

export interface WonnxModule {
  WonnxSession: { create(preparedModel: Uint8Array): Promise<WonnxSession> }
}

/** How a picture becomes a tensor: `(pixel * scale - mean) / std` per channel, after cutting out and fitting. */
export interface ImageSpec {
  /** `[1, c, h, w]` or `[c, h, w]`, in NHWC `[1, h, w, c]` or `[h, w, c]`; `[h, w]` is grey in either. */
  dims: number[]
  layout: "NCHW" | "NHWC"
  type: "float32" | "float16" | "uint8"
  /** Pixels have values in 0..=255; without a scale, floats are brought to 0..=1. */
  scale?: number
  /** One number for all channels, or one for each. */
  mean?: number[]
  std?: number[]
  fit?: "stretch" | "letterbox" | "crop"
  /** What a letterbox leaves free, in pixel values of 0..=255: one number for all channels, or one for each; without it 0. */
  fill?: number[]
  colorOrder?: "RGB" | "BGR" | "GRAY"
  /** The part of the picture to take. */
  region?: Region
}

/** A rectangle in pixels: its left upper corner, its size, and its turn about its middle in radians where it has one. */
export interface Region {
  x: number
  y: number
  width: number
  height: number
  angle?: number
}

/** A decoded picture: `rgba` has `width * height * 4` bytes. */
export interface DecodedImage {
  width: number
  height: number
  rgba: Uint8Array
}

/** A line of text that a detector found. */
export interface TextBox extends Region {
  score: number
}

/** How a detector's map becomes boxes; what is left out has the values of PP-OCR. */
export interface TextBoxOptions {
  threshold?: number
  minScore?: number
  unclipRatio?: number
  /** The picture that the boxes are for, where it has another size than the map. */
  pictureWidth?: number
  pictureHeight?: number
  maxBoxes?: number
}

/** What a recogniser reads: the class of each character, without blanks and repetitions. */
export interface Reading {
  indices: number[]
  score: number
}

/** A class of a classifier: what the model gave for it, and its probability. */
export interface RankedClass {
  index: number
  value: number
  probability: number
}

export interface ToolsModule {
  decodeImage(bytes: Uint8Array): DecodedImage
  imageToTensor(image: Uint8Array | DecodedImage, spec: ImageSpec): TensorData
  textBoxes(map: TensorData, options: TextBoxOptions): TextBox[]
  ctcGreedy(scores: TensorData): Reading[]
  topClasses(scores: TensorData, count: number): RankedClass[]
  readNpz(bytes: Uint8Array): Map<string, TensorData>
  readNpy(bytes: Uint8Array): TensorData
  writeNpz(entries: Map<string, TensorData>): Uint8Array
  writeNpy(tensor: TensorData): Uint8Array
  readTensorProto(bytes: Uint8Array): { name: string; tensor: TensorData }
}

/** What engines, streams and workers have done; times are milliseconds. Rust and Prometheus have the same words in snake_case. */
export interface Statistics {
  totalInputs: number
  totalOutputs: number
  totalBatches: number
  totalErrors: number
  /** Inputs that were taken back. */
  totalCancelled: number
  /** Inputs that were not computed because newer ones came or there was no room. */
  totalDropped: number
  localInputs: number
  remoteInputs: number
  /** Inputs that wait now. */
  queueDepth: number
  avgBatchSize: number
  /** Per batch. */
  avgInferenceTime: number
  /** From the arrival of an input to its outputs, of the latest 1,024; so are the next two. */
  p50Latency: number
  p95Latency: number
  p99Latency: number
  /** Outputs per second over the latest five seconds. */
  throughput: number
  histogram: LatencyHistogram
}

/** How long answers took, counted since the start. */
export interface LatencyHistogram {
  /** Upper ends of the buckets in milliseconds. */
  bounds: Float64Array
  /** How many answers ended in each bucket, and in the last one those above all bounds. */
  counts: Float64Array
}

/** What the scheduler wants done. */
export type Step =
  | { batch: number; lane: number; keys: number[] }
  | { key: number; loss: "expired" | "lane-lost" }

/** Dynamic batching; moments are milliseconds of the caller's clock. */
export interface Scheduler {
  /** False where the queue is full. A group of -1 runs alone, an infinite deadline is none. */
  submit(nowMs: number, key: number, group: number, rows: number, priority: number, deadlineMs: number): boolean
  /** True where the input had no answer yet. */
  cancel(key: number): boolean
  openLane(lane: number, slots: number): void
  closeLane(lane: number): void
  /** The inputs that still wait for the outputs of this batch. */
  complete(nowMs: number, batch: number): Float64Array
  /** The inputs whose error the failure of this batch is; the others run again, alone. */
  fail(nowMs: number, batch: number): Float64Array
  /** Every input without an answer. */
  abandon(): Float64Array
  setFlushing(isFlushing: boolean): void
  /** What to do at this moment; asked again until there is nothing. */
  poll(nowMs: number): Step | undefined
  /** When to poll next, if nothing happens before. */
  wake(): number | undefined
  readonly queueDepth: number
  /** Inputs without an answer, waiting or running. */
  readonly pending: number
  readonly batchSize: number
  readonly maxDelayMs: number
  statistics(nowMs: number): Statistics
  free(): void
}

/** The statistics of one stream or worker. */
export interface Counters {
  input(): void
  output(nowMs: number, latencyMs: number): void
  error(): void
  cancelled(): void
  dropped(): void
  statistics(nowMs: number, queueDepth: number): Statistics
  free(): void
}

export interface SchedulerModule {
  Scheduler: {
    new (batchSize: number, maxDelayMs: number, maxQueueSize: number, maxAttempts: number): Scheduler
    adaptive(maxBatchSize: number, targetLatencyMs: number, maxQueueSize: number, maxAttempts: number): Scheduler
  }
  Counters: new () => Counters
}

export type ModuleName = "engine" | "scheduler" | "wonnx" | "tools"

// As the build makes it, `glue.mjs`, which its declarations do not know. Imported statically: bundlers refuse workers whose code comes in pieces.
type GlueFactory<Module> = (hooks: GlueHooks) => Glue<Module>

const loading = new Map<ModuleName, Promise<Instance<unknown>>>()

/** What others have compiled before, so that it is not fetched. */
const compiled = new Map<ModuleName, WebAssembly.Module>()

/** The engine, compiled on first use. */
export function loadEngine(): Promise<Instance<EngineModule>> {
  return loadOnce("engine", makeEngine)
}

/** Dynamic batching and statistics, fetched on first use. */
export function loadScheduler(): Promise<Instance<SchedulerModule>> {
  return loadOnce("scheduler", makeScheduler)
}

/** The wonnx backend, fetched on first use. */
export function loadWonnx(): Promise<Instance<WonnxModule>> {
  return loadOnce("wonnx", makeWonnx)
}

/** Readers and writers for pictures and arrays, fetched on first use. */
export function loadTools(): Promise<Instance<ToolsModule>> {
  return loadOnce("tools", makeTools)
}

function loadOnce<Module>(name: ModuleName, glue: unknown): Promise<Instance<Module>> {
  const known = loading.get(name)
  if (known !== undefined) return known as Promise<Instance<Module>>
  const forget = () => {
    if (loading.get(name) === loaded) loading.delete(name)
  }
  const loaded = load(name, glue as GlueFactory<Module>, forget)
  loading.set(name, loaded as Promise<Instance<unknown>>)
  // A failed download may succeed the next time.
  loaded.catch(forget)
  return loaded
}

async function load<Module>(name: ModuleName, makeGlue: GlueFactory<Module>, whenSpoilt: () => void): Promise<Instance<Module>> {
  try {
    const instance = new Instance(name, makeGlue, whenSpoilt)
    await instance.glue.init({ module_or_path: compiled.get(name) ?? (await platform.wasm(name)) })
    return instance
  } catch (thrown) {
    throw notLoaded(name, thrown)
  }
}

/** Compiles a module without making an instance of it, for other threads. */
export async function compileModule(name: ModuleName): Promise<WebAssembly.Module> {
  try {
    const source = await platform.wasm(name)
    if (!(source instanceof Response)) return await WebAssembly.compile(source)
    const isStreamed = source.headers.get("content-type")?.startsWith("application/wasm") === true
    return await (isStreamed ? WebAssembly.compileStreaming(source) : WebAssembly.compile(await source.arrayBuffer()))
  } catch (thrown) {
    throw notLoaded(name, thrown)
  }
}

/** What `compileModule` made on another thread is used here. */
export function useModule(name: ModuleName, module: WebAssembly.Module): void {
  compiled.set(name, module)
}

function notLoaded(name: ModuleName, thrown: unknown): SentinelError {
  if (thrown instanceof WebAssembly.CompileError) {
    return new SentinelError("IO", `${name}.wasm: not a WebAssembly module of this package`, { cause: thrown })
  }
  return toSentinelError(thrown, `${name}.wasm`)
}
