// What a distributed engine promises, on workers and a clock that are fakes.
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { DistributedInferenceEngine, SentinelError, Tensor, tools } from "../../pkg/dist/index.mjs"
import { rowsOf, settled } from "./lanes.mjs"
import { assertClose, assertCode, digits, readNpz } from "./support.mjs"
import { fakeFleet } from "./workers.mjs"

const input = number => ({ x: rowsOf(number) })

/** What came of each input, by its id. */
function record() {
  const answers = new Map()
  const callback = (id, outputs, error) => {
    answers.set(id, [...(answers.get(id) ?? []), error?.code ?? Number(outputs.y.data[0])])
  }
  return { answers, callback }
}

test("inputs_are_spread_over_the_workers_and_each_gets_its_own_outputs", async () => {
  const { engine, workers, events } = await fakeFleet()
  const { answers, callback } = record()
  for (const number of [1, 2, 3, 4]) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  assert.deepEqual([workers.at("ws://a").length, workers.at("ws://b").length], [2, 2])
  for (let at = 0; at < 4; at += 1) workers.answer(at)
  await engine.drain()
  await settled()
  while (workers.running.length > 0) workers.answer()
  await settled()
  assert.deepEqual([...answers].sort(), [["i1", [1]], ["i2", [2]], ["i3", [3]], ["i4", [4]]])
  const { remoteInputs, localInputs, totalInputs, totalOutputs, queueDepth, workers: each } = engine.getStats()
  assert.deepEqual([remoteInputs, localInputs, totalInputs, totalOutputs, queueDepth], [4, 0, 4, 4, 0])
  assert.deepEqual(each.map(({ url, done, provider, server, circuit }) => [url, done, provider, server, circuit]), [
    ["ws://a", 2, "cpu", "fake 1", "closed"], ["ws://b", 2, "cpu", "fake 1", "closed"],
  ])
  assert.deepEqual(events, ["ws://a opened", "ws://b opened"])
  await engine.stop()
  assert.equal(workers.nOpen, 0)
})

test("a_worker_that_goes_away_loses_nothing_and_comes_back", async () => {
  const { engine, clock, workers, events } = await fakeFleet()
  const { answers, callback } = record()
  for (const number of [1, 2, 3, 4]) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  const lost = workers.at("ws://a")
  workers.links.get("ws://a").lose()
  await settled()
  assert.deepEqual(workers.at("ws://b").sort(), [1, 2, 3, 4])
  assert.equal(engine.getStats().workers[0].retried, lost.length)
  assert.match(engine.getStats().workers[0].lastError.message, /the connection ended/)
  while (workers.running.length > 0) workers.answer()
  await engine.drain()
  assert.deepEqual([...answers].sort(), [["i1", [1]], ["i2", [2]], ["i3", [3]], ["i4", [4]]])
  await clock.advance(250)
  assert.deepEqual(events.slice(2), ["ws://a aside", "ws://a reopened"])
  await engine.stop()
})

test("a_late_answer_of_a_worker_that_was_put_aside_is_not_heard", async () => {
  const { engine, workers } = await fakeFleet({ hedgeMs: 10, workers: { capacity: 1 } })
  const { answers, callback } = record()
  engine.addInput("i", input(1), callback)
  await settled()
  const [{ resolve }] = workers.running
  workers.links.get(workers.running[0].url).lose()
  await settled()
  resolve({ y: rowsOf(99) })
  workers.answer()
  await settled()
  assert.deepEqual([...answers], [["i", [1]]])
  await engine.stop()
})

test("start_resolves_with_the_first_worker_and_others_follow", async () => {
  const { engine, clock, workers, events } = await fakeFleet({ down: { "ws://a": true } })
  assert.deepEqual(events, ["ws://a aside", "ws://b opened"])
  workers.down.clear()
  await clock.advance(300)
  assert.deepEqual(events.slice(2), ["ws://a reopened"])
  await engine.stop()
})

test("start_fails_with_each_workers_reason_when_none_is_open_in_time", async () => {
  const { engine, clock } = await fakeFleet({ start: false, startTimeoutMs: 1000, down: { "ws://a": true, "ws://b": new SentinelError("UNAUTHORIZED", "a wrong token") } })
  const starting = engine.start()
  const failing = assertCode(starting, "WORKER_UNAVAILABLE", /no worker within 1000 ms: ws:\/\/a: connection refused; ws:\/\/b: a wrong token/)
  await clock.advance(1000)
  await failing
  await assertCode(engine.start(), "WORKER_UNAVAILABLE")
  assert.equal(clock.nTimers, 0)
})

test("start_fails_at_once_where_waiting_does_not_help", async () => {
  const wrong = new SentinelError("UNAUTHORIZED", "a wrong token")
  const { engine, clock } = await fakeFleet({ start: false, down: { "ws://a": wrong, "ws://b": wrong } })
  await assertCode(engine.start(), "UNAUTHORIZED", /ws:\/\/a: a wrong token; ws:\/\/b: a wrong token/)
  assert.deepEqual([clock.nowMs, clock.nTimers], [0, 0])
})

test("an_engine_that_is_stopped_while_it_starts_says_so", async () => {
  const { engine, workers } = await fakeFleet({ start: false })
  const starting = assertCode(engine.start(), "RELEASED")
  await engine.stop()
  await starting
  await settled()
  assert.equal(workers.nOpen, 0)
})

test("workers_are_asked_for_this_very_file", async () => {
  const path = digits("digits.onnx")
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex")
  const cases = [
    [{ model: path, local: false }, { name: "digits", sha256, upload: "undefined" }],
    [{ model: path, local: false, modelName: "mnist", modelVersion: "3", uploadModel: true }, { name: "mnist", version: "3", sha256, upload: "function" }],
    [{ model: new Uint8Array(readFileSync(path)), modelName: "bytes", local: false }, { name: "bytes", sha256, upload: "undefined" }],
    [{ model: { name: "theirs", version: "2" } }, { name: "theirs", version: "2", upload: "undefined" }],
  ]
  for (const [options, { name, version, sha256, upload }] of cases) {
    const { engine, workers } = await fakeFleet(options)
    const [{ model }] = workers.asked
    assert.deepEqual([model.name, model.version, model.sha256, typeof model.upload], [name, version, sha256, upload])
    if (model.upload !== undefined) assert.deepEqual(new Uint8Array(await model.upload()), new Uint8Array(readFileSync(path)))
    await engine.stop()
  }
})

test("a_model_that_cannot_be_read_is_told_with_its_path", async () => {
  const { engine } = await fakeFleet({ start: false, model: "no/such.onnx", local: false })
  await assertCode(engine.start(), "IO", /ws:\/\/a: no\/such\.onnx: no such file/)
})

test("options_that_make_no_sense_are_refused_by_name", () => {
  const refuse = (options, message) => assert.throws(() => new DistributedInferenceEngine({ model: { name: "m" }, workers: ["ws://a"], ...options }), error => {
    assert.equal(error.code, "INVALID_INPUT")
    assert.match(error.message, message)
    return true
  })
  refuse({ workers: [] }, /^workers: expected at least one/)
  refuse({ workers: ["not a url"] }, /^workers: expected a URL.*"not a url"/)
  refuse({ workers: ["ws://a", { url: "ws://a" }] }, /each URL once/)
  refuse({ workers: [{ url: "ws://a", weight: 0 }] }, /^weight: /)
  refuse({ workers: [{ url: "ws://a", maxInFlight: 0 }] }, /^maxInFlight: /)
  refuse({ workers: [{ url: "ws://a", token: 5 }] }, /^token: expected a string, got "number"/)
  refuse({ workers: "ws://a" }, /^workers: expected a list/)
  refuse({ balancing: "fastest" }, /^balancing: .*"least-loaded"/)
  refuse({ local: true }, /^local: expected false where the model is only named/)
  refuse({ model: new Uint8Array(1) }, /^modelName: /)
  refuse({ uploadModel: true }, /^uploadModel: /)
  refuse({ retries: -1 }, /^retries: /)
  refuse({ hedgeMs: "p99" }, /^hedgeMs: /)
  refuse({ timeoutMs: Infinity }, /^timeoutMs: /)
  refuse({ maxQueueSize: 0 }, /^maxQueueSize: /)
  refuse({ model: "a.onnx", local: { batchSize: 0 } }, /^batchSize: /)
  refuse({ model: { name: "" } }, /^modelName: /)
})

test("a_full_queue_throws_and_ready_and_run_wait_for_room", async () => {
  const { engine, workers } = await fakeFleet({ maxQueueSize: 2, workers: { capacity: 1 } })
  const { callback } = record()
  for (let number = 0; number < 2; number += 1) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  for (let number = 2; number < 4; number += 1) engine.addInput(`i${number}`, input(number), callback)
  assert.throws(() => engine.addInput("late", input(9), callback), { code: "QUEUE_FULL" })
  let isReady = false
  const ready = engine.ready().then(() => { isReady = true })
  const running = engine.run(input(7))
  await settled()
  assert.equal(isReady, false)
  workers.answer()
  await settled()
  await ready
  for (let left = 10; left > 0; left -= 1) {
    workers.answer()
    await settled()
  }
  assert.equal(Number((await running).y.data[0]), 7)
  await engine.stop()
})

test("a_signal_a_timeout_and_the_engines_own_timeout_take_an_input_back_from_its_worker", async () => {
  const { engine, clock, workers } = await fakeFleet({ timeoutMs: 500 })
  const leave = new AbortController()
  const [left, late, slow] = [engine.run(input(1), { signal: leave.signal }), engine.run(input(2), { timeoutMs: 50 }), engine.run(input(3))]
  const ends = [assertCode(left, "CANCELLED"), assertCode(late, "TIMEOUT", /^"run 1": no outputs within its time/), assertCode(slow, "TIMEOUT")]
  await settled()
  assert.deepEqual(workers.running.map(({ request }) => request.timeoutMs).sort((a, b) => a - b), [50, 500, 500])
  leave.abort()
  await clock.advance(50)
  assert.equal(workers.running.length, 1)
  await clock.advance(450)
  await Promise.all(ends)
  assert.deepEqual([workers.revoked, workers.running.length], [3, 0])
  const { totalErrors, totalCancelled } = engine.getStats()
  assert.deepEqual([totalErrors, totalCancelled], [2, 1])
  await engine.stop()
})

test("an_error_of_the_input_names_it_and_is_not_tried_elsewhere", async () => {
  const { engine, workers } = await fakeFleet()
  const running = engine.run(input(1))
  await settled()
  workers.fail(0, new SentinelError("SHAPE_MISMATCH", "x: expected [1, 8]"))
  await assertCode(running, "SHAPE_MISMATCH", /^"run 0": x: expected/)
  assert.equal(workers.running.length, 0)
  await engine.stop()
})

test("a_worker_that_gives_up_a_request_by_itself_cancels_nothing", async () => {
  const { engine, workers } = await fakeFleet()
  const running = engine.run(input(1))
  await settled()
  const [{ url }] = workers.running
  workers.fail(0, new SentinelError("CANCELLED", "it was cancelled"))
  await settled()
  assert.notEqual(workers.running[0].url, url)
  workers.answer()
  assert.equal((await running).y.data[0], 1)
  await engine.stop()
})

test("an_input_that_fails_everywhere_gets_the_last_error_after_its_retries", async () => {
  const { engine, workers } = await fakeFleet({ retries: 1 })
  const running = engine.run(input(1))
  for (const reason of ["first", "second"]) {
    await settled()
    workers.fail(0, new SentinelError("OUT_OF_MEMORY", reason))
  }
  await assertCode(running, "OUT_OF_MEMORY", /second/)
  await engine.stop()
})

test("names_that_the_model_does_not_have_are_refused_where_they_are_given", async () => {
  const { engine } = await fakeFleet()
  await assertCode(engine.run({ z: rowsOf(1) }), "INVALID_INPUT", /input "x" is missing/)
  assert.throws(() => engine.addInput("a", { x: rowsOf(1), y: rowsOf(1) }, () => {}), /"y" is not in the model/)
  assert.throws(() => engine.addInput("a", null, () => {}), { code: "INVALID_INPUT" })
  assert.throws(() => engine.addInput("a", input(1), undefined), { code: "INVALID_INPUT" })
  await engine.stop()
})

test("workers_come_and_go_while_inputs_run", async () => {
  const { engine, workers, events } = await fakeFleet({ workers: { capacity: 1 } })
  const { answers, callback } = record()
  for (const number of [1, 2, 3]) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  assert.throws(() => engine.addWorker("ws://a"), /is there already/)
  assert.throws(() => engine.removeWorker("ws://c"), /expected one of ws:\/\/a, ws:\/\/b/)
  engine.addWorker({ url: "ws://c", weight: 2, token: "secret" })
  await settled()
  await settled()
  assert.deepEqual(workers.at("ws://c"), [3])
  assert.equal(workers.asked.at(-1).target.token, "secret")
  engine.removeWorker("ws://a")
  await settled()
  assert.equal(workers.at("ws://a").length, 1)
  engine.addWorker("ws://a")
  await settled()
  while (workers.running.length > 0) workers.answer()
  await settled()
  assert.deepEqual([...answers.values()], [[1], [2], [3]])
  await settled()
  assert.deepEqual(events.slice(2), ["ws://c opened", "ws://a draining", "ws://a opened", "ws://a removed"])
  assert.deepEqual(engine.getStats().workers.map(({ url }) => url), ["ws://b", "ws://c", "ws://a"])
  assert.ok(!JSON.stringify(engine.getStats()).includes("secret"))
  await engine.stop()
})

test("a_draining_worker_answers_what_it_has_and_gets_nothing_new", async () => {
  const { engine, workers, events } = await fakeFleet()
  const first = engine.run(input(1))
  await settled()
  const [{ url }] = workers.running
  workers.links.get(url).drain()
  const second = engine.run(input(2))
  await settled()
  assert.deepEqual(workers.at(url), [1])
  workers.answer()
  workers.answer()
  assert.deepEqual((await Promise.all([first, second])).map(({ y }) => Number(y.data[0])), [1, 2])
  await settled()
  assert.deepEqual(events.slice(2), [`${url} draining`, `${url} aside`])
  await engine.stop()
})

test("a_worker_that_accepts_everything_again_after_a_wrong_setting_says_both", async () => {
  const { engine, clock, workers, events } = await fakeFleet({ workers: { capacity: 1 } })
  const running = engine.run(input(1))
  await settled()
  const [{ url }] = workers.running
  workers.fail(0, new SentinelError("UNAUTHORIZED", "the token is not valid any more"))
  await settled()
  workers.answer()
  await running
  await clock.advance(120_000)
  assert.deepEqual(events.slice(2), [`${url} aside`, `${url} reopened`])
  await engine.stop()
})

test("the_callers_function_sees_the_request_and_chooses_its_worker", async () => {
  const seen = []
  const { engine, workers } = await fakeFleet({ balancing: (each, request) => {
    seen.push([request.id, request.priority, Number(request.inputs.x.data[0]), each.map(({ url }) => url)])
    return each.find(({ url }) => url === "ws://b")
  } })
  const { callback } = record()
  engine.addInput("first", input(5), callback, { priority: 3 })
  await settled()
  assert.deepEqual(seen, [["first", 3, 5, ["ws://a", "ws://b"]]])
  assert.deepEqual(workers.at("ws://b"), [5])
  await engine.stop()
})

test("a_balancing_function_may_stop_the_engine_or_remove_the_worker_that_it_chose", async () => {
  for (const meddle of [engine => engine.stop(), engine => engine.removeWorker("ws://a")]) {
    const holder = {}
    const { engine, workers } = await fakeFleet({ balancing: each => {
      if (each.length === 2) void meddle(holder.engine)
      return each[0]
    } })
    holder.engine = engine
    const { answers, callback } = record()
    engine.addInput("i", input(1), callback)
    await settled()
    while (workers.running.length > 0) workers.answer()
    await settled()
    assert.equal(answers.get("i").length, 1)
    await engine.stop()
    assert.equal(workers.nOpen, 0)
  }
})

test("a_callback_that_stops_the_engine_or_throws_hurts_nobody_else", async () => {
  const { engine, workers } = await fakeFleet()
  const { answers, callback } = record()
  let stopped
  engine.addInput("a", input(1), () => { stopped = engine.stop() })
  engine.addInput("b", input(2), callback)
  await settled()
  workers.answer()
  await settled()
  await stopped
  assert.deepEqual([...answers], [["b", ["CANCELLED"]]])
  assert.throws(() => engine.addInput("c", input(3), callback), { code: "RELEASED" })
  assert.equal(engine.getStats().totalCancelled, 1)
})

test("map_gives_the_outputs_in_order_over_all_workers", async () => {
  const { engine, workers } = await fakeFleet()
  workers.isPrompt = true
  const got = []
  for await (const { id, outputs } of engine.map(Array.from({ length: 100 }, (_, number) => input(number)))) got.push([id, Number(outputs.y.data[0])])
  assert.deepEqual(got, Array.from({ length: 100 }, (_, number) => [number, number]))
  const [a, b] = engine.getStats().workers
  assert.deepEqual([a.done, b.done], [50, 50])
  await engine.stop()
})

test("this_machine_takes_part_as_one_of_the_workers", async () => {
  const { engine, workers } = await fakeFleet({ model: digits("digits.onnx"), local: { executionProviders: ["cpu"], weight: 2 }, batchSize: 4 })
  const local = workers.asked.find(({ target }) => target.url === "local")
  assert.deepEqual([local.target.options.executionProviders, local.target.options.batchSize], [["cpu"], 4])
  for (const number of [1, 2, 3]) engine.run(input(number)).catch(() => undefined)
  await settled()
  assert.equal(workers.at("local").length, 1)
  workers.answer(workers.running.findIndex(({ url }) => url === "local"))
  await settled()
  assert.deepEqual([engine.getStats().localInputs, engine.getStats().remoteInputs], [1, 0])
  engine.removeWorker("local")
  await settled()
  assert.ok(!workers.links.has("local"))
  await engine.stop()
})

test("without_workers_this_machine_computes_real_outputs_in_batches", async () => {
  const engine = new DistributedInferenceEngine({ model: digits("digits.onnx"), local: { executionProviders: ["cpu"] } })
  await engine.start()
  const arrays = await readNpz({ tools }, digits("digits.npz"))
  const [images, logits] = [arrays.get("in_0"), arrays.get("out_0")]
  const [n] = images.dims
  const row = (tensor, at) => tensor.data.slice((at * tensor.data.length) / n, ((at + 1) * tensor.data.length) / n)
  const inputs = Array.from({ length: n }, (_, at) => ({ image: new Tensor("float32", row(images, at), [1, 1, 28, 28]) }))
  await assertCode(engine.run({ image: new Tensor("float32", [1], [1, 1, 1, 1]) }), "SHAPE_MISMATCH", /^"run 0": local: image: /)
  let nAnswers = 0
  for await (const { id, outputs } of engine.map(inputs)) {
    const [output] = Object.values(outputs)
    assertClose(output, new Tensor("float32", row(logits, id), output.dims))
    nAnswers += 1
  }
  assert.equal(nAnswers, n)
  const { localInputs, totalOutputs, workers: [local] } = engine.getStats()
  assert.deepEqual([localInputs, totalOutputs, local.url, local.provider, local.done], [n, n, "local", "cpu", n])
  await assertCode(engine.run({ wrong: new Tensor(new Float32Array(1), [1]) }), "INVALID_INPUT", /input "/)
  await engine.stop()
})

test("without_any_worker_for_long_inputs_are_told_why", async () => {
  const { engine, clock, workers } = await fakeFleet({ unavailableMs: 1000 })
  for (const url of ["ws://a", "ws://b"]) {
    workers.down.set(url, true)
    workers.links.get(url).lose()
  }
  const running = assertCode(engine.run(input(1)), "WORKER_UNAVAILABLE", /ws:\/\/a: connection refused; ws:\/\/b: connection refused/)
  await clock.advance(1000)
  await running
  await engine.stop()
  assert.equal(clock.nTimers, 0)
})

test("stop_answers_everybody_once_and_closes_every_link", async () => {
  const { engine, clock, workers } = await fakeFleet({ maxQueueSize: 2, workers: { capacity: 1 } })
  const { answers, callback } = record()
  for (let number = 0; number < 2; number += 1) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  for (let number = 2; number < 4; number += 1) engine.addInput(`i${number}`, input(number), callback)
  const waiting = assertCode(engine.run(input(9)), "CANCELLED")
  await engine.stop()
  await waiting
  assert.deepEqual([...answers.values()], [["CANCELLED"], ["CANCELLED"], ["CANCELLED"], ["CANCELLED"]])
  assert.deepEqual([workers.nOpen, workers.running.length, clock.nTimers, workers.revoked], [0, 0, 0, 2])
  assert.throws(() => engine.addWorker("ws://d"), { code: "RELEASED" })
  await assertCode(engine.run(input(1)), "RELEASED")
})

test("what_lets_one_in_by_a_url_is_in_no_event_no_statistics_and_no_message", async () => {
  const [given, twin] = ["nats://user:geheim@a:4222", "wss://b/gate?token=geheim"]
  const { engine, events, workers } = await fakeFleet({ urls: [given, twin], start: false })
  const said = []
  engine.on("worker", event => { said.push(JSON.stringify(event), event.error?.message ?? "") })
  const keep = work => {
    try {
      work()
    } catch (thrown) {
      said.push(thrown.message)
    }
  }
  workers.down.set(twin, new SentinelError("UNAUTHORIZED", "it refuses the token"))
  await engine.start()
  await settled()
  for (const each of [given, "ftp://user:geheim@", "wss://b/gate?token=geheim"]) keep(() => engine.addWorker(each))
  keep(() => engine.removeWorker("wss://other?token=geheim"))
  keep(() => new DistributedInferenceEngine({ model: { name: "fake" }, workers: [given, given] }))
  said.push(JSON.stringify(engine.getStats()))
  assert.deepEqual(workers.asked.map(({ target }) => target.url), [given, twin])
  assert.deepEqual(events, ["nats://a:4222 opened", "wss://b/gate aside"])
  assert.ok(said.length > 7 && said.every(each => !each.includes("geheim")), said.join("\n"))
  engine.removeWorker("nats://a:4222")
  engine.removeWorker(twin)
  await engine.stop()
})

test("the_last_statistics_tell_who_was_there", async () => {
  const { engine } = await fakeFleet()
  await engine.stop()
  assert.deepEqual(engine.getStats().workers.map(({ url, server }) => [url, server]), [["ws://a", "fake 1"], ["ws://b", "fake 1"]])
})

test("a_worker_that_is_silent_at_the_start_is_told_as_such", async () => {
  const { engine, workers, clock } = await fakeFleet({ urls: ["ws://a"], start: false, startTimeoutMs: 50 })
  workers.down.set("ws://a", new Promise(() => {}))
  const started = assertCode(engine.start(), "WORKER_UNAVAILABLE", /ws:\/\/a: it has not answered yet$/)
  await clock.advance(50)
  await started
})
