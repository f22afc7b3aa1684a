// Generated schedules: whatever happens to it, every input that a batch engine takes in is answered once, with its own outputs.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import { SentinelError } from "../../pkg/dist/index.mjs"
import { fakeEngine, rowsOf, settled } from "./lanes.mjs"
import { inRepository } from "./support.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")

const index = fc.nat(1000)
const given = fc.record({
  rows: fc.integer({ min: 1, max: 3 }),
  type: fc.constantFrom("float32", "float32", "int32"),
  priority: fc.constantFrom(0, 0, 0, 1, -1),
  timeoutMs: fc.option(fc.nat(20), { nil: undefined }),
  signal: fc.option(fc.nat(3), { nil: undefined }),
})
const events = fc.array(fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("add"), given }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("run"), given }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("finish"), at: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("fail"), at: index }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("die"), at: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait"), elapsedMs: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort"), at: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("settle") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("drain") }) },
), { maxLength: 60 })
const options = fc.record({
  batchSize: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constant("auto")),
  maxDelayMs: fc.nat(8),
  maxQueueSize: fc.integer({ min: 1, max: 6 }),
})

/** An engine, and what came of every input that was given to it. */
class Case {
  answers = new Map()
  #controllers = Array.from({ length: 4 }, () => new AbortController())
  #count = 0
  #drains = []

  constructor({ engine, clock, lanes }, maxQueueSize) {
    Object.assign(this, { engine, clock, lanes, maxQueueSize })
  }

  async follow(event) {
    switch (event.do) {
      case "add": return this.#add(event.given)
      case "run": return this.#run(event.given)
      case "finish": return this.lanes.finish(event.at)
      case "fail": return this.lanes.fail(event.at)
      case "die": return this.lanes.running.length > 0 && this.lanes.die(event.at)
      case "wait": return this.clock.advance(event.elapsedMs)
      case "settle": return settled()
      case "drain": return this.#drains.push(this.engine.drain())
      case "abort":
        this.#controllers[event.at].abort()
        this.#controllers[event.at] = new AbortController()
    }
  }

  /** Lets everything run to its end. */
  async finish() {
    const drained = this.engine.drain()
    for (let left = 2000; [...this.answers.values()].some(answers => answers.length === 0); left -= 1) {
      assert.ok(left > 0, "some inputs have no answer")
      await this.clock.advance(10)
      this.lanes.finish()
    }
    await this.clock.advance(10_000)
    await Promise.all([drained, ...this.#drains])
  }

  async stop() {
    await this.engine.stop()
    await settled()
    await Promise.all(this.#drains)
  }

  #add(given) {
    const { id, number, inputs, options } = this.#next(given)
    try {
      this.engine.addInput(id, inputs, (answered, outputs, error) => {
        assert.equal(answered, id)
        this.#answered(id, number, outputs, error)
      }, options)
    } catch (thrown) {
      assert.equal(thrown.code, "QUEUE_FULL")
      this.answers.delete(id)
    }
  }

  #run(given) {
    const { id, number, inputs, options } = this.#next(given)
    this.engine.run(inputs, options).then(
      outputs => { this.#answered(id, number, outputs, undefined) },
      error => { this.#answered(id, number, undefined, error) },
    )
  }

  #next({ rows, type, priority, timeoutMs, signal }) {
    const number = this.#count
    this.#count += 1
    this.answers.set(`i${number}`, [])
    const options = { priority, timeoutMs, ...(signal === undefined ? {} : { signal: this.#controllers[signal].signal }) }
    return { id: `i${number}`, number, inputs: { x: rowsOf(number, rows, type) }, options }
  }

  #answered(id, number, outputs, error) {
    this.answers.get(id).push(error?.code ?? "outputs")
    if (error === undefined) assert.equal(Number(outputs.y.data[0]), number)
    else assert.ok(error instanceof SentinelError && ["TIMEOUT", "CANCELLED", "INTERNAL", "WORKER_UNAVAILABLE"].includes(error.code), error)
  }
}

function checkEnd({ engine, answers, lanes, clock }) {
  for (const [id, given] of answers) assert.equal(given.length, 1, `${id}: ${given}`)
  const { totalInputs, totalOutputs, totalErrors, totalCancelled, queueDepth } = engine.getStats()
  assert.equal(totalInputs, totalOutputs + totalErrors + totalCancelled)
  assert.equal(totalOutputs, [...answers.values()].filter(([answer]) => answer === "outputs").length)
  assert.deepEqual([queueDepth, clock.nTimers], [0, 0])
  for (const batch of lanes.started) assert.ok(batch.length > 0)
}

async function play({ options, nLanes, events, failures }, end) {
  const made = await fakeEngine({
    ...options,
    lanes: { count: nLanes, failOpening: at => (at >= nLanes && failures.includes(at) ? new SentinelError("IO", "not now") : undefined) },
  })
  const played = new Case(made, options.maxQueueSize)
  for (const event of events) await played.follow(event)
  await end(played)
  checkEnd(played)
  if (end !== stop) await played.stop()
  assert.equal(made.lanes.running.length, 0)
}
const finish = played => played.finish()
const stop = played => played.stop()

const schedules = fc.record({ options, nLanes: fc.integer({ min: 1, max: 3 }), events, failures: fc.array(fc.nat(8), { maxLength: 3 }) })

test("every_input_is_answered_once_whatever_happens", () =>
  fc.assert(fc.asyncProperty(schedules, schedule => play(schedule, finish)), { numRuns: 150 }))

test("every_input_is_answered_once_when_the_engine_is_stopped_in_the_middle", () =>
  fc.assert(fc.asyncProperty(schedules, schedule => play(schedule, stop)), { numRuns: 100 }))
