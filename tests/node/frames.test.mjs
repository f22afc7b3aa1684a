// Pictures made into tensors in Node: what the description leaves to the model, on the GPU as on the CPU.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { after, test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { assertClose, assertCode, digits, findWebGpu } from "./support.mjs"

const { createPreprocessor, InferenceSession } = host
const { webgpu, missing } = await findWebGpu()
const options = { skip: missing }
if (webgpu !== undefined) await host.init({ webgpu })

const file = readFileSync(digits("digit_3.png"))
const SPEC = { dims: [1, 3, 20, 30], layout: "NCHW", type: "float32", scale: 1 }

const sessions = []
async function digitsOn(backend) {
  const session = await InferenceSession.create(digits("digits.onnx"), { executionProviders: [backend] })
  sessions.push(session)
  return session
}
after(() => Promise.all(sessions.map(session => session.release())))

/** A model with one input, as far as a preprocessor asks for it. */
function modelWith(shape, type = "float32") {
  return { inputNames: ["picture"], inputMetadata: [{ name: "picture", isTensor: true, type, shape }] }
}

/** Every value is another one than its neighbours'. */
function colourful(width, height) {
  return { width, height, rgba: Uint8Array.from({ length: width * height * 4 }, (_, i) => (i % 4 === 3 ? 255 : (i * 89) % 256)) }
}

/** OffscreenCanvas, as far as Node has to have it: what is drawn is `picture.pixel` everywhere. */
function installCanvas(t) {
  const made = []
  globalThis.OffscreenCanvas = class {
    constructor(width, height) {
      Object.assign(this, { width, height, drawn: [] })
      made.push(this)
    }
    getContext() {
      return {
        drawImage: (...args) => { this.drawn.push(args) },
        getImageData: (x, y, width, height) => ({ data: new Uint8ClampedArray(width * height * 4).fill(this.drawn.at(-1)[0].pixel) }),
      }
    }
  }
  t.after(() => { delete globalThis.OffscreenCanvas })
  return made
}

test("what_is_left_out_is_the_models", async () => {
  const cases = [
    [["batch", 3, 4, 5], "float32", "NCHW", [1, 3, 4, 5]],
    [[1, 4, 5, 3], "uint8", "NHWC", [1, 4, 5, 3]],
    [[8, 1, 4, 5], "float16", "NCHW", [1, 1, 4, 5]],
    [[3, 4, 5], "float32", "NCHW", [3, 4, 5]],
    [[4, 5], "float32", "NCHW", [4, 5]],
  ]
  for (const [shape, type, layout, dims] of cases) {
    const preprocessor = createPreprocessor(modelWith(shape, type), { fit: "crop" })
    assert.deepEqual(preprocessor.spec, { fit: "crop", dims, layout, type })
    const tensor = await preprocessor.toTensor(colourful(9, 7))
    assert.deepEqual([tensor.type, tensor.dims, tensor.location], [type, dims, "cpu"])
  }
})

test("what_neither_says_is_named", () => {
  const refused = (message, ...args) => assert.throws(() => createPreprocessor(...args), error => {
    assert.equal(error.code, "INVALID_INPUT")
    assert.match(error.message, message)
    return true
  })
  refused(/dims: the model's input "picture" is \[1, 3, h, w\], which leaves the size open/, modelWith([1, 3, "h", "w"]))
  refused(/dims/, modelWith([]))
  refused(/layout: \[1, 4, 5, 6\]/, modelWith([1, 4, 5, 6]))
  refused(/type: the model's input is int64/, modelWith([1, 3, 4, 5], "int64"))
  refused(/no input "image"/, modelWith([1, 3, 4, 5]), {}, "image")
  assert.deepEqual(createPreprocessor(modelWith([1, 3, "h", "w"]), SPEC).spec, SPEC)
})

test("decoded_pixels_and_a_files_bytes_become_the_same_tensor", async () => {
  const session = await digitsOn("cpu")
  const preprocessor = createPreprocessor(session)
  const fromFile = await preprocessor.toTensor(file)
  assertClose(await preprocessor.toTensor(await host.tools.decodeImage(file)), fromFile, { atol: 0, rtol: 0 })
  const { logits } = await session.run({ image: fromFile })
  assert.equal(logits.data.indexOf(Math.max(...logits.data)), 3)
})

test("a_picture_of_a_page_is_drawn_to_one_canvas_that_follows_its_size", async t => {
  const canvases = installCanvas(t)
  const preprocessor = createPreprocessor(modelWith([1, 1, 2, 2], "uint8"))
  const frame = { displayWidth: 6, displayHeight: 4, format: "I420", pixel: 255, close: () => assert.fail("it is the caller's") }
  assert.deepEqual([...(await preprocessor.toTensor(frame)).data], [255, 255, 255, 255])
  const element = { videoWidth: 8, videoHeight: 4, width: 1, height: 1, pixel: 0 }
  // Black and transparent, so white.
  assert.deepEqual([...(await preprocessor.toTensor(element)).data], [255, 255, 255, 255])
  assert.equal(canvases.length, 1)
  assert.deepEqual(canvases[0].drawn, [[frame, 0, 0, 6, 4], [element, 0, 0, 8, 4]])
  assert.deepEqual([canvases[0].width, canvases[0].height], [8, 4])
})

test("a_picture_of_a_page_is_refused_where_there_are_no_pages", async () => {
  const preprocessor = createPreprocessor(modelWith([1, 1, 2, 2]))
  await assertCode(preprocessor.toTensor({ displayWidth: 6, displayHeight: 4, format: "I420" }), "INVALID_INPUT", /OffscreenCanvas/)
  await assertCode(preprocessor.toTensor({ displayWidth: 0, displayHeight: 0, format: null }), "INVALID_INPUT", /closed/)
  await assertCode(preprocessor.toTensor({ width: 2, height: 2, rgba: new Uint8Array(3) }), "INVALID_INPUT", /3 bytes/)
  await assertCode(preprocessor.toTensor(Uint8Array.of(1, 2, 3)), "INVALID_INPUT")
  await assertCode(preprocessor.toTensor(undefined), "INVALID_INPUT", /undefined/)
})

test("an_aborted_picture_and_one_after_disposal_are_not_made", async () => {
  const preprocessor = createPreprocessor(modelWith([1, 1, 2, 2]))
  await assertCode(preprocessor.toTensor(colourful(2, 2), AbortSignal.abort()), "CANCELLED")
  const pending = preprocessor.toTensor(colourful(2, 2))
  await preprocessor.dispose()
  assert.deepEqual((await pending).dims, [1, 1, 2, 2])
  await assertCode(preprocessor.toTensor(colourful(2, 2)), "RELEASED")
})

test("a_gpu_makes_of_pixels_what_the_cpu_does", options, async () => {
  const [gpu, cpu] = [await digitsOn("webgpu"), await digitsOn("cpu")]
  const before = host.gpuMemory()
  const specs = [
    SPEC,
    { ...SPEC, fit: "letterbox", fill: [114], mean: [10, 20, 30], std: [2, 3, 4] },
    { ...SPEC, dims: [1, 7, 9, 3], layout: "NHWC", type: "uint8", colorOrder: "BGR", fit: "crop" },
  ]
  for (const spec of specs) {
    for (const [width, height] of [[1, 1], [33, 17], [64, 64]]) {
      const picture = colourful(width, height)
      const preprocessors = [gpu, cpu].map(session => createPreprocessor(session, spec))
      const [onGpu, onCpu] = await Promise.all(preprocessors.map(preprocessor => preprocessor.toTensor(picture)))
      assert.equal(onGpu.location, "gpu-buffer")
      assertClose({ dims: onGpu.dims, data: await onGpu.getData() }, onCpu, { atol: 1, rtol: 0 })
      onGpu.dispose()
      await Promise.all(preprocessors.map(preprocessor => preprocessor.dispose()))
    }
  }
  assert.deepEqual(host.gpuMemory(), before)
})

test("a_file_goes_to_the_model_on_the_gpu", options, async () => {
  const session = await digitsOn("webgpu")
  const preprocessor = createPreprocessor(session)
  const image = await preprocessor.toTensor(file)
  assert.equal(image.location, "gpu-buffer")
  const { logits } = await session.run({ image })
  assert.equal(logits.data.indexOf(Math.max(...logits.data)), 3)
  image.dispose()
  await preprocessor.dispose()
})

test("what_the_device_lacks_is_refused_or_made_on_the_cpu", options, async () => {
  const session = await digitsOn("webgpu")
  const device = await host.env.webgpu.device
  const preprocessor = createPreprocessor(session, SPEC)
  const wide = { width: device.limits.maxTextureDimension2D + 1, height: 1 }
  await assertCode(preprocessor.toTensor({ ...wide, rgba: new Uint8Array(wide.width * 4) }), "TOO_LARGE", /textures end at/)
  assert.equal((await preprocessor.toTensor(colourful(2, 2))).location, "gpu-buffer")
  const halves = createPreprocessor(session, { ...SPEC, type: "float16" })
  const expected = device.features.has("shader-f16") ? "gpu-buffer" : "cpu"
  assert.equal((await halves.toTensor(colourful(2, 2))).location, expected)
  await Promise.all([preprocessor.dispose(), halves.dispose()])
})
