// Streams over one engine: policies, order, bounds, errors and results, with a fake clock.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { Closables, assertAccounted, clocked, fakeEngine, feeds, numberOf, numbers, ofNumber, range, read, settled } from "./streams.mjs"
import { assertCode, inRepository } from "./support.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")
const { StreamingInferenceEngine } = host

test("latest_gives_a_slow_handler_the_newest_and_counts_what_it_missed", async () => {
  const { engine, world } = await fakeEngine()
  const closables = new Closables()
  const seen = []
  const handler = (number, { dropped, latencyMs }) => {
    seen.push({ number, dropped, latencyMs })
    return new Promise(resolve => world.after(100, resolve))
  }
  await engine.startStream("camera", clocked(world, 10, closables), handler, { ...ofNumber, policy: "latest" })
  await world.advance(350)
  assert.deepEqual(seen.map(({ number }) => number), [0, 9, 19, 29])
  assert.deepEqual(seen.map(({ dropped }) => dropped), [0, 8, 9, 9])
  assert.ok(seen.every(({ latencyMs }) => latencyMs <= 10), "the newest is no older than a frame")
  assert.ok(closables.mostOpen <= 2, `${closables.mostOpen} were open at once`)
  await engine.stopStream("camera")
  await world.advance(20)
  assertAccounted(engine.getStats().streams.camera, closables)
})

test("drop_new_keeps_the_oldest_for_a_slow_handler", async () => {
  const { engine, world } = await fakeEngine()
  const closables = new Closables()
  const seen = []
  const handler = number => {
    seen.push(number)
    return new Promise(resolve => world.after(100, resolve))
  }
  await engine.startStream("s", clocked(world, 10, closables), handler, { ...ofNumber, policy: "drop-new", maxQueueSize: 2, maxInFlight: 1 })
  await world.advance(350)
  assert.deepEqual(seen, [0, 1, 2, 10])
  assert.ok(closables.mostOpen <= 3)
  await engine.stop()
  await world.advance(20)
  assertAccounted(engine.getStats().streams.s, closables)
})

test("queue_makes_the_source_wait_for_a_slow_handler_and_loses_nothing", async () => {
  const { engine, world } = await fakeEngine()
  const closables = new Closables()
  const seen = []
  function* source() {
    for (let at = 0; at < 20; at += 1) yield closables.make(at)
  }
  const handler = number => {
    seen.push(number)
    return new Promise(resolve => world.after(100, resolve))
  }
  await engine.startStream("s", source(), handler, { ...ofNumber, maxQueueSize: 3, maxInFlight: 2 })
  await world.advance(50)
  assert.equal(closables.nMade, 5, "three wait and two are in flight")
  await world.advance(2000)
  assert.deepEqual(seen, range(20))
  await engine.finished("s")
  assertAccounted(engine.getStats().streams.s, closables)
  assert.equal(engine.getStats().streams.s.state, "ended")
})

test("a_function_is_called_on_a_grid_without_overlap_and_missed_beats_are_left_out", async () => {
  const { engine, world } = await fakeEngine()
  const callsMs = []
  let isCalled = false
  const poll = async () => {
    assert.ok(!isCalled, "two calls at once")
    isCalled = true
    callsMs.push(world.now() - 1000)
    // The third call takes longer than two beats.
    if (callsMs.length === 3) await new Promise(resolve => world.after(45, resolve))
    isCalled = false
    return feeds(callsMs.length)
  }
  await engine.startStream("sensor", poll, () => {}, { intervalMs: 20 })
  await world.advance(165)
  assert.deepEqual(callsMs, [0, 20, 40, 85, 100, 120, 140, 160])
  await engine.stop()
  await world.advance(100)
  assert.equal(callsMs.length, 8)
  assert.equal(world.nTimers, 0)
})

test("max_fps_holds_a_fast_source_back", async () => {
  const { engine, world } = await fakeEngine()
  const seenMs = []
  await engine.startStream("s", numbers(5), () => { seenMs.push(world.now() - 1000) }, { maxFps: 25 })
  await world.advance(1000)
  assert.deepEqual(seenMs, [0, 40, 80, 120, 160])
})

test("a_function_with_nothing_to_give_is_asked_again", async () => {
  const { engine, world } = await fakeEngine()
  let nCalls = 0
  await engine.startStream("s", () => ((nCalls += 1) % 3 === 0 ? feeds(nCalls) : undefined), () => {}, { intervalMs: 10 })
  await world.advance(85)
  const { totalInputs, totalErrors } = engine.getStats().streams.s
  assert.deepEqual({ nCalls, totalInputs, totalErrors }, { nCalls: 9, totalInputs: 3, totalErrors: 0 })
  await engine.stop()
})

test("results_come_in_order_though_inputs_are_prepared_out_of_order", async () => {
  const { engine, world } = await fakeEngine()
  const preprocess = async number => {
    await new Promise(resolve => world.after(number % 4 === 0 ? 50 : 1, resolve))
    return feeds(number)
  }
  const seen = []
  await engine.startStream("s", range(12), number => { seen.push(number) }, { preprocess, postprocess: numberOf, maxInFlight: 4 })
  await world.advance(500)
  assert.deepEqual(seen, range(12))
})

test("a_bad_input_is_an_event_and_a_count_and_the_stream_goes_on", async () => {
  const { engine, events } = await fakeEngine({ fails: number => (number === 2 ? new host.SentinelError("SHAPE_MISMATCH", "x: too odd") : undefined) })
  await engine.startStream("s", numbers(5))
  const got = await read(engine.results("s"))
  assert.deepEqual(got.map(({ id }) => id), [0, 1, 3, 4])
  await settled()
  const [error] = events.filter(({ type }) => type === "error")
  assert.equal(error.id, 2)
  assert.equal(error.error.code, "SHAPE_MISMATCH")
  assert.match(error.message, /"s", input 2: x: too odd/)
  const { totalErrors, lastError, state } = engine.getStats().streams.s
  assert.deepEqual({ totalErrors, state }, { totalErrors: 1, state: "ended" })
  assert.equal(lastError.code, "SHAPE_MISMATCH")
})

test("a_stream_of_errors_alone_fails_with_the_last", async () => {
  const { engine } = await fakeEngine()
  await engine.startStream("few", [1, 2], undefined, { preprocess: () => { throw new TypeError("not a picture") } })
  await assertCode(read(engine.results("few")), "INTERNAL", /"few", input 1: not a picture/)
  let nAsked = 0
  await engine.startStream("many", () => { nAsked += 1; return nAsked }, undefined, { maxErrors: 5, maxInFlight: 1, maxQueueSize: 1 })
  await assertCode(engine.finished("many"), "INVALID_INPUT", /"many", input 4: preprocess: expected a tensor/)
  assert.ok(nAsked <= 7, `${nAsked} were asked for`)
  assert.equal(engine.getStats().streams.many.state, "failed")
})

test("a_handler_that_throws_is_an_event_and_the_stream_goes_on", async () => {
  const { engine, events } = await fakeEngine()
  let nCalls = 0
  await engine.startStream("s", numbers(4), async () => {
    nCalls += 1
    if (nCalls < 3) throw new Error("the page is broken")
  })
  await engine.finished("s")
  assert.equal(nCalls, 4)
  assert.equal(events.filter(({ type, message }) => type === "error" && message.includes("the page is broken")).length, 2)
  assertAccounted(engine.getStats().streams.s)
})

test("an_error_of_the_source_ends_the_stream_behind_its_results", async () => {
  const { engine, events } = await fakeEngine()
  async function* breaking() {
    yield* numbers(3)
    throw new Error("the file is gone")
  }
  await engine.startStream("s", breaking())
  const got = []
  await assertCode((async () => { for await (const { id } of engine.results("s")) got.push(id) })(), "INTERNAL", /"s": source: the file is gone/)
  assert.deepEqual(got, [0, 1, 2])
  assert.deepEqual(events.map(({ type }) => type), ["started", "failed"])
  assert.equal(engine.getStats().streams.s.state, "failed")
  await engine.startStream("s", numbers(2))
  assert.equal((await read(engine.results("s"))).length, 2, "the engine stays usable")
})

test("streams_fail_with_the_engine_when_nothing_can_run", async () => {
  const { engine, batcher } = await fakeEngine({ fails: () => batcher.gone })
  const forever = (async function* () { for (let at = 0; ; at += 1) yield feeds(at) })()
  await engine.startStream("s", forever, () => {
    batcher.gone = new host.SentinelError("WORKER_UNAVAILABLE", "every worker is gone")
  }, { maxInFlight: 1 })
  await assertCode(engine.finished("s"), "WORKER_UNAVAILABLE", /every worker is gone/)
  assertAccounted(engine.getStats().streams.s)
})

test("results_wait_for_their_reader_and_the_source_with_them", async () => {
  const { engine } = await fakeEngine()
  const closables = new Closables()
  await engine.startStream("s", range(100).map(at => closables.make(at)), undefined, { ...ofNumber, maxQueueSize: 4, maxInFlight: 2 })
  await settled()
  const { totalInputs, totalOutputs } = engine.getStats().streams.s
  assert.ok(totalOutputs === 4 && totalInputs <= 4 + 4 + 2, `${totalOutputs} of ${totalInputs} wait for nobody`)
  const first = await read(engine.results("s"), 3)
  const rest = await read(engine.results("s"))
  assert.deepEqual([...first, ...rest].map(({ outputs }) => outputs), range(100))
})

test("latest_keeps_the_newest_result_for_a_reader_and_tells_how_many_it_missed", async () => {
  const { engine, world } = await fakeEngine()
  await engine.startStream("s", clocked(world, 10, new Closables()), undefined, { ...ofNumber, policy: "latest" })
  await world.advance(105)
  const results = engine.results("s")
  const { value } = await results.next()
  assert.deepEqual({ id: value.id, dropped: value.dropped }, { id: 9, dropped: 9 })
  await engine.stop()
  assert.deepEqual(await results.next(), { done: true, value: undefined })
})

test("a_reader_beside_a_handler_leaves_without_ending_the_stream", async () => {
  const { engine } = await fakeEngine()
  const seen = []
  await engine.startStream("s", numbers(50), outputs => { seen.push(numberOf(outputs)) }, { maxQueueSize: 2 })
  assert.deepEqual((await read(engine.results("s"), 5)).map(({ id }) => id), range(5))
  await engine.finished("s")
  assert.deepEqual(seen, range(50))
})

test("a_reader_that_leaves_while_it_waits_takes_nothing_with_it", async () => {
  const { engine, world } = await fakeEngine({ delayMs: 10 })
  await engine.startStream("s", numbers(2))
  const leaving = engine.results("s")
  const pending = leaving.next()
  await leaving.return()
  assert.equal((await pending).done, true)
  const rest = read(engine.results("s"))
  await world.advance(50)
  assert.deepEqual((await rest).map(({ id }) => id), [0, 1])
})

test("a_paused_stream_takes_nothing_until_it_is_resumed", async () => {
  const { engine, world, events } = await fakeEngine()
  let nCalls = 0
  await engine.startStream("s", () => feeds(nCalls++), () => {}, { intervalMs: 10 })
  await world.advance(25)
  engine.pauseStream("s")
  await world.advance(100)
  assert.equal(nCalls, 3)
  assert.equal(engine.getStats().streams.s.state, "paused")
  engine.resumeStream("s")
  await world.advance(25)
  assert.equal(nCalls, 6)
  assert.deepEqual(events.map(({ type }) => type), ["started", "paused", "resumed"])
  await engine.stop()
})

test("wrong_names_sources_targets_and_options_are_refused_and_nothing_is_locked", async () => {
  const { engine } = await fakeEngine()
  const stream = new ReadableStream()
  const start = (source, target, options) => engine.startStream("s", source, target, options)
  for (const source of [undefined, null, 7, "text", {}]) await assertCode(start(source), "INVALID_INPUT", /source: expected a MediaStream/)
  await assertCode(start(stream, "target"), "INVALID_INPUT", /handler: expected a function/)
  for (const [options, message] of [
    [{ policy: "newest" }, /policy: expected "latest", "queue", "drop-new", got "newest"/],
    [{ maxQueueSize: 0 }, /maxQueueSize: expected a whole number/],
    [{ maxInFlight: 1.5 }, /maxInFlight/],
    [{ intervalMs: -1 }, /intervalMs/],
    [{ maxFps: 0 }, /maxFps/],
    [{ maxFps: 5, intervalMs: 5 }, /either intervalMs or maxFps/],
    [{ maxErrors: 0 }, /maxErrors/],
    [{ preprocess: "resize" }, /preprocess: expected a function/],
    [{ preprocess: { windowSamples: 0 } }, /windowSamples/],
    [{ preprocess: { windowSamples: 4, hopSamples: -1 } }, /hopSamples/],
    [{ preprocess: { windowSamples: 4 } }, /sampleRate/],
    [{ preprocess: { windowSamples: 4, input: "y" } }, /preprocess.input: expected one of the inputs "x", got "y"/],
  ]) {
    await assertCode(start(stream, undefined, options), "INVALID_INPUT", message)
    assert.equal(stream.locked, false, String(message))
  }
  assert.throws(() => engine.results("s"), /there is no stream of this name/)
  await assertCode(engine.stopStream("s"), "INVALID_INPUT", /there is no stream/)
  await start(stream)
  await assertCode(start([]), "INVALID_INPUT", /a stream of this name runs/)
  await assertCode(new StreamingInferenceEngine({ model: "x" }).startStream("s", []), "INVALID_INPUT", /not started/)
  await engine.stop()
})

const schedule = fc.record({
  policy: fc.constantFrom("latest", "queue", "drop-new"),
  maxQueueSize: fc.integer({ min: 1, max: 4 }),
  maxInFlight: fc.integer({ min: 1, max: 4 }),
  sourceDelaysMs: fc.array(fc.constantFrom(0, 0, 1, 5, 20), { minLength: 1, maxLength: 25 }),
  handlerDelaysMs: fc.array(fc.constantFrom(0, 0, 3, 30), { minLength: 1, maxLength: 5 }),
  computeMs: fc.constantFrom(0, 1, 8),
  failing: fc.uniqueArray(fc.nat(24), { maxLength: 5 }),
  unprepared: fc.uniqueArray(fc.nat(24), { maxLength: 3 }),
  stopMs: fc.option(fc.nat(80)),
})

test("every_input_is_answered_dropped_failed_or_cancelled_once_and_closed_once", async () => {
  await fc.assert(fc.asyncProperty(schedule, async ({ sourceDelaysMs, handlerDelaysMs, computeMs, failing, unprepared, stopMs, ...bounds }) => {
    const { engine, world, batcher } = await fakeEngine({ delayMs: computeMs, fails: number => (failing.includes(number) ? new Error("refused") : undefined) })
    const closables = new Closables()
    async function* source() {
      for (const [at, delayMs] of sourceDelaysMs.entries()) {
        if (delayMs > 0) await new Promise(resolve => world.after(delayMs, resolve))
        yield closables.make(at)
      }
    }
    const given = []
    const handler = number => {
      given.push(number)
      const delayMs = handlerDelaysMs[given.length % handlerDelaysMs.length]
      return delayMs === 0 ? undefined : new Promise(resolve => world.after(delayMs, resolve))
    }
    const preprocess = value => {
      if (unprepared.includes(value.number)) throw new Error("not prepared")
      return ofNumber.preprocess(value)
    }
    await engine.startStream("s", source(), handler, { ...bounds, preprocess, postprocess: numberOf })
    if (stopMs !== null) {
      await world.advance(stopMs)
      await engine.stopStream("s")
    }
    await world.advance(3000)
    const statistics = engine.getStats().streams.s
    assert.notEqual(statistics.state, "running")
    assertAccounted(statistics, closables)
    assert.equal(statistics.totalOutputs, given.length)
    assert.deepEqual(given, [...given].sort((a, b) => a - b))
    assert.equal(new Set(given).size, given.length)
    assert.ok(batcher.mostAtOnce <= bounds.maxInFlight)
    if (bounds.policy === "queue" && stopMs === null) {
      const answered = range(sourceDelaysMs.length).filter(at => !failing.includes(at) && !unprepared.includes(at))
      assert.deepEqual(given, answered)
    }
    await engine.stop()
    assert.ok(batcher.isStopped)
  }), { numRuns: 300 })
})
