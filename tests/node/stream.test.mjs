// Streams over one engine: policies, order, bounds, errors and release, with a fake clock and over a real model.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { Readable, Writable } from "node:stream"
import { test } from "node:test"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as host from "../../pkg/dist/index.mjs"
import { Closables, fakeEngine, feeds, numberOf, ofNumber, settled } from "./streams.mjs"
import { assertCode, inRepository } from "./support.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")
const { StreamingInferenceEngine } = host

async function* numbers(n, from = 0) {
  for (let at = from; at < from + n; at += 1) yield feeds(at)
}

/** Gives a number every `everyMs` of the fake clock, as a camera does. */
function clocked(world, everyMs, closables) {
  let at = 0
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        await new Promise(resolve => world.after(everyMs, resolve))
        yield closables.make(at++)
      }
    },
  }
}

async function read(results, n = Infinity) {
  const got = []
  for await (const result of results) {
    got.push(result)
    if (got.length === n) break
  }
  return got
}

const range = (n, from = 0) => Array.from({ length: n }, (_, at) => at + from)

/** Every input has one fate, and is closed. */
function assertAccounted({ totalInputs, totalOutputs, totalErrors, totalDropped, totalCancelled, queueDepth }, closables) {
  assert.equal(totalOutputs + totalErrors + totalDropped + totalCancelled, totalInputs)
  assert.equal(queueDepth, 0)
  if (closables === undefined) return
  assert.equal(closables.nClosed, closables.nMade)
  assert.deepEqual(closables.twice, [])
}

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

test("a_full_queue_of_the_engine_is_waited_for_and_never_told", async () => {
  let nFull = 3
  const { engine, batcher, events } = await fakeEngine({ fails: () => (nFull-- > 0 ? new host.SentinelError("QUEUE_FULL", "full") : undefined) })
  let nWaits = 0
  batcher.ready = async () => { nWaits += 1 }
  await engine.startStream("s", numbers(3), () => {}, { maxInFlight: 1 })
  await engine.finished("s")
  assert.equal(nWaits, 3)
  assert.deepEqual(events.map(({ type }) => type), ["started", "ended"])
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

test("a_writable_of_node_gets_results_one_at_a_time_and_is_left_open", async () => {
  const { engine } = await fakeEngine()
  const written = []
  let isWriting = false
  const writable = new Writable({
    objectMode: true,
    write({ id, outputs }, _encoding, done) {
      assert.ok(!isWriting)
      isWriting = true
      setImmediate(() => {
        isWriting = false
        written.push([id, numberOf(outputs)])
        done()
      })
    },
  })
  await engine.startStream("s", numbers(6), writable)
  await engine.finished("s")
  assert.deepEqual(written, range(6).map(at => [at, at]))
  assert.equal(writable.writableEnded, false)
  assert.equal(writable.listenerCount("error"), 0)
})

test("a_writable_that_fails_ends_the_stream_with_its_error", async () => {
  const { engine } = await fakeEngine()
  const closables = new Closables()
  const source = range(50).map(at => closables.make(at))
  const writable = new Writable({ objectMode: true, write: (_result, _encoding, done) => done(Object.assign(new Error("broken pipe"), { code: "EPIPE" })) })
  await engine.startStream("node", source.values(), writable, ofNumber)
  await assertCode(engine.finished("node"), "IO", /"node", input 0: .*broken pipe/)
  const web = new WritableStream({ write() { throw new Error("no space") } })
  await engine.startStream("web", numbers(50), web)
  await assertCode(engine.finished("web"), "INTERNAL", /no space/)
  assert.equal(web.locked, false)
})

test("a_web_writable_gets_results_and_its_lock_is_given_back", async () => {
  const { engine } = await fakeEngine()
  const written = []
  const writable = new WritableStream({ write({ id }) { written.push(id) } })
  await engine.startStream("s", numbers(5), writable)
  await engine.finished("s")
  assert.deepEqual(written, range(5))
  assert.equal(writable.locked, false)
})

test("stopping_in_the_middle_closes_everything_and_releases_the_source", async () => {
  const { engine, world, batcher } = await fakeEngine({ delayMs: 10 })
  const closables = new Closables()
  let isReleased = false
  function* source() {
    try {
      for (let at = 0; ; at += 1) yield closables.make(at)
    } finally {
      isReleased = true
    }
  }
  let nHandled = 0
  await engine.startStream("s", source(), () => { nHandled += 1 }, { ...ofNumber, maxQueueSize: 5, maxInFlight: 3 })
  await world.advance(25)
  assert.ok(nHandled > 0)
  await engine.stopStream("s")
  assert.ok(isReleased)
  assert.equal(batcher.running.size, 0)
  assertAccounted(engine.getStats().streams.s, closables)
  const atStop = nHandled
  await world.advance(100)
  assert.equal(nHandled, atStop, "a handler is called after the stop")
  assert.equal(world.nTimers, 0)
})

test("a_handler_may_stop_its_own_stream", async () => {
  const { engine } = await fakeEngine()
  let nHandled = 0
  await engine.startStream("s", () => feeds(0), async (_outputs, { id }) => {
    nHandled += 1
    if (id === 3) await engine.stopStream("s")
  })
  await engine.finished("s")
  assert.equal(nHandled, 4)
})

test("what_a_waiting_source_gives_after_the_stop_is_closed", async () => {
  const { engine, world } = await fakeEngine()
  const closables = new Closables()
  await engine.startStream("s", clocked(world, 1000, closables), () => {}, ofNumber)
  await world.advance(500)
  await engine.stopStream("s")
  await world.advance(1000)
  assert.equal(closables.nMade, 1)
  assert.equal(closables.nClosed, 1)
})

test("readers_and_readables_are_released_while_they_wait", async () => {
  const { engine } = await fakeEngine()
  let reason
  const web = new ReadableStream({ cancel(given) { reason = given ?? "cancelled" } })
  const node = new Readable({ objectMode: true, read() {} })
  await engine.startStream("web", web, () => {})
  await engine.startStream("node", node, () => {})
  await settled()
  await engine.stop()
  assert.equal(reason, "cancelled")
  assert.equal(web.locked, false)
  assert.equal(node.destroyed, true)
})

test("a_signal_stops_its_stream", async () => {
  const { engine, events } = await fakeEngine()
  const stop = new AbortController()
  await engine.startStream("s", () => feeds(1), (_outputs, { id }) => { if (id === 2) stop.abort() }, { signal: stop.signal })
  await engine.finished("s")
  assert.deepEqual(events.map(({ type }) => type), ["started", "stopped"])
  await engine.startStream("late", () => feeds(1), () => assert.fail("it was stopped before"), { signal: stop.signal })
  await engine.finished("late")
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

/** A capture as cameras give it. */
function fakeCapture(frames, counters = { dropped: 0 }) {
  const media = {
    getVideoTracks: () => [],
    capture(options) {
      media.options = options
      return Object.assign(frames(), { counters })
    },
  }
  return media
}

test("frames_of_a_camera_are_closed_once_and_its_events_are_the_streams", async () => {
  const { engine, world, events } = await fakeEngine()
  const closables = new Closables()
  const camera = fakeCapture(async function* () {
    for (let at = 0; at < 30; at += 1) {
      await new Promise(resolve => world.after(10, resolve))
      if (at === 10) camera.options.onEvent({ type: "hidden", message: "nobody looks" })
      const frame = closables.make(at)
      yield { frame, capturedMs: world.now() - 3, close: frame.close }
    }
    camera.options.onEvent({ type: "ended", message: "the track has ended" })
  }, { dropped: 4 })
  const latencies = []
  await engine.startStream("camera", camera, (_number, { latencyMs }) => { latencies.push(latencyMs) }, { ...ofNumber, maxFps: 60 })
  await world.advance(400)
  assert.equal(camera.options.maxFps, 60)
  assert.deepEqual(events.map(({ type }) => type), ["started", "hidden", "ended"])
  assert.ok(latencies.length > 0 && latencies.every(latencyMs => latencyMs >= 3))
  const { totalInputs, totalDropped } = engine.getStats().streams.camera
  assert.equal(totalInputs, 34)
  assert.ok(totalDropped >= 4)
  assertAccounted(engine.getStats().streams.camera, closables)
})

test("a_device_that_is_unplugged_is_an_event_and_the_streams_failure", async () => {
  const { engine, events } = await fakeEngine()
  const error = new host.SentinelError("IO", "videoFrames: the device was unplugged")
  const camera = fakeCapture(async function* () {
    camera.options.onEvent({ type: "device-lost", message: error.message, error })
  })
  await engine.startStream("camera", camera)
  await assertCode(engine.finished("camera"), "IO", /unplugged/)
  await settled()
  assert.deepEqual(events.map(({ type }) => type), ["started", "device-lost", "failed"])
})

test("audio_asks_for_windows_and_drops_none", async () => {
  const { engine } = await fakeEngine()
  const microphone = fakeCapture(async function* () {
    for (let at = 0; at < 40; at += 1) yield { samples: Float32Array.of(at), atSample: at, capturedMs: 0 }
  })
  const seen = []
  await engine.startStream("speech", microphone, number => { seen.push(number) }, {
    preprocess: { sampleRate: 16_000, windowSamples: 1 }, postprocess: numberOf,
  })
  await engine.finished("speech")
  assert.deepEqual(seen, range(40))
  assert.equal(microphone.options.sampleRate, 16_000)
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

test("only_so_many_streams_that_are_over_are_remembered", async () => {
  const { engine } = await fakeEngine()
  for (let at = 0; at < 100; at += 1) {
    await engine.startStream(`s${at}`, numbers(1), () => {})
    await engine.finished(`s${at}`)
  }
  const names = Object.keys(engine.getStats().streams)
  assert.ok(names.length <= 65, `${names.length} are remembered`)
  assert.ok(names.includes("s99") && !names.includes("s0"))
})

test("nothing_is_retained_of_20000_inputs", async () => {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc")
  const { engine } = await fakeEngine()
  const closables = new Closables()
  const references = []
  let nHandled = 0
  function* source() {
    for (let at = 0; at < 20_000; at += 1) {
      const made = closables.make(at)
      if (at % 100 === 0) references.push(new WeakRef(made))
      yield made
    }
  }
  await engine.startStream("s", source(), outputs => {
    nHandled += 1
    if (nHandled % 100 === 0) references.push(new WeakRef(outputs))
  }, { preprocess: ofNumber.preprocess, maxQueueSize: 8, maxInFlight: 8 })
  await engine.finished("s")
  assert.equal(nHandled, 20_000)
  assert.ok(closables.mostOpen <= 16, `${closables.mostOpen} were open at once`)
  assertAccounted(engine.getStats().streams.s, closables)
  await settled()
  collect()
  const nAlive = references.filter(reference => reference.deref() !== undefined).length
  assert.ok(nAlive <= 4, `${nAlive} of ${references.length} are retained`)
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
