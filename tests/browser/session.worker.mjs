// A web worker that runs the digit classifier on the backend it is told and answers with the outputs.
import { InferenceSession, tools } from "/pkg/dist/browser.mjs"

self.onmessage = async ({ data: provider }) => {
  try {
    const session = await InferenceSession.create("/tests/fixtures/digits/digits.onnx", { executionProviders: [provider] })
    const response = await fetch("/tests/fixtures/digits/digits.npz")
    const arrays = await tools.readNpz(new Uint8Array(await response.arrayBuffer()))
    const { logits } = await session.run({ image: arrays.get("in_0") })
    const backends = [...new Set(session.placement().map(({ backend }) => backend))]
    await session.release()
    self.postMessage({ backends, got: [...logits.data], expected: [...arrays.get("out_0").data] })
  } catch (error) {
    self.postMessage({ error: `${error.code}: ${error.message}` })
  }
}
