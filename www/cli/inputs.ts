import { extname } from "node:path"
import { InferenceSession, SentinelError, Tensor, tools, type ImageSpec } from "../host/index.js"
import { countOption, numbersOption, readNamed, wordOption } from "./options.js"
import { typeAndShape } from "./terminal.js"

type Metadata = InferenceSession.TensorValueMetadata

export const INPUT_HELP = `Inputs (--input may be repeated; the name can be left out when there is one input)
  x=photo.jpg         a picture: png, jpeg, bmp, gif, webp
  x=array.npy         a NumPy array; also .npz, .npz:key, .pb (ONNX TensorProto)
  x=values.json       nested arrays, or { "dims": [...], "data": [...] }
  x=3  x=[1,2,3]      values written out
  x=random            repeatable random values; random:7 is another seed
  data.npz            all inputs, by name or in order
  random              all inputs that have no value yet

Pictures
  --layout NCHW|NHWC  --size WxH  --fit stretch|letterbox|crop  --color RGB|BGR|GRAY
  --scale s  --mean a,b,c  --std a,b,c
                      each channel becomes (pixel * scale - mean) / std; scale is 1/255 for float32 unless given
`

/** Options that every command with inputs has. */
export const INPUT_OPTIONS = {
  input: { type: "string", multiple: true, short: "i" },
  layout: { type: "string" },
  size: { type: "string" },
  fit: { type: "string" },
  color: { type: "string" },
  scale: { type: "string" },
  mean: { type: "string" },
  std: { type: "string" },
  seed: { type: "string" },
} as const

type InputValues = { [Name in Exclude<keyof typeof INPUT_OPTIONS, "input">]?: string | undefined }

/** How inputs are made of what the command line says. */
export interface InputOptions {
  seed: number
  image: Partial<Pick<ImageSpec, "layout" | "mean" | "std" | "fit" | "colorOrder">> & {
    scale?: number | undefined
    size?: { width: number; height: number } | undefined
  }
  freeDimensions: Readonly<Record<string, number>>
  /** Told what was assumed. */
  note: (text: string) => void
}

const PICTURES = new Set([".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"])

export function readInputOptions(values: InputValues, options: InferenceSession.SessionOptions, note: (text: string) => void): InputOptions {
  const image: InputOptions["image"] = {}
  const layout = wordOption("layout", values.layout, ["NCHW", "NHWC"])
  const fit = wordOption("fit", values.fit, ["stretch", "letterbox", "crop"])
  const colorOrder = wordOption("color", values.color, ["RGB", "BGR", "GRAY"])
  const mean = numbersOption("mean", values.mean)
  const std = numbersOption("std", values.std)
  const scale = numbersOption("scale", values.scale)
  if (layout !== undefined) image.layout = layout
  if (fit !== undefined) image.fit = fit
  if (colorOrder !== undefined) image.colorOrder = colorOrder
  if (mean !== undefined) image.mean = mean
  if (std !== undefined) image.std = std
  if (scale !== undefined) image.scale = scale[0]
  if (values.size !== undefined) image.size = readSize(values.size)
  return { seed: countOption("seed", values.seed, 0) ?? 0, image, freeDimensions: options.freeDimensionOverrides ?? {}, note }
}

function readSize(text: string): { width: number; height: number } {
  const [, width, height] = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/.exec(text) ?? []
  if (width === undefined) throw new SentinelError("INVALID_INPUT", `--size: expected WIDTHxHEIGHT, got "${text}"`)
  return { width: Number(width), height: Number(height) }
}

/**
 * The feeds for a model with these inputs. Each argument is `name=value`, or only a value: for the single input, `random` for all
 * inputs, or an `.npz` file whose arrays are taken by name or in order.
 */
export async function makeFeeds(
  args: readonly string[],
  metadata: readonly InferenceSession.ValueMetadata[],
  options: InputOptions,
): Promise<Record<string, Tensor>> {
  const inputs = metadata as readonly Metadata[]
  const feeds: Record<string, Tensor> = {}
  for (const arg of args) {
    const { input, value } = splitArgument(arg, inputs)
    if (input !== undefined) {
      feeds[input.name] = await makeTensor(value, input, options)
    } else if (/^random(:\d+)?$/.test(value)) {
      for (const each of inputs) feeds[each.name] ??= await makeTensor(value, each, options)
    } else if (extname(value).toLowerCase() === ".npz") {
      Object.assign(feeds, inOrder(await tools.readNpz(await readNamed(value)), inputs, value))
    } else if (inputs.length === 1 && inputs[0] !== undefined) {
      feeds[inputs[0].name] = await makeTensor(value, inputs[0], options)
    } else {
      throw new SentinelError("INVALID_INPUT", `--input ${arg}: say which input it is for: ${describe(inputs)}`)
    }
  }
  const missing = inputs.filter(({ name }) => feeds[name] === undefined)
  if (missing.length > 0) {
    throw new SentinelError("INVALID_INPUT", `no value for ${describe(missing)}; give --input name=value, or --input random`)
  }
  return feeds
}

function splitArgument(arg: string, inputs: readonly Metadata[]): { input?: Metadata; value: string } {
  // Names of inputs may themselves contain an equals sign.
  const input = inputs.find(({ name }) => arg.startsWith(`${name}=`))
  if (input !== undefined) return { input, value: arg.slice(input.name.length + 1) }
  const [, name, value] = /^([\w.:/-]+)=(.+)$/.exec(arg) ?? []
  if (name === undefined || value === undefined) return { value: arg }
  throw new SentinelError("INVALID_INPUT", `--input ${arg}: the model has no input "${name}"; it has ${describe(inputs)}`)
}

async function makeTensor(value: string, input: Metadata, options: InputOptions): Promise<Tensor> {
  const random = /^random(?::(\d+))?$/.exec(value)
  if (random !== null) return tools.randomTensor(input, concreteDims(input, options), Number(random[1] ?? options.seed))
  const [, npz, key] = /^(.+\.npz):([^/\\]+)$/i.exec(value) ?? []
  if (npz !== undefined) return entry(await tools.readNpz(await readNamed(npz)), key, input, npz)
  const extension = extname(value).toLowerCase()
  if (PICTURES.has(extension)) return pictureTensor(await readNamed(value), input, options)
  switch (extension) {
    case ".npy":
      return tools.readNpy(await readNamed(value))
    case ".npz":
      return entry(await tools.readNpz(await readNamed(value)), undefined, input, value)
    case ".pb":
      return (await tools.readTensorProto(await readNamed(value))).tensor
    case ".json":
      return jsonTensor(new TextDecoder().decode(await readNamed(value)), input, value)
    default:
      if (/^\s*(-?[\d.[]|true$|false$|")/.test(value)) return jsonTensor(value, input, `--input ${input.name}`)
      throw new SentinelError("INVALID_INPUT", `--input ${input.name}: "${value}" is not a picture, .npy, .npz, .json or .pb file, a number, or random`)
  }
}

function entry(arrays: Map<string, Tensor>, key: string | undefined, input: Metadata, place: string): Tensor {
  const only = arrays.size === 1 ? [...arrays.values()][0] : undefined
  const tensor = key === undefined ? (arrays.get(input.name) ?? only) : arrays.get(key)
  if (tensor !== undefined) return tensor
  throw new SentinelError("INVALID_INPUT", `${place}: no array "${key ?? input.name}"; it has ${[...arrays.keys()].map(name => `"${name}"`).join(", ")}`)
}

function inOrder(arrays: Map<string, Tensor>, inputs: readonly Metadata[], place: string): Record<string, Tensor> {
  const byName = inputs.filter(({ name }) => arrays.has(name))
  if (byName.length > 0) return Object.fromEntries(byName.map(({ name }) => [name, arrays.get(name) as Tensor]))
  // Files with inputs and expected outputs together call the inputs in_0, in_1, ...
  const numbered = inputs.map((_, index) => arrays.get(`in_${index}`))
  const ordered = numbered[0] === undefined ? [...arrays.values()] : numbered
  return Object.fromEntries(
    inputs.map(({ name }, index) => {
      const tensor = ordered[index]
      if (tensor === undefined) throw new SentinelError("INVALID_INPUT", `${place}: ${arrays.size} arrays, none for input "${name}"`)
      return [name, tensor]
    }),
  )
}

function jsonTensor(text: string, input: Metadata, place: string): Tensor {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${place}: not JSON (${(cause as Error).message})`, { cause })
  }
  const { dims, data } = isDescribed(value) ? value : { dims: nestedDims(value, input), data: value }
  const flat = Array.isArray(data) ? data.flat(Infinity) : [data]
  const expected = input.type === "string" ? "string" : input.type === "bool" ? "boolean" : "number"
  const isExpected = (each: unknown) => typeof each === expected || (expected === "boolean" && typeof each === "number")
  if (!flat.every(isExpected)) {
    throw new SentinelError("DTYPE_MISMATCH", `${place}: input "${input.name}" is ${input.type}, expected only JSON ${expected}s`)
  }
  try {
    return new Tensor(input.type, flat as number[], dims)
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${place}: ${(cause as Error).message}`, { cause })
  }
}

function isDescribed(value: unknown): value is { dims: number[]; data: unknown[] } {
  const { dims, data } = (value ?? {}) as { dims?: unknown; data?: unknown }
  return Array.isArray(dims) && dims.every(Number.isSafeInteger) && Array.isArray(data)
}

function nestedDims(value: unknown, input: Metadata): number[] {
  // A single number is for a scalar, and for anything else that holds one value.
  if (!Array.isArray(value)) return input.shape.map(() => 1)
  const dims: number[] = []
  for (let level: unknown = value; Array.isArray(level); level = level[0]) dims.push(level.length)
  return dims
}

async function pictureTensor(bytes: Uint8Array, input: Metadata, { image, freeDimensions }: InputOptions): Promise<Tensor> {
  const shape = input.shape.map(dim => (typeof dim === "number" ? dim : freeDimensions[dim]))
  const rank = shape.length
  if (rank < 2 || rank > 4) {
    throw new SentinelError("SHAPE_MISMATCH", `input "${input.name}": ${typeAndShape(input.type, input.shape)} is not a picture's shape`)
  }
  if (input.type !== "float32" && input.type !== "uint8") {
    throw new SentinelError("DTYPE_MISMATCH", `input "${input.name}": it is ${input.type}, pictures become float32 or uint8`)
  }
  const [first, second, third] = rank === 2 ? [1, ...shape] : shape.slice(-3)
  const layout = image.layout ?? (!isChannels(first) && isChannels(third) ? "NHWC" : "NCHW")
  const [channels = 3, height, width] = layout === "NCHW" ? [first, second, third] : [third, first, second]
  const isOpen = height === undefined || width === undefined
  const size = image.size ?? (isOpen ? await tools.decodeImage(bytes) : undefined)
  const [h, w] = [height ?? size?.height ?? 1, width ?? size?.width ?? 1]
  const full = layout === "NCHW" ? [1, channels, h, w] : [1, h, w, channels]
  const spec: ImageSpec = {
    dims: rank === 2 ? [h, w] : full.slice(-rank),
    layout,
    type: input.type,
    colorOrder: image.colorOrder ?? (channels === 1 ? "GRAY" : "RGB"),
  }
  if (image.mean !== undefined) spec.mean = image.mean
  if (image.std !== undefined) spec.std = image.std
  if (image.scale !== undefined) spec.scale = image.scale
  if (image.fit !== undefined) spec.fit = image.fit
  return tools.imageToTensor(bytes, spec)
}

function isChannels(dim: number | undefined): boolean {
  return dim === 1 || dim === 3
}

function concreteDims(input: Metadata, { freeDimensions, note }: InputOptions): number[] {
  return input.shape.map(dim => {
    if (typeof dim === "number") return dim
    const size = freeDimensions[dim]
    if (size === undefined) note(`input "${input.name}": ${dim || "a free dimension"} is taken as 1 (--free-dim ${dim || "name"}=SIZE changes it)`)
    return size ?? 1
  })
}

function describe(inputs: readonly Metadata[]): string {
  return inputs.map(({ name, type, shape }) => `"${name}" ${typeAndShape(type, shape)}`).join(", ")
}
