// The engine's own kernels in Node, through npm `webgpu`: devices, tensors that stay on them, loss and release.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { after, test } from "node:test"
import { chainModel, meanModel } from "./made.mjs"
import { assertClose, assertCode, digits, findWebGpu, readNpz } from "./support.mjs"

// The engine's memory, which only grows: seen as it is made.
const memories = []
const instantiate = WebAssembly.instantiate
WebAssembly.instantiate = async (...args) => {
  const made = await instantiate(...args)
  const { memory } = (made.instance ?? made).exports
  if (memory !== undefined) memories.push(memory)
  return made
}
const host = await import("../../pkg/dist/index.mjs")

const { env, InferenceSession, Tensor } = host
const { webgpu, missing } = await findWebGpu()
const options = { skip: missing }
if (webgpu !== undefined) await host.init({ webgpu })

const model = digits("digits.onnx")
const onGpu = { executionProviders: ["webgpu"] }
const staysOnGpu = { ...onGpu, strict: true, preferredOutputLocation: "gpu-buffer" }
// Whole on the GPU, with a fixed shape: x -> sin(sin(sin(x))).
const sines = chainModel(3)
const sine = values => Array.from(values, x => Math.sin(Math.sin(Math.sin(x))))
const x = () => new Tensor(Float32Array.of(0.1, 0.5, 1, 2), [4])
const near = (got, expected) => assertClose({ dims: [got.length], data: got }, { dims: [expected.length], data: expected }, { atol: 1e-4, rtol: 1e-4 })

const instance = webgpu?.create([])
async function ownDevice() {
  const adapter = await instance.requestAdapter()
  return adapter.requestDevice()
}
const { COPY_SRC, COPY_DST, STORAGE } = webgpu?.globals.GPUBufferUsage ?? {}

/** How often buffers are mapped while `work` runs. */
async function countMaps(work) {
  const { prototype } = webgpu.globals.GPUBuffer
  const { mapAsync } = prototype
  let count = 0
  prototype.mapAsync = function (...args) {
    count += 1
    return mapAsync.apply(this, args)
  }
  try {
    await work()
  } finally {
    prototype.mapAsync = mapAsync
  }
  return count
}

after(() => assert.deepEqual(host.gpuMemory(), { buffers: 0, bytes: 0 }))

test("the_digit_classifier_runs_on_webgpu_in_every_batch_size", options, async () => {
  const session = await InferenceSession.create(model, onGpu)
  const arrays = await readNpz(host, digits("digits.npz"))
  assertClose((await session.run({ image: arrays.get("in_0") })).logits, arrays.get("out_0"))
  for (const batch of [1, 2, 1]) {
    const image = new Tensor(arrays.get("in_0").data.slice(0, batch * 784), [batch, 1, 28, 28])
    const expected = new Tensor(arrays.get("out_0").data.slice(0, batch * 10), [batch, 10])
    assertClose((await session.run({ image })).logits, expected)
  }
  const row = session.placement().find(({ op }) => /Conv$/.test(op))
  assert.equal(row.backend, "webgpu")
  assert.match(row.kernel, /conv/)
  assert.ok(row.bytes > 0)
  await assertCode(session.run({ image: new Tensor(new Float32Array(4), [1, 1, 2, 2]) }), "SHAPE_MISMATCH", /image/)
  await assertCode(session.run({ image: new Tensor(new Int32Array(784), [1, 1, 28, 28]) }), "DTYPE_MISMATCH", /image/)
  assertClose((await session.run({ image: arrays.get("in_0") })).logits, arrays.get("out_0"))
  await session.release()
  await assertCode(session.run({ image: arrays.get("in_0") }), "RELEASED")
})

test("a_plan_and_its_memory_are_known_before_the_first_run", options, async () => {
  const session = await InferenceSession.create(sines, { ...onGpu, strict: true })
  assert.ok(session.placement().length > 0 && session.placement().every(({ backend }) => backend === "webgpu"))
  assert.match(session.planText(), /upload x f32\[4\]/)
  const { weights, activations, staging } = session.memory()
  assert.equal(weights, 0)
  assert.ok(activations >= 16 && staging >= 16)
  await session.release()
})

test("an_output_on_the_gpu_is_the_next_ones_input_without_a_readback", options, async () => {
  const sessions = [await InferenceSession.create(sines, staysOnGpu), await InferenceSession.create(sines, staysOnGpu)]
  let last
  const maps = await countMaps(async () => {
    const { y: middle } = await sessions[0].run({ x: x() })
    assert.equal(middle.location, "gpu-buffer")
    assert.throws(() => middle.data, /getData/)
    last = (await sessions[1].run({ x: middle })).y
    middle.dispose()
    assert.equal(middle.location, "none")
  })
  assert.equal(maps, 0)
  assert.equal(await countMaps(() => last.getData(true)), 1)
  near(last.data, sine(sine(x().data)))
  await Promise.all(sessions.map(session => session.release()))
})

test("a_gpu_tensor_outlives_its_session_and_reaches_every_backend", options, async () => {
  const session = await InferenceSession.create(sines, staysOnGpu)
  const { y } = await session.run({ x: x() })
  await session.release()
  const device = await ownDevice()
  for (const executionProviders of [["cpu"], [{ name: "webgpu", device }]]) {
    const other = await InferenceSession.create(sines, { executionProviders })
    near((await other.run({ x: y })).y.data, sine(sine(x().data)))
    await other.release()
  }
  y.dispose()
  device.destroy()
})

test("a_callers_device_and_buffers_are_used", options, async () => {
  const device = await ownDevice()
  const session = await InferenceSession.create(sines, { executionProviders: [{ name: "webgpu", device }], strict: true })
  // As small as its elements: nothing is read beyond them.
  const buffer = device.createBuffer({ size: 16, usage: STORAGE | COPY_SRC | COPY_DST })
  device.queue.writeBuffer(buffer, 0, x().data)
  const given = Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [4] })
  near((await session.run({ x: given })).y.data, sine(x().data))
  const target = Tensor.fromGpuBuffer(device.createBuffer({ size: 16, usage: COPY_SRC | COPY_DST }), { dataType: "float32", dims: [4] })
  const { y } = await session.run({ x: given }, { y: target })
  assert.equal(y, target)
  near((await session.run({ x: target })).y.data, sine(sine(x().data)))
  await assertCode(session.run({ x: Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [8] }) }), "INVALID_INPUT", /"?x"?.*16 bytes.*32/)
  const unreadable = device.createBuffer({ size: 16, usage: STORAGE })
  await assertCode(session.run({ x: Tensor.fromGpuBuffer(unreadable, { dataType: "float32", dims: [4] }) }), "INVALID_INPUT", /COPY_SRC/)
  await session.release()
  // It is the caller's: it works on.
  const scope = device.pushErrorScope("validation")
  device.createBuffer({ size: 16, usage: STORAGE }).destroy()
  assert.equal(scope, undefined)
  assert.equal(await device.popErrorScope(), null)
  device.destroy()
})

test("onnxruntimes_settings_choose_the_device", options, async () => {
  const device = await ownDevice()
  const ours = await env.webgpu.device
  assert.notEqual(ours, device)
  env.webgpu.device = device
  assert.equal(await env.webgpu.device, device)
  const session = await InferenceSession.create(sines, staysOnGpu)
  const { y } = await session.run({ x: x() })
  // A buffer of another device would be refused here.
  device.pushErrorScope("validation")
  const encoder = device.createCommandEncoder()
  encoder.copyBufferToBuffer(y.gpuBuffer, 0, device.createBuffer({ size: 16, usage: COPY_DST }), 0, 16)
  device.queue.submit([encoder.finish()])
  assert.equal(await device.popErrorScope(), null)
  y.dispose()
  await session.release()
  env.webgpu.device = undefined
  assert.equal(await env.webgpu.device, ours)
  device.destroy()
})

test("types_that_the_gpu_does_not_have_are_refused_with_the_reason", options, async () => {
  const session = await InferenceSession.create(sines, onGpu)
  const device = await env.webgpu.device
  const buffer = device.createBuffer({ size: 64, usage: COPY_SRC | COPY_DST })
  await assertCode(session.run({ x: Tensor.fromGpuBuffer(buffer, { dataType: "int64", dims: [4] }) }), "DTYPE_MISMATCH", /x.*int64.*32-bit/)
  await assertCode(session.run({ x: Tensor.fromGpuBuffer(buffer, { dataType: "int32", dims: [4] }) }), "DTYPE_MISMATCH", /x.*float32.*int32/)
  await session.release()
  buffer.destroy()
  const wrong = { preferredOutputLocation: "texture" }
  await assertCode(InferenceSession.create(sines, { ...onGpu, ...wrong }), "INVALID_INPUT", /texture/)
  await assertCode(InferenceSession.create(sines, { ...onGpu, preferredOutputLocation: { z: "gpu-buffer" } }), "INVALID_INPUT", /"z".*"y"/)
  await assertCode(InferenceSession.create(sines, { executionProviders: ["cpu"], preferredOutputLocation: "gpu-buffer" }), "INVALID_INPUT", /webgpu/)
  await assertCode(InferenceSession.create(sines, { executionProviders: [{ name: "webgpu", device: {} }] }), "INVALID_INPUT", /GPUDevice/)
})

test("a_lost_device_is_told_once_and_the_session_works_again", options, async () => {
  const arrays = await readNpz(host, digits("digits.npz"))
  const feeds = { image: arrays.get("in_0") }
  const sessions = [await InferenceSession.create(model, onGpu), await InferenceSession.create(readFileSync(model), onGpu)]
  for (const session of sessions) assertClose((await session.run(feeds)).logits, arrays.get("out_0"))
  const lost = await env.webgpu.device
  lost.destroy()
  for (const session of sessions) {
    await assertCode(session.run(feeds), "DEVICE_LOST")
    assertClose((await session.run(feeds)).logits, arrays.get("out_0"))
  }
  assert.notEqual(await env.webgpu.device, lost)
  await Promise.all(sessions.map(session => session.release()))
})

test("a_device_lost_while_a_run_is_under_way_fails_that_run_alone", options, async () => {
  const session = await InferenceSession.create(sines, { ...onGpu, strict: true })
  const running = session.run({ x: x() })
  ;(await env.webgpu.device).destroy()
  // The result may have been there before the loss was.
  await running.then(({ y }) => near(y.data, sine(x().data)), error => assert.equal(error.code, "DEVICE_LOST"))
  await session.run({ x: x() }).catch(error => assert.equal(error.code, "DEVICE_LOST"))
  near((await session.run({ x: x() })).y.data, sine(x().data))
  await session.release()
})

test("a_lost_device_takes_its_tensors_with_it", options, async () => {
  const session = await InferenceSession.create(sines, staysOnGpu)
  const { y } = await session.run({ x: x() })
  ;(await env.webgpu.device).destroy()
  await assertCode(y.getData(), "DEVICE_LOST")
  y.dispose()
  await session.run({ x: x() }).then(({ y }) => y.dispose(), error => assert.equal(error.code, "DEVICE_LOST"))
  const again = (await session.run({ x: x() })).y
  near(await again.getData(true), sine(x().data))
  await session.release()
})

test("sessions_and_runs_at_once_share_the_device", options, async () => {
  const arrays = await readNpz(host, digits("digits.npz"))
  const sessions = await Promise.all([1, 2, 3].map(() => InferenceSession.create(model, onGpu)))
  const runs = sessions.flatMap(session => [1, 2].map(() => session.run({ image: arrays.get("in_0") })))
  for (const { logits } of await Promise.all(runs)) assertClose(logits, arrays.get("out_0"))
  await Promise.all(sessions.map(session => session.release()))
})

test("a_hundred_sessions_of_ten_megabytes_leave_no_buffer_and_no_memory_behind", options, async () => {
  const size = 1600
  const bytes = meanModel(size)
  assert.ok(bytes.length > 10_000_000)
  const ones = new Tensor(new Float32Array(size).fill(1), [1, size])
  let settled
  for (let count = 0; count < 100; count += 1) {
    const session = await InferenceSession.create(bytes, onGpu)
    const { y } = await session.run({ x: ones })
    near(y.data.slice(0, 2), [1, 1])
    assert.ok(host.gpuMemory().bytes > 10_000_000)
    await session.release()
    assert.deepEqual(host.gpuMemory(), { buffers: 0, bytes: 0 })
    if (count === 5) settled = memories.map(memory => memory.buffer.byteLength)
  }
  assert.deepEqual(memories.map(memory => memory.buffer.byteLength), settled)
  assert.ok(Math.max(...settled) < 4 * bytes.length, `${settled}`)
})

test("a_profile_has_the_launches_of_each_run", options, async () => {
  const session = await InferenceSession.create(sines, { ...onGpu, enableProfiling: true })
  await session.run({ x: x() })
  await session.run({ x: x() })
  const { traceEvents } = session.endProfiling()
  const named = cat => traceEvents.filter(event => event.cat === cat)
  assert.deepEqual(named("host").map(({ name }) => name), ["create", "run", "run"])
  const hasTimes = (await env.webgpu.device).features.has("timestamp-query")
  if (hasTimes) assert.ok(named("gpu").length >= 2 && named("gpu").every(({ dur }) => dur >= 0))
  await session.release()
})

test("debug_switches_tell_the_graph_the_plan_the_shaders_and_the_times", options, async t => {
  const warn = t.mock.method(console, "warn", () => undefined)
  const told = () => new Set(warn.mock.calls.map(({ arguments: [text] }) => /^sentinel (\w+):/.exec(text)[1]))
  await assertCode(host.init({ debug: "plan,speed" }), "INVALID_INPUT", /speed.*wgsl/)
  await host.init({ debug: "graph,passes,plan,wgsl,time" })
  try {
    // A device of its own has compiled nothing yet.
    const device = await ownDevice()
    const session = await InferenceSession.create(sines, { executionProviders: [{ name: "webgpu", device }] })
    await session.run({ x: x() })
    await session.release()
    device.destroy()
  } finally {
    await host.init({ debug: "" })
  }
  assert.deepEqual([...told()].sort(), ["graph", "passes", "plan", "time", "wgsl"])
  const count = warn.mock.callCount()
  await (await InferenceSession.create(sines, onGpu)).release()
  assert.equal(warn.mock.callCount(), count)
})
