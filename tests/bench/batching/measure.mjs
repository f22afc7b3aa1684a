// What batching costs and what it brings, measured in Node and in pages by the same code. `host` is the built package.
import { summary } from "../statistics.mjs"

const ROUNDS = 5

/** Milliseconds of each round of `work`, after one that warms up. */
async function times(work, rounds = ROUNDS) {
  await work()
  const measured = []
  for (let round = 0; round < rounds; round += 1) {
    const begin = performance.now()
    await work()
    measured.push(performance.now() - begin)
  }
  return measured
}

const eachUs = (measured, n) => summary(measured.map(ms => (ms * 1000) / n))

/** Microseconds for each input that the scheduler takes in, starts and ends, through WebAssembly; batches of 8. */
export async function schedulerCost(Scheduler, n = 20_000) {
  const scheduler = new Scheduler(8, 5, 256, 2)
  scheduler.openLane(0, 1)
  let key = 0
  const measured = await times(() => {
    for (const end = key + n; key < end; key += 1) {
      scheduler.submit(key / 100, key, 0, 1, 0, Infinity)
      for (let step = scheduler.poll(key / 100); step !== undefined; step = scheduler.poll(key / 100)) scheduler.complete(key / 100, step.batch)
    }
  })
  scheduler.free()
  return eachUs(measured, n)
}

/** Microseconds for each input that an engine is given, joins, starts and answers, with a lane that computes nothing. */
export async function engineCost({ BatchInferenceEngine, Tensor }, n = 5000) {
  const facts = {
    inputNames: ["x"], outputNames: ["x"], inputMetadata: [], outputMetadata: [], placement: [],
    joining: { mode: "join", size: 0, inputs: { x: 0 }, outputs: { x: 0 }, padding: "repeat", reason: "" },
  }
  const lane = { facts, fault: undefined, lost: new Promise(() => {}), run: async parts => parts, close: async () => {} }
  const world = {
    now: () => performance.now(),
    after: (ms, call) => { const timer = setTimeout(call, ms); return () => clearTimeout(timer) },
    nextTurn: () => new Promise(resolve => { setTimeout(resolve) }),
  }
  const engine = new BatchInferenceEngine({ model: "none", batchSize: 8, maxQueueSize: n }, world, () => ({ count: 1, open: async () => lane }))
  await engine.start()
  const feeds = { x: new Tensor("float32", new Float32Array(16), [1, 16]) }
  const measured = await times(() => Promise.all(Array.from({ length: n }, () => engine.run(feeds))))
  await engine.stop()
  return eachUs(measured, n)
}

/** Inputs per second of a model; as many rounds as fit into a second, three at least. */
export async function throughput(host, { model, inputs, options, n }) {
  const engine = new host.BatchInferenceEngine({ model, maxQueueSize: 4 * n, ...options })
  try {
    await engine.start()
    const feeds = Object.fromEntries(inputs.map(({ name, type, dims, data }) => [name, new host.Tensor(type, data, dims)]))
    const round = () => Promise.all(Array.from({ length: n }, () => engine.run(feeds)))
    await round()
    const watch = longestTask()
    const measured = await times(round, 3)
    const { joining } = engine
    return { rate: summary(measured.map(ms => (n * 1000) / ms)), mode: joining.mode, reason: joining.reason, longestTaskMs: watch() }
  } finally {
    await engine.stop()
  }
}

const TICK_MS = 4

/** The longest time for which this thread could do nothing else; the function gives it and ends the watch. */
function longestTask() {
  let [longest, latest] = [0, performance.now()]
  // A timer leaves the core to the workers between its ticks.
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - latest - TICK_MS)
    latest = now
  }, TICK_MS)
  return () => {
    clearInterval(timer)
    return Math.max(longest, performance.now() - latest - TICK_MS)
  }
}
