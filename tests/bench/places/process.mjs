// usage: node process.mjs JOB
// The Node process that measures. It sends progress and its result to the process that started it.
import { readFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"
import { inRepository } from "../../node/support.mjs"
import { usesGpu } from "../contenders/contenders.mjs"
import { describe } from "../measure.mjs"
import { work } from "./inside.mjs"

const job = JSON.parse(process.argv[2])
const at = file => inRepository(`${job.path}/${file}`)
const ort = pathToFileURL(inRepository("target/bench/node_modules/onnxruntime-web/dist/")).href

const world = {
  libraries: {
    sentinel: pathToFileURL(inRepository("pkg/dist/index.mjs")).href,
    "ort-webgpu": `${ort}ort.webgpu.min.mjs`,
    "ort-wasm": `${ort}ort.node.min.mjs`,
    ortFiles: ort,
  },
  model: job.path && at("model.onnx"),
  beside: at,
  readAll: readFile,
  async read(file) {
    const { buffer, byteOffset, byteLength } = readFileSync(at(file))
    return buffer.slice(byteOffset, byteOffset + byteLength)
  },
  memory: () => ({ heapBytes: process.memoryUsage().heapUsed, processBytes: process.resourceUsage().maxRSS * 1024 }),
  report: progress => process.send({ progress }),
}

/** Puts npm `webgpu` where pages have WebGPU. */
function exposeGpu() {
  const webgpu = createRequire(inRepository("target/bench/package.json"))("webgpu")
  Object.assign(globalThis, webgpu.globals)
  const gpu = webgpu.create([])
  if (globalThis.navigator === undefined) Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true })
  Object.defineProperty(globalThis.navigator, "gpu", { value: gpu, configurable: true })
  // Dawn in Node crashes on views of shared memory, which onnxruntime-web hands it.
  const { writeBuffer } = GPUQueue.prototype
  GPUQueue.prototype.writeBuffer = function (buffer, offset, data, from = 0, size) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data
    if (!(memory instanceof SharedArrayBuffer)) return writeBuffer.apply(this, arguments)
    // Offset and size count elements of a typed array, and bytes of anything else.
    const unit = data.BYTES_PER_ELEMENT ?? 1
    const begin = (data.byteOffset ?? 0) + from * unit
    const copy = new Uint8Array(size === undefined ? data.byteLength - from * unit : size * unit)
    copy.set(new Uint8Array(memory, begin, copy.length))
    return writeBuffer.call(this, buffer, offset, copy)
  }
  return gpu
}

async function adapter() {
  const found = await exposeGpu().requestAdapter()
  if (!found) return undefined
  const { vendor, architecture, device, description, isFallbackAdapter } = found.info
  return { vendor, architecture, device, description, isFallbackAdapter: isFallbackAdapter ?? false }
}

async function main() {
  if (job.mode === "adapter") return adapter()
  if (job.contenders.some(usesGpu)) exposeGpu()
  return work(job, world)
}

// The process waits to be ended: Dawn does not like to go by itself.
setInterval(() => {}, 2 ** 30)
main().then(result => process.send({ done: { result } }), thrown => process.send({ done: { error: describe(thrown) } }))
