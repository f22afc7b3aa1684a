// The page that measures. Its address carries the job; the bench gave it `benchReport` and `benchDone`.
import { describe } from "../measure.mjs"
import { work } from "./inside.mjs"

const ORT = "/target/bench/node_modules/onnxruntime-web/dist"

const job = JSON.parse(decodeURIComponent(location.hash.slice(1)))
const at = file => `/${job.path}/${file}`

const world = {
  libraries: {
    sentinel: "/pkg/dist/browser.mjs",
    "ort-webgpu": `${ORT}/ort.webgpu.bundle.min.mjs`,
    "ort-wasm": `${ORT}/ort.wasm.bundle.min.mjs`,
  },
  model: at("model.onnx"),
  beside: at,
  read: async file => (await fetch(at(file))).arrayBuffer(),
  memory: () => ({ heapBytes: performance.memory?.usedJSHeapSize }),
  report: progress => void window.benchReport(progress),
}

async function adapter() {
  const found = await navigator.gpu?.requestAdapter()
  if (!found) return undefined
  const { vendor, architecture, device, description, isFallbackAdapter } = found.info
  return { vendor, architecture, device, description, isFallbackAdapter: isFallbackAdapter ?? false }
}

const done = job.mode === "adapter" ? adapter() : work(job, world)
done.then(result => window.benchDone({ result }), thrown => window.benchDone({ error: describe(thrown) }))
