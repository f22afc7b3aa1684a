// What a batch engine promises, on lanes and a clock that are fakes: when what runs, and what each input is told.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { BatchInferenceEngine, SentinelError } from "../../pkg/dist/index.mjs"
import { Clock, FakeLanes, fakeEngine, rowsOf, settled } from "./lanes.mjs"
import { assertCode, inRepository } from "./support.mjs"

const input = (number, rows) => ({ x: rowsOf(number, rows) })

/** What came of each input, by its id. */
function record() {
  const answers = new Map()
  const callback = (id, outputs, error) => {
    answers.set(id, [...(answers.get(id) ?? []), error?.code ?? Number(outputs.y.data[0])])
  }
  return { answers, callback }
}

function thrownBy(work) {
  try {
    work()
  } catch (thrown) {
    return thrown
  }
  return assert.fail("expected an error")
}

test("inputs_of_one_turn_run_together_once_they_fill_a_batch", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 3 })
  const { answers, callback } = record()
  for (const number of [1, 2, 3, 4]) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  assert.deepEqual(lanes.started, [[1, 2, 3]])
  assert.deepEqual(lanes.running[0].rows, [1, 1, 1])
  lanes.finish()
  await settled()
  assert.deepEqual([...answers], [["i1", [1]], ["i2", [2]], ["i3", [3]]])
  await engine.stop()
  assert.deepEqual(answers.get("i4"), ["CANCELLED"])
})

test("a_batch_that_is_not_full_starts_after_max_delay", async () => {
  const { engine, clock, lanes } = await fakeEngine({ maxDelayMs: 5 })
  const running = engine.run(input(1))
  await clock.advance(4.9)
  assert.deepEqual(lanes.started, [])
  await clock.advance(0.1)
  assert.deepEqual(lanes.started, [[1]])
  lanes.finish()
  assert.deepEqual([...(await running).y.data], [1])
  assert.equal(clock.nTimers, 0)
  await engine.stop()
})

test("inputs_of_other_types_and_shapes_are_not_joined", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 2 })
  const { callback } = record()
  engine.addInput("a", input(1), callback)
  engine.addInput("b", { x: rowsOf(2, 1, "int32") }, callback)
  engine.addInput("c", input(3), callback)
  await settled()
  assert.deepEqual(lanes.started, [[1, 3]])
  await engine.stop()
})

test("the_rows_of_a_batch_are_counted_not_its_inputs", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 4 })
  const { callback } = record()
  for (const number of [1, 2, 3]) engine.addInput(`i${number}`, input(number, 2), callback)
  await settled()
  assert.deepEqual(lanes.started, [[1, 2]])
  assert.deepEqual(lanes.running[0].rows, [2, 2])
  await engine.stop()
})

test("a_fixed_batch_takes_no_input_with_more_rows_than_it_has", async () => {
  const { engine, lanes } = await fakeEngine({ lanes: { joining: { mode: "pad", size: 4 } } })
  const { callback } = record()
  engine.addInput("small", input(1, 3), callback)
  engine.addInput("large", input(2, 5), callback)
  await settled()
  assert.equal(lanes.running[0].rows, undefined)
  lanes.finish()
  void engine.drain()
  await settled()
  assert.deepEqual(lanes.running[0].rows, [3])
  await engine.stop()
})

test("an_input_is_refused_by_name_before_it_waits", async () => {
  const { engine } = await fakeEngine()
  const { answers, callback } = record()
  for (const inputs of [{}, { y: rowsOf(1) }, { ...input(1), z: rowsOf(1) }, null, 5]) {
    assert.equal(thrownBy(() => engine.addInput("a", inputs, callback)).code, "INVALID_INPUT")
    await assertCode(engine.run(inputs), "INVALID_INPUT")
  }
  for (const options of [{ priority: 0.5 }, { timeoutMs: -1 }, { timeoutMs: NaN }]) {
    assert.equal(thrownBy(() => engine.addInput("a", input(1), callback, options)).code, "INVALID_INPUT")
    await assertCode(engine.run(input(1), options), "INVALID_INPUT")
  }
  assert.equal(engine.getStats().totalInputs, 0)
  assert.equal(answers.size, 0)
  await engine.stop()
})

test("a_full_queue_throws_and_ready_tells_when_there_is_room", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 2 })
  const { callback } = record()
  engine.addInput("a", input(1), callback)
  await settled()
  engine.addInput("b", input(2), callback)
  engine.addInput("c", input(3), callback)
  assert.equal(thrownBy(() => engine.addInput("d", input(4), callback)).code, "QUEUE_FULL")
  let isReady = false
  const ready = engine.ready().then(() => { isReady = true })
  await settled()
  assert.equal(isReady, false)
  lanes.finish()
  await ready
  engine.addInput("d", input(4), callback)
  assert.equal(engine.getStats().queueDepth, 2)
  await engine.stop()
})

test("those_who_wait_for_room_go_in_as_they_came", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 2 })
  const runs = Array.from({ length: 12 }, (_, number) => engine.run(input(number)))
  for (const _ of runs) {
    await settled()
    assert.ok(engine.getStats().queueDepth <= 2)
    lanes.finish()
  }
  await Promise.all(runs)
  assert.deepEqual(lanes.started.flat(), runs.map((_, number) => number))
  await engine.stop()
})

test("whoever_waits_for_room_keeps_its_place_before_one_who_comes_just_then", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 1 })
  const { callback } = record()
  engine.addInput("first", input(1), () => { void engine.run(input(4)) })
  await settled()
  engine.addInput("second", input(2), callback)
  void engine.run(input(3)).catch(() => undefined)
  for (let at = 0; at < 4; at += 1) {
    lanes.finish()
    await settled()
  }
  assert.deepEqual(lanes.started.flat(), [1, 2, 3, 4])
  await engine.stop()
})

test("time_and_signals_end_the_wait_for_room", async () => {
  const { engine, clock } = await fakeEngine({ batchSize: 1, maxQueueSize: 1 })
  const { callback } = record()
  engine.addInput("a", input(1), callback)
  await settled()
  engine.addInput("b", input(2), callback)
  const controller = new AbortController()
  const late = assertCode(engine.run(input(3), { timeoutMs: 10 }), "TIMEOUT")
  const aborted = assertCode(engine.run(input(4), { signal: controller.signal }), "CANCELLED")
  const unready = assertCode(engine.ready({ signal: controller.signal }), "CANCELLED")
  controller.abort()
  await clock.advance(10)
  await Promise.all([late, aborted, unready])
  assert.equal(engine.getStats().totalInputs, 2)
  await engine.stop()
})

test("the_larger_the_priority_the_sooner", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 2 })
  const { callback } = record()
  for (const [number, priority] of [[1, 0], [2, 0], [3, 5], [4, -1], [5, 5]]) {
    engine.addInput(`i${number}`, input(number), callback, { priority })
  }
  for (let at = 0; at < 2; at += 1) {
    await settled()
    lanes.finish()
  }
  await settled()
  assert.deepEqual(lanes.started, [[3, 5], [1, 2]])
  await engine.stop()
})

test("an_input_times_out_while_it_waits_and_while_it_runs", async () => {
  const { engine, clock, lanes } = await fakeEngine({ batchSize: 2, maxDelayMs: 100 })
  const { answers, callback } = record()
  engine.addInput("waits", input(1), callback, { timeoutMs: 10 })
  await clock.advance(10)
  assert.deepEqual(answers.get("waits"), ["TIMEOUT"])
  engine.addInput("runs", input(2), callback, { timeoutMs: 10 })
  engine.addInput("beside it", input(3), callback)
  await clock.advance(10)
  assert.deepEqual(answers.get("runs"), ["TIMEOUT"])
  lanes.finish()
  await settled()
  assert.deepEqual(answers.get("beside it"), [3])
  assert.deepEqual(answers.get("runs"), ["TIMEOUT"])
  await engine.stop()
})

test("a_signal_takes_an_input_back_before_it_waits_while_it_waits_and_while_it_runs", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 2 })
  await assertCode(engine.run(input(0), { signal: AbortSignal.abort() }), "CANCELLED")
  const [waiting, running] = [new AbortController(), new AbortController()]
  const first = assertCode(engine.run(input(1), { signal: waiting.signal }), "CANCELLED")
  await settled()
  waiting.abort()
  await first
  const second = assertCode(engine.run(input(2), { signal: running.signal }), "CANCELLED")
  const third = engine.run(input(3))
  await settled()
  running.abort()
  await second
  lanes.finish()
  assert.deepEqual([...(await third).y.data], [3])
  assert.deepEqual(lanes.started, [[2, 3]])
  assert.equal(engine.getStats().totalCancelled, 2)
  await engine.stop()
})

test("one_signal_for_many_inputs_is_listened_to_once", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 8 })
  const controller = new AbortController()
  let nListeners = 0
  const { signal } = controller
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
  signal.addEventListener = (...args) => { nListeners += 1; add(...args) }
  signal.removeEventListener = (...args) => { nListeners -= 1; remove(...args) }
  const runs = Array.from({ length: 12 }, (_, number) => engine.run(input(number), { signal }))
  assert.equal(nListeners, 1)
  await settled()
  lanes.finish()
  await Promise.all(runs.slice(0, 8))
  controller.abort()
  for (const run of runs.slice(8)) await assertCode(run, "CANCELLED")
  assert.equal(nListeners, 0)
  await engine.stop()
})

test("the_error_of_a_batch_is_that_of_the_input_that_caused_it", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 3 })
  const { answers, callback } = record()
  for (const number of [1, 2, 3]) engine.addInput(`i${number}`, input(number), callback)
  await settled()
  lanes.fail()
  for (const number of [1, 2, 3]) {
    await settled()
    if (number === 2) lanes.fail()
    else lanes.finish()
  }
  await settled()
  assert.deepEqual(lanes.started, [[1, 2, 3], [1], [2], [3]])
  assert.deepEqual([...answers], [["i1", [1]], ["i2", ["INTERNAL"]], ["i3", [3]]])
  await engine.stop()
})

test("a_lane_that_dies_is_made_again_and_what_it_ran_runs_again", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 2 })
  const { answers, callback } = record()
  engine.addInput("a", input(1), callback)
  engine.addInput("b", input(2), callback)
  await settled()
  lanes.die()
  await settled()
  assert.equal(lanes.nOpened, 2)
  lanes.finish()
  await settled()
  lanes.die()
  await settled()
  assert.deepEqual(lanes.started, [[1, 2], [1], [2]])
  assert.deepEqual([...answers], [["a", [1]], ["b", ["WORKER_UNAVAILABLE"]]])
  await engine.stop()
})

test("drain_runs_what_waits_without_waiting_for_more", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 8, maxDelayMs: 1000 })
  const { answers, callback } = record()
  engine.addInput("a", input(1), callback)
  const drained = engine.drain()
  await settled()
  lanes.finish()
  await drained
  assert.deepEqual(answers.get("a"), [1])
  await engine.drain()
  engine.addInput("b", input(2), callback)
  await settled()
  assert.equal(lanes.running.length, 0)
  await engine.stop()
})

test("stop_answers_everybody_and_gives_everything_back", async () => {
  const { engine, clock, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 1 })
  const { answers, callback } = record()
  engine.addInput("runs", input(1), callback)
  await settled()
  engine.addInput("waits", input(2), callback)
  const room = assertCode(engine.run(input(3)), "CANCELLED")
  const drained = engine.drain()
  await engine.stop()
  await Promise.all([room, drained, engine.stop()])
  assert.deepEqual([...answers], [["runs", ["CANCELLED"]], ["waits", ["CANCELLED"]]])
  assert.deepEqual([lanes.nClosed, clock.nTimers], [1, 0])
  assert.equal(engine.getStats().totalErrors, 2)
  await assertCode(engine.run(input(1)), "RELEASED")
  await assertCode(engine.ready(), "RELEASED")
  await assertCode(engine.start(), "RELEASED")
  assert.equal(thrownBy(() => engine.addInput("a", input(1), callback)).code, "RELEASED")
})

test("a_callback_may_stop_the_engine", async () => {
  for (const end of ["finish", "fail"]) {
    const { engine, lanes } = await fakeEngine({ batchSize: 2 })
    const { answers, callback } = record()
    const stopping = (...args) => {
      callback(...args)
      void engine.stop()
    }
    engine.addInput("a", input(1), stopping)
    engine.addInput("b", input(2), callback)
    await settled()
    lanes[end]()
    await settled()
    lanes[end]()
    await settled()
    assert.deepEqual([answers.get("a").length, answers.get("b").length], [1, 1])
  }
})

test("a_callback_that_is_told_of_a_timeout_may_stop_the_engine", async () => {
  const { engine, clock } = await fakeEngine({ maxDelayMs: 100 })
  const { answers, callback } = record()
  engine.addInput("a", input(1), (...args) => { callback(...args); void engine.stop() }, { timeoutMs: 1 })
  engine.addInput("b", input(2), callback, { timeoutMs: 1 })
  await clock.advance(5)
  assert.deepEqual([...answers], [["a", ["TIMEOUT"]], ["b", ["CANCELLED"]]])
})

test("what_a_callback_throws_is_thrown_where_nobody_else_is_hurt", () => {
  const script = `
    import { Clock, FakeLanes, fakeEngine, rowsOf, settled } from "./tests/node/lanes.mjs"
    const { engine, lanes } = await fakeEngine({ batchSize: 2 })
    process.on("uncaughtException", error => console.log("uncaught", error.message))
    engine.addInput("a", { x: rowsOf(1) }, () => { throw new Error("mine") })
    engine.addInput("b", { x: rowsOf(2) }, (id, { y }) => console.log(id, y.data[0]))
    await settled()
    lanes.finish()
    await settled()
    await engine.stop()`
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: inRepository("."), encoding: "utf8" })
  assert.equal(stdout, "b 2\nuncaught mine\n", stderr)
})

test("an_engine_that_cannot_start_says_why_to_everybody", async () => {
  const error = new SentinelError("MODEL_PARSE", "no model")
  const opening = fakeEngine({ lanes: { failOpening: () => error } })
  await assertCode(opening, "MODEL_PARSE")
  const engine = new BatchInferenceEngine({ model: new Uint8Array(3) })
  await assertCode(engine.run(input(1)), "INVALID_INPUT", /not started/)
  await assert.rejects(engine.start())
  await assertCode(engine.run(input(1)), "MODEL_PARSE")
  await assertCode(engine.start(), "MODEL_PARSE")
  await engine.stop()
})

test("options_that_make_no_sense_are_refused_by_name", () => {
  const wrong = [
    [{ model: undefined }, /model/], [{ batchSize: 0 }, /batchSize/], [{ batchSize: 1.5 }, /batchSize/], [{ maxDelayMs: -1 }, /maxDelayMs/],
    [{ maxQueueSize: 0 }, /maxQueueSize/], [{ workers: -1 }, /workers/], [{ batchAxis: 99 }, /batchAxis/], [{ padding: "none" }, /padding/],
    [{ targetLatencyMs: "5" }, /targetLatencyMs/], [{ maxBatchSize: 0 }, /maxBatchSize/],
  ]
  for (const [options, message] of wrong) {
    const thrown = thrownBy(() => new BatchInferenceEngine({ model: "m.onnx", ...options }))
    assert.equal(thrown.code, "INVALID_INPUT")
    assert.match(thrown.message, message)
  }
})

test("an_adaptive_engine_grows_its_batches_while_that_pays", async () => {
  const { engine, clock, lanes } = await fakeEngine({ batchSize: "auto", maxBatchSize: 16, targetLatencyMs: 50, maxQueueSize: 64 })
  const { callback } = record()
  let nAdded = 0
  for (let at = 0; at < 60; at += 1) {
    while (engine.getStats().queueDepth < 32) engine.addInput(`i${nAdded++}`, input(nAdded), callback)
    await settled()
    await clock.advance(20 + lanes.running[0].parts.length * 0.5)
    lanes.finish()
    await settled()
  }
  assert.equal(engine.getStats().batchSize, 16)
  await engine.stop()
})

test("batches_on_the_calling_thread_give_it_a_turn_after_eight_milliseconds", async () => {
  for (const [tookMs, batchesPerTurn] of [[8, 1], [4, 2], [100, 1]]) {
    const clock = new Clock()
    const { plan, facts } = new FakeLanes()
    let turn = 0
    const turns = []
    const run = async parts => {
      turns.push(turn)
      clock.nowMs += tookMs
      return parts.map(({ x }) => ({ y: x }))
    }
    const lane = { facts, fault: undefined, lost: new Promise(() => {}), run, close: async () => {} }
    const engine = new BatchInferenceEngine({ model: "fake", batchSize: 1 }, clock, () => ({ ...plan, open: async () => lane }))
    await engine.start()
    let isCounting = true
    const count = () => { turn += 1; if (isCounting) setImmediate(count) }
    setImmediate(count)
    await Promise.all(Array.from({ length: 20 }, (_, number) => engine.run(input(number))))
    isCounting = false
    for (const each of new Set(turns)) assert.ok(turns.filter(other => other === each).length <= batchesPerTurn, `${turns}`)
    await engine.stop()
  }
})
