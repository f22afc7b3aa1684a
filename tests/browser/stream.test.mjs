// Cameras, canvases and microphones through models as streams, in Chromium with devices that it makes up.
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { after, before, test } from "node:test"
import { inRepository } from "../node/support.mjs"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined }
const DEVICES = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"]
const SILERO = "target/models/silero_vad.onnx"

let browser
before(async () => { if (!options.skip) browser = await startBrowser({ flags: DEVICES }) })
after(() => browser?.close())

/** A page with the package in `sentinel`, that remembers every frame which a track gives. */
async function openPage() {
  const page = await browser.open("/tests/browser/blank.html")
  await page.evaluate(async () => {
    globalThis.sentinel = await import("/pkg/dist/browser.mjs")
    globalThis.frames = []
    const { read } = ReadableStreamDefaultReader.prototype
    ReadableStreamDefaultReader.prototype.read = async function () {
      const result = await read.call(this)
      if (result.value instanceof VideoFrame) frames.push(result.value)
      return result
    }
    globalThis.nImported = 0
    const { copyExternalImageToTexture } = GPUQueue.prototype
    GPUQueue.prototype.copyExternalImageToTexture = function (...args) {
      nImported += 1
      return copyExternalImageToTexture.apply(this, args)
    }
    globalThis.digitOf = ({ logits }) => logits.data.indexOf(Math.max(...logits.data))
    globalThis.startDigits = async backend => {
      const engine = new sentinel.StreamingInferenceEngine({ model: "/tests/fixtures/digits/digits.onnx", executionProviders: [backend], strict: true })
      globalThis.events = []
      engine.on("stream", ({ type, message, error }) => events.push({ type, message, code: error?.code }))
      await engine.start()
      return engine
    }
  })
  return page
}

for (const backend of ["cpu", "webgpu"]) {
  test(`a_canvas_is_read_as_it_changes_on_${backend}_and_every_frame_is_closed`, options, async () => {
    const page = await openPage()
    const seen = await page.evaluate(async backend => {
      const engine = await startDigits(backend)
      const canvas = document.createElement("canvas")
      canvas.width = canvas.height = 140
      const context = canvas.getContext("2d")
      const show = async digit => {
        const picture = await createImageBitmap(await (await fetch(`/tests/fixtures/digits/digit_${digit}.png`)).blob())
        context.drawImage(picture, 0, 0, 140, 140)
      }
      await show(3)
      const redraw = setInterval(() => context.drawImage(canvas, 0, 0), 30)
      const track = canvas.captureStream(30)
      const read = []
      await engine.startStream("canvas", track, digit => {
        if (read.at(-1) !== digit) read.push(digit)
      }, { preprocess: { colorOrder: "GRAY" }, postprocess: digitOf })
      for (const digit of [3, 7, 0]) {
        await show(digit)
        const giveUp = performance.now() + 20_000
        while (read.at(-1) !== digit && performance.now() < giveUp) await new Promise(resolve => setTimeout(resolve, 20))
      }
      clearInterval(redraw)
      await engine.stopStream("canvas")
      const { totalInputs, totalOutputs, totalDropped, totalErrors, totalCancelled, lastError } = engine.getStats().streams.canvas
      await engine.stop()
      return {
        read, nFrames: frames.length, nOpen: frames.filter(({ format }) => format !== null).length, memory: sentinel.gpuMemory(),
        state: track.getVideoTracks()[0].readyState, nUnaccounted: totalInputs - totalOutputs - totalDropped - totalErrors - totalCancelled,
        nImported, error: lastError?.message,
      }
    }, backend)
    assert.equal(seen.error, undefined)
    // Between two pictures the canvas may show a mixture.
    assert.deepEqual(seen.read.filter((digit, at) => [3, 7, 0].includes(digit) && seen.read.indexOf(digit) === at), [3, 7, 0])
    assert.ok(seen.nFrames > 3)
    assert.equal(seen.nImported > 0, backend === "webgpu", `${seen.nImported} frames went to the GPU`)
    assert.deepEqual({ nOpen: seen.nOpen, nUnaccounted: seen.nUnaccounted, state: seen.state }, { nOpen: 0, nUnaccounted: 0, state: "live" })
    assert.deepEqual(seen.memory, { buffers: 0, bytes: 0 })
    await page.close()
  })
}

test("a_camera_that_ends_ends_its_stream_and_the_engine_goes_on", options, async () => {
  const page = await openPage()
  const seen = await page.evaluate(async () => {
    const engine = await startDigits("cpu")
    const camera = await sentinel.openCamera()
    await engine.startStream("camera", camera, (_digit, { id }) => {
      if (id >= 10) camera.getTracks()[0].stop()
    }, { preprocess: { colorOrder: "GRAY", fit: "crop" }, postprocess: digitOf, maxFps: 15 })
    await engine.finished("camera")
    const again = await sentinel.openCamera()
    await engine.startStream("camera", again, undefined, { preprocess: { colorOrder: "GRAY" }, postprocess: digitOf })
    let last
    for await (const result of engine.results("camera")) {
      last = result
      if (result.id >= 5) break
    }
    await engine.stop()
    return { last, events: events.map(({ type }) => type), nOpen: frames.filter(({ format }) => format !== null).length }
  })
  assert.deepEqual(seen.events, ["started", "ended", "started", "stopped"])
  assert.ok(seen.last.outputs >= 0 && seen.last.outputs <= 9)
  assert.ok(seen.last.latencyMs >= 0 && seen.last.latencyMs < 10_000)
  assert.equal(seen.nOpen, 0)
  await page.close()
})

test("a_microphone_is_heard_window_by_window", { skip: options.skip ?? (existsSync(inRepository(SILERO)) ? undefined : `${SILERO} is not on this machine`) }, async () => {
  const page = await openPage()
  const heard = await page.evaluate(async model => {
    const { StreamingInferenceEngine, Tensor, openMicrophone } = sentinel
    const engine = new StreamingInferenceEngine({ model, executionProviders: ["cpu"], constants: { sr: new Tensor("int64", [16000n], []) } })
    await engine.start()
    const microphone = await openMicrophone()
    const heard = []
    await engine.startStream("speech", microphone, undefined, {
      state: { state: "stateN" },
      preprocess: { sampleRate: 16_000, windowSamples: 576, hopSamples: 512 },
      postprocess: ({ output }) => output.data[0],
    })
    for await (const { id, outputs, dropped } of engine.results("speech")) {
      heard.push({ id, probability: outputs, dropped })
      if (heard.length === 30) break
    }
    await engine.stop()
    return heard
  }, `/${SILERO}`)
  assert.deepEqual(heard.map(({ id }) => id), Array.from({ length: 30 }, (_, at) => at))
  assert.ok(heard.every(({ probability, dropped }) => probability >= 0 && probability <= 1 && dropped === 0))
  await page.close()
})

test("pages_of_streams_complain_of_nothing", options, () => {
  assert.deepEqual(browser.complaints, [])
})
