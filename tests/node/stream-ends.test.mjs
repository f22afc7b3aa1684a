// Where streams come from and go to, and that nothing of them is left.
import assert from "node:assert/strict"
import { Readable, Writable } from "node:stream"
import { test } from "node:test"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as host from "../../pkg/dist/index.mjs"
import { Closables, assertAccounted, clocked, fakeEngine, feeds, numberOf, numbers, ofNumber, range, read, settled } from "./streams.mjs"
import { assertCode } from "./support.mjs"

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
