// `engine.map`: order, bounds, errors, and who is told when nobody reads any more.
import assert from "node:assert/strict"
import { test } from "node:test"
import { fakeEngine, rowsOf, settled } from "./lanes.mjs"
import { assertCode } from "./support.mjs"

const input = number => ({ x: rowsOf(number) })
const inputs = count => Array.from({ length: count }, (_, number) => input(number))
const numberOf = ({ outputs }) => outputs.y.data[0]

/** Ends batches, the latest first, until nothing runs. */
async function finishAll(lanes) {
  for (let nIdle = 0; nIdle < 5; nIdle += 1) {
    await settled()
    if (lanes.running.length > 0) nIdle = 0
    lanes.finish(lanes.running.length - 1)
  }
}

async function collect(items) {
  const collected = []
  for await (const item of items) collected.push(item)
  return collected
}

test("outputs_come_in_the_order_of_the_inputs", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, lanes: { count: 3 } })
  const items = collect(engine.map(inputs(9)))
  await finishAll(lanes)
  assert.deepEqual((await items).map(item => [item.id, numberOf(item)]), inputs(9).map((_, number) => [number, number]))
  await engine.stop()
})

test("outputs_come_as_they_finish_where_order_does_not_matter", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, lanes: { count: 3 } })
  const items = collect(engine.map(inputs(3), { ordered: false }))
  await settled()
  lanes.finish(2)
  await finishAll(lanes)
  assert.deepEqual((await items).map(({ id }) => id), [2, 1, 0])
  await engine.stop()
})

test("no_more_inputs_are_asked_for_than_are_under_way", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 2 })
  let nAsked = 0
  const source = { *[Symbol.iterator]() { for (;;) yield input(nAsked++) } }
  for (const [options, most] of [[{}, 2], [{ concurrency: 5 }, 5]]) {
    nAsked = 0
    const items = engine.map(source, options)
    const next = items.next()
    await settled()
    assert.equal(nAsked, most)
    lanes.finish()
    await next
    await settled()
    assert.equal(nAsked, most)
    await items.return()
    await finishAll(lanes)
  }
  await engine.stop()
})

test("a_reader_that_leaves_takes_its_inputs_back_and_closes_the_source", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1, maxQueueSize: 4 })
  let isClosed = false
  async function* source() {
    try {
      for (let number = 0; ; number += 1) yield input(number)
    } finally {
      isClosed = true
    }
  }
  const reading = (async () => {
    for await (const { id } of engine.map(source())) if (id === 1) break
  })()
  await settled()
  lanes.finish()
  await settled()
  lanes.finish()
  await reading
  assert.ok(isClosed)
  assert.equal(engine.getStats().queueDepth, 0)
  await finishAll(lanes)
  assert.equal(engine.getStats().totalOutputs, 2)
  await engine.stop()
})

test("a_reader_that_leaves_does_not_wait_for_a_source_that_is_busy_and_runs_nothing_more_of_it", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1 })
  let give
  const asked = new Promise(resolve => { give = resolve })
  let count = 0
  const source = { [Symbol.asyncIterator]: () => ({
    next: () => (count++ === 0 ? Promise.resolve({ done: false, value: input(0) }) : asked),
    return: () => new Promise(() => {}),
  }) }
  const items = engine.map(source)
  const first = items.next()
  await settled()
  lanes.finish()
  await first
  await items.return()
  give({ done: false, value: input(1) })
  await settled()
  assert.equal(engine.getStats().totalInputs, 1)
  await engine.stop()
})

test("an_error_ends_the_iteration_or_is_an_item", async () => {
  for (const onError of ["throw", "yield"]) {
    const { engine, lanes } = await fakeEngine({ batchSize: 1 })
    const given = [input(0), { wrong: rowsOf(1) }, input(2)]
    const items = collect(engine.map(given, { onError }))
    const ended = onError === "throw" ? assertCode(items, "INVALID_INPUT") : items
    await finishAll(lanes)
    const collected = await ended
    if (onError === "yield") assert.deepEqual(collected.map(item => item.error?.code ?? numberOf(item)), [0, "INVALID_INPUT", 2])
    assert.equal(engine.getStats().queueDepth, 0)
    await engine.stop()
  }
})

test("an_error_of_the_source_is_thrown_as_it_is", async () => {
  const { engine, lanes } = await fakeEngine({ batchSize: 1 })
  const mine = new Error("mine")
  async function* source() {
    yield input(0)
    throw mine
  }
  const items = collect(engine.map(source()))
  const ended = assert.rejects(items, error => error === mine)
  await finishAll(lanes)
  await ended
  await engine.stop()
})

test("a_signal_ends_the_iteration_even_while_the_source_is_busy", async () => {
  for (const onError of ["throw", "yield"]) {
    const { engine } = await fakeEngine({ batchSize: 1 })
    const source = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}), return: async () => ({ done: true }) }) }
    const controller = new AbortController()
    const ended = assertCode(collect(engine.map(source, { signal: controller.signal, onError })), "CANCELLED")
    await settled()
    controller.abort()
    await ended
    await engine.stop()
  }
})

test("a_signal_takes_back_what_is_under_way", async () => {
  const { engine } = await fakeEngine({ batchSize: 1, maxQueueSize: 4 })
  const controller = new AbortController()
  const ended = assertCode(collect(engine.map(inputs(9), { signal: controller.signal })), "CANCELLED")
  await settled()
  controller.abort()
  await ended
  assert.equal(engine.getStats().queueDepth, 0)
  await engine.stop()
})

test("what_cannot_be_iterated_or_counted_is_refused", async () => {
  const { engine } = await fakeEngine()
  for (const given of [undefined, null, 5, {}]) await assertCode(collect(engine.map(given)), "INVALID_INPUT")
  for (const concurrency of [0, 1.5, NaN, "3"]) await assertCode(collect(engine.map([], { concurrency })), "INVALID_INPUT")
  await engine.stop()
})

test("inputs_of_a_stopped_engine_say_so", async () => {
  const { engine } = await fakeEngine()
  await engine.stop()
  await assertCode(collect(engine.map(inputs(2))), "RELEASED")
})
