import { readFile } from "node:fs/promises"
import { basename } from "node:path"
import { SentinelError, tools, type DecodedImage, type ImageSpec, type Reading, type Region, type Tensor } from "../host/index.js"
import { measured, onlyOutput, stepOf } from "./measure.js"
import type { Answer, Part } from "./part.js"

/** The detector halves its input five times. */
const STRIDE = 32
const LONGEST_SIDE = 960
const LINE_HEIGHT = 48
/** The recogniser makes one step of eight columns. */
const STEP_WIDTH = 8

// The statistics of ImageNet, as PaddleOCR's detector was trained with.
const DETECTOR_INPUT: Omit<ImageSpec, "dims"> = {
  layout: "NCHW",
  type: "float32",
  colorOrder: "BGR",
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
}
const RECOGNISER_INPUT: Omit<ImageSpec, "dims"> = { layout: "NCHW", type: "float32", colorOrder: "BGR", mean: [0.5], std: [0.5] }

/** Below it the line may be upside down. */
const DOUBTFUL_SCORE = 0.8
/** A tighter cut costs the spaces between words. */
const UNCLIP_RATIO = 2

/** PP-OCRv4: one model finds the lines of text in a picture, another reads each of them. */
export const text: Part = {
  name: "text",
  title: "Text in a picture",
  models: "PP-OCRv4 detection and recognition",

  async run({ files, images, providers, repeat }) {
    const recogniserPath = files.model("ppocrv4_rec.onnx")
    const characters = await readCharacters(recogniserPath)
    const detector = await measured(files.model("ppocrv4_det.onnx"), providers(), repeat)
    const recogniser = await measured(recogniserPath, providers(), repeat)
    try {
      const answers: Answer[] = []
      for (const path of images.length > 0 ? images : [files.fixture("images/rendered_text.png")]) {
        const image = await tools.decodeImage(await readFile(path))
        const lines = await readLines(image, detector.run, recogniser.run, characters)
        answers.push({ about: `${basename(path)}, ${image.width} x ${image.height}`, lines })
      }
      return { answers, steps: [stepOf("detection", detector), stepOf("recognition", recogniser)] }
    } finally {
      await detector.release()
      await recogniser.release()
    }
  },
}

type Run = (feeds: Record<string, Tensor>) => Promise<Record<string, Tensor>>

async function readLines(image: DecodedImage, detect: Run, recognise: Run, characters: readonly string[]): Promise<Answer["lines"]> {
  const shrink = Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height))
  const [height, width] = [image.height, image.width].map(side => roundUp(side * shrink, STRIDE)) as [number, number]
  const x = await tools.imageToTensor(image, { ...DETECTOR_INPUT, dims: [1, 3, height, width] })
  const map = onlyOutput(await detect({ x }))
  const boxes = await tools.textBoxes(map, { pictureWidth: image.width, pictureHeight: image.height, unclipRatio: UNCLIP_RATIO })
  const lines: Answer["lines"] = []
  for (const { score: _, ...region } of boxes) {
    const upright = await readLine(image, region, recognise)
    const best = upright.score >= DOUBTFUL_SCORE ? upright : better(upright, await readLine(image, turned(region), recognise))
    const text = best.indices.map(index => characters[index] ?? "\u{fffd}").join("")
    if (text.trim() !== "") lines.push({ text, probability: best.score })
  }
  return lines
}

async function readLine(image: DecodedImage, region: Region, recognise: Run): Promise<Reading> {
  const width = roundUp((LINE_HEIGHT * region.width) / region.height, STEP_WIDTH)
  const x = await tools.imageToTensor(image, { ...RECOGNISER_INPUT, dims: [1, 3, LINE_HEIGHT, width], region })
  const [reading] = await tools.ctcGreedy(onlyOutput(await recognise({ x })))
  return reading ?? { indices: [], score: 0 }
}

/** The same box, read from its other end. */
function turned(region: Region): Region {
  return { ...region, angle: (region.angle ?? 0) + Math.PI }
}

function better(a: Reading, b: Reading): Reading {
  return b.score > a.score ? b : a
}

/** What each class of the recogniser means: the model carries its characters; the blank is first, the space last. */
async function readCharacters(path: string): Promise<string[]> {
  const { metadata } = await tools.inspect(path)
  const characters = metadata["character"]
  if (characters === undefined) throw new SentinelError("MODEL_UNSUPPORTED", `${path}: no "character" in its metadata`)
  return ["", ...characters.replace(/\n$/, "").split("\n"), " "]
}

function roundUp(value: number, multiple: number): number {
  return Math.max(1, Math.ceil(value / multiple)) * multiple
}
