// What a page and a Node process do with a job: the same code in both. A job is
// `{ mode: "warm" | "cold", contenders, limits }`; `world` says how files are read here and where the libraries lie.
import { inProcess, warm, watchWasmMemory } from "../measure.mjs"
import { unpack } from "../tensors.mjs"

const MODULES = { webgpu: "sentinel", cpu: "sentinel", wonnx: "sentinel", "ort-webgpu": "ort-web", "ort-wasm": "ort-web" }

export async function work(job, world) {
  const wasmBytes = watchWasmMemory()
  const inputs = readCase(world)
  const open = async name => {
    const { open } = await import(`../contenders/${MODULES[name]}.mjs`)
    const description = await inputs
    const library = await open(name, { ...world, externalData: description.externalData.map(path => ({ path, data: world.beside(path) })) })
    return inProcess(library, description)
  }
  if (job.mode === "warm") return warm({ contenders: job.contenders, limits: job.limits, report: world.report, open })
  const [name] = job.contenders
  world.report({ contender: name })
  const session = await open(name)
  await session.run()
  // The clock starts with the process, or with the page's navigation.
  const firstMs = performance.now()
  return { firstMs, memory: { ...world.memory(), wasmBytes: wasmBytes() } }
}

async function readCase({ read }) {
  const [text, data] = await Promise.all([read("case.json"), read("data.bin")])
  const description = JSON.parse(new TextDecoder().decode(text))
  return { ...description, inputs: unpack(description.inputs, data), outputs: unpack(description.outputs, data) }
}
