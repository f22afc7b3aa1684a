// What the tests of streams share: a clock that they set, and an engine that computes when they say so.
import assert from "node:assert/strict"
import { StreamingInferenceEngine, Tensor } from "../../pkg/dist/index.mjs"

/** Everything that is ready has had its turn. */
export async function settled() {
  for (let turn = 0; turn < 8; turn += 1) await new Promise(resolve => setImmediate(resolve))
}

/** A clock that stands until it is set on. */
export class FakeWorld {
  nowMs = 1000
  #timers = new Set()
  media = new Map()

  now = () => this.nowMs
  after = (delayMs, callback) => {
    const timer = { atMs: this.nowMs + delayMs, callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }
  nextTurn = () => new Promise(resolve => setImmediate(resolve))
  videoFrames = (source, options) => source.capture(options)
  audioWindows = (source, options) => source.capture(options)
  openPictures = () => { throw new Error("there are no pictures here") }

  get nTimers() {
    return this.#timers.size
  }

  /** Lets time pass, with every timer in its moment. */
  async advance(ms) {
    const endMs = this.nowMs + ms
    await settled()
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > endMs) break
      this.#timers.delete(next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.callback()
      await settled()
    }
    this.nowMs = endMs
    await settled()
  }
}

const value = name => ({ name, isTensor: true, type: "float32", shape: [1] })

/** Gives each input back after `delayMs` of the fake clock, or when told to; `fails` says which ones it refuses. */
export class FakeBatcher {
  ran = []
  running = new Set()
  mostAtOnce = 0
  isStopped = false
  gone = undefined
  gpu = undefined
  #world
  #delayMs
  #fails

  constructor(world, { delayMs = 0, fails = () => undefined } = {}) {
    this.#world = world
    this.#delayMs = delayMs
    this.#fails = fails
  }

  async start() {}
  placement() { return [] }
  getStats() { return { workers: [{}] } }
  async stop() { this.isStopped = true }

  get facts() {
    if (this.gone !== undefined) throw this.gone
    return { inputNames: ["x"], outputNames: ["x"], inputMetadata: [value("x")], outputMetadata: [value("x")] }
  }

  run(feeds, { signal }) {
    const number = feeds.x.data[0]
    this.ran.push(number)
    const run = {}
    this.running.add(run)
    this.mostAtOnce = Math.max(this.mostAtOnce, this.running.size)
    return new Promise((resolve, reject) => {
      const end = () => this.running.delete(run)
      signal.addEventListener("abort", () => {
        end()
        reject(Object.assign(new Error("cancelled"), { code: "CANCELLED" }))
      }, { once: true })
      const answer = () => {
        const error = this.#fails(number)
        if (end() === false) return
        if (error === undefined) resolve({ x: feeds.x })
        else reject(error)
      }
      if (this.#delayMs === 0) setImmediate(answer)
      else this.#world.after(this.#delayMs, answer)
    })
  }
}

/** The engine over a fake batcher and a fake clock. */
export async function fakeEngine(options) {
  const world = new FakeWorld()
  const batcher = new FakeBatcher(world, options)
  const engine = new StreamingInferenceEngine({ model: "fake.onnx", batchSize: 4 }, world, batcher)
  const events = []
  engine.on("stream", event => events.push(event))
  await engine.start()
  return { engine, world, batcher, events }
}

export const feeds = number => ({ x: new Tensor(Float32Array.of(number), [1]) })
export const numberOf = ({ x }) => x.data[0]

/** Values that count whether they are closed, each exactly once. */
export class Closables {
  nMade = 0
  nClosed = 0
  mostOpen = 0
  twice = []

  make(number) {
    this.nMade += 1
    this.mostOpen = Math.max(this.mostOpen, this.nMade - this.nClosed)
    let isClosed = false
    return {
      number,
      close: () => {
        if (isClosed) this.twice.push(number)
        isClosed = true
        this.nClosed += 1
      },
    }
  }
}

export const ofNumber = { preprocess: ({ number }) => new Tensor(Float32Array.of(number), [1]), postprocess: numberOf }

export async function* numbers(n, from = 0) {
  for (let at = from; at < from + n; at += 1) yield feeds(at)
}

/** Gives a number every `everyMs` of the fake clock, as a camera does. */
export function clocked(world, everyMs, closables) {
  let at = 0
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        await new Promise(resolve => world.after(everyMs, resolve))
        yield closables.make(at++)
      }
    },
  }
}

export async function read(results, n = Infinity) {
  const got = []
  for await (const result of results) {
    got.push(result)
    if (got.length === n) break
  }
  return got
}

export const range = (n, from = 0) => Array.from({ length: n }, (_, at) => at + from)

/** Every input has one fate, and is closed. */
export function assertAccounted({ totalInputs, totalOutputs, totalErrors, totalDropped, totalCancelled, queueDepth }, closables) {
  assert.equal(totalOutputs + totalErrors + totalDropped + totalCancelled, totalInputs)
  assert.equal(queueDepth, 0)
  if (closables === undefined) return
  assert.equal(closables.nClosed, closables.nMade)
  assert.deepEqual(closables.twice, [])
}
