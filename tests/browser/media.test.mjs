// Cameras, canvases, video elements and microphones of Chromium, read through the built package.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 30_000 }
const FAKE_DEVICES = ["--use-fake-device-for-media-stream"]
const FAKE_CONSENT = ["--use-fake-ui-for-media-stream", "--auto-select-desktop-capture-source=Entire screen"]

/** Both ways to the frames of a track; the second is taken where the first is missing. */
const PATHS = ["MediaStreamTrackProcessor", "requestVideoFrameCallback"]

let browser
before(async () => {
  if (!options.skip) browser = await startBrowser({ webgpu: false, flags: [...FAKE_DEVICES, ...FAKE_CONSENT] })
})
after(() => browser?.close())

/**
 * A page with the package in `sentinel`. Every VideoFrame that the browser gives is remembered, so that `openFrames()`
 * counts those that nobody has closed.
 */
async function openPage(path = PATHS[0], on = browser) {
  const page = await on.open("/tests/browser/blank.html")
  await page.evaluate(async path => {
    const frames = []
    const { read } = ReadableStreamDefaultReader.prototype
    ReadableStreamDefaultReader.prototype.read = async function () {
      const result = await read.call(this)
      if (result.value instanceof VideoFrame) frames.push(result.value)
      return result
    }
    globalThis.VideoFrame = new Proxy(VideoFrame, {
      construct(target, args) {
        const frame = Reflect.construct(target, args)
        frames.push(frame)
        return frame
      },
    })
    if (path === "requestVideoFrameCallback") delete globalThis.MediaStreamTrackProcessor
    Object.assign(globalThis, {
      sentinel: await import("/pkg/dist/browser.mjs"),
      seenFrames: () => frames.length,
      openFrames: () => frames.filter(frame => frame.codedWidth !== 0).length,
      codeOf: promise => promise.then(() => "no error", error => error.code),
      events: [],
      onEvent: ({ type, message, error }) => events.push({ type, message, code: error?.code }),
      until: async condition => { while (!condition()) await new Promise(resolve => setTimeout(resolve, 5)) },
    })
  }, path)
  return page
}

for (const path of PATHS) {
  test(`camera_frames_come_by_${path}_and_all_are_closed`, options, async () => {
    const page = await openPage(path)
    const { sizes, times, startMs, endMs, open, seen, state, counters } = await page.evaluate(async () => {
      const startMs = performance.now()
      const stream = await sentinel.openCamera({ width: 320, height: 240 })
      const frames = sentinel.videoFrames(stream)
      const sizes = []
      const times = []
      for await (const captured of frames) {
        sizes.push(`${captured.frame.displayWidth}x${captured.frame.displayHeight}`)
        times.push(captured.capturedMs)
        captured.close()
        if (sizes.length === 5) break
      }
      const [track] = stream.getVideoTracks()
      const seen = seenFrames()
      return { sizes, times, startMs, endMs: performance.now(), open: openFrames(), seen, state: track.readyState, counters: frames.counters }
    })
    assert.deepEqual(sizes, Array(5).fill("320x240"))
    assert.deepEqual(times, times.toSorted((a, b) => a - b))
    assert.ok(times[0] >= startMs - 1000 && times[4] <= endMs, `${startMs} ${times} ${endMs}`)
    assert.ok(times[4] > times[0])
    assert.equal(open, 0)
    assert.ok(seen >= 5)
    assert.equal(state, "live")
    assert.equal(counters.taken, 5)
    assert.equal(counters.captured, counters.taken + counters.dropped)
    await page.close()
  })

  test(`a_slow_reader_of_${path}_drops_frames_and_only_one_waits`, options, async () => {
    const page = await openPage(path)
    const { opens, dropped, openAtEnd } = await page.evaluate(async () => {
      const frames = sentinel.videoFrames(await sentinel.openCamera())
      const opens = []
      for await (const captured of frames) {
        captured.close()
        const { dropped } = frames.counters
        await until(() => frames.counters.dropped >= dropped + 3)
        opens.push(openFrames())
        if (opens.length === 3) break
      }
      return { opens, dropped: frames.counters.dropped, openAtEnd: openFrames() }
    })
    assert.deepEqual(opens, [1, 1, 1])
    assert.ok(dropped >= 9)
    assert.equal(openAtEnd, 0)
    await page.close()
  })

  test(`a_reader_that_holds_a_frame_of_${path}_for_long_gets_a_fresh_one_next`, options, async () => {
    const page = await openPage(path)
    const { age, open } = await page.evaluate(async () => {
      const frames = sentinel.videoFrames(await sentinel.openCamera())
      const iterator = frames[Symbol.asyncIterator]()
      const held = (await iterator.next()).value
      await until(() => performance.now() - held.capturedMs > 400)
      held.close()
      const askedMs = performance.now()
      const fresh = (await iterator.next()).value
      await iterator.return()
      return { age: askedMs - fresh.capturedMs, open: openFrames() }
    })
    assert.ok(age <= 100, String(age))
    assert.equal(open, 0)
    await page.close()
  })

  test(`what_is_drawn_on_a_canvas_comes_by_${path}`, options, async () => {
    const page = await openPage(path)
    const { red, size, open } = await page.evaluate(async () => {
      const canvas = document.createElement("canvas")
      ;[canvas.width, canvas.height] = [64, 48]
      const context = canvas.getContext("2d")
      const timer = setInterval(() => {
        context.fillStyle = "#f00"
        context.fillRect(0, 0, 64, 48)
      }, 20)
      for await (const { frame, close } of sentinel.videoFrames(canvas.captureStream())) {
        const target = new OffscreenCanvas(64, 48).getContext("2d")
        target.drawImage(frame, 0, 0)
        const size = [frame.displayWidth, frame.displayHeight]
        close()
        const [red] = target.getImageData(32, 24, 1, 1).data
        if (red < 200) continue
        clearInterval(timer)
        return { red, size, open: openFrames() }
      }
    })
    assert.ok(red > 240, String(red))
    assert.deepEqual(size, [64, 48])
    assert.equal(open, 0)
    await page.close()
  })

  test(`a_picture_that_stands_still_comes_by_${path}_however_old_it_is`, options, async () => {
    const page = await openPage(path)
    const { ageMs, open } = await page.evaluate(async () => {
      const canvas = document.createElement("canvas")
      const context = canvas.getContext("2d")
      const frames = sentinel.videoFrames(canvas.captureStream())
      const iterator = frames[Symbol.asyncIterator]()
      const first = iterator.next()
      const timer = setInterval(() => context.fillRect(0, 0, 1, 1), 20)
      ;(await first).value.close()
      await until(() => frames.counters.captured > 1)
      clearInterval(timer)
      const stoppedMs = performance.now()
      await until(() => performance.now() > stoppedMs + 400)
      const { value } = await iterator.next()
      const ageMs = performance.now() - value.capturedMs
      await iterator.return()
      return { ageMs, open: openFrames() }
    })
    assert.ok(ageMs > 100, String(ageMs))
    assert.equal(open, 0)
    await page.close()
  })

  test(`a_track_that_its_owner_stops_ends_the_frames_of_${path}`, options, async () => {
    const page = await openPage(path)
    const { isDone, types, open, again } = await page.evaluate(async () => {
      const stream = await sentinel.openCamera()
      const [track] = stream.getVideoTracks()
      const frames = sentinel.videoFrames(track, { onEvent })[Symbol.asyncIterator]()
      ;(await frames.next()).value.close()
      track.stop()
      let isDone = false
      while (!isDone) {
        const { done, value } = await frames.next()
        value?.close()
        isDone = done
      }
      const again = []
      for await (const captured of sentinel.videoFrames(stream, { onEvent })) again.push(captured)
      return { isDone, types: events.map(({ type, code }) => [type, code]), open: openFrames(), again: again.length }
    })
    assert.ok(isDone)
    assert.deepEqual(types, [["ended", undefined], ["ended", undefined]])
    assert.equal(open, 0)
    assert.equal(again, 0)
    await page.close()
  })

  test(`an_abort_closes_every_frame_of_${path}_even_one_in_hand`, options, async () => {
    const page = await openPage(path)
    const { code, next, open, before } = await page.evaluate(async () => {
      const abort = new AbortController()
      const frames = sentinel.videoFrames(await sentinel.openCamera(), { signal: abort.signal })
      const iterator = frames[Symbol.asyncIterator]()
      await iterator.next()
      await until(() => frames.counters.captured === 2)
      const before = openFrames()
      abort.abort()
      const code = await codeOf(iterator.next())
      const next = await iterator.next()
      return { code, next, open: openFrames(), before }
    })
    assert.equal(before, 2)
    assert.equal(code, "CANCELLED")
    assert.equal(next.done, true)
    assert.equal(open, 0)
    await page.close()
  })

  test(`leaving_${path}_does_not_wait_for_the_next_frame`, options, async () => {
    const page = await openPage(path)
    const { results, thrown, open } = await page.evaluate(async () => {
      const still = document.createElement("canvas")
      still.getContext("2d").fillRect(0, 0, 1, 1)
      const iterator = sentinel.videoFrames(still.captureStream(0))[Symbol.asyncIterator]()
      const pending = iterator.next()
      const left = await iterator.return()
      const frames = sentinel.videoFrames(await sentinel.openCamera())
      const thrown = await (async () => { for await (const _ of frames) throw new Error("mine") })().catch(error => error.message)
      return { results: [left.done, (await pending).done], thrown, open: openFrames() }
    })
    assert.deepEqual(results, [true, true])
    assert.equal(thrown, "mine")
    assert.equal(open, 0)
    await page.close()
  })
}

test("a_device_that_is_unplugged_is_told_and_ends_the_frames", options, async () => {
  const page = await openPage()
  const { done, told } = await page.evaluate(async () => {
    const [track] = (await sentinel.openCamera()).getVideoTracks()
    const frames = sentinel.videoFrames(track, { onEvent })[Symbol.asyncIterator]()
    ;(await frames.next()).value.close()
    for (const type of ["mute", "unmute", "ended"]) track.dispatchEvent(new Event(type))
    let done = false
    while (!done) {
      const result = await frames.next()
      result.value?.close()
      done = result.done
    }
    track.dispatchEvent(new Event("mute"))
    await null
    return { done, told: events }
  })
  assert.ok(done)
  assert.deepEqual(told.map(({ type }) => type), ["muted", "unmuted", "device-lost"])
  assert.equal(told[2].code, "IO")
  assert.match(told[2].message, /unplugged/)
  await page.close()
})

test("frames_beyond_max_fps_are_skipped", options, async () => {
  const page = await openPage()
  const { counters, times, open } = await page.evaluate(async () => {
    const frames = sentinel.videoFrames(await sentinel.openCamera(), { maxFps: 5 })
    const times = []
    for await (const captured of frames) {
      times.push(captured.capturedMs)
      captured.close()
      if (times.length === 4) break
    }
    return { counters: frames.counters, times, open: openFrames() }
  })
  assert.ok(counters.skipped >= 1, JSON.stringify(counters))
  assert.ok(times[3] - times[0] >= 400, String(times))
  assert.equal(open, 0)
  await page.close()
})

test("a_video_element_gives_its_frames_stays_as_it_is_and_a_hidden_page_is_told", options, async () => {
  const page = await openPage()
  const { size, isPlaying, types, open } = await page.evaluate(async () => {
    const video = document.createElement("video")
    video.muted = true
    video.srcObject = await sentinel.openCamera()
    await video.play()
    const iterator = sentinel.videoFrames(video, { onEvent })[Symbol.asyncIterator]()
    const { value } = await iterator.next()
    const size = [value.frame.displayWidth, value.frame.displayHeight]
    value.close()
    let state = "hidden"
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state })
    document.dispatchEvent(new Event("visibilitychange"))
    state = "visible"
    document.dispatchEvent(new Event("visibilitychange"))
    const again = await iterator.next()
    again.value.close()
    await iterator.return()
    return { size, isPlaying: !video.paused && video.srcObject.active, types: events.map(({ type }) => type), open: openFrames() }
  })
  assert.deepEqual(size, [640, 480])
  assert.ok(isPlaying)
  assert.deepEqual(types, ["hidden", "visible"])
  assert.equal(open, 0)
  await page.close()
})

test("a_video_of_another_origin_is_denied", options, async () => {
  const page = await openPage()
  const { done, told } = await page.evaluate(async () => {
    const video = document.createElement("video")
    video.muted = true
    video.srcObject = await sentinel.openCamera()
    await video.play()
    globalThis.VideoFrame = function () { throw new DOMException("tainted", "SecurityError") }
    const { done } = await sentinel.videoFrames(video, { onEvent })[Symbol.asyncIterator]().next()
    return { done, told: events }
  })
  assert.ok(done)
  assert.deepEqual(told.map(({ type, code }) => [type, code]), [["denied", "UNAUTHORIZED"]])
  assert.match(told[0].message, /CORS/)
  await page.close()
})

test("a_reader_that_never_closes_is_told_and_stops_at_its_bound", options, async () => {
  const page = await openPage("requestVideoFrameCallback")
  const { types, held, open } = await page.evaluate(async () => {
    const canvas = document.createElement("canvas")
    ;[canvas.width, canvas.height] = [16, 16]
    const context = canvas.getContext("2d")
    const timer = setInterval(() => context.fillRect(0, 0, 16, 16), 4)
    const frames = sentinel.videoFrames(canvas.captureStream(), { onEvent })
    const iterator = frames[Symbol.asyncIterator]()
    while (frames.counters.taken < 64) await iterator.next()
    await until(() => frames.counters.dropped >= 3)
    const held = openFrames()
    clearInterval(timer)
    await iterator.return()
    return { types: events.map(({ type }) => type), held, open: openFrames() }
  })
  assert.deepEqual(types, ["stalled"])
  assert.equal(held, 64)
  assert.equal(open, 0)
  await page.close()
})

test("what_is_no_stream_and_what_the_browser_lacks_are_named", options, async () => {
  const page = await openPage("requestVideoFrameCallback")
  const errors = await page.evaluate(async () => {
    const stream = await sentinel.openCamera()
    const thrownBy = make => { try { make() } catch (error) { return [error.code, error.message] } }
    const rejectedBy = async capture => {
      try { await capture[Symbol.asyncIterator]().next() } catch (error) { return [error.code, error.message] }
    }
    const sizes = { sampleRate: 16000, windowSamples: 512 }
    const errors = [
      thrownBy(() => sentinel.videoFrames(null)),
      thrownBy(() => sentinel.videoFrames(stream, { maxFps: 0 })),
      thrownBy(() => sentinel.audioWindows(stream, sizes)),
      thrownBy(() => sentinel.audioWindows(stream, { ...sizes, windowSamples: 0.5 })),
    ]
    const tone = new AudioContext().createMediaStreamDestination().stream
    errors.push(await rejectedBy(sentinel.audioWindows(tone, { ...sizes, sampleRate: 1 })))
    delete globalThis.VideoFrame
    errors.push(await rejectedBy(sentinel.videoFrames(stream)))
    delete globalThis.AudioContext
    errors.push(await rejectedBy(sentinel.audioWindows(tone, sizes)))
    return errors
  })
  const expected = [
    ["INVALID_INPUT", /expected a MediaStream.*given null/],
    ["INVALID_INPUT", /maxFps/],
    ["INVALID_INPUT", /track of audio, given one without/],
    ["INVALID_INPUT", /windowSamples.*0\.5/],
    ["INVALID_INPUT", /sampleRate/],
    ["IO", /VideoFrame/],
    ["IO", /AudioContext/],
  ]
  for (const [at, [code, message]] of expected.entries()) {
    assert.equal(errors[at]?.[0], code, JSON.stringify(errors[at]))
    assert.match(errors[at][1], message)
  }
  await page.close()
})

test("a_refused_permission_is_unauthorized", options, async () => {
  const strict = await startBrowser({ webgpu: false, flags: [...FAKE_DEVICES, "--deny-permission-prompts"] })
  try {
    const page = await openPage(PATHS[0], strict)
    const errors = await page.evaluate(() => Promise.all([sentinel.openCamera(), sentinel.openMicrophone()]
      .map(opening => opening.then(() => ["no error"], ({ code, message }) => [code, message]))))
    assert.deepEqual(errors.map(([code]) => code), ["UNAUTHORIZED", "UNAUTHORIZED"])
    assert.match(errors[0][1], /^camera: the page may not use it: allow it/)
    assert.match(errors[1][1], /^microphone: /)
  } finally {
    await strict.close()
  }
})

test("a_machine_without_a_camera_and_a_wish_that_none_fulfils_are_told", options, async () => {
  const page = await openPage()
  const wish = await page.evaluate(() => sentinel.openCamera({ width: { min: 100_000 } }).catch(({ code, message }) => [code, message]))
  assert.equal(wish[0], "INVALID_INPUT")
  assert.match(wish[1], /width/)
  await page.close()
  const bare = await startBrowser({ webgpu: false, flags: ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=device-count=0"] })
  try {
    const bareAway = await openPage(PATHS[0], bare)
    const none = await bareAway.evaluate(() => sentinel.openCamera().catch(({ code, message }) => [code, message]))
    assert.equal(none[0], "IO")
    assert.match(none[1], /^camera: none was found/)
  } finally {
    await bare.close()
  }
})

test("a_shared_screen_gives_frames", options, async () => {
  const page = await openPage()
  const { surface, isSized, open } = await page.evaluate(async () => {
    const stream = await sentinel.openScreen()
    for await (const { frame, close } of sentinel.videoFrames(stream)) {
      const isSized = frame.displayWidth > 0
      close()
      const [track] = stream.getVideoTracks()
      const { displaySurface } = track.getSettings()
      track.stop()
      return { surface: displaySurface, isSized, open: openFrames() }
    }
  })
  assert.ok(["monitor", "browser", "window"].includes(surface), surface)
  assert.ok(isSized)
  assert.equal(open, 0)
  await page.close()
})

/** A page with a tone of 440 Hz as well. */
async function openAudioPage(on = browser) {
  const page = await openPage(PATHS[0], on)
  await page.evaluate(() => Object.assign(globalThis, {
    openTone: () => {
      const context = new AudioContext()
      const oscillator = new OscillatorNode(context, { frequency: 440 })
      const target = context.createMediaStreamDestination()
      oscillator.connect(target)
      oscillator.start()
      return target.stream
    },
  }))
  return page
}

test("windows_of_a_microphone_have_their_length_hop_and_sound_at_16_khz", options, async () => {
  const page = await openAudioPage()
  const { windows, startMs, endMs, state, contexts } = await page.evaluate(async () => {
    const contexts = []
    globalThis.AudioContext = class extends AudioContext {
      constructor(options) {
        super(options)
        contexts.push(this)
      }
    }
    const startMs = performance.now()
    const stream = await sentinel.openMicrophone({ echoCancellation: false, noiseSuppression: false, autoGainControl: false })
    const windows = []
    for await (const { samples, atSample, capturedMs } of sentinel.audioWindows(stream, { sampleRate: 16000, windowSamples: 1024, hopSamples: 512 })) {
      windows.push({ samples: [...samples], atSample, capturedMs })
      if (windows.length === 60) break
    }
    await until(() => contexts[0].state === "closed")
    const { sampleRate } = contexts[0]
    return { windows, startMs, endMs: performance.now(), state: stream.getAudioTracks()[0].readyState, contexts: [contexts.length, sampleRate] }
  })
  assert.deepEqual(windows.map(({ atSample }) => atSample), windows.map((_, at) => 512 * at))
  for (const [at, { samples }] of windows.entries()) {
    assert.equal(samples.length, 1024)
    if (at > 0) assert.deepEqual(samples.slice(0, 512), windows[at - 1].samples.slice(512))
  }
  // The fake microphone beeps once a second.
  assert.ok(Math.max(...windows.flatMap(({ samples }) => samples.map(Math.abs))) > 0.05)
  const times = windows.map(({ capturedMs }) => capturedMs)
  assert.ok(times[0] >= startMs && times.at(-1) <= endMs, `${startMs} ${times} ${endMs}`)
  assert.equal(state, "live")
  assert.deepEqual(contexts, [1, 16000])
  await page.close()
})

test("a_tone_keeps_its_pitch_when_it_is_resampled", options, async () => {
  const page = await openAudioPage()
  const crossings = await page.evaluate(async () => {
    let count = 0
    for await (const { samples } of sentinel.audioWindows(openTone(), { sampleRate: 16000, windowSamples: 16000 })) {
      count += 1
      if (count < 2) continue
      return samples.reduce((sum, value, at) => sum + (at > 0 && samples[at - 1] < 0 && value >= 0 ? 1 : 0), 0)
    }
  })
  assert.ok(Math.abs(crossings - 440) <= 2, String(crossings))
  await page.close()
})

test("a_microphone_that_its_owner_stops_or_that_is_unplugged_ends_the_windows", options, async () => {
  const page = await openAudioPage()
  const { dones, told } = await page.evaluate(async () => {
    const dones = []
    for (const end of [track => track.stop(), track => track.dispatchEvent(new Event("ended"))]) {
      const [track] = (await sentinel.openMicrophone()).getAudioTracks()
      const iterator = sentinel.audioWindows(track, { sampleRate: 16000, windowSamples: 1600, onEvent })[Symbol.asyncIterator]()
      await iterator.next()
      end(track)
      let done = false
      while (!done) done = (await iterator.next()).done
      dones.push(done)
    }
    return { dones, told: events.map(({ type, code }) => [type, code]) }
  })
  assert.deepEqual(dones, [true, true])
  assert.deepEqual(told, [["ended", undefined], ["device-lost", "IO"]])
  await page.close()
})

test("audio_that_waits_for_a_click_is_told_and_goes_on_after_it", options, async () => {
  const quiet = await startBrowser({ webgpu: false, flags: [...FAKE_DEVICES, ...FAKE_CONSENT, "--autoplay-policy=document-user-activation-required"] })
  try {
    // Scripts that a test runs in a page count as a click, so this page acts by itself and says what happens.
    const page = await quiet.open("/tests/browser/media.html")
    const said = []
    page.on("console", message => { if (message.type() === "log") said.push(message.text()) })
    const stalled = page.waitForEvent("console", message => message.text() === "stalled")
    await page.mouse.move(5, 5)
    await stalled
    const sounded = page.waitForEvent("console", message => message.text() === "512 samples")
    await page.mouse.click(10, 10)
    await sounded
    assert.deepEqual(said, ["muted", "stalled", "512 samples"])
  } finally {
    await quiet.close()
  }
})

test("a_content_security_policy_that_forbids_the_worklet_is_named", options, async () => {
  const page = await openAudioPage()
  const { code, message, state } = await page.evaluate(async () => {
    const policy = document.createElement("meta")
    policy.httpEquiv = "Content-Security-Policy"
    policy.content = "script-src 'self'"
    document.head.append(policy)
    const contexts = []
    globalThis.AudioContext = class extends AudioContext {
      constructor(options) {
        super(options)
        contexts.push(this)
      }
    }
    const stream = await sentinel.openMicrophone()
    const { code, message } = await sentinel.audioWindows(stream, { sampleRate: 16000, windowSamples: 512 })[Symbol.asyncIterator]().next().catch(error => error)
    await until(() => contexts[0].state === "closed")
    return { code, message, state: contexts[0].state }
  })
  assert.equal(code, "IO")
  assert.match(message, /content security policy.*blob:/)
  assert.equal(state, "closed")
  await page.close()
})
