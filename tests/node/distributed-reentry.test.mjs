// Callers who call the engine back while it answers them: nobody else is hurt, and nothing is lost.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import { SentinelError } from "../../pkg/dist/index.mjs"
import { rowsOf, settled } from "./lanes.mjs"
import { inRepository } from "./support.mjs"
import { fakeFleet } from "./workers.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")

const input = number => ({ x: rowsOf(number) })

/** What `work` leaves uncaught would end the caller's process. */
async function assertNothingUncaught(work) {
  const uncaught = []
  const hear = thrown => { uncaught.push(thrown) }
  process.on("uncaughtException", hear)
  try {
    await work()
    await settled()
    assert.deepEqual(uncaught, [])
  } finally {
    process.off("uncaughtException", hear)
  }
}

test("an_answer_may_take_back_an_input_that_is_about_to_be_sent", () => assertNothingUncaught(async () => {
  const choose = (workers, { id }) => {
    if (id === "first") throw new Error("no such worker")
    return workers[0]
  }
  const { engine, workers } = await fakeFleet({ balancing: choose })
  const controller = new AbortController()
  const answers = []
  engine.addInput("first", input(1), (_, __, error) => {
    answers.push(error.code)
    controller.abort()
  })
  const second = assert.rejects(engine.run(input(2), { signal: controller.signal }), { code: "CANCELLED" })
  const third = engine.run(input(3))
  await settled()
  assert.deepEqual([answers, workers.running.map(({ request }) => Number(request.inputs.x.data[0]))], [["INTERNAL"], [3]])
  workers.answer()
  assert.equal((await third).y.data[0], 3)
  await second
  await engine.stop()
}))

const URLS = ["ws://a", "ws://b"]
const url = fc.constantFrom(...URLS)
const reaction = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ do: "nothing" }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("abort"), at: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("remove", "addWorker", "lose", "drain"), url }) },
  { weight: 2, arbitrary: fc.constant({ do: "run" }) },
  { weight: 1, arbitrary: fc.constant({ do: "stop" }) },
)
const event = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("add"), reaction, timeoutMs: fc.option(fc.constantFrom(50, 100, 300), { nil: undefined }), signal: fc.option(fc.nat(2), { nil: undefined }), isRefused: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("answer", "fail", "busy"), at: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("wait"), elapsedMs: fc.constantFrom(0, 50, 100, 500) }) },
  { weight: 2, arbitrary: reaction },
  { weight: 2, arbitrary: fc.constant({ do: "settle" }) },
)
const cases = fc.record({
  events: fc.array(event, { maxLength: 50, size: "max" }),
  capacity: fc.integer({ min: 1, max: 2 }),
  hedgeMs: fc.constantFrom(undefined, 50),
  maxQueueSize: fc.integer({ min: 1, max: 5 }),
})

async function play({ events, capacity, hedgeMs, maxQueueSize }) {
  const refused = new Set()
  const balancing = (workers, { id }) => {
    if (refused.has(id)) throw new Error("refused")
    return workers[0]
  }
  const { engine, clock, workers } = await fakeFleet({ workers: { capacity }, balancing, maxQueueSize, unavailableMs: 400, ...(hedgeMs === undefined ? {} : { hedgeMs }) })
  const controllers = Array.from({ length: 3 }, () => new AbortController())
  const answers = new Map()
  const react = each => {
    try {
      switch (each.do) {
        case "nothing": return
        case "abort":
          controllers[each.at].abort()
          controllers[each.at] = new AbortController()
          return
        case "remove": return engine.removeWorker(each.url)
        case "addWorker": return engine.addWorker(each.url)
        case "lose": return workers.links.get(each.url)?.lose()
        case "drain": return workers.links.get(each.url)?.drain()
        case "stop": return void engine.stop()
        case "run": {
          const id = `run${answers.size}`
          answers.set(id, 0)
          const count = () => { answers.set(id, answers.get(id) + 1) }
          engine.run(input(0)).then(count, count)
        }
      }
    } catch (thrown) {
      assert.ok(["INVALID_INPUT", "RELEASED"].includes(thrown.code), thrown)
    }
  }
  for (const each of events) {
    if (each.do === "add") {
      const id = `i${answers.size}`
      if (each.isRefused) refused.add(id)
      answers.set(id, 0)
      const { timeoutMs, signal } = each
      try {
        engine.addInput(id, input(answers.size), () => {
          answers.set(id, answers.get(id) + 1)
          react(each.reaction)
        }, { ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(signal === undefined ? {} : { signal: controllers[signal].signal }) })
      } catch (thrown) {
        answers.delete(id)
        assert.ok(["QUEUE_FULL", "RELEASED"].includes(thrown.code), thrown)
      }
    } else if (each.do === "answer") workers.answer(each.at)
    else if (each.do === "fail") workers.fail(each.at)
    else if (each.do === "busy") workers.fail(each.at, new SentinelError("QUEUE_FULL", "it is full"))
    else if (each.do === "wait") await clock.advance(each.elapsedMs)
    else if (each.do === "settle") await settled()
    else react(each)
  }
  await engine.stop()
  await settled()
  for (const [id, count] of answers) assert.equal(count, 1, `${id}: ${count} answers`)
  assert.deepEqual([clock.nTimers, workers.running.length, workers.nOpen], [0, 0, 0])
}

test("every_input_is_answered_once_whatever_callbacks_do", () =>
  fc.assert(fc.asyncProperty(cases, each => assertNothingUncaught(() => play(each))), { numRuns: 300 }))
