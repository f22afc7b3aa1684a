// Pools over workers that the test plays itself, with a clock of its own: what no real worker does when it is asked to.
import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { pathToFileURL } from "node:url"
import { glueFactories } from "../../www/host/glue.mjs"
import { assertCode, inRepository } from "./support.mjs"

const www = inRepository("www")
const fromWww = createRequire(join(www, "package.json"))
const esbuild = fromWww("esbuild")
const fc = fromWww("fast-check")

let folder
let host
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-link-"))
  const outfile = join(folder, "host.mjs")
  const contents = `export { Tensor } from "onnxruntime-common"
    export { init } from "./settings.js"
    export { BatchInferenceEngine } from "./batch/engine.js"
    export { Pool } from "./batch/pool.js"`
  await esbuild.build({
    stdin: { contents, resolveDir: join(www, "host") },
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "warning",
    plugins: [glueFactories],
  })
  host = await import(pathToFileURL(outfile).href)
  await host.init({ wasmBase: inRepository("pkg/dist") })
})
after(() => rmSync(folder, { recursive: true }))

const FACTS = {
  inputNames: ["x"],
  outputNames: ["y"],
  inputMetadata: [],
  outputMetadata: [],
  joining: { mode: "alone", size: 0, inputs: {}, outputs: {}, padding: "repeat", reason: "a test" },
  isOnGpu: false,
}

/** A clock that moves when it is told to. */
function fakeClock() {
  const timers = new Set()
  let nowMs = 0
  return {
    timers,
    now: () => nowMs,
    nextTurn: () => new Promise(setImmediate),
    after(delayMs, callback) {
      const timer = { atMs: nowMs + delayMs, callback }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance(ms) {
      nowMs += ms
      for (const timer of [...timers]) {
        if (timer.atMs > nowMs || !timers.delete(timer)) continue
        timer.callback()
      }
    },
  }
}

/**
 * Workers that open at once; `run(request, worker)` gives the answer to a batch, or undefined for
 * none, or `reply(id)`, which does what else there is to do.
 */
function fakeThreads({ run = ({ feeds }) => ({ outputs: [{ y: feeds.x }] }), closes = true, facts = FACTS, cores = 2 } = {}) {
  const workers = []
  return {
    workers,
    advice: "no advice",
    parallelism: () => cores,
    start(events) {
      const worker = { at: workers.length, events, isHeld: true, isTerminated: false, asked: [] }
      const answer = request => {
        switch (request.type) {
          case "prepare": return { locations: [] }
          case "open": return { facts, placement: [] }
          case "run": return run(request, worker)
          case "close": return closes ? {} : undefined
        }
      }
      workers.push(worker)
      queueMicrotask(() => events.message({ type: "ready", lock: undefined }))
      return {
        post({ id, request }) {
          worker.asked.push(request.type)
          const given = answer(request)
          if (given?.reply !== undefined) queueMicrotask(() => given.reply(id))
          else if (given !== undefined) queueMicrotask(() => events.message({ type: "answer", id, answer: given }))
        },
        hold(isHeld) { worker.isHeld = isHeld },
        watch() {},
        async terminate() { worker.isTerminated = true },
      }
    },
  }
}

async function startEngine(threads, clock, options = {}) {
  const settings = { model: new Uint8Array(4), executionProviders: ["cpu"], workers: 1, maxDelayMs: 0, ...options }
  const open = (given, policy) => {
    const pool = new host.Pool(given, policy, threads, clock)
    return { count: facts => pool.count(facts), open: signal => pool.open(signal) }
  }
  const engine = new host.BatchInferenceEngine(settings, clock, open)
  await engine.start()
  return engine
}

const input = () => ({ x: new host.Tensor("float32", [1, 2], [2]) })
const until = async condition => { while (!condition()) await new Promise(setImmediate) }

test("a_batch_over_its_time_costs_its_worker_and_runs_once_more", async () => {
  const clock = fakeClock()
  const threads = fakeThreads({ run: ({ feeds }, { at }) => (at === 0 ? undefined : { outputs: [{ y: feeds.x }] }) })
  const engine = await startEngine(threads, clock, { batchTimeoutMs: 100 })
  const running = engine.run(input())
  await until(() => threads.workers[0].asked.includes("run"))
  clock.advance(99)
  assert.equal(threads.workers[0].isTerminated, false)
  clock.advance(1)
  assert.equal(threads.workers[0].isTerminated, true)
  assert.deepEqual([...(await running).y.data], [1, 2])
  assert.equal(engine.getStats().workers[0].lastError.code, "TIMEOUT")
  await engine.stop()
  assert.equal(clock.timers.size, 0)
})

test("a_batch_over_its_time_on_two_workers_has_that_error", async () => {
  const clock = fakeClock()
  const threads = fakeThreads({ run: () => undefined })
  const engine = await startEngine(threads, clock, { batchTimeoutMs: 100 })
  const running = assertCode(engine.run(input()), "TIMEOUT", /batchTimeoutMs/)
  for (const at of [0, 1]) {
    await until(() => threads.workers[at]?.asked.includes("run"))
    clock.advance(100)
  }
  await running
  await engine.stop()
})

test("a_worker_that_does_not_close_is_ended_after_a_second", async () => {
  const clock = fakeClock()
  const threads = fakeThreads({ closes: false })
  const engine = await startEngine(threads, clock)
  const stopped = engine.stop()
  await until(() => threads.workers[0].asked.includes("close"))
  clock.advance(999)
  assert.equal(threads.workers[0].isTerminated, false)
  clock.advance(1)
  await stopped
  assert.equal(threads.workers[0].isTerminated, true)
})

test("a_process_waits_for_a_worker_only_while_it_is_asked_something", async () => {
  const clock = fakeClock()
  let isAnswering = false
  const threads = fakeThreads({ run: () => (isAnswering ? {} : undefined) })
  const engine = await startEngine(threads, clock)
  const [worker] = threads.workers
  assert.equal(worker.isHeld, false)
  const running = engine.run(input())
  await until(() => worker.asked.includes("run"))
  assert.equal(worker.isHeld, true)
  worker.events.message({ type: "failed", id: 2, error: { code: "SHAPE_MISMATCH", message: "x: a test" } })
  await assertCode(running, "SHAPE_MISMATCH", /a test/)
  assert.equal(worker.isHeld, false)
  isAnswering = true
  await engine.stop()
})

test("a_late_answer_of_a_lost_worker_changes_nothing", async () => {
  const clock = fakeClock()
  const threads = fakeThreads({ run: ({ feeds }, { at }) => (at === 0 ? undefined : { outputs: [{ y: feeds.x }] }) })
  const engine = await startEngine(threads, clock)
  const running = engine.run(input())
  const [worker] = threads.workers
  await until(() => worker.asked.includes("run"))
  worker.events.ended("killed")
  worker.events.message({ type: "answer", id: 2, answer: { outputs: [] } })
  worker.events.ended("killed again")
  assert.deepEqual([...(await running).y.data], [1, 2])
  assert.equal(engine.getStats().workers[0].restarts, 1)
  await engine.stop()
})

test("workers_on_auto_are_as_many_as_cores_beside_one_at_most_eight_and_one_on_a_gpu", async () => {
  const onGpu = { ...FACTS, isOnGpu: true }
  for (const [cores, facts, expected] of [[1, FACTS, 1], [2, FACTS, 1], [4, FACTS, 3], [64, FACTS, 8], [64, onGpu, 1]]) {
    const threads = fakeThreads({ cores, facts })
    const engine = await startEngine(threads, fakeClock(), { workers: "auto" })
    assert.equal(threads.workers.length, expected, `${cores} cores`)
    await engine.stop()
    assert.ok(threads.workers.every(({ isTerminated }) => isTerminated))
  }
})

test("an_error_of_an_unknown_code_is_internal", async () => {
  const clock = fakeClock()
  const threads = fakeThreads({ run: () => undefined })
  const engine = await startEngine(threads, clock)
  const running = engine.run(input())
  await until(() => threads.workers[0].asked.includes("run"))
  threads.workers[0].events.message({ type: "failed", id: 2, error: { code: "NO_SUCH_CODE", message: "a test" } })
  await assertCode(running, "INTERNAL", /a test/)
  await engine.stop()
})

test("a_worker_that_keeps_dying_without_work_is_made_again_after_growing_pauses_and_then_given_up", async () => {
  const clock = fakeClock()
  const threads = fakeThreads()
  const engine = await startEngine(threads, clock)
  const pauses = []
  while (threads.workers.length < 5) {
    const n = threads.workers.length
    threads.workers[n - 1].events.ended("killed")
    await until(() => clock.timers.size === 1)
    const [{ atMs }] = clock.timers
    pauses.push(atMs - clock.now())
    clock.advance(atMs - clock.now())
    await until(() => engine.getStats().workers[0].state === "idle")
  }
  assert.deepEqual(pauses, [200, 800, 3200, 5000])
  threads.workers[4].events.ended("killed")
  await until(() => engine.getStats().workers[0].state === "closed")
  await assertCode(engine.run(input()), "WORKER_UNAVAILABLE", /killed/)
})

test("work_in_between_makes_a_worker_worth_another_try", async () => {
  const clock = fakeClock()
  const threads = fakeThreads()
  const engine = await startEngine(threads, clock)
  for (let n = 1; n <= 12; n += 1) {
    await engine.run(input())
    threads.workers[n - 1].events.ended("killed")
    await until(() => clock.timers.size === 1)
    const [{ atMs }] = clock.timers
    assert.equal(atMs - clock.now(), 200)
    clock.advance(200)
    await until(() => engine.getStats().workers[0].state === "idle")
  }
  await engine.stop()
})

test("whatever_becomes_of_workers_every_input_is_answered_once_and_dies_with_two_of_them_at_most", async () => {
  const fate = fc.constantFrom("answers", "answers", "dies", "traps", "fails")
  await fc.assert(fc.asyncProperty(fc.array(fate, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 24 }), async (fates, workers, nInputs) => {
    const left = [...fates]
    const lives = Array.from({ length: nInputs }, () => [])
    const error = (code, message) => ({ code, message })
    const run = ({ feeds }, { events }) => {
      const [number] = new Float32Array(feeds.x.data.buffer)
      const next = left.shift() ?? "answers"
      lives[number].push(next)
      switch (next) {
        case "answers": return { outputs: [{ y: feeds.x }] }
        case "dies": return { reply() { events.ended("dead") } }
        case "traps": return { reply() { events.message({ type: "faulted", error: error("INTERNAL", "trapped") }) } }
        case "fails": return { reply(id) { events.message({ type: "failed", id, error: error("SHAPE_MISMATCH", "failed") }) } }
      }
    }
    const clock = fakeClock()
    const engine = await startEngine(fakeThreads({ run }), clock, { workers })
    const answers = Array.from({ length: nInputs }, () => [])
    const feeds = number => ({ x: new host.Tensor("float32", [number, 0], [2]) })
    for (const [number, got] of answers.entries()) {
      engine.addInput(`${number}`, feeds(number), (_, outputs, failure) => { got.push(failure?.code ?? outputs.y.data[0]) })
    }
    await engine.drain()
    const codes = { answers: undefined, dies: "WORKER_UNAVAILABLE", traps: "INTERNAL", fails: "SHAPE_MISMATCH" }
    for (const [number, got] of answers.entries()) {
      const life = lives[number]
      assert.deepEqual(got, [codes[life.at(-1)] ?? number], life.join())
      assert.ok(life.length <= 2)
      assert.ok(life.slice(0, -1).every(each => each === "dies" || each === "traps"))
    }
    await engine.stop()
    assert.equal(clock.timers.size, 0)
  }), { numRuns: 60 })
})
