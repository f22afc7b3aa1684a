import { Tensor } from "onnxruntime-common"
import type { Tensors } from "../batch/join.js"
import type { ModelFacts } from "../batch/lane.js"
import { SentinelError } from "../errors.js"
import { isAudioSpec, wrongOption, type AudioSpec, type PictureSpec, type Preprocess, type StreamInputInfo, type StreamOptions } from "./options.js"
import type { StreamWorld } from "./world.js"
import type { SampleWindow } from "./windows.js"

/** The model's inputs that are neither state nor constant, of what a source gave. */
export type Prepare = (value: unknown, info: StreamInputInfo) => Tensors | Promise<Tensors>

/** How a stream's values become inputs; `given` are the inputs that it has from elsewhere. */
export function preparation(
  preprocess: StreamOptions<never, unknown>["preprocess"],
  facts: ModelFacts,
  given: readonly string[],
  world: Pick<StreamWorld, "pictureTensor">,
): Prepare {
  const free = facts.inputNames.filter(name => !given.includes(name))
  const named = (tensors: unknown): Tensors => (isTensor(tensors) ? { [onlyOne(free)]: tensors } : asTensors(tensors))
  if (preprocess === undefined) return named
  if (typeof preprocess === "function") {
    return (value, info) => {
      const made = (preprocess as Preprocess<unknown>)(value, info)
      return made instanceof Promise ? made.then(named) : named(made)
    }
  }
  if (typeof preprocess !== "object" || preprocess === null) throw wrongOption("preprocess", "a function, or a description for pictures or audio", preprocess)
  const { input = onlyOne(free), ...spec } = preprocess
  if (!free.includes(input)) throw wrongOption("preprocess.input", `one of the inputs "${free.join('", "')}"`, input)
  if (!isAudioSpec(spec)) return async value => ({ [input]: await world.pictureTensor(value, spec as PictureSpec) })
  const dims = windowDims(input, facts, spec)
  return value => ({ [input]: new Tensor((value as SampleWindow).samples, dims) })
}

/** A window along the last axis. */
function windowDims(input: string, { inputMetadata }: ModelFacts, { windowSamples }: AudioSpec): number[] {
  const declared = inputMetadata.find(({ name }) => name === input)
  const rank = declared?.isTensor === true ? Math.max(1, declared.shape.length) : 2
  return [...new Array<number>(rank - 1).fill(1), windowSamples]
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
