// Runs raw frames of 8-bit pixels through a classifier as a stream, and writes a line of JSON for each:
//
//   ffmpeg -i film.mp4 -f rawvideo -pix_fmt rgb24 -s 224x224 - |
//     node stream-frames.mjs --model model.onnx --width 224 --height 224 --channels 3
//   node stream-frames.mjs --model digits.onnx --width 28 --height 28 --channels 1 frames.raw
import { createReadStream } from "node:fs"
import { parseArgs } from "node:util"
import { chunksOf, StreamingInferenceEngine, tools } from "sentinel-inference"

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { model: { type: "string" }, width: { type: "string" }, height: { type: "string" }, channels: { type: "string" } },
})
const [width, height, channels] = [values.width, values.height, values.channels].map(Number)

async function* bytes() {
  if (files.length === 0) yield* process.stdin
  for (const file of files) yield* createReadStream(file)
}

/** Pixels of one or three channels with the opacity that pictures have. */
function picture(frame) {
  const rgba = new Uint8Array(width * height * 4).fill(255)
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      rgba[pixel * 4 + channel] = frame[pixel * channels + Math.min(channel, channels - 1)]
    }
  }
  return { width, height, rgba }
}

async function* pictures() {
  for await (const frame of chunksOf(bytes(), width * height * channels)) yield picture(frame)
}

const engine = new StreamingInferenceEngine({ model: values.model })
await engine.start()
try {
  const [output] = engine.facts.outputNames
  await engine.startStream("frames", pictures(), undefined, {
    preprocess: { colorOrder: channels === 1 ? "GRAY" : "RGB" },
    postprocess: async outputs => (await tools.topClasses(outputs[output], 1))[0],
  })
  for await (const { id, latencyMs, outputs: { index, probability } } of engine.results("frames")) {
    console.log(JSON.stringify({ id, best: index, probability, latencyMs }))
  }
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  await engine.stop()
}
