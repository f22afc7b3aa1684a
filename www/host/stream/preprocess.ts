import type { InferenceSession, Tensor } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "../errors.js"
import type { SessionGpu } from "../handler.js"
import { Handle } from "../instance.js"
import { SerialQueue } from "../queue.js"
import { gpuOf } from "../session.js"
import { fromGpuTensor, fromTensorData } from "../tensors.js"
import { loadTools } from "../wasm.js"
import type { DecodedImage, FrameImporter, ImageSpec } from "../wasm.js"
import { Easel, invalid, readPicture, type MakeCanvas, type PagePicture, type PictureSource } from "./picture.js"

/** An `ImageSpec` of which the model may know the rest. */
export type PreprocessSpec = Omit<ImageSpec, "dims" | "layout" | "type"> & Partial<Pick<ImageSpec, "dims" | "layout" | "type">>

export interface PreprocessorOptions {
  spec: PreprocessSpec
  /** What the model says of the input; for a spec that leaves out its dims, layout or type. */
  input?: InferenceSession.ValueMetadata
  /** The device to make tensors on, asked for each picture: one that is lost may be replaced. Without one, the CPU. */
  gpu?: () => SessionGpu | undefined
  makeCanvas?: MakeCanvas
}

/** Makes pictures into the tensors that a model wants: on the GPU without a way over the CPU where the model runs there. */
export class Preprocessor {
  readonly spec: ImageSpec
  readonly #gpu: () => SessionGpu | undefined
  readonly #easel: Easel
  readonly #queue = new SerialQueue()
  #importer: { on: SessionGpu; handle: Handle<FrameImporter> } | undefined
  #isReleased = false

  constructor({ spec, input, gpu = () => undefined, makeCanvas }: PreprocessorOptions) {
    this.spec = completeSpec(spec, input)
    this.#gpu = gpu
    this.#easel = new Easel(makeCanvas)
  }

  /** The tensor of a picture, which belongs to the caller. The picture has to stay as it is until then; nobody closes it here. */
  toTensor(source: PictureSource, signal?: AbortSignal): Promise<Tensor> {
    return this.#queue.add(async () => {
      if (this.#isReleased) throw new SentinelError("RELEASED", "frame: the preprocessor was disposed")
      if (signal?.aborted === true) throw new SentinelError("CANCELLED", "frame: cancelled by its signal")
      try {
        const on = this.#usableGpu()
        return await (on === undefined ? this.#onCpu(source) : this.#onGpu(source, on))
      } catch (thrown) {
        throw asRefusal(thrown)
      }
    })
  }

  /** Gives back what it holds on the GPU, after the pictures that were asked for before; their tensors stay. */
  dispose(): Promise<void> {
    return this.#queue.add(async () => {
      this.#isReleased = true
      this.#dropImporter()
    })
  }

  /** A device without halves takes them from the CPU, as the engine does. */
  #usableGpu(): SessionGpu | undefined {
    const on = this.#gpu()
    if (on?.gpu !== this.#importer?.on.gpu) this.#dropImporter()
    return this.spec.type === "float16" && on?.gpu.facts.features?.includes("shader-f16") !== true ? undefined : on
  }

  async #onGpu(source: PictureSource, on: SessionGpu): Promise<Tensor> {
    const picture = source instanceof Uint8Array ? await decoded(source) : readPicture(source)
    const importer = this.#importerOn(on)
    const frame = "rgba" in picture ? picture : picture.isRgb ? picture.source : this.#easel.draw(picture)
    const tensor = await importer.wait(module => module.import(frame, picture.width, picture.height))
    return fromGpuTensor("frame", tensor, on.gpu, on.instance)
  }

  async #onCpu(source: PictureSource): Promise<Tensor> {
    const tools = await loadTools()
    const image = source instanceof Uint8Array ? source : this.#pixels(readPicture(source))
    return fromTensorData("frame", tools.use(module => module.imageToTensor(image, this.spec)))
  }

  #pixels(picture: DecodedImage | PagePicture): DecodedImage {
    return "rgba" in picture ? picture : this.#easel.pixels(picture)
  }

  #importerOn(on: SessionGpu): Handle<FrameImporter> {
    if (this.#importer === undefined) {
      const opened = on.gpu.engine.use(gpu => on.instance.use(module => module.FrameImporter.open(gpu, this.spec)))
      this.#importer = { on, handle: new Handle(on.instance, opened) }
    }
    return this.#importer.handle
  }

  #dropImporter(): void {
    const importer = this.#importer
    this.#importer = undefined
    importer?.handle.free()
  }
}

/**
 * Makes pictures into the tensors of a session's input, its first one unless `inputName` says another; what `spec` leaves
 * out of dims, layout and type is the model's.
 */
export function createPreprocessor(session: InferenceSession, spec: PreprocessSpec = {}, inputName = session.inputNames[0]): Preprocessor {
  const input = session.inputMetadata.find(({ name }) => name === inputName)
  if (input === undefined) throw new SentinelError("INVALID_INPUT", `preprocess: the model has no input "${inputName}"`)
  return new Preprocessor({ spec, input, gpu: () => gpuOf(session) })
}

/** The whole description of a picture's tensor, from what the caller says and what the model says. */
export function completeSpec(spec: PreprocessSpec, input: InferenceSession.ValueMetadata | undefined): ImageSpec {
  const dims = spec.dims ?? dimsOf(input)
  const layout = spec.layout ?? layoutOf(dims)
  return { ...spec, dims, layout, type: spec.type ?? typeOf(input) }
}

function dimsOf(input: InferenceSession.ValueMetadata | undefined): number[] {
  if (input === undefined || !input.isTensor) throw misses("dims", "there is no model to take them from")
  const { name, shape } = input
  // The batch is one picture, whatever the model calls it.
  const dims = shape.length === 4 ? [1, ...shape.slice(1)] : [...shape]
  if (dims.length >= 2 && dims.every(dim => typeof dim === "number")) return dims
  throw misses("dims", `the model's input "${name}" is [${shape.join(", ")}], which leaves the size open`)
}

function layoutOf(dims: number[]): "NCHW" | "NHWC" {
  const isChannels = (size: number | undefined) => size === 1 || size === 3
  const picture = dims.length === 4 ? dims.slice(1) : dims
  if (picture.length === 2 || isChannels(picture[0])) return "NCHW"
  if (isChannels(picture[2])) return "NHWC"
  throw misses("layout", `[${dims.join(", ")}] has neither 1 nor 3 channels in the first or the last place`)
}

function typeOf(input: InferenceSession.ValueMetadata | undefined): ImageSpec["type"] {
  const type = input?.isTensor === true ? input.type : "float32"
  if (type === "float32" || type === "float16" || type === "uint8") return type
  throw misses("type", `the model's input is ${type}, and pictures become float32, float16 or uint8`)
}

function misses(what: string, why: string): SentinelError {
  return new SentinelError("INVALID_INPUT", `preprocess: expected ${what}: ${why}`)
}

async function decoded(bytes: Uint8Array): Promise<DecodedImage> {
  const tools = await loadTools()
  return tools.use(module => module.decodeImage(bytes))
}

/** What a browser throws is about the picture: it is closed, empty, or of another origin. */
function asRefusal(thrown: unknown): SentinelError {
  const isBrowsers = typeof DOMException !== "undefined" && thrown instanceof DOMException
  return isBrowsers ? invalid(thrown.message, thrown) : toSentinelError(thrown, "frame")
}
