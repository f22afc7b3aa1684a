// Sessions of the built package on real models.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { test } from "node:test"
import { Worker } from "node:worker_threads"
import * as host from "../../pkg/dist/index.mjs"
import { assertClose, assertCode, digits, inRepository, readNpz } from "./support.mjs"

const { InferenceSession, Tensor, tools } = host
const model = digits("digits.onnx")
const cpu = { executionProviders: ["cpu"] }
const blank = (...dims) => new Tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims)

test("the_digit_classifier_gives_its_reference_outputs", async () => {
  const session = await InferenceSession.create(model, cpu)
  const arrays = await readNpz(host, digits("digits.npz"))
  const { logits } = await session.run({ image: arrays.get("in_0") })
  assertClose(logits, arrays.get("out_0"))
  await session.release()
})

test("metadata_names_types_and_free_dimensions", async () => {
  const session = await InferenceSession.create(readFileSync(model), cpu)
  assert.deepEqual(session.inputNames, ["image"])
  assert.deepEqual(session.outputNames, ["logits"])
  assert.deepEqual(session.inputMetadata, [{ name: "image", isTensor: true, type: "float32", shape: ["batch", 1, 28, 28] }])
  assert.deepEqual(session.outputMetadata, [{ name: "logits", isTensor: true, type: "float32", shape: ["batch", 10] }])
})

test("free_dimension_overrides_become_part_of_the_metadata", async () => {
  const session = await InferenceSession.create(model, { ...cpu, freeDimensionOverrides: { batch: 2 } })
  assert.deepEqual(session.inputMetadata[0].shape, [2, 1, 28, 28])
  await assertCode(session.run({ image: blank(3, 1, 28, 28) }), "SHAPE_MISMATCH", /"?image"?.*2.*3/)
  assert.deepEqual((await session.run({ image: blank(2, 1, 28, 28) })).logits.dims, [2, 10])
})

test("every_batch_size_runs_in_one_session", async () => {
  const session = await InferenceSession.create(model, cpu)
  for (const batch of [1, 3, 1, 7]) {
    const { logits } = await session.run({ image: blank(batch, 1, 28, 28) })
    assert.deepEqual(logits.dims, [batch, 10])
  }
})

test("wrong_feeds_are_named_and_the_session_stays_usable", async () => {
  const session = await InferenceSession.create(model, cpu)
  const image = blank(1, 1, 28, 28)
  await assertCode(session.run({}), "INVALID_INPUT", /image/)
  await assertCode(session.run({ picture: image }), "INVALID_INPUT", /image/)
  await assertCode(session.run({ image, more: image }), "INVALID_INPUT", /more.*image/)
  await assertCode(session.run({ image: blank(1, 28, 28) }), "SHAPE_MISMATCH", /image.*28/)
  await assertCode(session.run({ image: blank(1, 3, 28, 28) }), "SHAPE_MISMATCH", /image.*3/)
  await assertCode(session.run({ image: new Tensor(new Int32Array(784), [1, 1, 28, 28]) }), "DTYPE_MISMATCH", /image.*float32.*int32/)
  await assertCode(session.run({ image: new Tensor("string", Array(784).fill("a"), [1, 1, 28, 28]) }), "DTYPE_MISMATCH", /image/)
  await assertCode(session.run({ image }, ["nothing"]), "INVALID_INPUT", /nothing.*logits/)
  const disposed = blank(1, 1, 28, 28)
  disposed.dispose()
  await assertCode(session.run({ image: disposed }), "INVALID_INPUT", /image.*disposed/)
  assert.deepEqual((await session.run({ image })).logits.dims, [1, 10])
})

test("a_run_after_release_is_an_error", async () => {
  const session = await InferenceSession.create(model, cpu)
  await session.release()
  await session.release()
  await assertCode(session.run({ image: blank(1, 1, 28, 28) }), "RELEASED")
  assert.throws(() => session.placement(), { code: "RELEASED" })
})

test("many_sessions_and_runs_at_once_do_not_mix", async () => {
  const arrays = await readNpz(host, digits("digits.npz"))
  const sessions = await Promise.all([1, 2, 3].map(() => InferenceSession.create(model, cpu)))
  const runs = sessions.flatMap(session => [1, 2].map(() => session.run({ image: arrays.get("in_0") })))
  for (const { logits } of await Promise.all(runs)) assertClose(logits, arrays.get("out_0"))
  await Promise.all(sessions.map(session => session.release()))
})

test("placement_names_a_backend_and_a_reason_for_every_node", async () => {
  const session = await InferenceSession.create(model)
  await session.run({ image: blank(1, 1, 28, 28) })
  const placement = session.placement()
  assert.ok(placement.length > 0)
  for (const { op, backend, reason } of placement) {
    assert.ok(op.length > 0)
    assert.ok(["cpu", "webgpu"].includes(backend))
    assert.equal(typeof reason, "string")
  }
})

test("external_data_is_read_beside_the_model_and_from_the_option", async () => {
  const path = inRepository("tests/fixtures/models/resnet18_w16.ext.onnx")
  const arrays = await readNpz(host, inRepository("tests/fixtures/models/resnet18_w16.ext.npz"))
  const data = readFileSync(`${path}.data`)
  const given = { ...cpu, externalData: [{ path: "resnet18_w16.ext.onnx.data", data }] }
  for (const session of [await InferenceSession.create(path, cpu), await InferenceSession.create(readFileSync(path), given)]) {
    const [input, output] = [session.inputNames[0], session.outputNames[0]]
    assertClose((await session.run({ [input]: arrays.get("in_0") }))[output], arrays.get("out_0"), { atol: 2e-3 })
  }
  await assertCode(InferenceSession.create(readFileSync(path), cpu), "IO", /resnet18_w16\.ext\.onnx\.data/)
})

test("bytes_that_are_no_model_are_refused_with_a_code", async () => {
  const bytes = readFileSync(model)
  const refused = {
    empty: new Uint8Array(0),
    "a picture": readFileSync(digits("digit_0.png")),
    "half a model": bytes.subarray(0, bytes.length >> 1),
    "a model without its last byte": bytes.subarray(0, -1),
    text: new TextEncoder().encode("this is not a model"),
    zeros: new Uint8Array(1000),
    ones: new Uint8Array(1000).fill(255),
  }
  for (const [what, hostile] of Object.entries(refused)) {
    await assertCode(InferenceSession.create(hostile, cpu), "MODEL_PARSE", /./).catch(error => assert.fail(`${what}: ${error.message}`))
  }
  const session = await InferenceSession.create(bytes, cpu)
  assert.equal((await session.run({ image: blank(1, 1, 28, 28) })).logits.size, 10)
})

test("arguments_of_the_wrong_kind_are_type_errors_as_in_onnxruntime", async () => {
  await assert.rejects(InferenceSession.create(42), TypeError)
  await assert.rejects(InferenceSession.create(model, "cpu"), TypeError)
  const session = await InferenceSession.create(model, cpu)
  await assert.rejects(session.run(null), TypeError)
  await assert.rejects(session.run({ image: blank(1, 1, 28, 28) }, []), TypeError)
})

test("the_commonjs_package_is_the_same", async () => {
  const require = createRequire(import.meta.url)
  const common = require("../../pkg/dist/index.cjs")
  assert.deepEqual(Object.keys(common).sort(), Object.keys(host).sort())
  const session = await common.InferenceSession.create(model, cpu)
  const image = new common.Tensor(new Float32Array(784), [1, 1, 28, 28])
  assert.equal((await session.run({ image })).logits.size, 10)
})

test("a_tensor_of_another_copy_of_onnxruntime_common_is_taken", async () => {
  const require = createRequire(import.meta.url)
  const other = require("../../www/node_modules/onnxruntime-common")
  const session = await InferenceSession.create(model, cpu)
  const image = new other.Tensor("float32", new Float32Array(784), [1, 1, 28, 28])
  assert.notEqual(other.Tensor, Tensor)
  assert.equal((await session.run({ image })).logits.size, 10)
})

test("sessions_run_in_worker_threads", async () => {
  const source = `
    const { parentPort, workerData } = require("node:worker_threads")
    const { InferenceSession, Tensor } = require(workerData.host)
    InferenceSession.create(workerData.model, { executionProviders: ["cpu"] })
      .then(session => session.run({ image: new Tensor(new Float32Array(784), [1, 1, 28, 28]) }))
      .then(({ logits }) => parentPort.postMessage(logits.data))`
  const worker = new Worker(source, { eval: true, workerData: { host: inRepository("pkg/dist/index.cjs"), model } })
  const logits = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject))
  assert.equal(logits.length, 10)
  await worker.terminate()
})

test("without_npm_webgpu_devices_says_how_to_get_it", async t => {
  const [webgpu, , cpu] = await host.devices()
  assert.equal(cpu.available, true)
  if (webgpu.available) return t.skip(`there is WebGPU: ${webgpu.description}`)
  assert.match(webgpu.description, /npm install webgpu|no GPU found/)
})

test("the_version_is_the_packages", () => {
  assert.equal(host.version, JSON.parse(readFileSync(inRepository("pkg/package.json"), "utf8")).version)
})

test("inspect_counts_operators_and_parameters", async () => {
  const { inputs, outputs, ops, parameters } = await tools.inspect(model)
  assert.equal(inputs[0].name, "image")
  assert.equal(outputs[0].name, "logits")
  assert.ok(ops.Conv > 0)
  assert.ok(parameters > 100_000)
})

test("text_shows_the_model_at_each_stage", async () => {
  for (const stage of ["model", "graph", "passes"]) {
    const text = await tools.text(model, stage, { freeDimensionOverrides: { batch: 1 } })
    assert.match(text, /Conv/)
    assert.match(text, /image/)
  }
})
