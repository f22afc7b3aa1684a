// onnxruntime-web in pages and in Node: its WebGPU build and its WebAssembly build, both on one thread.

const PROVIDERS = { "ort-webgpu": "webgpu", "ort-wasm": "wasm" }

export async function open(name, { libraries, model, externalData, readAll }) {
  const ort = await import(libraries[name])
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = "error"
  if (libraries.ortFiles !== undefined) ort.env.wasm.wasmPaths = libraries.ortFiles
  // Outside of pages the WebGPU build reads no files by itself.
  const isGiven = name === "ort-webgpu" && readAll !== undefined
  const source = isGiven ? await readAll(model) : model
  const external = isGiven ? await Promise.all(externalData.map(async ({ path, data }) => ({ path, data: await readAll(data) }))) : externalData
  const session = await ort.InferenceSession.create(source, { executionProviders: [PROVIDERS[name]], externalData: external })
  return {
    tensor: (type, data, dims) => new ort.Tensor(type, data, dims),
    run: feeds => session.run(feeds),
    release: () => session.release(),
  }
}
