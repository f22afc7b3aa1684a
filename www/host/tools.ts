import { Tensor, type InferenceSession } from "onnxruntime-common"
import { diff, diffSides, type Diff, type DiffFeeds, type DiffOptions } from "./diff.js"
import { inFile, toSentinelError } from "./errors.js"
import type { Instance } from "./instance.js"
import { randomTensor } from "./random.js"
import { readModel } from "./source.js"
import { fromTensorData, toTensorData } from "./tensors.js"
import { loadEngine, loadTools } from "./wasm.js"
import type {
  DecodedImage,
  EngineModule,
  ImageSpec,
  Inspection,
  RankedClass,
  Reading,
  Stage,
  TextBox,
  TextBoxOptions,
  ToolsModule,
} from "./wasm.js"

/** What `inspect`, `text` and `diff` read: a path, a URL, or the bytes of a model. */
export type ModelInput = string | Uint8Array

/** Reading pictures and arrays, and looking into models. Each fetches its module on first use. */
export const tools = {
  /** Decodes a PNG, JPEG, BMP, GIF or WebP picture. */
  decodeImage: (bytes: Uint8Array): Promise<DecodedImage> => withTools("image", module => module.decodeImage(bytes)),

  /** The tensor that a model wants of a picture: a file's bytes, or what `decodeImage` gives. */
  imageToTensor: (image: Uint8Array | DecodedImage, spec: ImageSpec): Promise<Tensor> =>
    withTools("image", module => fromTensorData("image", module.imageToTensor(image, spec))),

  /** The lines of text in a detector's map of probabilities, in reading order. */
  textBoxes: (map: Tensor, options: TextBoxOptions = {}): Promise<TextBox[]> =>
    withTools("text map", module => module.textBoxes(toTensorData("text map", map), options)),

  /** What a recogniser's scores read, one result for each picture; class 0 is the blank. */
  ctcGreedy: (scores: Tensor): Promise<Reading[]> => withTools("scores", module => module.ctcGreedy(toTensorData("scores", scores))),

  /** The `count` best classes of a classifier's output of one row, best first. */
  topClasses: (scores: Tensor, count: number): Promise<RankedClass[]> =>
    withTools("scores", module => module.topClasses(toTensorData("scores", scores), count)),

  /** The arrays of a NumPy `.npz` file, by name. */
  readNpz: (bytes: Uint8Array): Promise<Map<string, Tensor>> =>
    withTools("npz", module => new Map([...module.readNpz(bytes)].map(([name, data]) => [name, fromTensorData(name, data)]))),

  /** The array of a NumPy `.npy` file. */
  readNpy: (bytes: Uint8Array): Promise<Tensor> => withTools("npy", module => fromTensorData("npy", module.readNpy(bytes))),

  /** A NumPy `.npz` file with these arrays. */
  writeNpz: (entries: ReadonlyMap<string, Tensor>): Promise<Uint8Array> =>
    withTools("npz", module => module.writeNpz(new Map([...entries].map(([name, tensor]) => [name, toTensorData(name, tensor)])))),

  /** A NumPy `.npy` file with this array. */
  writeNpy: (tensor: Tensor): Promise<Uint8Array> => withTools("npy", module => module.writeNpy(toTensorData("npy", tensor))),

  /** An ONNX `TensorProto`, as in the `.pb` files of test data. */
  readTensorProto: (bytes: Uint8Array): Promise<{ name: string; tensor: Tensor }> =>
    withTools("tensor", module => {
      const { name, tensor } = module.readTensorProto(bytes)
      return { name, tensor: fromTensorData(name, tensor) }
    }),

  /** What a model says about itself: inputs, outputs, operators, parameters. */
  async inspect(model: ModelInput): Promise<Inspection> {
    return withEngine(model, async engine => {
      const { bytes, external } = await readModel(engine, model, {})
      return engine.use(module => module.inspect(bytes, external))
    })
  },

  /** The model as text: as it was read (`model`), with its facts (`graph`), or after the passes (`passes`). */
  async text(model: ModelInput, stage: Stage, options: InferenceSession.SessionOptions = {}): Promise<string> {
    return withEngine(model, async engine => {
      const { bytes, external } = await readModel(engine, model, options)
      const engineOptions = { freeDimensionOverrides: { ...options.freeDimensionOverrides } }
      return engine.use(module => module.modelText(bytes, external, engineOptions, stage))
    })
  },

  /**
   * Runs a model on two backends, one after the other, and compares every value inside it that both compute: `first` is
   * where they part.
   */
  async diff(model: ModelInput, feeds: DiffFeeds, options: DiffOptions = {}): Promise<Diff> {
    const sides = diffSides(options)
    return withEngine(model, async engine => diff(engine, await readModel(engine, model, options), feeds, sides, options))
  },

  /** A tensor of repeatable random values for an input: floats in [0, 1), integers in [0, 10), booleans. */
  randomTensor,
}

async function withTools<Result>(place: string, use: (module: ToolsModule) => Result): Promise<Result> {
  const tools = await loadTools()
  try {
    return tools.use(use)
  } catch (thrown) {
    throw toSentinelError(thrown, place)
  }
}

async function withEngine<Result>(model: ModelInput, use: (engine: Instance<EngineModule>) => Promise<Result>): Promise<Result> {
  const engine = await loadEngine()
  try {
    return await use(engine)
  } catch (thrown) {
    throw typeof model === "string" ? inFile(thrown, model) : toSentinelError(thrown, "model")
  }
}
