// Batches on worker threads: real workers with the built package, which are killed, stopped and started for real.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import { BatchInferenceEngine, InferenceSession, Tensor, tools } from "../../pkg/dist/index.mjs"
import { expandModel } from "./made.mjs"
import { assertClose, assertCode, digits, findWebGpu, inRepository, readNpz } from "./support.mjs"

const CPU = { executionProviders: ["cpu"] }
const model = name => inRepository(`tests/fixtures/models/${name}`)

/** What goes to workers from here, and who is called when a batch does. */
const posted = []
const onBatch = []
const { postMessage } = Worker.prototype
before(() => {
  Worker.prototype.postMessage = function (message, transfer) {
    posted.push({ message, transfer })
    if (message.request?.type === "run") onBatch.shift()?.(this)
    return postMessage.call(this, message, transfer)
  }
})
after(() => { Worker.prototype.postMessage = postMessage })

/** The next worker that is given a batch dies of it. */
const killNext = () => { onBatch.push(worker => { void worker.terminate() }) }

const liveThreads = () => process.report.getReport().workers.length

async function startEngine(options) {
  const engine = new BatchInferenceEngine({ ...CPU, ...options })
  await engine.start()
  return engine
}

/** The pictures of the digit classifier one by one, and what it says of each. */
async function readDigits() {
  const arrays = await readNpz({ tools }, digits("digits.npz"))
  const [images, logits] = [arrays.get("in_0"), arrays.get("out_0")]
  const row = (tensor, at) => {
    const size = tensor.data.length / tensor.dims[0]
    return new Tensor("float32", tensor.data.slice(at * size, (at + 1) * size), [1, ...tensor.dims.slice(1)])
  }
  return Array.from({ length: images.dims[0] }, (_, at) => ({ image: row(images, at), logits: row(logits, at) }))
}

async function runDigits(engine, times) {
  const cases = await readDigits()
  const inputs = Array.from({ length: times }, () => cases).flat()
  const outputs = await Promise.all(inputs.map(({ image }) => engine.run({ image })))
  for (const [at, { logits }] of outputs.entries()) assertClose(logits, inputs[at].logits)
}

test("two_workers_share_the_work_and_give_the_right_outputs", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 2, batchSize: 4 })
  try {
    await runDigits(engine, 12)
    const { totalOutputs, workers } = engine.getStats()
    assert.equal(totalOutputs, 120)
    assert.equal(workers.length, 2)
    for (const { inputs, batches } of workers) assert.ok(batches > 0 && inputs > batches, JSON.stringify(workers))
  } finally {
    await engine.stop()
  }
})

test("a_model_with_external_data_runs_on_every_worker_as_in_a_session", async () => {
  const path = model("resnet18_w16.ext.onnx")
  const session = await InferenceSession.create(path, CPU)
  const [{ name, shape }] = session.inputMetadata
  const feeds = { [name]: new Tensor("float32", Float32Array.from({ length: 3 * 64 * 64 }, (_, at) => Math.sin(at)), shape) }
  const expected = await session.run(feeds)
  const engine = await startEngine({ model: path, workers: 2 })
  try {
    for await (const { outputs } of engine.map(Array.from({ length: 8 }, () => feeds))) {
      for (const [name, tensor] of Object.entries(outputs)) assertClose(tensor, expected[name])
    }
    assert.ok(engine.getStats().workers.every(({ inputs }) => inputs > 0))
  } finally {
    await engine.stop()
    await session.release()
  }
})

test("what_is_sent_is_transferred_and_the_callers_tensors_stay_whole", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 1 })
  try {
    const [{ image }] = await readDigits()
    const before = [...image.data]
    const from = posted.length
    await Promise.all([engine.run({ image }), engine.run({ image })])
    const { message, transfer } = posted.slice(from).find(({ message }) => message.request.type === "run")
    assert.equal(transfer.length, 1)
    assert.equal(transfer[0].byteLength, 0, "a buffer that was transferred is empty here")
    assert.deepEqual(message.request.feeds.image.dims, [2, 1, 28, 28])
    assert.deepEqual([...image.data], before)
  } finally {
    await engine.stop()
  }
})

test("outputs_are_buffers_of_their_own", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 1 })
  try {
    const [{ image }] = await readDigits()
    const [a, b] = await Promise.all([engine.run({ image }), engine.run({ image })])
    assert.equal(a.logits.data.buffer.byteLength, 40)
    assert.notEqual(a.logits.data.buffer, b.logits.data.buffer)
  } finally {
    await engine.stop()
  }
})

test("a_worker_that_dies_at_work_is_replaced_and_every_input_is_answered_once", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 2, batchSize: 4 })
  try {
    const cases = await readDigits()
    const answers = new Map()
    const done = Promise.all(Array.from({ length: 60 }, (_, at) => new Promise(resolve => {
      engine.addInput(`${at}`, { image: cases[at % 10].image }, (id, outputs, error) => {
        answers.set(id, [...(answers.get(id) ?? []), { outputs, error }])
        resolve()
      })
    })))
    killNext()
    await done
    await engine.drain()
    assert.equal(answers.size, 60)
    for (const [id, [{ outputs, error }, ...more]] of answers) {
      assert.equal(error, undefined)
      assert.equal(more.length, 0)
      assertClose(outputs.logits, cases[Number(id) % 10].logits)
    }
    const { workers, totalErrors } = engine.getStats()
    assert.equal(totalErrors, 0)
    assert.equal(workers.reduce((sum, { restarts }) => sum + restarts, 0), 1)
    const { lastError } = workers.find(({ restarts }) => restarts === 1)
    assert.equal(lastError.code, "WORKER_UNAVAILABLE")
  } finally {
    await engine.stop()
  }
})

test("an_input_under_which_two_workers_die_gets_that_error_and_the_engine_goes_on", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 1, batchSize: 1 })
  try {
    const [{ image }] = await readDigits()
    killNext()
    killNext()
    await assertCode(engine.run({ image }), "WORKER_UNAVAILABLE", /a worker was lost/)
    await runDigits(engine, 1)
    assert.equal(engine.getStats().workers[0].restarts, 2)
  } finally {
    await engine.stop()
  }
})

test("a_trap_costs_its_worker_and_not_its_neighbours", async () => {
  const engine = await startEngine({ model: expandModel(), workers: 2 })
  const expand = size => engine.run({ x: new Tensor("float32", [1]), shape: new Tensor("int64", [size, size], [2]) })
  try {
    const [big, ...small] = await Promise.allSettled([expand(60_000n), expand(2n), expand(3n), expand(4n)])
    assert.equal(big.reason?.code, "INTERNAL")
    assert.match(big.reason.message, /stopped after a fault/)
    assert.deepEqual(small.map(({ value }) => value?.y.dims), [[2, 2], [3, 3], [4, 4]])
    assert.deepEqual((await expand(5n)).y.dims, [5, 5])
    assert.equal(engine.getStats().workers.reduce((sum, { restarts }) => sum + restarts, 0), 2)
  } finally {
    await engine.stop()
  }
})

test("an_error_in_one_input_is_its_own", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: 2 })
  try {
    const [{ image, logits }] = await readDigits()
    const wrong = new Tensor("float32", new Float32Array(3), [1, 3])
    const [good, bad] = await Promise.allSettled([engine.run({ image }), engine.run({ image: wrong })])
    assertClose(good.value.logits, logits)
    assert.equal(bad.reason.code, "SHAPE_MISMATCH")
    assert.ok(engine.getStats().workers.every(({ restarts }) => restarts === 0))
  } finally {
    await engine.stop()
  }
})

test("a_model_at_a_path_is_read_once_for_all_workers_and_again_for_a_new_one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-pool-"))
  const path = join(folder, "digits.onnx")
  copyFileSync(digits("digits.onnx"), path)
  const progress = []
  const engine = await startEngine({ model: path, workers: 3, onProgress: each => progress.push(each) })
  try {
    assert.equal(progress.length, 1)
    assert.equal(progress[0].loadedBytes, progress[0].totalBytes)
    rmSync(folder, { recursive: true })
    killNext()
    await runDigits(engine, 3)
    while (engine.getStats().workers.every(({ lastError }) => lastError?.code !== "IO")) await new Promise(setImmediate)
    await runDigits(engine, 1)
    assert.equal(progress.length, 1)
  } finally {
    await engine.stop()
  }
})

test("a_wrong_model_is_refused_with_the_error_that_a_session_gives", async () => {
  const threads = liveThreads()
  await assertCode(startEngine({ model: new Uint8Array([1, 2, 3]), workers: 2 }), "MODEL_PARSE")
  await assertCode(startEngine({ model: "/nowhere/model.onnx", workers: 2 }), "IO", /no such file/)
  assert.equal(liveThreads(), threads)
})

test("a_signal_stops_the_opening", async () => {
  const threads = liveThreads()
  const controller = new AbortController()
  const starting = startEngine({ model: digits("digits.onnx"), workers: 2, signal: controller.signal })
  controller.abort()
  await assertCode(starting, "CANCELLED")
  await assertCode(startEngine({ model: digits("digits.onnx"), workers: 2, signal: AbortSignal.abort() }), "CANCELLED")
  assert.equal(liveThreads(), threads)
})

test("a_stopped_engine_leaves_no_thread", async () => {
  const threads = liveThreads()
  const bytes = new Uint8Array(readFileSync(digits("digits.onnx")))
  for (let round = 0; round < 50; round += 1) {
    const engine = await startEngine({ model: bytes, workers: 2 })
    if (round % 10 === 0) await runDigits(engine, 1)
    await engine.stop()
    assert.equal(liveThreads(), threads)
  }
})

test("an_engine_that_is_stopped_while_it_starts_leaves_no_thread", async () => {
  const threads = liveThreads()
  const engine = new BatchInferenceEngine({ ...CPU, model: digits("digits.onnx"), workers: 2 })
  const starting = engine.start()
  await engine.stop()
  await assert.rejects(starting)
  while (liveThreads() > threads) await new Promise(setImmediate)
})

test("workers_on_auto_leave_one_core_for_the_caller", async () => {
  const engine = await startEngine({ model: digits("digits.onnx"), workers: "auto" })
  try {
    assert.equal(engine.getStats().workers.length, Math.min(8, Math.max(1, availableParallelism() - 1)))
  } finally {
    await engine.stop()
  }
})

test("what_cannot_leave_its_thread_is_refused_with_the_way_out", async () => {
  const options = { model: digits("digits.onnx"), workers: 1 }
  const device = { limits: {}, features: new Set(), lost: Promise.resolve() }
  await assertCode(startEngine({ ...options, executionProviders: [{ name: "webgpu", device }] }), "INVALID_INPUT", /workers: 0/)
  await assertCode(startEngine({ ...options, preferredOutputLocation: "gpu-buffer" }), "INVALID_INPUT", /workers: 0/)
  await assertCode(startEngine({ ...options, extra: { callback() {} } }), "INVALID_INPUT", /cannot be sent to a worker/)
  const engine = await startEngine(options)
  try {
    const image = Tensor.fromGpuBuffer({}, { dataType: "float32", dims: [1, 1, 28, 28] })
    await assertCode(engine.run({ image }), "INVALID_INPUT", /workers: 0/)
  } finally {
    await engine.stop()
  }
})

/** Runs a program of its own, in which `startEngine` makes an engine for digits; what it says, when it has ended by itself. */
function runProgram(program, prelude = `import { BatchInferenceEngine, init, Tensor } from ${JSON.stringify(inRepository("pkg/dist/index.mjs"))}`) {
  const text = `${prelude}
    const startEngine = async options => {
      const engine = new BatchInferenceEngine({ model: ${JSON.stringify(digits("digits.onnx"))}, executionProviders: ["cpu"], workers: 2, ...options })
      await engine.start()
      return engine
    }
    const image = new Tensor("float32", new Float32Array(784), [1, 1, 28, 28])
    const codeOf = promise => promise.then(() => "no error", error => error.code + " " + error.message)
    ;(async () => { ${program} })()`
  const { status, stdout, stderr, error } = spawnSync(process.execPath, ["--input-type", prelude.startsWith("const") ? "commonjs" : "module", "-e", text],
    { encoding: "utf8", timeout: 60_000, env: { ...process.env } })
  assert.equal(error, undefined)
  assert.equal(status, 0, stderr)
  return stdout.trim()
}

test("neither_a_stopped_engine_nor_an_idle_one_keeps_the_process_alive", () => {
  const program = "const engine = await startEngine(); const { logits } = await engine.run({ image }); console.log(String(logits.dims));"
  assert.equal(runProgram(program), "1,10")
  assert.equal(runProgram(`${program} await engine.stop()`), "1,10")
})

test("an_input_that_waits_keeps_the_process_alive", () => {
  const program = `const engine = await startEngine()
    engine.addInput("one", { image }, (id, outputs) => { console.log(id, String(outputs.logits.dims)) })`
  assert.equal(runProgram(program), "one 1,10")
})

test("a_commonjs_program_has_workers_too", () => {
  const prelude = `const { BatchInferenceEngine, init, Tensor } = require(${JSON.stringify(inRepository("pkg/dist/index.cjs"))})`
  assert.equal(runProgram("const engine = await startEngine(); console.log(String((await engine.run({ image })).logits.dims))", prelude), "1,10")
})

test("a_worker_file_that_is_not_there_is_named_with_the_option_for_it", () => {
  const program = `await init({ workerUrl: "/nowhere/worker.mjs" }); console.log(await codeOf(startEngine()))`
  assert.match(runProgram(program), /^WORKER_UNAVAILABLE a worker cannot be started: .*workerUrl.*nowhere/)
})

test("a_webgpu_module_is_given_to_workers_by_name", async t => {
  const { missing } = await findWebGpu()
  if (missing !== undefined) return t.skip(missing)
  const url = pathToFileURL(createRequire(inRepository("www/package.json")).resolve("webgpu")).href
  const options = `{ executionProviders: ["webgpu"] }`
  const program = `await init({ webgpu: await import(${JSON.stringify(url)}) })
    console.log(await codeOf(startEngine(${options})))
    await init({ webgpu: ${JSON.stringify(url)} })
    const engine = await startEngine({ executionProviders: ["webgpu"], workers: "auto" })
    const { logits } = await engine.run({ image })
    console.log(String(logits.dims), engine.placement()[0].backend, engine.getStats().workers.length)
    await engine.stop()
    process.exit()`
  const [refused, result] = runProgram(program).split("\n")
  assert.match(refused, /^INVALID_INPUT init\(\{ webgpu \}\).*name/)
  assert.equal(result, "1,10 webgpu 1")
})
