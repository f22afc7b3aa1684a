import { readFile } from "node:fs/promises"
import { basename } from "node:path"
import { Tensor, tools } from "../host/index.js"
import { measured, onlyOutput, stepOf } from "./measure.js"
import type { Answer, Part } from "./part.js"

/** What Magika's package says about its model; the names are the file's own. */
interface Config {
  beg_size: number
  end_size: number
  block_size: number
  padding_token: number
  min_file_size_for_dl: number
  medium_confidence_threshold: number
  target_labels_space: string[]
  thresholds: Record<string, number>
  overwrite_map: Record<string, string>
}

type ContentTypes = Record<string, { description?: string | null; is_text?: boolean }>

/** Magika: the type of a file from its first and last bytes. */
export const fileType: Part = {
  name: "filetype",
  title: "Type of a file",
  models: "Magika v3.3",

  async run({ files, inspected, providers, repeat }) {
    const config = JSON.parse(await readFile(files.model("magika_v3_3.config.json"), "utf8")) as Config
    const types = JSON.parse(await readFile(files.model("magika_content_types.json"), "utf8")) as ContentTypes
    const model = await measured(files.model("magika_v3_3.onnx"), providers(), repeat)
    try {
      const answers: Answer[] = []
      for (const path of inspected.length > 0 ? inspected : files.samples) {
        const content = await readFile(path)
        const features = featuresOf(content, config)
        if (features === undefined) {
          answers.push({ about: basename(path), lines: [{ text: content.length === 0 ? "empty" : "too short to tell" }] })
          continue
        }
        const scores = onlyOutput(await model.run({ bytes: new Tensor("int32", features, [1, features.length]) }))
        const [best] = await tools.topClasses(scores, 1)
        const label = config.target_labels_space[best?.index ?? -1] ?? "unknown"
        const probability = best?.probability ?? 0
        const type = resolved(label, probability, config, types)
        const description = types[type]?.description
        answers.push({ about: basename(path), lines: [{ text: type, probability, ...(description ? { note: description } : {}) }] })
      }
      return { answers, steps: [stepOf("classifier", model)] }
    } finally {
      await model.release()
    }
  },
}

/** The first and the last bytes without the white space around them, filled up with the padding token. */
export function featuresOf(content: Uint8Array, config: Config): Int32Array | undefined {
  const block = Math.min(config.block_size, content.length)
  const isWhole = content.length <= config.block_size
  const first = stripped(content.subarray(0, block), true, isWhole)
  const last = stripped(content.subarray(content.length - block), isWhole, true)
  const features = new Int32Array(config.beg_size + config.end_size).fill(config.padding_token)
  features.set(first.subarray(0, config.beg_size))
  const tail = last.subarray(Math.max(0, last.length - config.end_size))
  features.set(tail, features.length - tail.length)
  return first.length < config.min_file_size_for_dl ? undefined : features
}

/** The label after the package's own rules: some stand for others, and doubtful ones become general. */
function resolved(label: string, probability: number, config: Config, types: ContentTypes): string {
  const named = config.overwrite_map[label] ?? label
  if (probability >= (config.thresholds[label] ?? config.medium_confidence_threshold)) return named
  return types[named]?.is_text === true ? "txt" : "unknown"
}

function stripped(bytes: Uint8Array, atStart: boolean, atEnd: boolean): Uint8Array {
  let [start, end] = [0, bytes.length]
  while (atStart && start < end && isSpace(bytes[start])) start += 1
  while (atEnd && end > start && isSpace(bytes[end - 1])) end -= 1
  return bytes.subarray(start, end)
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d)
}
