// Generated schedules on whole engines: whatever happens to workers, every input is answered once, with its own outputs.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import { SentinelError } from "../../pkg/dist/index.mjs"
import { rowsOf, settled } from "./lanes.mjs"
import { inRepository } from "./support.mjs"
import { fakeFleet } from "./workers.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")

const URLS = ["ws://a", "ws://b", "ws://c"]
const index = fc.nat(1000)
const url = fc.constantFrom(...URLS)
const CODES = ["INTERNAL", "IO", "QUEUE_FULL", "UNAUTHORIZED", "SHAPE_MISMATCH", "WORKER_UNAVAILABLE"]
const event = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constantFrom("add", "run"), priority: fc.constantFrom(0, 0, 1), timeoutMs: fc.option(fc.nat(2000), { nil: undefined }), signal: fc.option(fc.nat(2), { nil: undefined }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("answer"), at: index }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("fail"), at: index, code: fc.constantFrom(...CODES) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("lose", "drain", "goDown", "comeUp", "remove", "addWorker"), url }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("wait"), elapsedMs: fc.nat(700) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort"), at: fc.nat(2) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("settle") }) },
)
const schedules = fc.record({
  events: fc.array(event, { maxLength: 60, size: "max" }),
  options: fc.record({
    balancing: fc.constantFrom("least-loaded", "round-robin", "weighted", "latency"),
    maxQueueSize: fc.integer({ min: 1, max: 6 }),
    retries: fc.nat(3),
    hedgeMs: fc.constantFrom(undefined, 30, "p95"),
    unavailableMs: fc.constantFrom(300, 5000),
  }),
  capacity: fc.integer({ min: 1, max: 3 }),
})

class Case {
  answers = new Map()
  #signals = Array.from({ length: 3 }, () => new AbortController())
  #count = 0

  constructor({ engine, clock, workers }) {
    Object.assign(this, { engine, clock, workers })
  }

  async follow(given) {
    const { workers, engine } = this
    switch (given.do) {
      case "add": return this.#add(given)
      case "run": return this.#run(given)
      case "answer": return workers.answer(given.at)
      case "fail": return workers.fail(given.at, new SentinelError(given.code, "it failed"))
      case "lose": return workers.links.get(given.url)?.lose()
      case "drain": return workers.links.get(given.url)?.drain()
      case "goDown": return workers.down.set(given.url, true)
      case "comeUp": return workers.down.delete(given.url)
      case "remove": return this.#quietly(() => engine.removeWorker(given.url))
      case "addWorker": return this.#quietly(() => engine.addWorker(given.url))
      case "wait": return this.clock.advance(given.elapsedMs)
      case "settle": return settled()
      case "abort":
        this.#signals[given.at].abort()
        this.#signals[given.at] = new AbortController()
    }
  }

  /** Everybody is well again, until every input has its answer. */
  async finish() {
    this.workers.down.clear()
    this.workers.isPrompt = true
    for (const each of URLS) this.#quietly(() => this.engine.addWorker(each))
    const drained = this.engine.drain()
    for (let left = 2000; [...this.answers.values()].some(each => each.length === 0); left -= 1) {
      assert.ok(left > 0, "some inputs have no answer")
      this.workers.answer()
      await this.clock.advance(100)
    }
    await drained
  }

  #add(given) {
    const { id, number, options } = this.#next(given)
    try {
      this.engine.addInput(id, { x: rowsOf(number) }, (_, outputs, error) => { this.#answered(id, number, outputs, error) }, options)
    } catch (thrown) {
      assert.equal(thrown.code, "QUEUE_FULL")
      this.answers.delete(id)
    }
  }

  #run(given) {
    const { id, number, options } = this.#next(given)
    this.engine.run({ x: rowsOf(number) }, options).then(
      outputs => { this.#answered(id, number, outputs, undefined) },
      error => { this.#answered(id, number, undefined, error) },
    )
  }

  #next({ priority, timeoutMs, signal }) {
    const number = this.#count
    this.#count += 1
    this.answers.set(`i${number}`, [])
    return { id: `i${number}`, number, options: { priority, ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(signal === undefined ? {} : { signal: this.#signals[signal].signal }) } }
  }

  #answered(id, number, outputs, error) {
    this.answers.get(id).push(error?.code ?? "outputs")
    if (error === undefined) assert.equal(Number(outputs.y.data[0]), number)
    else assert.ok(error instanceof SentinelError && [...CODES, "TIMEOUT", "CANCELLED"].includes(error.code), error)
  }

  // That worker is there already, or is not.
  #quietly(work) {
    try {
      work()
    } catch (thrown) {
      assert.equal(thrown.code, "INVALID_INPUT")
    }
  }
}

async function play({ events, options: { hedgeMs, ...options }, capacity }, end) {
  const made = await fakeFleet({ ...options, ...(hedgeMs === undefined ? {} : { hedgeMs }), workers: { capacity } })
  const played = new Case(made)
  for (const each of events) await played.follow(each)
  if (end === "finish") await played.finish()
  await made.engine.stop()
  await settled()
  for (const [id, given] of played.answers) assert.equal(given.length, 1, `${id}: ${given}`)
  const { totalInputs, totalOutputs, totalErrors, totalCancelled, localInputs, remoteInputs, queueDepth, workers } = made.engine.getStats()
  assert.equal(totalInputs, totalOutputs + totalErrors + totalCancelled)
  assert.deepEqual([totalOutputs, localInputs, queueDepth], [remoteInputs, 0, 0])
  assert.ok(workers.every(({ inFlight }) => inFlight === 0))
  assert.deepEqual([made.clock.nTimers, made.workers.running.length, made.workers.nOpen], [0, 0, 0])
}

test("every_input_is_answered_once_whatever_happens_to_workers", () =>
  fc.assert(fc.asyncProperty(schedules, schedule => play(schedule, "finish")), { numRuns: 150 }))

test("every_input_is_answered_once_when_the_engine_is_stopped_in_the_middle", () =>
  fc.assert(fc.asyncProperty(schedules, schedule => play(schedule, "stop")), { numRuns: 100 }))
