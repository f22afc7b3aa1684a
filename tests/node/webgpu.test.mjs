// The wonnx backend in Node, through npm `webgpu`.
import assert from "node:assert/strict"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { chainModel } from "./made.mjs"
import { assertClose, assertCode, digits, findWebGpu, readNpz } from "./support.mjs"

const { InferenceSession, Tensor } = host
const { webgpu, missing } = await findWebGpu()
const options = { skip: missing }
const model = digits("digits.onnx")
if (webgpu !== undefined) await host.init({ webgpu })

test("the_digit_classifier_runs_on_wonnx_in_every_batch_size", options, async () => {
  const session = await InferenceSession.create(model, { executionProviders: ["wonnx"] })
  const arrays = await readNpz(host, digits("digits.npz"))
  const { logits } = await session.run({ image: arrays.get("in_0") })
  assertClose(logits, arrays.get("out_0"))
  assert.ok(session.placement().every(({ backend }) => backend === "wonnx"), JSON.stringify(session.placement()))
  for (const batch of [1, 2]) {
    const image = new Tensor(arrays.get("in_0").data.slice(0, batch * 784), [batch, 1, 28, 28])
    const expected = new Tensor(arrays.get("out_0").data.slice(0, batch * 10), [batch, 10])
    assertClose((await session.run({ image })).logits, expected)
  }
  await assertCode(session.run({ image: new Tensor(new Float32Array(4), [1, 1, 2, 2]) }), "SHAPE_MISMATCH", /image/)
  assertClose((await session.run({ image: arrays.get("in_0") })).logits, arrays.get("out_0"))
  await session.release()
  await assertCode(session.run({ image: arrays.get("in_0") }), "RELEASED")
})

test("a_fixed_shape_is_compiled_while_the_session_is_made", options, async () => {
  const session = await InferenceSession.create(model, { executionProviders: ["wonnx"], freeDimensionOverrides: { batch: 1 } })
  assert.ok(session.placement().every(({ backend }) => backend === "wonnx"))
  await session.release()
})

test("runs_and_sessions_at_once_share_the_device", options, async () => {
  const arrays = await readNpz(host, digits("digits.npz"))
  const sessions = await Promise.all([1, 2].map(() => InferenceSession.create(model, { executionProviders: ["wonnx"] })))
  const runs = sessions.flatMap(session => [1, 2].map(() => session.run({ image: arrays.get("in_0") })))
  for (const { logits } of await Promise.all(runs)) assertClose(logits, arrays.get("out_0"))
  await Promise.all(sessions.map(session => session.release()))
})

// wonnx recurses along the graph, and Dawn ends the process where the stack is full.
test("the_deepest_graph_that_wonnx_takes_fits_on_the_stack", options, async () => {
  const wonnx = { executionProviders: ["wonnx"], strict: true }
  const x = new Tensor(Float32Array.of(0.1, 0.5, 1, 2), [4])
  let expected = [...x.data]
  for (let depth = 0; depth < 500; depth++) expected = expected.map(Math.sin)
  // Optimised code has other frames than code that has just been compiled.
  for (let time = 0; time < 2; time++) {
    const session = await InferenceSession.create(chainModel(500), wonnx)
    assertClose((await session.run({ x })).y, { dims: [4], data: expected }, { atol: 1e-2 })
    await session.release()
  }
  await assertCode(InferenceSession.create(chainModel(501), wonnx), "MODEL_UNSUPPORTED", /501 nodes/)
})

test("auto_prefers_the_cpu_over_a_software_adapter_and_says_so", options, async t => {
  const [webgpu] = await host.devices()
  if (!webgpu.software) return t.skip(`the adapter is hardware: ${webgpu.description}`)
  assert.deepEqual([webgpu.available, webgpu.auto], [true, false])
  const session = await InferenceSession.create(model, { freeDimensionOverrides: { batch: 1 } })
  const [{ backend, reason }] = session.placement()
  assert.equal(backend, "cpu")
  assert.match(reason, /software/i)
})
