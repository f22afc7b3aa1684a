// Streams of a camera through real models in Chromium: for a minute, with each policy, on the CPU and on the GPU.
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { after, before, test } from "node:test"
import { inRepository } from "../node/support.mjs"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 180_000 }
const CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

/** Tells which way up a line of text is: brought by pkg-scripts/fetch-models. */
const CLASSIFIER = inRepository("target/models/ppocr_cls.onnx")

let browser
before(async () => { if (!options.skip) browser = await startBrowser({ flags: CAMERA }) })
after(() => browser?.close())

/** A page with the package in `sentinel`; `openFrames()` counts the frames of cameras that nobody has closed. */
async function openPage(t) {
  const page = await browser.open("/tests/browser/blank.html")
  t.after(() => page.close())
  await page.route("**/classifier.onnx", route => route.fulfill({ path: CLASSIFIER, contentType: "application/octet-stream" }))
  await page.evaluate(async () => {
    const frames = []
    const { read } = ReadableStreamDefaultReader.prototype
    ReadableStreamDefaultReader.prototype.read = async function () {
      const result = await read.call(this)
      // A frame that is closed has no size; those are not kept, so that this test holds no memory itself.
      if (result.value instanceof VideoFrame) frames.splice(0, frames.length, ...frames.filter(each => each.codedWidth !== 0), result.value)
      return result
    }
    globalThis.openFrames = () => frames.filter(each => each.codedWidth !== 0).length
    globalThis.sentinel = await import("/pkg/dist/browser.mjs")
    globalThis.digits = "/tests/fixtures/digits/digits.onnx"
    globalThis.DIGIT = { layout: "NCHW", type: "float32", colorOrder: "GRAY", fit: "crop" }
    globalThis.sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
  })
  return page
}

/** Bytes of the page's JavaScript and WebAssembly that are in use, after a collection of what is not. */
async function usedBytes(inspector) {
  await inspector.send("HeapProfiler.collectGarbage")
  const { usedSize, backingStorageSize = 0 } = await inspector.send("Runtime.getHeapUsage")
  return usedSize + backingStorageSize
}

test("a_camera_streams_through_a_classifier_for_a_minute_in_flat_memory", { ...options, skip: options.skip ?? (existsSync(CLASSIFIER) ? undefined : "pkg-scripts/fetch-models brings the classifier") }, async t => {
  const page = await openPage(t)
  const inspector = await page.context().newCDPSession(page)
  await inspector.send("HeapProfiler.enable")
  await page.evaluate(async () => {
    const { StreamingInferenceEngine, openCamera } = sentinel
    globalThis.engine = new StreamingInferenceEngine({ model: "/classifier.onnx", executionProviders: ["cpu"] })
    await engine.start()
    globalThis.camera = await openCamera()
    globalThis.wrong = []
    globalThis.mostOpen = 0
    engine.on("stream", event => { if (event.error) wrong.push(event.message) })
    const check = ({ outputs }) => {
      const [scores] = Object.values(outputs)
      const sum = scores.data.reduce((total, each) => total + each, 0)
      if (Math.abs(sum - 1) > 1e-3) wrong.push(`the probabilities add up to ${sum}`)
      mostOpen = Math.max(mostOpen, openFrames())
    }
    const preprocess = { dims: [1, 3, 48, 192], layout: "NCHW", type: "float32", mean: [0.5], std: [0.5] }
    await engine.startStream("camera", camera, outputs => check({ outputs }), { preprocess })
  })
  const used = []
  for (let at = 0; at < 6; at += 1) {
    await page.evaluate(() => sleep(10_000))
    used.push(await usedBytes(inspector))
  }
  const { statistics, wrong, mostOpen, leftOpen } = await page.evaluate(async () => {
    const statistics = engine.getStats().streams.camera
    await engine.stop()
    return { statistics: { ...statistics, histogram: undefined }, wrong, mostOpen, leftOpen: openFrames() }
  })
  const megabytes = used.map(bytes => (bytes / 1e6).toFixed(2))
  t.diagnostic(`${statistics.totalOutputs} frames classified, p50 ${statistics.p50Latency.toFixed(1)} ms; MB in use every 10 s: ${megabytes.join(", ")}`)
  assert.deepEqual(wrong, [])
  assert.equal(statistics.totalErrors, 0)
  assert.ok(statistics.totalOutputs >= 60, `${statistics.totalOutputs} frames in a minute`)
  // One that is read, one that waits, and one that is computed.
  assert.ok(mostOpen <= 3, `${mostOpen} frames were open at once`)
  assert.equal(leftOpen, 0)
  // A frame has 460 kB and its tensor 110 kB: of some 750 frames in these 50 seconds, not six may have stayed.
  assert.ok(used.at(-1) - used[0] < 3_000_000, `in use, in MB: ${megabytes.join(", ")}`)
})

test("frames_of_a_camera_reach_a_model_on_the_gpu_without_the_cpu", options, async t => {
  const page = await openPage(t)
  const { outputs, mapsPerOutput, copies, backends, memory, grown, left } = await page.evaluate(async () => {
    let [maps, copies] = [0, 0]
    const { mapAsync } = GPUBuffer.prototype
    GPUBuffer.prototype.mapAsync = function (...args) { maps += 1; return mapAsync.apply(this, args) }
    for (const [owner, name] of [[VideoFrame.prototype, "copyTo"], [OffscreenCanvasRenderingContext2D.prototype, "getImageData"]]) {
      const own = owner[name]
      owner[name] = function (...args) { copies += 1; return own.apply(this, args) }
    }
    const { StreamingInferenceEngine, openCamera, gpuMemory } = sentinel
    const engine = new StreamingInferenceEngine({ model: digits, executionProviders: ["webgpu"] })
    await engine.start()
    const seen = []
    await engine.startStream("camera", await openCamera(), ({ logits }) => { seen.push({ first: logits.data[0], bytes: gpuMemory().bytes }) }, { preprocess: DIGIT })
    while (seen.length < 40) await sleep(20)
    await engine.stopStream("camera")
    const backends = [...new Set(engine.placement().map(({ backend }) => backend))]
    await engine.stop()
    return { outputs: seen.length, mapsPerOutput: maps / seen.length, copies, backends, memory: gpuMemory(), grown: seen.at(-1).bytes - seen[9].bytes, left: openFrames() }
  })
  assert.deepEqual(backends, ["webgpu"])
  assert.equal(copies, 0)
  assert.ok(mapsPerOutput <= 1.1, `${mapsPerOutput} buffers were read for each of ${outputs} results`)
  assert.equal(grown, 0)
  assert.deepEqual(memory, { buffers: 0, bytes: 0 })
  assert.equal(left, 0)
})

// The handler takes 250 ms, in which five frames of the fake camera come.
const POLICIES = {
  latest: ({ results, statistics }) => {
    assert.ok(statistics.totalDropped > results.length, "most frames are dropped")
    assert.ok(statistics.queueDepth <= 1)
    // What is handled is new when its turn comes, however slow the handler is.
    assert.ok(Math.max(...results.slice(1).map(({ ageMs }) => ageMs)) < 1000, "every frame is recent")
  },
  "drop-new": ({ results, statistics }) => {
    assert.ok(statistics.totalDropped > results.length, "most frames are dropped")
    assert.ok(statistics.queueDepth <= 1)
  },
  queue: ({ results, statistics }) => {
    assert.ok(statistics.queueDepth <= 2)
    assert.deepEqual(results.map(({ id }) => id), results.map((_, at) => at), "none of those that were taken is left out")
  },
}

for (const [policy, check] of Object.entries(POLICIES)) {
  test(`a_slow_handler_with_the_policy_${policy}_piles_nothing_up`, options, async t => {
    const page = await openPage(t)
    const seen = await page.evaluate(async policy => {
      const { StreamingInferenceEngine, openCamera } = sentinel
      const engine = new StreamingInferenceEngine({ model: digits, executionProviders: ["cpu"] })
      await engine.start()
      const results = []
      let mostOpen = 0
      const slow = async (_, { id, capturedMs }) => {
        mostOpen = Math.max(mostOpen, openFrames())
        results.push({ id, ageMs: performance.now() - capturedMs })
        await sleep(250)
      }
      await engine.startStream("camera", await openCamera(), slow, {
        policy,
        // With two frames open, Chromium's camera gives no third.
        maxQueueSize: policy === "queue" ? 2 : 1,
        maxInFlight: 1,
        preprocess: DIGIT,
      })
      while (results.length < 10) await sleep(50)
      const statistics = { ...engine.getStats().streams.camera, histogram: undefined }
      await engine.stop()
      return { results, statistics, mostOpen, left: openFrames() }
    }, policy)
    check(seen)
    const ids = seen.results.map(({ id }) => id)
    assert.deepEqual(ids, [...ids].sort((a, b) => a - b), "in order")
    assert.ok(seen.mostOpen <= 5, `${seen.mostOpen} frames were open at once`)
    assert.equal(seen.left, 0)
  })
}

test("a_camera_that_is_unplugged_ends_its_stream_and_the_engine_stays_usable", options, async t => {
  const page = await openPage(t)
  const { events, outcome, later } = await page.evaluate(async () => {
    const { StreamingInferenceEngine, openCamera } = sentinel
    const engine = new StreamingInferenceEngine({ model: digits, executionProviders: ["cpu"] })
    await engine.start()
    const events = []
    engine.on("stream", ({ stream, type }) => events.push(`${stream} ${type}`))
    const camera = await openCamera()
    let seen = 0
    await engine.startStream("first", camera, () => { seen += 1 }, { preprocess: DIGIT })
    while (seen < 3) await sleep(20)
    const [track] = camera.getVideoTracks()
    track.stop()
    // What a browser does when a device goes; `stop()` itself tells nobody.
    track.dispatchEvent(new Event("ended"))
    const outcome = await engine.finished("first").then(() => "ended", error => error.code)
    let later = 0
    await engine.startStream("second", await openCamera(), () => { later += 1 }, { preprocess: DIGIT })
    while (later < 3) await sleep(20)
    await engine.stop()
    return { events, outcome, later }
  })
  assert.ok(["ended", "IO"].includes(outcome), outcome)
  assert.ok(events.some(each => /^first (ended|failed|device-lost)$/.test(each)), events.join())
  assert.ok(later >= 3)
})

test("streams_that_share_a_model_share_batches_on_the_gpu", options, async t => {
  const page = await openPage(t)
  const { apart, order, avgBatchSize, memory } = await page.evaluate(async () => {
    const { StreamingInferenceEngine, gpuMemory } = sentinel
    const pictures = function* (turn) {
      for (let at = 0; at < 6; at += 1) {
        const canvas = new OffscreenCanvas(40, 30)
        const context = canvas.getContext("2d")
        context.fillStyle = "#fff"
        context.fillRect(4 + turn * 3, 2 + at * 2, 12, 20 - at)
        yield canvas
      }
    }
    const outputsOn = async (backend, names) => {
      const engine = new StreamingInferenceEngine({ model: digits, executionProviders: [backend], batchSize: 4 })
      await engine.start()
      const outputs = Object.fromEntries(names.map(name => [name, []]))
      const take = name => ({ logits }, { id }) => { outputs[name].push({ id, logits: [...logits.data] }) }
      for (const [turn, name] of names.entries()) await engine.startStream(name, pictures(turn), take(name), { preprocess: DIGIT, maxInFlight: 1 })
      await Promise.all(names.map(name => engine.finished(name)))
      const { avgBatchSize } = engine.getStats()
      await engine.stop()
      return { outputs, avgBatchSize }
    }
    const names = ["a", "b", "c", "d"]
    const [gpu, cpu] = [await outputsOn("webgpu", names), await outputsOn("cpu", names)]
    const all = ({ outputs }) => names.flatMap(name => outputs[name].flatMap(({ logits }) => logits))
    const expected = all(cpu)
    const apart = Math.max(...all(gpu).map((value, at) => Math.abs(value - expected[at])))
    return { apart, order: names.map(name => gpu.outputs[name].map(({ id }) => id).join()), avgBatchSize: gpu.avgBatchSize, memory: gpuMemory() }
  })
  assert.ok(apart < 0.05, `${apart} apart from the cpu`)
  assert.deepEqual([...new Set(order)], ["0,1,2,3,4,5"])
  assert.ok(avgBatchSize > 1.5, `${avgBatchSize} inputs in a batch`)
  assert.deepEqual(memory, { buffers: 0, bytes: 0 })
})
