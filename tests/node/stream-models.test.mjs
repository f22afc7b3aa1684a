// Streams over the digit classifier: shared batches, sources of every kind, and raw frames through a script.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync, copyFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable } from "node:stream"
import { after, before, test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { assertCode, digits, inRepository, readNpz } from "./support.mjs"

const { StreamingInferenceEngine, Tensor, chunksOf } = host
const SIZE = 28 * 28

const folder = mkdtempSync(join(tmpdir(), "sentinel-stream-"))
after(() => rmSync(folder, { recursive: true }))

let images
let labels
let engine
before(async () => {
  const arrays = await readNpz(host, digits("digits_eval.npz"))
  images = arrays.get("images").data
  labels = arrays.get("labels").data
  engine = new StreamingInferenceEngine({ model: digits("digits.onnx"), executionProviders: ["cpu"] })
  await engine.start()
})
after(() => engine.stop())

const pixels = at => images.subarray(at * SIZE, (at + 1) * SIZE)
const ofPixels = bytes => new Tensor(Float32Array.from(bytes, value => value / 255), [1, 1, 28, 28])
const digitOf = ({ logits }) => logits.data.indexOf(Math.max(...logits.data))
const reading = { preprocess: ofPixels, postprocess: digitOf }

async function read(name) {
  const got = []
  for await (const { outputs } of engine.results(name)) got.push(outputs)
  return got
}

/** What the model reads in each picture, one by one. */
async function readAlone(from, n) {
  const session = await host.InferenceSession.create(digits("digits.onnx"), { executionProviders: ["cpu"] })
  const got = []
  for (let at = from; at < from + n; at += 1) got.push(digitOf(await session.run({ image: ofPixels(pixels(at)) })))
  await session.release()
  return got
}

function* pictures(from, n) {
  for (let at = from; at < from + n; at += 1) yield pixels(at)
}

test("many_streams_share_batches_and_each_keeps_its_order", async () => {
  const names = Array.from({ length: 8 }, (_, at) => `stream ${at}`)
  const before = engine.getStats()
  await Promise.all(names.map((name, at) => engine.startStream(name, pictures(at * 30, 30), undefined, { ...reading, maxInFlight: 1 })))
  const got = await Promise.all(names.map(read))
  const expected = await readAlone(0, 240)
  assert.deepEqual(got.flat(), expected)
  const right = expected.filter((digit, at) => digit === Number(labels[at])).length
  assert.ok(right > 230, `${right} of 240 are right`)
  const { totalBatches, streams } = engine.getStats()
  assert.ok(totalBatches - before.totalBatches < 240 / 2, "each input ran alone")
  for (const name of names) {
    const { totalInputs, totalOutputs, state, p50Latency, p99Latency, fps } = streams[name]
    assert.deepEqual({ totalInputs, totalOutputs, state }, { totalInputs: 30, totalOutputs: 30, state: "ended" })
    assert.ok(p50Latency > 0 && p50Latency <= p99Latency && fps > 0)
  }
})

test("one_stream_fills_batches_by_itself", async () => {
  const before = engine.getStats()
  await engine.startStream("one", pictures(0, 160), () => {}, reading)
  await engine.finished("one")
  assert.ok(engine.getStats().totalBatches - before.totalBatches <= 160 / 4)
})

test("every_kind_of_source_gives_the_same_results", async () => {
  const expected = await readAlone(0, 10)
  const list = [...pictures(0, 10)]
  const sources = {
    array: list,
    generator: pictures(0, 10),
    "async generator": (async function* () { yield* list })(),
    "readable stream": new ReadableStream({ start(controller) { list.forEach(each => controller.enqueue(each)); controller.close() } }),
    readable: Readable.from(list),
  }
  for (const [name, source] of Object.entries(sources)) {
    await engine.startStream(name, source, undefined, reading)
    assert.deepEqual(await read(name), expected, name)
  }
  const left = [...list]
  await engine.startStream("function", () => left.shift(), undefined, reading)
  const got = []
  for await (const { outputs } of engine.results("function")) if (got.push(outputs) === 10) break
  await engine.stopStream("function")
  assert.deepEqual(got, expected)
})

test("a_source_without_preprocess_gives_the_models_inputs_or_its_only_one", async () => {
  await engine.startStream("named", [{ image: ofPixels(pixels(3)) }], undefined, { postprocess: digitOf })
  await engine.startStream("only", [ofPixels(pixels(3))], undefined, { postprocess: digitOf })
  assert.deepEqual(await read("named"), await read("only"))
  await engine.startStream("wrong", [{ picture: ofPixels(pixels(3)) }])
  await assertCode(read("wrong"), "INVALID_INPUT", /input "image" is missing/)
})

test("pictures_are_prepared_as_described", async () => {
  const files = Array.from({ length: 10 }, (_, digit) => readFileSync(digits(`digit_${digit}.png`)))
  await engine.startStream("files", files, undefined, { preprocess: { colorOrder: "GRAY" }, postprocess: digitOf })
  assert.deepEqual(await read("files"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await engine.startStream("broken", [files[0], Uint8Array.of(1, 2, 3), files[2]], undefined, { preprocess: { colorOrder: "GRAY" }, postprocess: digitOf })
  assert.deepEqual(await read("broken"), [0, 2])
  assert.equal(engine.getStats().streams.broken.totalErrors, 1)
})

test("chunks_of_a_file_are_its_frames_and_a_broken_one_ends_the_stream", async () => {
  const file = join(folder, "frames.raw")
  writeFileSync(file, images.subarray(0, 12 * SIZE))
  const open = () => chunksOf(createReadStream(file, { highWaterMark: 1000 }), SIZE)
  await engine.startStream("file", open(), undefined, reading)
  assert.deepEqual(await read("file"), await readAlone(0, 12))
  writeFileSync(file, images.subarray(0, 2 * SIZE + 5))
  await engine.startStream("cut", open(), undefined, reading)
  await assertCode(read("cut"), "INVALID_INPUT", /the last chunk, expected 784 bytes, given 5/)
})

test("the_streams_of_an_engine_end_with_it", async () => {
  const own = new StreamingInferenceEngine({ model: digits("digits.onnx"), executionProviders: ["cpu"] })
  await own.start()
  await own.startStream("forever", () => pixels(0), () => {}, reading)
  for await (const { id } of own.results("forever")) if (id >= 20) break
  await own.stop()
  const { streams: { forever }, totalOutputs } = own.getStats()
  assert.equal(forever.state, "ended")
  assert.ok(totalOutputs >= forever.totalOutputs && forever.totalOutputs > 20)
  await assertCode(own.startStream("again", []), "RELEASED")
})

test("the_example_reads_frames_from_standard_input_and_from_files", async () => {
  mkdirSync(join(folder, "node_modules"))
  symlinkSync(inRepository("pkg"), join(folder, "node_modules/sentinel-inference"))
  const script = join(folder, "stream-frames.mjs")
  copyFileSync(inRepository("examples/stream-frames.mjs"), script)
  const expected = await readAlone(0, 10)
  const run = async (args, input) => {
    const child = spawn(process.execPath, [script, "--model", digits("digits.onnx"), "--width", "28", "--height", "28", "--channels", "1", ...args])
    child.stdin.end(input)
    let text = ""
    child.stdout.on("data", data => { text += data })
    let said = ""
    child.stderr.on("data", data => { said += data })
    const [exitCode] = await once(child, "close")
    return { exitCode, said, lines: text.trim().split("\n").filter(Boolean).map(line => JSON.parse(line)) }
  }
  const piped = await run([], images.subarray(0, 10 * SIZE))
  assert.equal(piped.exitCode, 0, piped.said)
  assert.deepEqual(piped.lines.map(({ best }) => best), expected)
  assert.deepEqual(piped.lines.map(({ id }) => id), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  const files = [0, 1].map(at => join(folder, `${at}.raw`))
  files.forEach((file, at) => writeFileSync(file, images.subarray(at * 5 * SIZE, (at + 1) * 5 * SIZE)))
  assert.deepEqual((await run(files)).lines.map(({ best }) => best), expected)
  const broken = await run([], images.subarray(0, SIZE + 1))
  assert.equal(broken.exitCode, 1)
  assert.equal(broken.lines.length, 1)
  assert.match(broken.said, /the last chunk, expected 784 bytes, given 1/)
})
