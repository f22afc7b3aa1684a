// A batch engine without workers, models or time: lanes that do what a test tells them, and a clock that it moves.
import { BatchInferenceEngine, SentinelError, Tensor } from "../../pkg/dist/index.mjs"

/** Everything that was promised has happened. */
export const settled = () => new Promise(resolve => setImmediate(resolve))

/** A tensor of `rows` rows, all of them this number. */
export const rowsOf = (number, rows = 1, type = "float32") =>
  new Tensor(type, type === "float32" ? new Float32Array(rows).fill(number) : new Int32Array(rows).fill(number), [rows])

const JOINING = { mode: "join", size: 0, inputs: { x: 0 }, outputs: { y: 0 }, padding: "repeat", reason: "" }

export class Clock {
  nowMs = 0
  #timers = new Set()

  now() {
    return this.nowMs
  }

  after(delayMs, callback) {
    const timer = { atMs: this.nowMs + delayMs, callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  nextTurn() {
    return settled()
  }

  get nTimers() {
    return this.#timers.size
  }

  async advance(elapsedMs) {
    const endMs = this.nowMs + elapsedMs
    for (;;) {
      await settled()
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      this.#timers.delete(next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.callback()
    }
    this.nowMs = endMs
  }
}

/** Lanes whose batches end when a test says so; the outputs of an input are `{ y: its x }`. */
export class FakeLanes {
  /** What runs now, over all lanes. */
  running = []
  /** The inputs of every batch that was started, by their first numbers. */
  started = []
  nOpened = 0
  nClosed = 0

  constructor({ count = 1, joining = {}, failOpening = () => undefined } = {}) {
    this.facts = {
      inputNames: ["x"], outputNames: ["y"], inputMetadata: [], outputMetadata: [], isOnGpu: false,
      joining: { ...JOINING, ...joining },
    }
    this.plan = { count, open: async () => {
      const failure = failOpening(this.nOpened)
      this.nOpened += 1
      if (failure !== undefined) throw failure
      return this.#lane()
    } }
  }

  #lane() {
    let lose
    const lane = {
      facts: this.facts,
      placement: () => [],
      fault: undefined,
      lost: new Promise(resolve => { lose = resolve }),
      run: (parts, rows) => new Promise((resolve, reject) => {
        this.started.push(parts.map(({ x }) => Number(x.data[0])))
        const batch = { lane, parts, rows, resolve, reject }
        this.running.push(batch)
      }),
      close: async () => {
        this.nClosed += 1
        for (const { reject } of this.running.filter(batch => batch.lane === lane)) reject(new SentinelError("RELEASED", "closed"))
        this.running = this.running.filter(batch => batch.lane !== lane)
      },
      die: () => {
        lane.fault = new SentinelError("WORKER_UNAVAILABLE", "it died")
        lose(lane.fault)
      },
    }
    return lane
  }

  #take(at) {
    const [batch] = this.running.splice(at % Math.max(this.running.length, 1), 1)
    return batch
  }

  finish(at = 0) {
    const batch = this.#take(at)
    batch?.resolve(batch.parts.map(({ x }) => ({ y: x })))
  }

  fail(at = 0, error = new SentinelError("INTERNAL", "it failed")) {
    this.#take(at)?.reject(error)
  }

  /** The lane of a batch dies under it. */
  die(at = 0) {
    const batch = this.#take(at)
    batch?.lane.die()
    batch?.reject(batch.lane.fault)
  }
}

/** An engine on such lanes, started. */
export async function fakeEngine({ lanes = {}, ...options } = {}) {
  const clock = new Clock()
  const places = new FakeLanes(lanes)
  const engine = new BatchInferenceEngine({ model: "fake", ...options }, clock, () => places.plan)
  await engine.start()
  return { engine, clock, lanes: places }
}
