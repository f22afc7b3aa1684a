// What the host decides by itself, over a fake engine: providers, compiled shapes, order, release.
import assert from "node:assert/strict"
import { test } from "node:test"
import { fakeDevice, fakeModel, HARDWARE, hostWithFakes, SWIFTSHADER } from "./fakes.mjs"

const floats = (host, ...values) => new host.Tensor(Float32Array.from(values), [values.length])
const wonnx = { executionProviders: ["wonnx", "cpu"] }
const code = expected => error => {
  assert.equal(error.code, expected, error.message)
  return true
}

test("auto_takes_webgpu_on_a_hardware_adapter", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }))
  const { y } = await session.run({ x: floats(host, 1, 2) })
  assert.deepEqual([...y.data], [1, 2])
  assert.deepEqual(fake.runs, ["webgpu"])
  assert.equal(session.placement()[0].backend, "webgpu")
  assert.deepEqual(session.memory(), { weights: 1, activations: 2, staging: 3 })
  assert.deepEqual(fake.loads, ["engine"])
})

test("auto_takes_the_cpu_over_a_software_adapter_and_opens_no_device", async () => {
  for (const adapter of [SWIFTSHADER, { ...HARDWARE, isFallbackAdapter: true }, undefined]) {
    const { host, fake } = await hostWithFakes({ adapter })
    const session = await host.InferenceSession.create(fakeModel({ wonnx: true }))
    await session.run({ x: floats(host, 1, 2) })
    assert.deepEqual(fake.runs, ["cpu"])
    assert.deepEqual(fake.loads, ["engine"])
    assert.deepEqual(fake.opens, [])
    assert.equal(fake.creates[0].options.adapter.present, adapter !== undefined)
  }
})

test("naming_wonnx_uses_a_software_adapter", async () => {
  const { host, fake } = await hostWithFakes({ adapter: SWIFTSHADER })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }), { executionProviders: ["wonnx"] })
  await session.run({ x: floats(host, 1, 2) })
  assert.deepEqual(fake.runs, ["wonnx"])
})

test("naming_only_what_needs_webgpu_without_it_says_how_to_get_it", async () => {
  const { host } = await hostWithFakes()
  for (const executionProviders of [["wonnx"], ["webgpu"], ["webgpu", "wonnx"]]) {
    const creating = host.InferenceSession.create(fakeModel({ wonnx: true }), { executionProviders })
    await assert.rejects(creating, error => code("DEVICE_LOST")(error) && /npm install webgpu/.test(error.message))
  }
})

test("sessions_of_one_choice_share_a_device_with_the_adapters_own_limits", async () => {
  const { host, fake } = await hostWithFakes({ adapter: SWIFTSHADER })
  const create = (...executionProviders) => host.InferenceSession.create(fakeModel({}), { executionProviders })
  await Promise.all([create("webgpu"), create("webgpu"), create({ name: "webgpu" })])
  assert.equal(fake.opens.length, 1)
  assert.deepEqual(fake.opens[0].device.limits, { maxBufferSize: 2 ** 30 })
  assert.equal(fake.opens[0].facts.software, true)
  await create({ name: "webgpu", powerPreference: "low-power" })
  assert.equal(fake.opens.length, 2)
  assert.deepEqual(fake.asked.at(-1), { powerPreference: "low-power" })
  host.env.webgpu.forceFallbackAdapter = true
  await create("webgpu")
  assert.deepEqual(fake.asked.at(-1), { forceFallbackAdapter: true })
})

test("a_callers_device_is_taken_and_never_given_up", async () => {
  const { host, fake } = await hostWithFakes()
  const device = fakeDevice()
  device.destroy = () => assert.fail("it is the caller's")
  for (let time = 0; time < 2; time += 1) {
    const session = await host.InferenceSession.create(fakeModel({}), { executionProviders: [{ name: "webgpu", device }] })
    await session.run({ x: floats(host, 1, 2) })
    await session.release()
  }
  assert.equal(fake.openedOn, device)
  assert.equal(fake.opens.length, 1)
  assert.deepEqual(fake.asked, [])
})

test("webgpu_that_fails_leaves_the_work_to_the_cpu_and_placement_says_so", async () => {
  for (const failure of [["OUT_OF_MEMORY", "too large"], ["INTERNAL", "shader refused"], ["DEVICE_LOST", "gone"]]) {
    const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
    fake.failGpu = failure
    const session = await host.InferenceSession.create(fakeModel({}))
    assert.deepEqual([...(await session.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
    assert.deepEqual(fake.runs, ["cpu"])
    const [{ backend, reason }] = session.placement()
    assert.equal(backend, "cpu")
    assert.match(reason, new RegExp(failure.join(".*")))
    await session.release()
    assert.deepEqual(fake.freed, ["engine", "engine"])
  }
})

test("webgpu_that_fails_while_it_runs_leaves_that_run_to_the_cpu_too", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({}))
  fake.failRun = ["OUT_OF_MEMORY", "too large"]
  assert.deepEqual([...(await session.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
  assert.deepEqual(fake.runs, ["webgpu", "cpu"])
  assert.match(session.placement()[0].reason, /OUT_OF_MEMORY.*too large/)
})

test("webgpu_that_fails_is_an_error_when_the_cpu_is_not_named_or_strictness_is_asked_for", async () => {
  for (const options of [{ executionProviders: ["webgpu"] }, { strict: true }]) {
    const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
    fake.failGpu = ["OUT_OF_MEMORY", "too large"]
    await assert.rejects(host.InferenceSession.create(fakeModel({}), options), code("OUT_OF_MEMORY"))
    assert.deepEqual(fake.freed, ["engine"])
  }
})

test("a_lost_device_fails_one_run_and_the_next_makes_the_session_again", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  let reads = 0
  fake.files.get = () => { reads += 1; return fakeModel({}) }
  const session = await host.InferenceSession.create("m.onnx")
  fake.failRun = ["DEVICE_LOST", "gone"]
  const first = fake.openedOn
  first.destroy()
  await assert.rejects(session.run({ x: floats(host, 1, 2) }), code("DEVICE_LOST"))
  assert.deepEqual(fake.freed, ["engine"])
  assert.deepEqual(session.placement(), [])
  assert.deepEqual([...(await session.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
  assert.notEqual(fake.openedOn, first)
  assert.deepEqual([reads, fake.opens.length], [2, 2])
  await session.release()
  assert.deepEqual(fake.freed, ["engine", "engine"])
})

test("outputs_stay_on_the_gpu_where_the_options_or_the_given_tensor_say_so", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({}), { preferredOutputLocation: { y: "gpu-buffer" } })
  const { y } = await session.run({ x: floats(host, 1, 2) })
  assert.equal(y.location, "gpu-buffer")
  const target = floats(host, 0, 0)
  assert.equal((await session.run({ x: y }, { y: target })).y, target)
  assert.deepEqual([...target.data], [1, 2])
  const buffer = { usage: 12 }
  const onGpu = host.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [2] })
  assert.equal((await session.run({ x: y }, { y: onGpu })).y, onGpu)
  assert.ok(buffer.held !== undefined)
  assert.deepEqual(fake.freed, ["tensor"])
  assert.deepEqual([...(await y.getData(true))], [1, 2])
  assert.deepEqual(fake.freed, ["tensor", "tensor"])
  const other = host.Tensor.fromGpuBuffer({ usage: 12 }, { dataType: "int32", dims: [2] })
  await assert.rejects(session.run({ x: floats(host, 1, 2) }, { y: other }), code("DTYPE_MISMATCH"))
})

test("a_gpu_tensor_that_nobody_can_read_is_refused_on_the_cpu", async () => {
  const { host } = await hostWithFakes()
  const session = await host.InferenceSession.create(fakeModel({}), { executionProviders: ["cpu"] })
  const x = host.Tensor.fromGpuBuffer({ usage: 12 }, { dataType: "float32", dims: [2] })
  await assert.rejects(session.run({ x }), error => code("INVALID_INPUT")(error) && /"x".*gpu-buffer/.test(error.message))
})

test("a_profile_has_what_was_done_and_ends_when_it_is_asked_for", async () => {
  const { host } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({}), { enableProfiling: true })
  await session.run({ x: floats(host, 1, 2) })
  const names = ({ traceEvents }) => traceEvents.filter(({ ph }) => ph === "X").map(({ cat, name }) => `${cat} ${name}`)
  assert.deepEqual(names(session.endProfiling()).sort(), ["gpu n", "host create", "host run"])
  assert.deepEqual(names(session.endProfiling()), [])
})

test("wasm_is_another_name_of_cpu", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  await host.InferenceSession.create(fakeModel({}), { executionProviders: ["wasm"] })
  assert.deepEqual(fake.creates[0].options.executionProviders, ["cpu"])
})

test("a_provider_that_is_not_here_is_refused_with_the_names_of_those_that_are", async () => {
  const { host } = await hostWithFakes()
  for (const name of ["webnn", "constructor", ""]) {
    const creating = host.InferenceSession.create(fakeModel({}), { executionProviders: [name] })
    await assert.rejects(creating, error => code("INVALID_INPUT")(error) && error.message.includes("'wonnx'"))
  }
})

test("wonnx_that_fails_leaves_the_work_to_the_cpu_and_placement_says_so", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  fake.failWonnx = "shader refused"
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx)
  await session.run({ x: floats(host, 1, 2) })
  assert.deepEqual(fake.runs, ["cpu"])
  const [{ backend, reason }] = session.placement()
  assert.equal(backend, "cpu")
  assert.match(reason, /DEVICE_LOST.*shader refused/)
})

test("wonnx_that_fails_is_an_error_when_only_wonnx_was_named", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  fake.failWonnx = "shader refused"
  const creating = host.InferenceSession.create(fakeModel({ wonnx: true }), { executionProviders: ["wonnx"] })
  await assert.rejects(creating, code("DEVICE_LOST"))
  assert.deepEqual(fake.freed, ["engine"])
})

test("each_concrete_shape_is_compiled_once_and_only_a_few_are_kept", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true, shape: ["n"] }), wonnx)
  assert.equal(fake.plans.length, 0)
  for (const size of [1, 2, 1, 3, 4, 5, 1]) await session.run({ x: floats(host, ...Array(size).fill(0)) })
  assert.deepEqual(fake.plans.map(({ x }) => x[0]), [1, 2, 3, 4, 5])
  assert.deepEqual(fake.freed, ["wonnx"])
  await session.release()
  assert.deepEqual(fake.freed, [...Array(5).fill("wonnx"), "engine"])
})

test("placement_is_that_of_the_latest_run", async () => {
  const { host } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: [1, 2], shape: ["n"] }), wonnx)
  for (const [size, backend] of [[1, "wonnx"], [3, "cpu"], [1, "wonnx"], [3, "cpu"]]) {
    await session.run({ x: floats(host, ...Array(size).fill(0)) })
    assert.equal(session.placement()[0].backend, backend)
  }
})

test("runs_of_one_session_wait_for_each_other", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx)
  const results = await Promise.all([1, 2, 3].map(value => session.run({ x: floats(host, value, 0) })))
  assert.deepEqual(results.map(({ y }) => y.data[0]), [1, 2, 3])
  assert.equal(fake.mostAtOnce, 1)
})

test("release_waits_for_runs_and_a_second_release_does_nothing", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx)
  const running = session.run({ x: floats(host, 1, 2) })
  await Promise.all([session.release(), session.release()])
  assert.deepEqual([...(await running).y.data], [1, 2])
  assert.deepEqual(fake.freed, ["wonnx", "engine"])
  await assert.rejects(session.run({ x: floats(host, 1, 2) }), code("RELEASED"))
  assert.throws(() => session.placement(), code("RELEASED"))
})

test("a_failing_run_leaves_the_session_usable", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const session = await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx)
  fake.failRun = true
  await assert.rejects(session.run({ x: floats(host, 1, 2) }), code("DEVICE_LOST"))
  assert.deepEqual(fake.freed, ["wonnx"])
  fake.refuseFeeds = ["SHAPE_MISMATCH", "input \"x\": expected [2], got [1]"]
  await assert.rejects(session.run({ x: floats(host, 1) }), code("SHAPE_MISMATCH"))
  fake.refuseFeeds = undefined
  assert.deepEqual([...(await session.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
})

test("after_a_trap_every_session_of_the_instance_says_why_and_new_ones_work", async () => {
  const { host, fake } = await hostWithFakes()
  const [first, second] = [await host.InferenceSession.create(fakeModel({})), await host.InferenceSession.create(fakeModel({}))]
  fake.trap = true
  const stopped = error => code("INTERNAL")(error) && /engine\.wasm stopped after a fault \(unreachable\)/.test(error.message)
  await assert.rejects(first.run({ x: floats(host, 1, 2) }), stopped)
  fake.trap = false
  for (const session of [first, second]) {
    await assert.rejects(session.run({ x: floats(host, 1, 2) }), stopped)
    assert.throws(() => session.placement(), stopped)
    await session.release()
    await assert.rejects(session.run({ x: floats(host, 1, 2) }), code("RELEASED"))
  }
  assert.deepEqual(fake.freed, [])
  const third = await host.InferenceSession.create(fakeModel({}))
  assert.deepEqual([...(await third.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
  assert.deepEqual(fake.loads, ["engine", "engine"])
})

test("after_a_trap_in_wonnx_its_sessions_compile_again_in_a_new_module", async () => {
  const { host, fake } = await hostWithFakes({ adapter: HARDWARE })
  const sessions = [await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx), await host.InferenceSession.create(fakeModel({ wonnx: true }), wonnx)]
  fake.trapWonnx = true
  const running = sessions.map(session => session.run({ x: floats(host, 1, 2) }))
  for (const run of running) await assert.rejects(run, error => code("INTERNAL")(error) && /wonnx\.wasm stopped/.test(error.message))
  fake.trapWonnx = false
  for (const session of sessions) assert.deepEqual([...(await session.run({ x: floats(host, 1, 2) })).y.data], [1, 2])
  assert.deepEqual(fake.loads, ["engine", "wonnx", "wonnx"])
  assert.deepEqual(fake.freed, [])
})

test("a_run_whose_signal_has_fired_is_not_started", async () => {
  const { host, fake } = await hostWithFakes()
  const session = await host.InferenceSession.create(fakeModel({}))
  await assert.rejects(session.run({ x: floats(host, 1, 2) }, { signal: AbortSignal.abort() }), code("CANCELLED"))
  assert.deepEqual(fake.runs, [])
})

test("missing_and_unknown_names_are_refused_with_the_names_that_are_right", async () => {
  const { host } = await hostWithFakes()
  const session = await host.InferenceSession.create(fakeModel({}))
  const x = floats(host, 1, 2)
  for (const running of [session.run({}), session.run({ x, z: x }), session.run({ x }, ["z"])]) {
    await assert.rejects(running, error => code("INVALID_INPUT")(error) && /"[xy]"/.test(error.message))
  }
  await assert.rejects(session.run({ x: [1, 2] }), code("INVALID_INPUT"))
})

test("a_preallocated_output_receives_the_values", async () => {
  const { host } = await hostWithFakes()
  const session = await host.InferenceSession.create(fakeModel({}))
  const target = floats(host, 0, 0)
  const { y } = await session.run({ x: floats(host, 1, 2) }, { y: target })
  assert.equal(y, target)
  assert.deepEqual([...target.data], [1, 2])
  await assert.rejects(session.run({ x: floats(host, 1, 2) }, { y: floats(host, 0) }), code("SHAPE_MISMATCH"))
  const integers = new host.Tensor(new Int32Array(2))
  await assert.rejects(session.run({ x: floats(host, 1, 2) }, { y: integers }), code("DTYPE_MISMATCH"))
})

test("every_element_type_survives_the_way_in_and_out", async () => {
  const { host } = await hostWithFakes()
  const session = await host.InferenceSession.create(fakeModel({}))
  const tensors = [
    new host.Tensor("int64", new BigInt64Array([-1n, 2n ** 62n]), [2]),
    new host.Tensor("uint64", new BigUint64Array([1n, 2n ** 63n]), [2]),
    new host.Tensor("float16", new Uint16Array([0x3c00, 0xbc00]), [2]),
    new host.Tensor("float64", new Float64Array([1.5, -2]), [1, 2]),
    new host.Tensor("bool", [true, false], [2]),
    new host.Tensor("uint8", new Uint8Array([7, 255]), [2]),
    new host.Tensor("int8", new Int8Array([-7, 7]), [2]),
    new host.Tensor("string", ["a", "ü"], [2]),
    new host.Tensor("float32", new Float32Array(8).subarray(3, 5).fill(3), [2]),
    new host.Tensor("float32", [5], []),
    new host.Tensor("float32", new Float32Array(0), [0, 3]),
  ]
  for (const x of tensors) {
    const { y } = await session.run({ x })
    assert.equal(y.type, x.type)
    assert.deepEqual([...y.dims], [...x.dims])
    assert.deepEqual([...y.data], [...x.data])
  }
})

test("external_data_comes_from_the_option_before_the_neighbours", async () => {
  const { host, fake } = await hostWithFakes()
  const bytes = Uint8Array.of(1, 2, 3)
  fake.files.set("m.onnx", fakeModel({ external: ["weights/a.bin", "b.bin"] }))
  fake.files.set("b.bin", bytes)
  for (const data of [bytes, bytes.buffer, new Blob([bytes])]) {
    await host.InferenceSession.create("m.onnx", { externalData: [{ path: "./weights/a.bin", data }] })
    const { external } = fake.creates.at(-1)
    assert.deepEqual([...external.keys()], ["weights/a.bin", "b.bin"])
    assert.deepEqual([...external.get("weights/a.bin")], [1, 2, 3])
  }
})

test("external_data_that_nobody_gives_is_named_in_the_error", async () => {
  const { host } = await hostWithFakes()
  const creating = host.InferenceSession.create(fakeModel({ external: ["a.bin"] }))
  await assert.rejects(creating, error => code("IO")(error) && /"a\.bin"/.test(error.message))
})

test("model_and_external_data_are_held_to_the_limit", async () => {
  const { host } = await hostWithFakes()
  const model = fakeModel({ external: ["a.bin"] })
  const externalData = [{ path: "a.bin", data: new Uint8Array(100) }]
  await assert.rejects(host.InferenceSession.create(model, { maxModelBytes: 10 }), code("TOO_LARGE"))
  await assert.rejects(host.InferenceSession.create(model, { externalData: [{ path: "a.bin", data: new Uint8Array(10_000) }], maxModelBytes: 9_000 }), code("TOO_LARGE"))
  await host.InferenceSession.create(model, { externalData, maxModelBytes: 9_000 })
})

test("the_engines_codes_reach_the_caller", async () => {
  const { host } = await hostWithFakes()
  for (const known of host.ERROR_CODES) {
    const creating = host.InferenceSession.create(fakeModel({ refuse: [known, "why"] }))
    await assert.rejects(creating, error => code(known)(error) && error instanceof host.SentinelError)
  }
})

test("free_dimensions_strictness_and_debug_switches_reach_the_engine", async () => {
  const { host, fake } = await hostWithFakes()
  await host.init({ debug: "graph" })
  const extra = { session: { disable_cpu_ep_fallback: "1" } }
  await host.InferenceSession.create(fakeModel({}), { freeDimensionOverrides: { n: 2 }, extra })
  assert.deepEqual(fake.creates[0].options.freeDimensionOverrides, { n: 2 })
  assert.equal(fake.creates[0].options.strict, true)
  assert.equal(fake.debug, "graph")
})

test("devices_says_what_auto_may_use", async () => {
  const expected = [[HARDWARE, true, true], [SWIFTSHADER, true, false], [undefined, false, false]]
  for (const [adapter, available, auto] of expected) {
    const { host } = await hostWithFakes({ adapter })
    const [webgpu, wonnx, cpu] = await host.devices()
    assert.deepEqual([webgpu.backend, webgpu.available, webgpu.auto], ["webgpu", available, auto])
    assert.deepEqual(webgpu.limits, available ? { maxBufferSize: 2 ** 30 } : undefined)
    assert.deepEqual([wonnx.backend, wonnx.available, wonnx.auto], ["wonnx", available, false])
    assert.deepEqual([cpu.backend, cpu.available, cpu.auto], ["cpu", true, true])
  }
})
