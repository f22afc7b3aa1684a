import { Tensor } from "onnxruntime-common"
import type { Tensors } from "../batch/join.js"
import type { ModelFacts } from "../batch/lane.js"
import { wrongOption } from "../batch/options.js"
import { SentinelError } from "../errors.js"
import type { SessionGpu } from "../handler.js"
import { disposeOnGpu } from "../tensors.js"
import { isAudioSpec, type PictureSpec, type Preprocess, type StreamInputInfo, type StreamOptions } from "./options.js"
import type { PictureSource } from "./picture.js"
import { whileWanted } from "./wanted.js"
import { wholeNumber, type SampleWindow } from "./windows.js"
import type { StreamWorld } from "./world.js"

/** Makes a stream's values into the model's inputs that are neither state nor constant. */
export interface Preparation {
  prepare(value: unknown, info: StreamInputInfo): Tensors | Promise<Tensors>
  /** Gives back what the inputs of one step hold, when it is done. */
  discard(inputs: Tensors): void
  /** Gives back what it holds itself. */
  close(): Promise<void>
}

/** Where pictures are made into tensors, and what opens that. */
export interface Studio {
  openPictures: StreamWorld["openPictures"]
  gpu(): SessionGpu | undefined
}

/** How a stream's values become inputs; `given` are the inputs that it has from elsewhere. */
export function openPreparation(
  preprocess: StreamOptions<never, unknown>["preprocess"],
  facts: ModelFacts,
  given: readonly string[],
  studio: Studio,
): Preparation {
  const free = facts.inputNames.filter(name => !given.includes(name))
  const named = (tensors: unknown): Tensors => (isTensor(tensors) ? { [onlyOne(free)]: tensors } : asTensors(tensors))
  // What the source gives is the source's.
  if (preprocess === undefined) return { prepare: named, discard() {}, async close() {} }
  if (typeof preprocess === "function") {
    const make = async (value: unknown, info: StreamInputInfo) => named(await (preprocess as Preprocess<unknown>)(value, info))
    const prepare = (value: unknown, info: StreamInputInfo) => whileWanted(info.signal, make(value, info), disposeOnGpu)
    return { prepare, discard: disposeOnGpu, async close() {} }
  }
  if (typeof preprocess !== "object" || preprocess === null) throw wrongOption("preprocess", "a function, or a description for pictures or audio", preprocess)
  const { input = onlyOne(free), ...spec } = preprocess
  if (!free.includes(input)) throw wrongOption("preprocess.input", `one of the inputs "${free.join('", "')}"`, input)
  if (isAudioSpec(spec)) {
    const dims = [...leadingDims(input, facts), wholeNumber("preprocess", "windowSamples", spec.windowSamples)]
    wholeNumber("preprocess", "hopSamples", spec.hopSamples ?? spec.windowSamples)
    wholeNumber("preprocess", "sampleRate", spec.sampleRate)
    return { prepare: value => ({ [input]: new Tensor((value as SampleWindow).samples, dims) }), discard() {}, async close() {} }
  }
  const declared = facts.inputMetadata.find(({ name }) => name === input)
  const pictures = studio.openPictures({ spec: spec as PictureSpec, gpu: () => studio.gpu(), ...(declared === undefined ? {} : { input: declared }) })
  return {
    prepare: async (value, { signal }) => ({ [input]: await pictures.toTensor(value as PictureSource, signal) }),
    discard: disposeOnGpu,
    close: () => pictures.dispose(),
  }
}

/** A window lies along the last axis; the others are one. */
function leadingDims(input: string, { inputMetadata }: ModelFacts): number[] {
  const declared = inputMetadata.find(({ name }) => name === input)
  const rank = declared?.isTensor === true ? declared.shape.length : 2
  return new Array<number>(Math.max(0, rank - 1)).fill(1)
}

function onlyOne(free: readonly string[]): string {
  const [name] = free
  if (name !== undefined && free.length === 1) return name
  const why = free.length === 0 ? "every input of the model is state or constant" : `the model has the inputs "${free.join('", "')}"`
  throw new SentinelError("INVALID_INPUT", `preprocess: expected tensors by input name, or the name of the input in "input", as ${why}`)
}

// A Tensor of another copy of onnxruntime-common is as good.
function isTensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && "dims" in value && "type" in value && typeof value.type === "string"
}

function asTensors(value: unknown): Tensors {
  const wrong = (what: string) => new SentinelError("INVALID_INPUT", `preprocess: expected a tensor, or tensors by input name, got ${what}`)
  if (typeof value !== "object" || value === null) throw wrong(String(value))
  const [name] = Object.entries(value).find(([, tensor]) => !isTensor(tensor)) ?? []
  if (name !== undefined) throw wrong(`something else as "${name}"`)
  return value as Tensors
}
