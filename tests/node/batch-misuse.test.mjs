// What callers of a batch engine do wrong, or at an awkward moment: it is theirs, and no one else's.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { BatchInferenceEngine, Tensor } from "../../pkg/dist/index.mjs"
import { fakeEngine, rowsOf, settled } from "./lanes.mjs"
import { sharedModel } from "./made.mjs"
import { assertCode, digits, inRepository } from "./support.mjs"

const input = number => ({ x: rowsOf(number) })

test("an_object_of_inputs_may_be_used_again_for_the_next_input", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 3, maxQueueSize: 3 })
  const inputs = { x: rowsOf(1) }
  const answers = [1, 2, 3, 4].map(number => {
    inputs.x = rowsOf(number)
    return engine.run(inputs)
  })
  await settled()
  lanes.finish()
  await settled()
  const drained = engine.drain()
  await settled()
  lanes.finish()
  await drained
  assert.deepEqual((await Promise.all(answers)).map(({ y }) => y.data[0]), [1, 2, 3, 4])
  await engine.stop()
})

test("an_option_that_is_refused_leaves_neighbours_their_own_outputs", async () => {
  for (const [options, message] of [
    [{ signal: {} }, /signal: expected an AbortSignal, got \[object Object\]/],
    [{ signal: null }, /signal: expected an AbortSignal, got null/],
    [null, /options: expected an object, got null/],
  ]) {
    const { engine, lanes } = await fakeEngine({ batchSize: 2 })
    await assertCode(engine.run(input(1), options), "INVALID_INPUT", message)
    if (options !== null) await assertCode(engine.ready(options), "INVALID_INPUT", message)
    const answers = [engine.run(input(2)), engine.run(input(3))]
    await settled()
    lanes.finish()
    assert.deepEqual((await Promise.all(answers)).map(({ y }) => y.data[0]), [2, 3])
    assert.equal(engine.getStats().totalInputs, 2)
    await engine.stop()
  }
})

test("what_is_no_callback_is_refused_where_it_is_given", async () => {
  const { engine } = await fakeEngine()
  const add = async () => engine.addInput("a", input(1), undefined)
  await assertCode(add(), "INVALID_INPUT", /"a": callback: expected a function, got undefined/)
  assert.equal(engine.getStats().totalInputs, 0)
  await engine.stop()
})

test("what_looks_like_a_tensor_and_is_none_is_the_error_of_its_input", async () => {
  const engine = new BatchInferenceEngine({ model: digits("digits.onnx"), executionProviders: ["cpu"] })
  await engine.start()
  const [name] = engine.facts.inputNames
  await assertCode(engine.run({ [name]: { location: "cpu", type: "float32", data: [] } }), "INVALID_INPUT", /expected a Tensor, got object/)
  await engine.stop()
})

test("inputs_and_outputs_may_be_called_as_what_objects_inherit", async () => {
  for (const [scale, z] of [["constructor", "toString"], ["__proto__", "valueOf"]]) {
    const engine = new BatchInferenceEngine({ model: sharedModel(2, { scale, z }), executionProviders: ["cpu"], batchSize: 2 })
    await engine.start()
    const x = number => new Tensor(Float32Array.of(number, number), [1, 2])
    await assertCode(engine.run({ x: x(1) }), "INVALID_INPUT", new RegExp(`input "${scale}" is missing`))
    const factor = new Tensor(Float32Array.of(3), [])
    const answers = await Promise.all([1, 2].map(number => engine.run({ x: x(number), [scale]: factor })))
    assert.deepEqual(answers.map(({ y }) => [...y.data]), [[3, 3], [6, 6]])
    assert.deepEqual(answers.map(outputs => Object.hasOwn(outputs, z) && outputs[z].data[0]), [-3, -3], z)
    assert.equal(engine.getStats().totalBatches, 1)
    await engine.stop()
  }
})

test("options_of_map_are_refused_before_an_input_is_asked_for", async () => {
  const { engine } = await fakeEngine()
  let nAsked = 0
  function* inputs() {
    nAsked += 1
    yield input(1)
  }
  for (const options of [null, { signal: {} }, { timeoutMs: -1 }, { priority: 0.5 }]) {
    await assertCode(engine.map(inputs(), options).next(), "INVALID_INPUT", /expected/)
  }
  assert.equal(nAsked, 0)
  await engine.stop()
})

test("room_that_is_told_and_not_taken_goes_to_the_next", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 1 })
  const first = engine.run(input(1))
  await settled()
  const second = engine.run(input(2))
  const told = [engine.ready(), engine.ready(), engine.ready()]
  const last = engine.run(input(3))
  for (let batch = 0; batch < 2; batch += 1) {
    lanes.finish()
    await settled()
  }
  await Promise.all([first, second])
  for (let turn = 0; turn < 4; turn += 1) await settled()
  assert.deepEqual(lanes.started, [[1], [2], [3]])
  lanes.finish()
  await Promise.all([...told, last])
  await engine.stop()
})

test("a_callback_may_fire_a_signal_while_the_engine_is_stopped", () => {
  const script = `
    import { fakeEngine, rowsOf, settled } from "./tests/node/lanes.mjs"
    const { engine } = await fakeEngine({ batchSize: 4 })
    process.on("uncaughtException", error => console.log("uncaught", error.message))
    const abort = new AbortController()
    const { signal } = abort
    for (const id of ["a", "b"]) {
      engine.addInput(id, { x: rowsOf(1) }, (_, outputs, { code }) => { console.log(id, code); abort.abort() }, { signal })
    }
    await settled()
    await engine.stop()
    await settled()`
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: inRepository("."), encoding: "utf8" })
  assert.equal(stdout, "a CANCELLED\nb CANCELLED\n", stderr)
})

/** Outputs on a GPU, which count how often they are given back. */
function onGpu() {
  const tensor = { location: "gpu-buffer", nDisposed: 0, dispose() { tensor.nDisposed += 1; tensor.location = "none" } }
  return tensor
}

test("outputs_on_a_gpu_that_nobody_gets_are_given_back", async () => {
  const { engine, lanes, clock } = await fakeEngine({ batchSize: 1, lanes: { joining: { mode: "alone" } } })
  const finish = async () => {
    const y = onGpu()
    lanes.running.shift().resolve([{ y }])
    await settled()
    return y
  }
  const kept = engine.run(input(1))
  await settled()
  assert.equal((await finish()).nDisposed, 0)
  await kept

  const abort = new AbortController()
  const cancelled = assertCode(engine.run(input(2), { signal: abort.signal }), "CANCELLED")
  await settled()
  abort.abort()
  await cancelled
  assert.equal((await finish()).nDisposed, 1)

  const late = assertCode(engine.run(input(3), { timeoutMs: 5 }), "TIMEOUT")
  await clock.advance(10)
  await late
  assert.equal((await finish()).nDisposed, 1)

  const stopped = assertCode(engine.run(input(4)), "CANCELLED")
  await settled()
  const [running] = lanes.running
  const y = onGpu()
  running.resolve([{ y }])
  await engine.stop()
  await stopped
  await settled()
  assert.equal(y.nDisposed, 1)
})

test("outputs_on_a_gpu_that_a_reader_leaves_are_given_back", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, lanes: { joining: { mode: "alone" } } })
  const made = []
  const serve = async () => {
    for (let n = 0; n < 3; n += 1) {
      await settled()
      made.push(onGpu())
      lanes.running.shift()?.resolve([{ y: made.at(-1) }])
    }
    await settled()
  }
  const serving = serve()
  for await (const { outputs } of engine.map([1, 2, 3].map(input))) {
    await serving
    assert.equal(outputs.y, made[0])
    break
  }
  await settled()
  assert.deepEqual(made.map(({ nDisposed }) => nDisposed), [0, 1, 1])
  await engine.stop()
})
