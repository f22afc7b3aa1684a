import { measured, stepOf } from "./measure.js"
import type { Line, Part } from "./part.js"
import type { Feeds, Subject } from "./subject.js"

const SHOWN_VALUES = 4

/** A model that the demo does not know: its inputs are made up, and its outputs are described. */
export function once(subject: Subject): Part {
  return {
    name: subject.name,
    title: subject.name,
    models: subject.about,

    async run({ providers, repeat }) {
      const model = await measured(subject.path, providers(), repeat)
      try {
        const outputs = await model.run(await subject.input(0, model.inputMetadata))
        const answers = Object.entries(outputs).map(([name, tensor]) => ({ about: name, lines: [described(tensor)] }))
        return { answers, steps: [stepOf(`${model.nNodes} nodes`, model)] }
      } finally {
        await model.release()
      }
    },
  }
}

function described({ type, dims, size, data }: Feeds[string]): Line {
  const values = Array.from(data.slice(0, SHOWN_VALUES) as ArrayLike<number | bigint | boolean | string>, shown)
  return { text: `${type}[${dims.join(",")}]`, note: [...values, ...(size > SHOWN_VALUES ? ["…"] : [])].join("  ") }
}

function shown(value: number | bigint | boolean | string): string {
  return typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(4) : String(value)
}
