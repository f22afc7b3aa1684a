import { SentinelError, tools, type ImageSpec, type InferenceSession, type Tensor } from "../host/index.js"

/** A side that the model leaves open is at most this long, and a multiple of the stride that most models need. */
const LONGEST_FREE_SIDE = 640
const STRIDE = 32

export type Normalisation = "unit" | "imagenet" | "signed" | "bytes"

/** How a picture becomes the values of a tensor. */
export interface PictureOptions {
  normalisation: Normalisation
  fit: NonNullable<ImageSpec["fit"]>
  colorOrder: "RGB" | "BGR"
}

type Metadata = InferenceSession.TensorValueMetadata

const NORMALISATIONS: Record<Normalisation, Pick<ImageSpec, "scale" | "mean" | "std">> = {
  unit: { scale: 1 / 255 },
  imagenet: { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  signed: { scale: 1 / 255, mean: [0.5], std: [0.5] },
  bytes: { scale: 1 },
}

/** All inputs of a model, from a picture or from an `.npz` file. */
export async function makeFeeds(
  metadata: readonly InferenceSession.ValueMetadata[],
  file: Blob,
  isArrays: boolean,
  options: PictureOptions,
): Promise<Record<string, Tensor>> {
  const inputs = metadata as readonly Metadata[]
  const bytes = new Uint8Array(await file.arrayBuffer())
  return isArrays ? fromArrays(await tools.readNpz(bytes), inputs) : fromPicture(bytes, inputs, options)
}

/** By name, else `in_0`, `in_1`, ..., else in the file's order. */
function fromArrays(arrays: Map<string, Tensor>, inputs: readonly Metadata[]): Record<string, Tensor> {
  const inOrder = [...arrays.values()]
  const isNumbered = arrays.has("in_0")
  const feeds = inputs.map(({ name }, index) => {
    const tensor = arrays.get(name) ?? (isNumbered ? arrays.get(`in_${index}`) : inOrder[index])
    if (tensor !== undefined) return [name, tensor] as const
    throw new SentinelError("INVALID_INPUT", `no array for input "${name}"; the file has ${[...arrays.keys()].join(", ")}`)
  })
  return Object.fromEntries(feeds)
}

/** Repeatable random values for every input; its batch is one, what else it leaves open has the size of a stride. */
export function madeUpFeeds(metadata: readonly InferenceSession.ValueMetadata[], seed: number): Record<string, Tensor> {
  const feeds = (metadata as readonly Metadata[]).map(input => {
    const dims = input.shape.map((dim, axis) => (typeof dim === "number" ? dim : axis === 0 ? 1 : STRIDE))
    return [input.name, tools.randomTensor(input, dims, seed)] as const
  })
  return Object.fromEntries(feeds)
}

async function fromPicture(bytes: Uint8Array, inputs: readonly Metadata[], options: PictureOptions): Promise<Record<string, Tensor>> {
  const image = await tools.decodeImage(bytes)
  const { name, spec } = pictureSpec(inputs, image, options)
  return { [name]: await tools.imageToTensor(image, spec) }
}

/** How a picture of this size becomes the only input of a model. */
export function pictureSpec(
  metadata: readonly InferenceSession.ValueMetadata[],
  image: { width: number; height: number },
  options: PictureOptions,
): { name: string; spec: ImageSpec } {
  const inputs = metadata as readonly Metadata[]
  const [input] = inputs
  if (input === undefined || inputs.length > 1) {
    throw new SentinelError("INVALID_INPUT", `the model has ${inputs.length} inputs: give an .npz file with ${inputs.map(({ name }) => name).join(", ")}`)
  }
  const { layout, channels, dims } = pictureShape(input, image)
  const isBytes = input.type === "uint8"
  if (!isBytes && input.type !== "float32") throw notAPicture(input)
  const spec: ImageSpec = {
    dims,
    layout,
    type: isBytes ? "uint8" : "float32",
    fit: options.fit,
    colorOrder: channels === 1 ? "GRAY" : options.colorOrder,
    ...NORMALISATIONS[isBytes ? "bytes" : options.normalisation],
  }
  // Statistics of three colours say nothing about grey.
  if (channels === 1 && spec.mean?.length === 3) Object.assign(spec, NORMALISATIONS.signed)
  return { name: input.name, spec }
}

function pictureShape(input: Metadata, image: { width: number; height: number }) {
  const shape = input.shape
  if (shape.length < 2 || shape.length > 4) throw notAPicture(input)
  const [second, third, fourth] = shape.length === 2 ? [1, ...shape] : shape.slice(-3)
  const layout = isChannels(fourth) && !isChannels(second) ? ("NHWC" as const) : ("NCHW" as const)
  const [channels, height, width] = layout === "NCHW" ? [second, third, fourth] : [fourth, second, third]
  const n = typeof channels === "number" ? channels : 3
  if (!isChannels(n)) throw notAPicture(input)
  const shrink = Math.min(1, LONGEST_FREE_SIDE / Math.max(image.width, image.height))
  const side = (dim: number | string | undefined, own: number) => (typeof dim === "number" ? dim : Math.max(1, Math.round((own * shrink) / STRIDE)) * STRIDE)
  const [h, w] = [side(height, image.height), side(width, image.width)]
  const full = layout === "NCHW" ? [1, n, h, w] : [1, h, w, n]
  // A picture of two dimensions has neither a batch nor channels.
  return { layout, channels: n, dims: shape.length === 2 ? [h, w] : full.slice(-shape.length) }
}

function isChannels(dim: number | string | undefined): boolean {
  return dim === 1 || dim === 3
}

function notAPicture({ name, type, shape }: Metadata): SentinelError {
  return new SentinelError("SHAPE_MISMATCH", `input "${name}" is ${type}[${shape.join(", ")}], which is not a picture: give an .npz file`)
}
