// The model of these tests, where the right answer is known for every input: y = x * scale.
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { scaleModel } from "../../node/made.mjs"

export const scaleBytes = scaleModel()
export const scaleSha256 = sha256Of(scaleBytes)

export function sha256Of(bytes) {
  return createHash("sha256").update(bytes).digest("hex")
}

/** The inputs of request `at`: no two requests have the same answer. */
export function scaleInputs(Tensor, at) {
  return { x: new Tensor("float32", Float32Array.of(at, at + 0.5), [1, 2]), scale: new Tensor("float32", Float32Array.of(scaleOf(at)), []) }
}

export function assertScaled({ y }, at) {
  assert.deepEqual([...y.dims], [1, 2])
  assert.deepEqual([...y.data], [at * scaleOf(at), (at + 0.5) * scaleOf(at)], `request ${at}`)
}

// Requests that share this input may be joined, others may not.
const scaleOf = at => 1 + (at % 3)

/** The same model as docs/PROTOCOL.md describes one, for the stub. */
export function stubScale({ version = "1", sha256 = scaleSha256, before = () => {} } = {}) {
  return {
    name: "scale",
    version,
    sha256,
    inputs: [{ name: "x", datatype: "FP32", shape: [-1, 2] }, { name: "scale", datatype: "FP32", shape: [] }],
    outputs: [{ name: "y", datatype: "FP32", shape: [-1, 2] }],
    async run(tensors) {
      await before()
      const [x, scale] = [tensors.get("x"), tensors.get("scale")]
      return { y: { datatype: "FP32", shape: x.shape, data: x.data.map(each => each * scale.data[0]) } }
    },
  }
}
