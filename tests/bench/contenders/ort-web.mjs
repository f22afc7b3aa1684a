// onnxruntime-web in pages and in Node: its WebGPU build and its WebAssembly build, both on one thread.

const PROVIDERS = { "ort-webgpu": "webgpu", "ort-wasm": "wasm" }

export async function open(name, { libraries, model, externalData }) {
  const ort = await import(libraries[name])
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = "error"
  if (libraries.ortFiles !== undefined) ort.env.wasm.wasmPaths = libraries.ortFiles
  const session = await ort.InferenceSession.create(model, { executionProviders: [PROVIDERS[name]], externalData })
  return {
    tensor: (type, data, dims) => new ort.Tensor(type, data, dims),
    run: feeds => session.run(feeds),
    release: () => session.release(),
  }
}
