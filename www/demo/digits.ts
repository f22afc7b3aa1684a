import { readFile } from "node:fs/promises"
import { tools } from "../host/index.js"
import { measured, onlyOutput, stepOf } from "./measure.js"
import type { Part } from "./part.js"

const SIDE = 28

/** Ten pictures of handwritten digits, on the GPU wherever there is one. */
export const digits: Part = {
  name: "digits",
  title: "Handwritten digits",
  models: "a classifier made for this project",

  async run({ files, providers, repeat, gpu }) {
    const model = await measured(files.fixture("digits/digits.onnx"), providers(gpu.present ? "webgpu" : undefined), repeat)
    try {
      const lines = []
      for (let digit = 0; digit < 10; digit += 1) {
        const picture = await readFile(files.fixture(`digits/digit_${digit}.png`))
        const image = await tools.imageToTensor(picture, { dims: [1, 1, SIDE, SIDE], layout: "NCHW", type: "float32", colorOrder: "GRAY" })
        const [best] = await tools.topClasses(onlyOutput(await model.run({ image })), 1)
        if (best !== undefined) lines.push({ text: String(best.index), probability: best.probability, expected: String(digit) })
      }
      return { answers: [{ about: "digit_0.png to digit_9.png", lines }], steps: [stepOf("classifier", model)] }
    } finally {
      await model.release()
    }
  },
}
