// Pictures of a page made into tensors, in Chromium: on the GPU as on the CPU.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined }
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

let browser
before(async () => { if (!options.skip) browser = await startBrowser({ flags: CAMERA }) })
after(() => browser?.close())

/** A page with the package in `sentinel`, pictures to make, and `apart`: how far the two ways of a picture are apart. */
async function openPage() {
  const page = await browser.open("/tests/browser/blank.html")
  await page.evaluate(async () => {
    globalThis.sentinel = await import("/pkg/dist/browser.mjs")
    globalThis.digits = "/tests/fixtures/digits/digits.onnx"
    const { InferenceSession, createPreprocessor } = sentinel
    const sessions = {}
    globalThis.sessionOn = async backend => (sessions[backend] ??= await InferenceSession.create(digits, { executionProviders: [backend] }))

    // Gradients, edges of all kinds, and single pixels.
    globalThis.paint = (context, width, height, turn = 0) => {
      const gradient = context.createLinearGradient(0, 0, width, height)
      for (const [at, color] of [[0, "#f03"], [0.4, "#0f8"], [0.7, "#20f"], [1, "#fe1"]]) gradient.addColorStop(at, color)
      context.fillStyle = gradient
      context.fillRect(0, 0, width, height)
      for (let i = 0; i < 12; i++) {
        context.fillStyle = i % 2 ? "#fff" : "#000"
        context.fillRect((i * 53 + turn * 7) % width, (i * 31) % height, 1 + i * 3, 1 + i * 2)
      }
    }
    globalThis.painted = (width, height) => {
      const canvas = new OffscreenCanvas(width, height)
      paint(canvas.getContext("2d"), width, height)
      return canvas
    }
    /** A frame whose colours change from pixel to pixel, as a camera keeps them. */
    globalThis.frameI420 = (width, height, matrix) => {
      const n = width * height
      const data = Uint8Array.from({ length: n * 1.5 }, (_, i) => 16 + (i < n ? (i % width) * 5 + Math.floor(i / width) : i * 7) % 220)
      const colorSpace = { matrix, primaries: matrix, transfer: matrix, fullRange: false }
      return new VideoFrame(data, { format: "I420", codedWidth: width, codedHeight: height, timestamp: 0, colorSpace })
    }

    globalThis.apart = async (source, spec) => {
      const tensors = []
      for (const backend of ["webgpu", "cpu"]) {
        const preprocessor = createPreprocessor(await sessionOn(backend), spec)
        const tensor = await preprocessor.toTensor(source)
        tensors.push({ type: tensor.type, dims: tensor.dims, location: tensor.location, data: await tensor.getData() })
        tensor.dispose()
        await preprocessor.dispose()
      }
      const [gpu, cpu] = tensors
      let [most, least, largest] = [0, Infinity, -Infinity]
      for (const [at, value] of cpu.data.entries()) {
        most = Math.max(most, Math.abs(value - gpu.data[at]))
        least = Math.min(least, value)
        largest = Math.max(largest, value)
      }
      const isAlike = gpu.type === cpu.type && `${gpu.dims}` === `${cpu.dims}`
      return { most, range: largest - least, gpu: gpu.location, cpu: cpu.location, isAlike }
    }
  })
  return page
}

/** Both ways were taken, the picture was not of one colour, and they agree within one of a pixel's 255. */
function assertAgrees({ most, range, gpu, cpu, isAlike }, what) {
  assert.deepEqual({ gpu, cpu, isAlike }, { gpu: "gpu-buffer", cpu: "cpu", isAlike: true }, what)
  assert.ok(range > 50, `${what}: a range of ${range}`)
  assert.ok(most <= 1, `${what}: apart by ${most}`)
}

const RGB = { dims: [1, 3, 60, 80], layout: "NCHW", type: "float32", scale: 1 }

test("a_canvas_a_bitmap_and_image_data_agree_with_the_cpu_in_every_form", options, async () => {
  const page = await openPage()
  const results = await page.evaluate(async RGB => {
    const specs = [
      RGB,
      { ...RGB, dims: [1, 60, 80, 3], layout: "NHWC", colorOrder: "BGR", fit: "letterbox", fill: [114] },
      { ...RGB, dims: [1, 1, 90, 40], fit: "crop" },
      { ...RGB, dims: [3, 33, 35], type: "uint8", fit: "letterbox", fill: [1, 2, 3] },
      { ...RGB, dims: [3, 200, 301] },
      { ...RGB, region: { x: 20, y: 10, width: 90, height: 70, angle: 0.3 } },
    ]
    const canvas = painted(161, 120)
    const sources = {
      canvas,
      bitmap: await createImageBitmap(canvas),
      imageData: canvas.getContext("2d").getImageData(0, 0, 161, 120),
      decoded: { width: 161, height: 120, rgba: new Uint8Array(canvas.getContext("2d").getImageData(0, 0, 161, 120).data.buffer) },
    }
    const all = []
    for (const spec of specs) for (const [name, source] of Object.entries(sources)) all.push([`${name} ${JSON.stringify(spec)}`, await apart(source, spec)])
    return all
  }, RGB)
  assert.equal(results.length, 24)
  for (const [what, result] of results) assertAgrees(result, what)
  await page.close()
})

test("video_frames_agree_with_the_cpu_whatever_their_colours_are_kept_in", options, async () => {
  const page = await openPage()
  const results = await page.evaluate(async RGB => {
    const frames = {
      rgba: new VideoFrame(painted(160, 120), { timestamp: 0 }),
      bt601: frameI420(160, 120, "smpte170m"),
      bt709: frameI420(160, 120, "bt709"),
      odd: frameI420(62, 50, "bt709"),
    }
    const all = {}
    for (const [name, frame] of Object.entries(frames)) {
      all[name] = { ...await apart(frame, RGB), sameSize: await apart(frame, { ...RGB, dims: [3, frame.displayHeight, frame.displayWidth] }), isOpen: frame.format !== null }
      frame.close()
    }
    return all
  }, RGB)
  for (const [name, { isOpen, sameSize, ...result }] of Object.entries(results)) {
    assertAgrees(result, name)
    assertAgrees(sameSize, `${name} in its own size`)
    assert.ok(isOpen, `${name}: closing it is the caller's`)
  }
  await page.close()
})

test("a_video_element_with_a_camera_agrees_with_the_cpu", options, async () => {
  const page = await openPage()
  const { element, frame } = await page.evaluate(async RGB => {
    const stream = await navigator.mediaDevices.getUserMedia({ video: true })
    const [track] = stream.getVideoTracks()
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader()
    const { value } = await reader.read()
    const frame = await apart(value, RGB)
    value.close()
    await reader.cancel()
    const video = document.createElement("video")
    Object.assign(video, { muted: true, srcObject: stream })
    await video.play()
    await new Promise(resolve => video.requestVideoFrameCallback(resolve))
    // What it shows must not change between the two.
    video.pause()
    const element = await apart(video, RGB)
    track.stop()
    return { element, frame }
  }, RGB)
  assertAgrees(frame, "a frame of the camera")
  assertAgrees(element, "a video element")
  await page.close()
})

test("two_hundred_frames_leave_nothing_on_the_gpu", options, async () => {
  const page = await openPage()
  const seen = await page.evaluate(async () => {
    let textures = 0
    const { createTexture } = GPUDevice.prototype
    GPUDevice.prototype.createTexture = function (...args) { textures += 1; return createTexture.apply(this, args) }
    const canvas = new OffscreenCanvas(64, 48)
    const preprocessor = sentinel.createPreprocessor(await sessionOn("webgpu"), { fit: "crop" })
    const before = sentinel.gpuMemory()
    const memories = []
    for (let at = 0; at < 200; at++) {
      paint(canvas.getContext("2d"), 64, 48, at)
      const frame = new VideoFrame(canvas, { timestamp: at })
      const tensor = await preprocessor.toTensor(frame)
      memories.push(JSON.stringify(sentinel.gpuMemory()))
      tensor.dispose()
      frame.close()
    }
    const texturesOfOneSize = textures
    // Sizes that come and go do not stay.
    for (let width = 10; width < 20; width++) (await preprocessor.toTensor(painted(width, 10))).dispose()
    const ofTwoSizes = sentinel.gpuMemory().buffers - before.buffers
    await preprocessor.dispose()
    return { memories: [...new Set(memories)], texturesOfOneSize, textures, ofTwoSizes, before, after: sentinel.gpuMemory() }
  })
  assert.equal(seen.memories.length, 1, seen.memories.join())
  assert.equal(seen.texturesOfOneSize, 1)
  assert.equal(seen.textures, 11)
  assert.equal(seen.ofTwoSizes, 8)
  assert.deepEqual(seen.after, seen.before)
  await page.close()
})

test("a_digit_goes_from_a_frame_to_its_class_with_one_read_of_the_gpu", options, async () => {
  const page = await openPage()
  const { best, maps, location, lost, again } = await page.evaluate(async () => {
    const response = await fetch("/tests/fixtures/digits/digit_7.png")
    const frame = new VideoFrame(await createImageBitmap(await response.blob()), { timestamp: 0 })
    const session = await sentinel.InferenceSession.create(digits, { executionProviders: ["webgpu"] })
    const preprocessor = sentinel.createPreprocessor(session)
    const classify = async () => {
      const image = await preprocessor.toTensor(frame)
      const { logits } = await session.run({ image })
      const location = image.location
      image.dispose()
      return { location, best: logits.data.indexOf(Math.max(...logits.data)) }
    }
    await classify()
    let maps = 0
    const { mapAsync } = GPUBuffer.prototype
    GPUBuffer.prototype.mapAsync = function (...args) { maps += 1; return mapAsync.apply(this, args) }
    const { best, location } = await classify()
    const mapsOfOne = maps
    // A lost device fails one run; what comes next is on another one.
    const device = await sentinel.env.webgpu.device
    device.destroy()
    await device.lost
    const lost = await classify().catch(error => error.code)
    const again = [await classify(), await classify()]
    await preprocessor.dispose()
    await session.release()
    frame.close()
    return { best, location, maps: mapsOfOne, lost, again }
  })
  assert.equal(best, 7)
  assert.equal(location, "gpu-buffer")
  assert.equal(maps, 1)
  assert.equal(lost, "DEVICE_LOST")
  assert.deepEqual(again, [{ location: "cpu", best: 7 }, { location: "gpu-buffer", best: 7 }])
  await page.close()
})

test("pictures_that_cannot_be_read_are_refused_on_both_ways", options, async () => {
  const page = await openPage()
  const refusals = await page.evaluate(async () => {
    const closed = new VideoFrame(painted(8, 8), { timestamp: 0 })
    closed.close()
    const sources = {
      closed,
      video: document.createElement("video"),
      string: "picture.png",
      nothing: null,
      other: { picture: 1 },
      short: { width: 4, height: 4, rgba: new Uint8Array(5) },
      detached: await createImageBitmap(painted(8, 8)).then(bitmap => { bitmap.close(); return bitmap }),
    }
    const all = []
    for (const backend of ["webgpu", "cpu"]) {
      const preprocessor = sentinel.createPreprocessor(await sessionOn(backend))
      for (const [name, source] of Object.entries(sources)) {
        all.push(await preprocessor.toTensor(source).then(() => [backend, name, "no error"], error => [backend, name, error.code, error.message]))
      }
      const { type } = await preprocessor.toTensor(painted(8, 8))
      if (type !== "float32") all.push([backend, "after refusals", type])
    }
    return all
  })
  for (const [backend, name, code, message] of refusals) assert.equal(code, "INVALID_INPUT", `${backend} ${name}: ${message}`)
  assert.equal(refusals.length, 14)
  await page.close()
})
