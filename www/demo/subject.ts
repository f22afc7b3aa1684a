import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { basename } from "node:path"
import { SentinelError, Tensor, tools, type InferenceSession } from "../host/index.js"
import { onlyOutput } from "./measure.js"
import type { Files } from "./part.js"
import { speech, type Live } from "./speech.js"

export type Feeds = Record<string, Tensor>
type Metadata = readonly InferenceSession.ValueMetadata[]

/** A model, and where its inputs come from. */
export interface Subject {
  name: string
  path: string
  /** What the inputs are. */
  about: string
  /** After so many the inputs come round again: those are made once, and kept. */
  nDistinct: number
  /** Input number `at` for a model with these inputs. */
  input(at: number, metadata: Metadata): Promise<Feeds>
  /** Whether the outputs of input number `at` are right, where that is known. */
  isRight?(outputs: Feeds, at: number): Promise<boolean>
  /** What a stream is made of, where that is not its inputs in turn. */
  live?: Live
}

const N_MADE_UP = 16
/** A dimension that a model leaves open, other than its batch; most strides divide it. */
const FREE_SIZE = 64
const SIDE = 28
const SILERO_WINDOW = 576
const SILERO_RATE = 16_000

/** The model that `name` means: one that the demo knows, a file, or one of target/models or of the tests' models. */
export function subjectOf(name: string, files: Files, seed: number): Subject {
  if (name === "digits") return digits(files)
  const path = pathOf(name, files)
  return isSilero(path) ? silero(path, files, seed) : madeUp(path, seed)
}

function pathOf(name: string, files: Files): string {
  const candidates = [name, ...files.modelFolders.flatMap(folder => [`${folder}${name}`, `${folder}${name}.onnx`])]
  const path = candidates.find(candidate => existsSync(candidate))
  if (path !== undefined) return path
  throw new SentinelError("INVALID_INPUT", `--model ${name}: neither a model that this mode knows (see --help), nor a path, nor a name in target/models (pkg-scripts/fetch-models --all) or tests/fixtures/models`)
}

/** Ten pictures of handwritten digits, again and again. */
function digits(files: Files): Subject {
  const read = async (digit: number) => {
    const picture = await readFile(files.fixture(`digits/digit_${digit}.png`))
    return { image: await tools.imageToTensor(picture, { dims: [1, 1, SIDE, SIDE], layout: "NCHW", type: "float32", colorOrder: "GRAY" }) }
  }
  return {
    name: "digits",
    path: files.fixture("digits/digits.onnx"),
    about: "digit_0.png to digit_9.png in turn",
    ...inTurn(10, read),
    async isRight(outputs, at) {
      const [best] = await tools.topClasses(onlyOutput(outputs), 1)
      return best?.index === at % 10
    },
  }
}

/** Repeatable random values for each input of a model. */
function madeUp(path: string, seed: number): Subject {
  return {
    name: basename(path),
    path,
    about: `random values, seed ${seed}`,
    ...inTurn(N_MADE_UP, async (at, metadata) => randomFeeds(metadata as readonly InferenceSession.TensorValueMetadata[], seed + at)),
  }
}

/** The first `nDistinct` inputs, again and again. */
function inTurn(nDistinct: number, make: Subject["input"]): Pick<Subject, "nDistinct" | "input"> {
  const made = new Map<number, Promise<Feeds>>()
  return {
    nDistinct,
    input(at, metadata) {
      const turn = at % nDistinct
      const feeds = made.get(turn) ?? make(turn, metadata)
      made.set(turn, feeds)
      return feeds
    },
  }
}

function randomFeeds(inputs: readonly InferenceSession.TensorValueMetadata[], seed: number): Feeds {
  const dims = (shape: readonly (number | string)[]) => shape.map((dim, axis) => (typeof dim === "number" ? dim : axis === 0 ? 1 : FREE_SIZE))
  return Object.fromEntries(inputs.map(input => [input.name, tools.randomTensor(input, dims(input.shape), seed)]))
}

function isSilero(path: string): boolean {
  return /^silero_vad/.test(basename(path))
}

/** Windows of noise; a stream hears speech where its file is there. */
function silero(path: string, files: Files, seed: number): Subject {
  const live = speech(files.speech)
  return {
    name: basename(path),
    path,
    about: "noise, one window each",
    ...inTurn(N_MADE_UP, async at => sileroFeeds(seed + at)),
    ...(live === undefined ? {} : { live }),
  }
}

/** The first step of a stream of speech: a window without a past. */
function sileroFeeds(seed: number): Feeds {
  const window = { name: "input", type: "float32" } as const
  return {
    input: tools.randomTensor(window, [1, SILERO_WINDOW], seed),
    state: new Tensor("float32", new Float32Array(2 * 128), [2, 1, 128]),
    sr: new Tensor("int64", [BigInt(SILERO_RATE)], []),
  }
}
