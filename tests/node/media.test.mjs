// What the sources of frames and samples decide by themselves, over a fake browser: bounds, order, release, refusals.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { join } from "node:path"
import { before, test } from "node:test"
import { fileURLToPath } from "node:url"

const www = fileURLToPath(new URL("../../www/", import.meta.url))
const require = createRequire(join(www, "package.json"))
const esbuild = require("esbuild")
const fc = require("fast-check")

let media
before(async () => {
  const contents = ["audio", "intake", "open", "pace", "video", "windows", "worklet"].map(name => `export * from "./host/stream/${name}.ts"`).join("\n")
  const { outputFiles } = await esbuild.build({
    stdin: { contents, resolveDir: www }, bundle: true, write: false, platform: "node", format: "esm", logLevel: "warning",
  })
  media = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`)
})

const settled = () => new Promise(resolve => setImmediate(resolve))
const code = expected => error => {
  assert.equal(error.code, expected, error.message)
  return true
}

/** An event target that counts its listeners. */
class FakeTarget {
  listeners = []
  addEventListener(type, listener) { this.listeners.push({ type, listener }) }
  removeEventListener(type, listener) { this.listeners = this.listeners.filter(each => each.type !== type || each.listener !== listener) }
  fire(type) { for (const each of this.listeners.filter(each => each.type === type)) each.listener() }
}

class FakeTrack extends FakeTarget {
  label = "fake"
  muted = false
  readyState = "live"
  constructor(kind, settings = { groupId: "1" }) {
    super()
    this.kind = kind
    this.settings = settings
  }
  getSettings() { return this.settings }
}

class FakeFrame {
  static open = new Set()
  codedWidth = 4
  constructor() { FakeFrame.open.add(this) }
  close() {
    this.codedWidth = 0
    FakeFrame.open.delete(this)
  }
}

/** A browser whose clock and frames the test moves; `frames` feeds the track processor. */
function fakeWorld(parts = {}) {
  const timers = new Map()
  const world = {
    nowMs: 0,
    now: () => world.nowMs,
    setTimeout(callback) {
      timers.set(callback, callback)
      return callback
    },
    clearTimeout: timer => timers.delete(timer),
    timers,
    isSecureContext: true,
    MediaStreamTrackProcessor: class {
      readable = new ReadableStream({
        start: controller => { world.frames = controller },
        cancel: () => { world.isCancelled = true },
      })
    },
    ...parts,
  }
  return world
}

/** A video element that gives a picture when `show` is called. */
class FakeVideo extends FakeTarget {
  ended = false
  videoWidth = 4
  requests = new Map()
  lastRequest = 0
  requestVideoFrameCallback(callback) {
    this.lastRequest += 1
    this.requests.set(this.lastRequest, callback)
    return this.lastRequest
  }
  cancelVideoFrameCallback(request) { this.requests.delete(request) }
  plays = 0
  async play() { this.plays += 1 }
  show(nowMs, metadata = {}) {
    const callbacks = [...this.requests.values()]
    this.requests.clear()
    for (const callback of callbacks) callback(nowMs, metadata)
  }
}

test("windows_are_the_slices_at_every_hop", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 40 }), fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 12 }),
    (windowSamples, hopSamples, chunkSizes) => {
      const cut = media.createWindows({ windowSamples, hopSamples })
      const all = Float32Array.from({ length: chunkSizes.reduce((sum, size) => sum + size, 0) }, (_, at) => at + 1)
      const expected = []
      for (let at = 0; at + windowSamples <= all.length; at += hopSamples) {
        expected.push({ samples: all.slice(at, at + windowSamples), atSample: at })
      }
      let at = 0
      const got = chunkSizes.flatMap(size => {
        const windows = cut(all.subarray(at, at + size), at)
        at += size
        return windows
      })
      assert.deepEqual(got, expected)
    },
  ))
})

test("windows_never_join_samples_across_a_gap", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 20 }),
    fc.array(fc.record({ gap: fc.integer({ min: 0, max: 3 }), size: fc.integer({ min: 1, max: 30 }) }), { maxLength: 12 }),
    (windowSamples, hopSamples, chunks) => {
      const cut = media.createWindows({ windowSamples, hopSamples })
      let at = 0
      for (const { gap, size } of chunks) {
        at += gap
        const start = at
        for (const { samples, atSample } of cut(Float32Array.from({ length: size }, (_, offset) => start + offset), start)) {
          assert.deepEqual([...samples], Array.from({ length: windowSamples }, (_, offset) => atSample + offset))
        }
        at += size
      }
    },
  ))
})

test("no_span_of_time_has_more_frames_than_max_fps_and_two", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 60 }), fc.array(fc.double({ min: 0, max: 200, noNaN: true }), { maxLength: 60 }),
    (maxFps, gapsMs) => {
      const mayPass = media.createPace(maxFps)
      let nowMs = 0
      const passed = gapsMs.map(gapMs => nowMs += gapMs).filter(mayPass)
      passed.forEach((startMs, from) => passed.slice(from).forEach((endMs, more) => {
        assert.ok(more + 1 <= (endMs - startMs) * maxFps / 1000 + 2 + 1e-9, `${more + 1} frames in ${endMs - startMs} ms`)
      }))
    },
  ))
})

test("thirty_frames_a_second_thin_out_to_twenty", () => {
  const mayPass = media.createPace(20)
  const passed = Array.from({ length: 300 }, (_, at) => at * 1000 / 30).filter(mayPass)
  assert.ok(Math.abs(passed.length - 200) <= 1, String(passed.length))
})

test("neither_the_first_frame_nor_one_after_a_pause_brings_the_next_along", () => {
  const mayPass = media.createPace(10)
  assert.deepEqual([0, 50, 100, 150, 5000, 5050, 5100].filter(mayPass), [0, 100, 5000, 5100])
})

test("every_item_is_taken_once_in_order_or_released_and_the_bound_holds", async () => {
  const step = fc.oneof(fc.constant("put"), fc.constant("take"), fc.constant("end"), fc.constant("return"), fc.constant("fail"))
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(step, { maxLength: 30 }), async (capacity, steps) => {
    const released = []
    const taken = []
    let opened
    const intake = new media.Intake({ capacity, open: given => { opened = given }, release: item => released.push(item) })
    let next = 0
    const answers = []
    const take = () => answers.push(intake.next().then(({ done, value }) => { if (!done) taken.push(value) }, error => assert.equal(error, "why")))
    take()
    await settled()
    assert.equal(opened, intake)
    for (const step of steps) {
      if (step === "put") intake.put(next++)
      if (step === "take") take()
      if (step === "end") intake.end()
      if (step === "fail") intake.fail("why")
      if (step === "return") await intake.return()
      await settled()
      assert.ok(next - taken.length - released.length <= capacity)
    }
    await intake.return()
    await Promise.all(answers)
    assert.deepEqual(taken, taken.toSorted((a, b) => a - b))
    assert.deepEqual([...taken, ...released].toSorted((a, b) => a - b), Array.from({ length: next }, (_, at) => at))
    const { captured, dropped } = intake.counters
    assert.deepEqual([captured, intake.counters.taken, dropped], [next, taken.length, released.length])
  }))
})

test("a_source_is_iterated_once_and_opens_nothing_before", async () => {
  let opens = 0
  const intake = new media.Intake({ capacity: 1, open: () => { opens += 1 } })
  const iterator = intake[Symbol.asyncIterator]()
  assert.throws(() => intake[Symbol.asyncIterator](), code("RELEASED"))
  await iterator.return()
  assert.deepEqual(await iterator.next(), { done: true, value: undefined })
  assert.equal(opens, 0)
})

test("what_opens_after_the_end_is_released_at_once", async () => {
  let finish
  const gate = new Promise(resolve => { finish = resolve })
  const released = []
  const intake = new media.Intake({ capacity: 1, open: async intake => {
    intake.defer(() => released.push("early"))
    await gate
    intake.defer(() => released.push("late"))
  } })
  const pending = intake.next()
  await settled()
  await intake.return()
  assert.deepEqual(released, ["early"])
  finish()
  await settled()
  assert.deepEqual(released, ["early", "late"])
  assert.equal((await pending).done, true)
})

test("an_opening_that_fails_rejects_once_and_a_signal_leaves_no_listener", async () => {
  const intake = new media.Intake({ capacity: 1, open: () => { throw new Error("no") } })
  await assert.rejects(intake.next(), error => code("INTERNAL")(error) && error.message === "capture: no")
  assert.equal((await intake.next()).done, true)
  const signal = Object.assign(new FakeTarget(), { aborted: false })
  const watched = new media.Intake({ capacity: 1, open: () => {}, signal })
  const pending = watched.next()
  assert.equal(signal.listeners.length, 1)
  signal.fire("abort")
  await assert.rejects(pending, code("CANCELLED"))
  assert.equal(signal.listeners.length, 0)
})

test("a_frame_of_a_camera_that_grew_old_is_given_up_and_one_of_a_screen_is_not", async () => {
  for (const [settings, expected] of [[{ groupId: "1" }, 500], [{ groupId: "1", displaySurface: "monitor" }, 0], [{ deviceId: "1" }, 0]]) {
    const world = fakeWorld()
    const iterator = media.captureVideo(new FakeTrack("video", settings), {}, world)
    const first = iterator.next()
    await settled()
    world.frames.enqueue(new FakeFrame())
    ;(await first).value.close()
    world.frames.enqueue(new FakeFrame())
    await settled()
    world.nowMs = 500
    const second = iterator.next()
    await settled()
    world.frames.enqueue(new FakeFrame())
    assert.equal((await second).value.capturedMs, expected)
    await iterator.return()
    assert.equal(FakeFrame.open.size, 0)
    assert.ok(world.isCancelled)
  }
})

test("a_frame_is_not_given_up_where_max_fps_puts_the_next_one_off_for_longer", async () => {
  const world = fakeWorld()
  const iterator = media.captureVideo(new FakeTrack("video"), { maxFps: 2 }, world)
  const first = iterator.next()
  await settled()
  world.frames.enqueue(new FakeFrame())
  ;(await first).value.close()
  for (world.nowMs of [300, 500]) {
    world.frames.enqueue(new FakeFrame())
    await settled()
  }
  world.nowMs = 900
  assert.equal((await iterator.next()).value.capturedMs, 500)
  assert.deepEqual(iterator.counters, { captured: 2, taken: 2, dropped: 0, skipped: 1 })
  await iterator.return()
  assert.equal(FakeFrame.open.size, 0)
})

test("frames_that_their_reader_closed_by_themselves_do_not_count_as_open", async () => {
  const world = fakeWorld()
  const told = []
  const iterator = media.captureVideo(new FakeTrack("video"), { onEvent: ({ type }) => told.push(type) }, world)
  for (let count = 0; count < 200; count += 1) {
    const next = iterator.next()
    await settled()
    world.frames.enqueue(new FakeFrame())
    ;(await next).value.frame.close()
  }
  assert.deepEqual(told, [])
  await iterator.return()
  assert.equal(FakeFrame.open.size, 0)
})

test("the_last_frame_of_a_track_that_ended_can_still_be_taken", async () => {
  const world = fakeWorld()
  const told = []
  const track = new FakeTrack("video")
  const iterator = media.captureVideo(track, { onEvent: ({ type }) => told.push(type) }, world)
  const first = iterator.next()
  await settled()
  world.frames.enqueue(new FakeFrame())
  world.frames.enqueue(new FakeFrame())
  world.frames.close()
  ;(await first).value.close()
  await settled()
  ;(await iterator.next()).value.close()
  assert.equal((await iterator.next()).done, true)
  assert.deepEqual(told, ["ended"])
  assert.deepEqual(track.listeners, [])
  assert.equal(FakeFrame.open.size, 0)
})

test("without_a_track_processor_a_detached_element_plays_the_track_and_is_let_go", async () => {
  const document = Object.assign(new FakeTarget(), { visibilityState: "hidden", createElement: () => video })
  const video = new FakeVideo()
  class MediaStream { constructor(tracks) { this.tracks = tracks } }
  const world = fakeWorld({ MediaStreamTrackProcessor: undefined, MediaStream, document, VideoFrame: FakeFrame })
  const told = []
  const track = new FakeTrack("video")
  track.muted = true
  const iterator = media.captureVideo(track, { onEvent: ({ type }) => told.push(type) }, world)
  const first = iterator.next()
  await settled()
  assert.ok(video.muted && video.playsInline)
  assert.deepEqual(video.srcObject.tracks, [track])
  world.nowMs = 30
  video.show(30, { captureTime: 20 })
  const { value } = await first
  assert.equal(value.capturedMs, 20)
  value.close()
  document.visibilityState = "visible"
  document.fire("visibilitychange")
  video.show(40, { captureTime: 1e9 })
  const second = await iterator.next()
  assert.equal(second.value.capturedMs, 40)
  await iterator.return()
  assert.deepEqual(told, ["muted", "hidden", "visible"])
  assert.equal(video.plays, 2)
  assert.equal(FakeFrame.open.size, 0)
  assert.equal(video.srcObject, null)
  assert.deepEqual([video.listeners, document.listeners, track.listeners, [...video.requests]], [[], [], [], []])
})

test("a_listener_that_throws_ends_nothing", async t => {
  const thrown = []
  const original = globalThis.queueMicrotask
  globalThis.queueMicrotask = task => { try { task() } catch (error) { thrown.push(error.message) } }
  t.after(() => { globalThis.queueMicrotask = original })
  const world = fakeWorld()
  const track = new FakeTrack("video")
  const iterator = media.captureVideo(track, { onEvent: () => { throw new Error("mine") } }, world)
  const first = iterator.next()
  await settled()
  track.fire("mute")
  world.frames.enqueue(new FakeFrame())
  ;(await first).value.close()
  await iterator.return()
  assert.deepEqual(thrown, ["mine"])
})

/** An audio context whose worklet is the test. */
function audioWorld(parts = {}) {
  const world = fakeWorld({ MediaStream: class {}, ...parts })
  class Node extends FakeTarget {
    port = { postMessage: () => { world.answers += 1 }, close: () => { world.closed.push("port") } }
    constructor(_context, _name, options) {
      super()
      world.node = this
      world.options = options.processorOptions
    }
    connect() {}
    disconnect() { world.closed.push("node") }
  }
  Object.assign(world, {
    answers: 0,
    closed: [],
    AudioWorkletNode: Node,
    AudioContext: class extends FakeTarget {
      state = "suspended"
      currentTime = 0
      audioWorklet = { addModule: async url => { world.url = url } }
      constructor() {
        super()
        world.context = this
      }
      createMediaStreamSource() { return { connect() {}, disconnect: () => world.closed.push("source") } }
      async resume() { world.resumes = (world.resumes ?? 0) + 1 }
      async close() { world.closed.push("context") }
    },
    ...parts,
  })
  /** The worklet posts `count` samples that end at `endSeconds`. */
  world.post = (atSample, count, endSeconds = 0) => {
    world.node.port.onmessage({ data: { samples: Float32Array.from({ length: count }, (_, at) => atSample + at), atSample, endSeconds } })
  }
  return world
}

const speech = { sampleRate: 1000, windowSamples: 20, hopSamples: 10 }

test("audio_windows_overlap_tell_their_time_and_everything_is_closed", async () => {
  const world = audioWorld()
  const track = new FakeTrack("audio")
  const iterator = media.captureAudio(track, speech, world)
  const first = iterator.next()
  await settled()
  assert.deepEqual(world.options, { chunkSamples: 20, maxUnanswered: 500 })
  world.nowMs = 5000
  world.context.currentTime = 2
  world.post(0, 35, 1.9)
  const { value } = await first
  assert.deepEqual([value.atSample, value.samples.length, value.samples[19]], [0, 20, 19])
  assert.equal(value.capturedMs, 5000 - 100 - 15)
  assert.deepEqual([(await iterator.next()).value].map(({ atSample, capturedMs }) => [atSample, capturedMs]), [[10, 5000 - 100 - 5]])
  await iterator.return()
  assert.deepEqual(world.closed.toSorted(), ["context", "node", "port", "source"])
  assert.equal(world.answers, 1)
  assert.deepEqual([track.listeners, world.context.listeners, world.node.listeners, [...world.timers]], [[], [], [], []])
})

test("ten_seconds_of_windows_wait_for_a_slow_reader_and_the_gap_shows", async () => {
  const world = audioWorld()
  const iterator = media.captureAudio(new FakeTrack("audio"), { sampleRate: 1000, windowSamples: 100 }, world)
  const first = iterator.next()
  await settled()
  for (let at = 0; at < 30_000; at += 500) world.post(at, 500)
  assert.equal((await first).value.atSample, 0)
  assert.equal((await iterator.next()).value.atSample, 20_000)
  assert.deepEqual(iterator.counters, { captured: 300, taken: 2, dropped: 199, skipped: 0 })
  world.post(40_000, 100)
  assert.ok(iterator.counters.dropped >= 199 + 100)
  await iterator.return()
  assert.equal(iterator.counters.captured, iterator.counters.taken + iterator.counters.dropped)
})

test("audio_that_the_browser_holds_back_is_told_with_the_way_on", async () => {
  const world = audioWorld()
  const told = []
  const iterator = media.captureAudio(new FakeTrack("audio"), { ...speech, onEvent: event => told.push(event) }, world)
  const pending = iterator.next()
  await settled()
  assert.equal(told.length, 0)
  for (const fire of world.timers.values()) fire()
  await settled()
  assert.equal(told[0].type, "stalled")
  assert.match(told[0].message, /suspended.*click/)
  const { resumes } = world
  await told[0].resume()
  assert.equal(world.resumes, resumes + 1)
  world.post(0, 20)
  assert.equal((await pending).value.atSample, 0)
  assert.equal(world.timers.size, 0)
  world.context.state = "interrupted"
  world.context.fire("statechange")
  await settled()
  assert.equal(told.length, 2)
  await iterator.return()
})

test("a_microphone_that_its_owner_stops_ends_the_windows", async () => {
  const world = audioWorld()
  const track = new FakeTrack("audio")
  const told = []
  const iterator = media.captureAudio(track, { ...speech, onEvent: ({ type }) => told.push(type) }, world)
  const pending = iterator.next()
  await settled()
  track.readyState = "ended"
  world.post(0, 20)
  assert.equal((await pending).done, true)
  assert.deepEqual(told, ["ended"])
  assert.ok(world.closed.includes("context"))
})

test("a_worklet_that_is_refused_fails_or_is_missing_is_told_and_closed", async () => {
  const refused = audioWorld()
  const iterator = media.captureAudio(new FakeTrack("audio"), speech, refused)
  const { AudioContext } = refused
  refused.AudioContext = class extends AudioContext { audioWorklet = { addModule: async () => { throw new Error("csp") } } }
  await assert.rejects(iterator.next(), error => code("IO")(error) && /content security policy/.test(error.message))
  assert.deepEqual(refused.closed, ["context"])

  const insecure = audioWorld()
  insecure.AudioContext = class extends insecure.AudioContext { audioWorklet = undefined }
  await assert.rejects(media.captureAudio(new FakeTrack("audio"), speech, insecure).next(), error => code("IO")(error) && /secure context/.test(error.message))

  const failing = audioWorld()
  const pending = media.captureAudio(new FakeTrack("audio"), speech, failing).next()
  await settled()
  failing.node.fire("processorerror")
  await assert.rejects(pending, code("INTERNAL"))
  assert.ok(failing.closed.includes("context"))
})

test("the_worklet_posts_every_sample_once_and_leaves_out_what_a_busy_page_does_not_answer", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 4 }),
    fc.array(fc.record({ block: fc.integer({ min: 0, max: 128 }), answers: fc.integer({ min: 0, max: 2 }) }), { maxLength: 40 }),
    (chunkSamples, maxUnanswered, steps) => {
      const posted = []
      let Processor
      const port = { postMessage: (chunk, [buffer]) => posted.push({ ...chunk, samples: new Float32Array(buffer.transfer?.() ?? buffer) }) }
      const frame = { value: 0 }
      const run = new Function("registerProcessor", "AudioWorkletProcessor", "clock", `with (clock) {${media.WORKLET_SOURCE}}`)
      run((_name, processor) => { Processor = processor }, class { port = port }, { get currentFrame() { return frame.value }, sampleRate: 1000 })
      const processor = new Processor({ processorOptions: { chunkSamples, maxUnanswered } })
      let unanswered = 0
      for (const { block, answers } of steps) {
        const before = posted.length
        processor.process([block === 0 ? [] : [Float32Array.from({ length: block }, (_, at) => frame.value + at)]])
        frame.value += block
        unanswered += posted.length - before
        assert.ok(unanswered <= maxUnanswered)
        for (let answer = 0; answer < answers && unanswered > 0; answer += 1) {
          port.onmessage()
          unanswered -= 1
        }
      }
      for (const { samples, atSample, endSeconds } of posted) {
        assert.deepEqual([...samples], Array.from({ length: chunkSamples }, (_, at) => atSample + at))
        assert.equal(endSeconds, (atSample + chunkSamples) / 1000)
      }
      const starts = posted.map(({ atSample }) => atSample)
      assert.deepEqual(starts, [...new Set(starts)].toSorted((a, b) => a - b))
      if (maxUnanswered * chunkSamples > frame.value) assert.equal(posted.length, Math.floor(frame.value / chunkSamples))
    },
  ))
})

test("refusals_of_devices_have_codes_and_say_what_to_do", async () => {
  const refuse = (name, message = "no") => ({ mediaDevices: { getUserMedia: async () => { throw Object.assign(new Error(message), { name, constraint: "width" }) } } })
  const open = world => media.openDevice("camera", devices => devices.getUserMedia({ video: true }), fakeWorld(world))
  const expected = {
    NotAllowedError: ["UNAUTHORIZED", /may not use it: allow it/],
    SecurityError: ["UNAUTHORIZED", /security policy/],
    InvalidStateError: ["UNAUTHORIZED", /from a click/],
    NotFoundError: ["IO", /none was found/],
    NotReadableError: ["IO", /another program/],
    AbortError: ["IO", /another program/],
    OverconstrainedError: ["INVALID_INPUT", /width/],
    TypeError: ["INVALID_INPUT", /constraints/],
    SomeNewError: ["IO", /SomeNewError: no/],
  }
  for (const [name, [expectedCode, message]] of Object.entries(expected)) {
    await assert.rejects(open(refuse(name)), error => code(expectedCode)(error) && error.message.startsWith("camera: ") && message.test(error.message))
  }
  await assert.rejects(open({ mediaDevices: undefined, isSecureContext: false }), error => code("IO")(error) && /https/.test(error.message))
  await assert.rejects(media.openCamera(), code("IO"))
})
