// What callers of a streaming engine do wrong, never end, or do at an awkward moment.
import assert from "node:assert/strict"
import { Writable } from "node:stream"
import { test } from "node:test"
import { chunksOf } from "../../pkg/dist/index.mjs"
import { Closables, assertAccounted, fakeEngine, feeds, numbers, ofNumber, range, read, settled } from "./streams.mjs"
import { assertCode } from "./support.mjs"

const forever = () => new Promise(() => {})

/** A tensor on a GPU, which counts how often it is given back. */
function onGpu(number = 0) {
  const tensor = { location: "gpu-buffer", type: "float32", dims: [1], data: [number], nDisposed: 0, dispose() { tensor.nDisposed += 1; tensor.location = "none" } }
  return tensor
}

test("options_that_no_input_could_run_with_are_refused_at_the_start", async () => {
  const { engine, batcher } = await fakeEngine()
  const source = new ReadableStream()
  for (const [options, message] of [
    [null, /options: expected an object, got null/],
    [{ signal: {} }, /signal: expected an AbortSignal/],
    [{ timeoutMs: "soon" }, /timeoutMs: expected milliseconds/],
    [{ priority: 0.5 }, /priority: expected a whole number/],
    [{ postprocess: "softmax" }, /postprocess: expected a function, got "softmax"/],
    [{ constants: { rate: feeds(1).x } }, /constants: input "rate" is not in the model; its inputs are "x"/],
  ]) {
    await assertCode(engine.startStream("s", source, undefined, options), "INVALID_INPUT", message)
    assert.equal(source.locked, false, String(message))
  }
  await assertCode(engine.startStream(undefined, source), "INVALID_INPUT", /name: expected a string, got undefined/)
  assert.deepEqual(batcher.ran, [])
  assert.deepEqual(engine.getStats().streams, {})
})

test("what_is_taken_already_or_takes_no_objects_is_refused_at_the_start", async () => {
  const { engine } = await fakeEngine()
  const locked = new ReadableStream()
  locked.getReader()
  await assertCode(engine.startStream("s", locked), "INVALID_INPUT", /source: expected a ReadableStream that nobody reads, got one that is locked/)
  const source = new ReadableStream()
  const web = new WritableStream()
  web.getWriter()
  await assertCode(engine.startStream("s", source, web), "INVALID_INPUT", /handler: expected a WritableStream that nobody writes to, got one that is locked/)
  const bytes = new Writable({ write: (_chunk, _encoding, done) => done() })
  await assertCode(engine.startStream("s", source, bytes), "INVALID_INPUT", /handler: expected a Writable in object mode, got one that takes bytes/)
  assert.deepEqual([source.locked, bytes.listenerCount("error")], [false, 0])
})

test("what_is_no_listener_is_refused_where_it_is_given", async () => {
  const { engine } = await fakeEngine()
  assert.throws(() => engine.on("stream", undefined), { code: "INVALID_INPUT", message: /on: expected a function, got undefined/ })
  assert.throws(() => engine.on("error", () => {}), { code: "INVALID_INPUT", message: /on: expected "stream", got "error"/ })
})

test("a_function_of_the_caller_that_never_ends_keeps_no_stream_from_its_end", async () => {
  for (const options of [
    { preprocess: forever },
    { postprocess: forever },
    { preprocess: async ({ number }, { signal }) => (number === 0 ? feeds(0) : new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))) },
  ]) {
    const { engine, batcher } = await fakeEngine()
    const closables = new Closables()
    await engine.startStream("s", range(5).map(at => closables.make(at)), () => {}, { ...ofNumber, maxInFlight: 2, ...options })
    await settled()
    await engine.stop()
    assert.ok(batcher.isStopped)
    assertAccounted(engine.getStats().streams.s, closables)
    assert.equal(engine.getStats().streams.s.totalErrors, 0)
  }
})

test("a_preprocess_may_stop_its_own_stream", async () => {
  const { engine } = await fakeEngine()
  const preprocess = async value => {
    if (value === 2) await engine.stopStream("s")
    return feeds(value)
  }
  await engine.startStream("s", range(9), () => {}, { preprocess, maxInFlight: 1 })
  await engine.finished("s")
  assertAccounted(engine.getStats().streams.s)
})

test("what_a_preprocess_makes_on_a_gpu_after_the_stop_is_given_back", async () => {
  const { engine } = await fakeEngine()
  const made = onGpu()
  let make
  await engine.startStream("s", [1], () => {}, { preprocess: () => new Promise(resolve => { make = () => resolve(made) }) })
  await settled()
  await engine.stop()
  make()
  await settled()
  assert.equal(made.nDisposed, 1)
})

test("no_stream_starts_while_the_engine_stops", async () => {
  const { engine } = await fakeEngine()
  const source = new ReadableStream()
  const stopped = engine.stop()
  await assertCode(engine.startStream("s", source), "RELEASED", /the engine was stopped/)
  await stopped
  assert.equal(source.locked, false)
})

test("outputs_on_a_gpu_that_nobody_gets_are_given_back", async () => {
  const { engine, batcher } = await fakeEngine()
  const made = []
  batcher.run = async () => {
    made.push(onGpu())
    return { x: made.at(-1) }
  }
  await engine.startStream("newest", numbers(4), undefined, { policy: "latest", maxInFlight: 1, maxQueueSize: 1, intervalMs: 0 })
  await engine.finished("newest")
  const [{ outputs }] = await read(engine.results("newest"))
  assert.equal(outputs.x, made.at(-1))
  assert.ok(made.length > 1, "one was replaced")
  assert.deepEqual(made.map(({ nDisposed }) => nDisposed), [...made.slice(1).map(() => 1), 0])

  made.length = 0
  await engine.startStream("stopped", numbers(4), forever, { maxInFlight: 3 })
  await settled()
  await engine.stop()
  assert.deepEqual(made.map(({ nDisposed }) => nDisposed), [0, 1, 1], "the handler has the first")
})

test("a_state_on_a_gpu_is_given_back_when_it_is_reset_and_when_its_stream_is_over", async () => {
  const { engine, batcher } = await fakeEngine()
  const states = []
  const facts = batcher.facts
  Object.defineProperty(batcher, "facts", { value: {
    ...facts, inputNames: ["x", "before"], outputNames: ["x", "after"],
    inputMetadata: [...facts.inputMetadata, { name: "before", isTensor: true, type: "float32", shape: [1] }],
  } })
  batcher.run = async inputs => {
    if (inputs.x.data[0] === 2) throw new Error("too odd")
    states.push(onGpu())
    return { x: inputs.x, after: states.at(-1) }
  }
  let give
  const source = () => new Promise(resolve => { give = resolve })
  await engine.startStream("s", source, () => {}, { state: { before: "after" } })
  const next = async number => {
    await settled()
    give(feeds(number))
    await settled()
  }
  const disposed = () => states.map(({ nDisposed }) => nDisposed)
  await next(0)
  await next(1)
  assert.deepEqual(disposed(), [1, 0])
  await next(2)
  assert.deepEqual(disposed(), [1, 0], "a step that fails leaves the state")
  engine.resetState("s")
  assert.deepEqual(disposed(), [1, 1])
  await next(3)
  await engine.stop()
  assert.deepEqual(disposed(), [1, 1, 1])
})

test("pieces_that_are_no_bytes_are_refused_with_the_way_out", async () => {
  await assertCode(chunksOf(["text"], 4).next(), "INVALID_INPUT", /chunksOf: bytes: expected pieces as Uint8Array \(a Readable without an encoding\), got "string"/)
})
