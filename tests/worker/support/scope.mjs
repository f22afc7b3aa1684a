// What tests of failing workers start, and what must hold in the end.
import assert from "node:assert/strict"
import { EventEmitter, once } from "node:events"
import { DistributedInferenceEngine } from "../../../pkg/dist/index.mjs"
import { scaleBytes } from "./scale.mjs"
import { makeRepository, startWorker } from "./workers.mjs"

/** What is started here ends in the opposite order, whatever happens. */
export async function within(use) {
  const ends = []
  try {
    await use({ ending: end => ends.push(end) })
  } finally {
    while (ends.length > 0) await ends.pop()()
  }
}

export async function startWorkers({ ending }, count, options = []) {
  const repository = await makeRepository({ scale: scaleBytes })
  ending(() => repository.remove())
  const workers = []
  for (let at = 0; at < count; at++) {
    const worker = await startWorker({ repository: repository.folder, options: ["--max-delay-ms", "0", ...options] })
    ending(() => worker.end())
    workers.push(worker)
  }
  return workers
}

/** An engine over `workers`, started, and a way to wait for what happens to a worker. */
export async function startEngine({ ending }, workers, options = {}) {
  const engine = new DistributedInferenceEngine({ model: scaleBytes, modelName: "scale", local: false, workers, retries: 10, timeoutMs: 90_000, maxQueueSize: 1024, ...options })
  ending(() => engine.stop())
  const events = new EventEmitter()
  engine.on("worker", event => events.emit(`${event.state} ${event.url}`))
  await engine.start()
  /** Does something, and waits until the worker at `url` is told to be in a state. */
  const until = async (url, state, act) => {
    const told = once(events, `${state} ${url}`)
    await act()
    await told
  }
  return { engine, until }
}

/** What the engine counts is what happened, and nothing comes after the end. */
export async function assertAllAnswered(engine, answers) {
  const count = answers.length
  const { totalInputs, totalOutputs, totalErrors, remoteInputs, localInputs, workers } = engine.getStats()
  const counted = { totalInputs, totalOutputs, totalErrors, remoteInputs, localInputs }
  assert.deepEqual(counted, { totalInputs: count, totalOutputs: count, totalErrors: 0, remoteInputs: count, localInputs: 0 })
  assert.equal(workers.reduce((sum, worker) => sum + worker.done, 0), count)
  assert.equal(workers.reduce((sum, worker) => sum + worker.inFlight, 0), 0)
  await engine.stop()
  assert.ok(answers.every(times => times === 1))
}
