// The built package, in pages and in Node.

/** Sessions of the package; `strict` where running elsewhere would compare another backend. */
const OPTIONS = {
  webgpu: { executionProviders: ["webgpu"] },
  cpu: { executionProviders: ["cpu"], strict: true },
  wonnx: { executionProviders: ["wonnx"], strict: true },
}

export async function open(name, { libraries, model, externalData }) {
  const { InferenceSession, Tensor } = await import(libraries.sentinel)
  const session = await InferenceSession.create(model, { ...OPTIONS[name], externalData })
  return {
    tensor: (type, data, dims) => new Tensor(type, data, dims),
    run: feeds => session.run(feeds),
    placement: () => countBackends(session.placement()),
    release: () => session.release(),
  }
}

/** Nodes by the backend that ran them. */
function countBackends(placement) {
  const counts = {}
  for (const { backend } of placement) counts[backend] = (counts[backend] ?? 0) + 1
  return counts
}
