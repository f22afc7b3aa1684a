// Who takes part, where, and who is compared with whom.

/** By place, in the order of the tables. */
export const CONTENDERS = {
  chromium: ["webgpu", "cpu", "wonnx", "ort-webgpu", "ort-wasm"],
  node: ["webgpu", "cpu", "wonnx", "ort-webgpu", "ort-wasm"],
  native: ["webgpu", "cpu", "wonnx", "ort-python", "ort-node"],
}

/** Each of ours, and the peers that it is measured against. */
export const RIVALS = [
  ["webgpu", ["ort-webgpu", "ort-python", "ort-wasm", "ort-node", "wonnx", "cpu"]],
  ["cpu", ["ort-wasm", "ort-node"]],
]

export const PLACES = { chromium: "Chromium", node: "Node.js", native: "native" }

const TITLES = {
  webgpu: "webgpu",
  cpu: "cpu",
  wonnx: "wonnx",
  "ort-webgpu": "onnxruntime-web/webgpu",
  "ort-wasm": "onnxruntime-web/wasm",
  "ort-node": "onnxruntime-node",
  "ort-python": "onnxruntime-webgpu (PyPI)",
}

export const title = name => TITLES[name] ?? name

/** Those that compute on WebGPU in pages and Node processes. */
export const usesGpu = name => ["webgpu", "wonnx", "ort-webgpu"].includes(name)
