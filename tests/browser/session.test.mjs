// Sessions of the built package in Chromium, imported by a plain module script and in a web worker.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined }

let browser
before(async () => { if (!options.skip) browser = await startBrowser() })
after(() => browser?.close())

/** A page with the package in `sentinel` and the digit classifier's arrays in `arrays`. */
async function openPage(on = browser) {
  const page = await on.open("/tests/browser/blank.html")
  const requested = []
  page.on("request", request => requested.push(new URL(request.url()).pathname))
  await page.evaluate(async () => {
    globalThis.sentinel = await import("/pkg/dist/browser.mjs")
    const response = await fetch("/tests/fixtures/digits/digits.npz")
    globalThis.arrays = await sentinel.tools.readNpz(new Uint8Array(await response.arrayBuffer()))
    globalThis.digits = "/tests/fixtures/digits/digits.onnx"
    globalThis.codeOf = promise => promise.then(() => "no error", error => error.code)
  })
  return { page, requested }
}

function assertClose(got, expected) {
  assert.equal(got.length, expected.length)
  for (const [at, value] of expected.entries()) {
    assert.ok(Math.abs(got[at] - value) <= 1e-3 + 1e-3 * Math.abs(value), `element ${at}: got ${got[at]}, expected ${value}`)
  }
}

test("auto_prefers_the_cpu_over_swiftshader_and_does_not_fetch_wonnx", options, async () => {
  const { page, requested } = await openPage()
  const { got, expected, placement, progress } = await page.evaluate(async () => {
    const progress = []
    const session = await sentinel.InferenceSession.create(digits, { onProgress: each => progress.push(each) })
    const { logits } = await session.run({ image: arrays.get("in_0") })
    return { got: [...logits.data], expected: [...arrays.get("out_0").data], placement: session.placement(), progress }
  })
  assertClose(got, expected)
  assert.ok(placement.every(({ backend }) => backend === "cpu"))
  assert.match(placement[0].reason, /software/i)
  assert.equal(progress.at(-1).loadedBytes, progress.at(-1).totalBytes)
  assert.ok(requested.includes("/pkg/dist/engine.wasm"))
  assert.ok(!requested.includes("/pkg/dist/wonnx.wasm"))
  await page.close()
})

test("wonnx_computes_on_webgpu_in_a_page", options, async () => {
  const { page } = await openPage()
  const { got, expected, backends } = await page.evaluate(async () => {
    const session = await sentinel.InferenceSession.create(digits, { executionProviders: ["wonnx"] })
    const { logits } = await session.run({ image: arrays.get("in_0") })
    const backends = [...new Set(session.placement().map(({ backend }) => backend))]
    await session.release()
    return { got: [...logits.data], expected: [...arrays.get("out_0").data], backends }
  })
  assert.deepEqual(backends, ["wonnx"])
  assertClose(got, expected)
  await page.close()
})

test("tensors_stay_on_the_gpu_of_a_page_between_runs", options, async () => {
  const { page } = await openPage()
  const { got, expected, backends, maps, memory } = await page.evaluate(async () => {
    let maps = 0
    const { mapAsync } = GPUBuffer.prototype
    GPUBuffer.prototype.mapAsync = function (...args) { maps += 1; return mapAsync.apply(this, args) }
    const webgpu = { executionProviders: ["webgpu"], preferredOutputLocation: "gpu-buffer" }
    const session = await sentinel.InferenceSession.create(digits, webgpu)
    const image = arrays.get("in_0")
    const device = await sentinel.env.webgpu.device
    const buffer = device.createBuffer({ size: image.data.byteLength, usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST })
    device.queue.writeBuffer(buffer, 0, image.data)
    const x = sentinel.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: image.dims })
    const { logits } = await session.run({ image: x })
    const mapsInRun = maps
    const got = [...await logits.getData(true)]
    const backends = [...new Set(session.placement().map(({ backend }) => backend))]
    await session.release()
    return { got, expected: [...arrays.get("out_0").data], backends, maps: mapsInRun, memory: sentinel.gpuMemory() }
  })
  assertClose(got, expected)
  assert.deepEqual(backends, ["webgpu"])
  assert.equal(maps, 0)
  assert.deepEqual(memory, { buffers: 0, bytes: 0 })
  await page.close()
})

test("a_lost_device_fails_one_run_of_a_page", options, async () => {
  const { page } = await openPage()
  const { code, got, expected } = await page.evaluate(async () => {
    const session = await sentinel.InferenceSession.create(digits, { executionProviders: ["webgpu"] })
    const image = arrays.get("in_0")
    await session.run({ image })
    ;(await sentinel.env.webgpu.device).destroy()
    const code = await codeOf(session.run({ image }))
    const { logits } = await session.run({ image })
    return { code, got: [...logits.data], expected: [...arrays.get("out_0").data] }
  })
  assert.equal(code, "DEVICE_LOST")
  assertClose(got, expected)
  await page.close()
})

test("a_pages_own_device_is_used_and_left_alive", options, async () => {
  const { page } = await openPage()
  const { got, expected, error } = await page.evaluate(async () => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice()
    const session = await sentinel.InferenceSession.create(digits, { executionProviders: [{ name: "webgpu", device }] })
    const { logits } = await session.run({ image: arrays.get("in_0") })
    await session.release()
    device.pushErrorScope("validation")
    device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE })
    return { got: [...logits.data], expected: [...arrays.get("out_0").data], error: await device.popErrorScope() }
  })
  assertClose(got, expected)
  assert.equal(error, null)
  await page.close()
})

for (const provider of ["cpu", "webgpu", "wonnx"]) {
  test(`${provider}_computes_in_a_web_worker`, options, async () => {
    const { page } = await openPage()
    const { error, backends, got, expected } = await page.evaluate(provider => {
      const worker = new Worker("/tests/browser/session.worker.mjs", { type: "module" })
      return new Promise(resolve => {
        worker.onmessage = ({ data }) => resolve(data)
        worker.onerror = event => resolve({ error: event.message })
        worker.postMessage(provider)
      })
    }, provider)
    assert.equal(error, undefined)
    assert.deepEqual(backends, [provider])
    assertClose(got, expected)
    await page.close()
  })
}

test("external_data_is_a_blob_a_url_or_bytes", options, async () => {
  const { page } = await openPage()
  const { codes, ranges } = await page.evaluate(async () => {
    const base = "/tests/fixtures/models/resnet18_w16.ext"
    const path = "resnet18_w16.ext.onnx.data"
    const response = await fetch(`${base}.onnx.data`)
    const blob = await response.blob()
    const io = await sentinel.tools.readNpz(new Uint8Array(await (await fetch(`${base}.npz`)).arrayBuffer()))
    const ranges = []
    for (const data of [blob, `${base}.onnx.data`, new Uint8Array(await blob.arrayBuffer())]) {
      const session = await sentinel.InferenceSession.create(`${base}.onnx`, { executionProviders: ["cpu"], externalData: [{ path, data }] })
      const outputs = await session.run({ [session.inputNames[0]]: io.get("in_0") })
      const [got, expected] = [outputs[session.outputNames[0]].data, io.get("out_0").data]
      ranges.push(Math.max(...got.map((value, at) => Math.abs(value - expected[at]))))
      await session.release()
    }
    const without = sentinel.InferenceSession.create(`${base}.onnx`, { executionProviders: ["cpu"] })
    return { ranges, codes: [await codeOf(without)] }
  })
  assert.deepEqual(codes, ["IO"])
  assert.ok(ranges.every(difference => difference < 5e-3), String(ranges))
  await page.close()
})

test("errors_have_their_codes_and_sessions_stay_usable", options, async () => {
  const { page } = await openPage()
  const codes = await page.evaluate(async () => {
    const { InferenceSession, Tensor } = sentinel
    const cpu = { executionProviders: ["cpu"] }
    const session = await InferenceSession.create(digits, cpu)
    const image = new Tensor(new Float32Array(784), [1, 1, 28, 28])
    const codes = [
      await codeOf(InferenceSession.create("/none.onnx", cpu)),
      await codeOf(InferenceSession.create("/tests/browser/blank.html", cpu)),
      await codeOf(InferenceSession.create(digits, { executionProviders: ["webnn"] })),
      await codeOf(InferenceSession.create(digits, { ...cpu, signal: AbortSignal.abort() })),
      await codeOf(InferenceSession.create(digits, { ...cpu, maxModelBytes: 1000 })),
      await codeOf(session.run({ image: new Tensor(new Float32Array(4), [4]) })),
      await codeOf(session.run({ image: new Tensor(new Int32Array(784), [1, 1, 28, 28]) })),
      await codeOf(session.run({ image })),
    ]
    await session.release()
    return [...codes, await codeOf(session.run({ image }))]
  })
  assert.deepEqual(codes, [
    "IO", "MODEL_PARSE", "INVALID_INPUT", "CANCELLED", "TOO_LARGE", "SHAPE_MISMATCH", "DTYPE_MISMATCH", "no error", "RELEASED",
  ])
  await page.close()
})

test("a_wrong_place_for_the_wasm_files_is_named_and_can_be_corrected", options, async () => {
  const page = await browser.open("/tests/browser/blank.html")
  const { code, message, size } = await page.evaluate(async () => {
    const { init, InferenceSession, Tensor } = await import("/pkg/dist/browser.mjs")
    const { code, message } = await init({ wasmBase: "/nowhere" }).catch(error => error)
    await init({ wasmBase: "/pkg/dist" })
    const session = await InferenceSession.create("/tests/fixtures/digits/digits.onnx", { executionProviders: ["cpu"] })
    const { logits } = await session.run({ image: new Tensor(new Float32Array(784), [1, 1, 28, 28]) })
    return { code, message, size: logits.size }
  })
  assert.equal(code, "IO")
  assert.match(message, /nowhere\/engine\.wasm.*wasmBase/)
  assert.equal(size, 10)
  await page.close()
})

test("without_webgpu_auto_is_the_cpu_and_wonnx_says_what_is_missing", options, async () => {
  const plain = await startBrowser({ webgpu: false })
  try {
    const { page } = await openPage(plain)
    const { backends, code } = await page.evaluate(async () => {
      const session = await sentinel.InferenceSession.create(digits)
      await session.run({ image: arrays.get("in_0") })
      const backends = [...new Set(session.placement().map(({ backend }) => backend))]
      return { backends, code: await codeOf(sentinel.InferenceSession.create(digits, { executionProviders: ["wonnx"] })) }
    })
    assert.deepEqual(backends, ["cpu"])
    assert.equal(code, "DEVICE_LOST")
  } finally {
    await plain.close()
  }
})
