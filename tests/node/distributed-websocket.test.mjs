// Distributed engines over real WebSockets, to workers that are written from docs/PROTOCOL.md.
import assert from "node:assert/strict"
import { test } from "node:test"
import { DistributedInferenceEngine } from "../../pkg/dist/index.mjs"
import { rowsOf } from "./lanes.mjs"
import { echoed, HELLO } from "./links/frames.mjs"
import { startWorker } from "./links/fake-worker.mjs"
import { assertCode } from "./support.mjs"

const N_INPUTS = 2000

async function withWorkers(changes, options, work) {
  const workers = await Promise.all(changes.map(change => startWorker(change)))
  const engine = new DistributedInferenceEngine({ model: { name: "echo" }, workers: workers.map(({ url }) => url), ...options })
  try {
    await engine.start()
    return await work(engine, workers)
  } finally {
    await engine.stop()
    await Promise.all(workers.map(worker => worker.close()))
  }
}

/** Adds many inputs as there is room; gives how often each was answered. */
async function runMany(engine, onAnswer = () => {}) {
  const answers = new Map()
  for (let number = 0; number < N_INPUTS; number += 1) {
    await engine.ready()
    engine.addInput(`i${number}`, { x: rowsOf(number) }, (id, outputs, error) => {
      answers.set(id, [...(answers.get(id) ?? []), error?.code ?? Number(outputs.y.data[0])])
      onAnswer(answers.size)
    })
  }
  await engine.drain()
  return answers
}

const EXPECTED = Array.from({ length: N_INPUTS }, (_, number) => [`i${number}`, [number]])
const sorted = answers => [...answers].sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)))

test("many_inputs_on_three_workers_of_which_one_dies_are_answered_once_with_their_own_outputs", async () => {
  await withWorkers([{}, {}, {}], { maxQueueSize: 64 }, async (engine, workers) => {
    const answers = await runMany(engine, n => { if (n === N_INPUTS / 2) workers[1].peers.forEach(({ socket }) => socket.terminate()) })
    assert.deepEqual(sorted(answers), EXPECTED)
    const { remoteInputs, workers: each } = engine.getStats()
    assert.equal(remoteInputs, N_INPUTS)
    assert.ok(each.every(({ done }) => done > 0))
    assert.match(each[1].lastError.message, /127\.0\.0\.1/)
  })
})

test("a_worker_that_swallows_requests_is_hedged_and_no_input_waits_for_it", async () => {
  const handlers = { infer: () => {} }
  await withWorkers([{}, { handlers, hello: { credits: 2 } }], { hedgeMs: 20, maxQueueSize: 64 }, async engine => {
    assert.deepEqual(sorted(await runMany(engine)), EXPECTED)
    const [, silent] = engine.getStats().workers
    assert.deepEqual([silent.done, silent.hedged > 0], [0, true])
  })
})

test("a_worker_that_answers_garbage_is_put_aside_and_the_others_answer", async () => {
  const handlers = { infer: (message, peer) => {
    const bytes = echoed(message)
    bytes[bytes.length - 1] ^= 1
    peer.sendBytes(bytes)
  } }
  await withWorkers([{ handlers }, {}], { maxQueueSize: 64 }, async engine => {
    assert.deepEqual(sorted(await runMany(engine)), EXPECTED)
    const [broken, well] = engine.getStats().workers
    assert.deepEqual([broken.done, well.done], [0, N_INPUTS])
    assert.notEqual(broken.circuit, "closed")
  })
})

test("a_worker_that_drains_loses_nothing", async () => {
  await withWorkers([{}, {}], { maxQueueSize: 64 }, async (engine, workers) => {
    const answers = await runMany(engine, n => { if (n === 100) workers[0].peers[0].say({ type: "draining" }) })
    assert.deepEqual(sorted(answers), EXPECTED)
    assert.equal(engine.getStats().workers.reduce((sum, { retried }) => sum + retried, 0), 0)
  })
})

test("workers_that_cannot_be_used_are_all_named", async () => {
  const worker = await startWorker({ hello: { ...HELLO, models: [] } })
  try {
    const engine = new DistributedInferenceEngine({ model: { name: "echo" }, workers: [worker.url, "ws://127.0.0.1:1"], startTimeoutMs: 200 })
    await assertCode(engine.start(), "WORKER_UNAVAILABLE", new RegExp(`${worker.url.slice(5)}.*127\\.0\\.0\\.1:1`))
  } finally {
    await worker.close()
  }
})
