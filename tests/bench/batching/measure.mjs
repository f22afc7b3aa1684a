// What batching costs and what it brings, measured in Node and in pages by the same code. `host` is the built package.
import { summary } from "../statistics.mjs"

const ROUNDS = 7

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
    inputNames: ["x"], outputNames: ["x"], inputMetadata: [], outputMetadata: [], isOnGpu: false,
    joining: { mode: "join", size: 0, inputs: { x: 0 }, outputs: { x: 0 }, padding: "repeat", reason: "" },
  }
  const lane = { facts, placement: () => [], fault: undefined, lost: new Promise(() => {}), run: async parts => parts, close: async () => {} }
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

/**
 * Inputs per second of a model, one result for each way to run it. Ways take turns, so that what else the machine does
 * meets all of them.
 */
export async function throughput(host, { model, inputs, ways, n }) {
  const feeds = Object.fromEntries(inputs.map(({ name, type, dims, data }) => [name, new host.Tensor(type, data, dims)]))
  const running = await Promise.all(ways.map(options => start(host, { model, maxQueueSize: 4 * n, ...options })))
  const round = engine => Promise.all(Array.from({ length: n }, () => engine.run(feeds)))
  for (let at = 0; at <= ROUNDS; at += 1) {
    for (const way of running.filter(({ engine }) => engine !== undefined)) {
      const watch = longestTask()
      const begin = performance.now()
      await round(way.engine)
      const ms = performance.now() - begin
      const longestMs = watch()
      // The first round warms up.
      if (at > 0) way.measured.push({ rate: (n * 1000) / ms, longestMs })
    }
  }
  return Promise.all(running.map(async ({ engine, error, measured }) => {
    if (engine === undefined) return { error }
    const { mode, reason } = engine.joining
    await engine.stop()
    return { rate: summary(measured.map(({ rate }) => rate)), mode, reason, longestTaskMs: Math.max(...measured.map(({ longestMs }) => longestMs)) }
  }))
}

async function start(host, options) {
  try {
    const engine = new host.BatchInferenceEngine(options)
    await engine.start()
    return { engine, measured: [] }
  } catch ({ code, message }) {
    return { error: `${code}: ${message}`, measured: [] }
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
