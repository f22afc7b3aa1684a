// The state machine of one stream, under generated schedules.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { join } from "node:path"
import { test } from "node:test"
import { inRepository } from "./support.mjs"

const www = inRepository("www/")
const require = createRequire(join(www, "package.json"))
const esbuild = require("esbuild")
const fc = require("fast-check")

const { outputFiles } = await esbuild.build({
  entryPoints: [join(www, "host/stream/pacer.ts")], bundle: true, write: false, platform: "node", format: "esm", logLevel: "warning",
})
const { Pacer } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`)

const pace = options => ({ policy: "queue", maxQueueSize: 2, maxInFlight: 1, maxComputing: 1, intervalMs: 0, ...options })

/** A pacer with what it asked for, held against what it promises after every event. */
class Rig {
  nowMs = 0
  isAsked = false
  asksMs = []
  nArrived = 0
  computing = new Set()
  computed = new Set()
  giving = undefined
  fates = new Map()
  givenIds = []
  /** Since the result before. */
  nDropped = 0
  isStopped = false
  isOver = false

  constructor(options) {
    this.pace = pace(options)
    this.pacer = new Pacer(this.pace)
    this.settle()
  }

  /** Does what is asked for, until there is nothing. */
  settle() {
    for (let step = this.pacer.poll(this.nowMs); step !== undefined; step = this.pacer.poll(this.nowMs)) this.do(step)
    const { maxQueueSize, maxInFlight, maxComputing } = this.pace
    assert.ok(this.pacer.nWaiting <= maxQueueSize, `${this.pacer.nWaiting} wait`)
    assert.ok(this.computing.size <= maxComputing, `${this.computing.size} are computed`)
    const nGiving = this.giving === undefined ? 0 : 1
    assert.ok(this.computing.size + this.computed.size + nGiving <= maxInFlight || this.isStopped, "too many in flight")
  }

  do(step) {
    assert.ok(!this.isOver, `${step.do} after the end`)
    switch (step.do) {
      case "ask":
        assert.ok(!this.isAsked && !this.isStopped && !this.pacer.isPaused)
        this.isAsked = true
        this.asksMs.push(this.nowMs)
        break
      case "compute":
        assert.ok(!this.isStopped && !this.pacer.isPaused)
        if (this.pace.policy === "latest") assert.ok(step.id >= this.nArrived - this.pace.maxQueueSize, `${step.id} of ${this.nArrived} is not of the newest`)
        this.computing.add(step.id)
        break
      case "give":
        assert.equal(this.giving, undefined, "two are given at once")
        assert.ok(this.computed.delete(step.id))
        assert.ok(step.id > (this.givenIds.at(-1) ?? -1), "out of order")
        assert.equal(step.dropped, this.nDropped)
        this.nDropped = 0
        this.giving = step.id
        this.givenIds.push(step.id)
        this.decide(step.id, "given")
        break
      case "drop":
        assert.notEqual(this.pace.policy, "queue")
        if (this.pace.policy === "drop-new") assert.equal(step.id, this.nArrived - 1)
        this.nDropped += 1
        this.decide(step.id, "dropped")
        break
      case "cancel":
        assert.ok(this.isStopped)
        this.computed.delete(step.id)
        this.decide(step.id, "cancelled")
        break
      case "end":
        assert.equal(this.computing.size, 0)
        this.isOver = true
    }
  }

  decide(id, fate) {
    assert.ok(!this.fates.has(id), `${id} was ${this.fates.get(id)} and is ${fate}`)
    this.fates.set(id, fate)
  }

  arrive() {
    if (!this.isAsked) return
    this.isAsked = false
    // What comes after the stop is not told.
    if (this.isStopped) return
    assert.equal(this.pacer.arrived(), this.nArrived)
    this.nArrived += 1
  }

  nothing() {
    if (!this.isAsked || this.isStopped) return
    this.isAsked = false
    this.pacer.hadNothing()
  }

  endSource() {
    if (!this.isAsked || this.isStopped) return
    this.isAsked = false
    this.pacer.sourceEnded()
  }

  answer(at, is) {
    const id = [...this.computing][at % this.computing.size]
    if (id === undefined) return
    this.computing.delete(id)
    if (is === "failed") this.decide(id, "failed")
    else this.computed.add(id)
    this.pacer.settled(id, is)
  }

  take() {
    if (this.giving === undefined) return
    this.giving = undefined
    this.pacer.taken()
  }

  stop() {
    this.isStopped = true
    this.pacer.stop()
  }

  advance(ms) {
    this.nowMs += ms
  }

  /** Plays everything to its end. */
  finish() {
    this.pacer.resume()
    this.settle()
    for (let round = 0; !this.isOver; round += 1) {
      assert.ok(round < 1000, "it never ends")
      this.answer(0, "computed")
      this.take()
      this.advance(this.pace.intervalMs)
      this.settle()
      this.endSource()
      this.settle()
    }
    assert.equal(this.fates.size, this.nArrived, "an input was forgotten")
    this.advance(10_000)
    assert.equal(this.pacer.poll(this.nowMs), undefined)
  }
}

const event = fc.oneof(
  { weight: 6, arbitrary: fc.constant(rig => rig.arrive()) },
  { weight: 4, arbitrary: fc.nat(7).map(at => rig => rig.answer(at, "computed")) },
  { weight: 1, arbitrary: fc.nat(7).map(at => rig => rig.answer(at, "failed")) },
  { weight: 4, arbitrary: fc.constant(rig => rig.take()) },
  { weight: 2, arbitrary: fc.nat(30).map(ms => rig => rig.advance(ms)) },
  { weight: 1, arbitrary: fc.constant(rig => rig.nothing()) },
  { weight: 1, arbitrary: fc.constantFrom(rig => rig.pacer.pause(), rig => rig.pacer.resume()) },
)
const rare = fc.option(fc.constantFrom(rig => rig.stop(), rig => rig.endSource()), { nil: () => {} })
const paces = fc.record({
  policy: fc.constantFrom("latest", "queue", "drop-new"),
  maxQueueSize: fc.integer({ min: 1, max: 4 }),
  maxInFlight: fc.integer({ min: 1, max: 4 }),
  intervalMs: fc.constantFrom(0, 0, 7, 16.5),
  isSequential: fc.boolean(),
}).map(({ isSequential, ...options }) => ({ ...options, maxComputing: isSequential ? 1 : options.maxInFlight }))

test("every_input_has_one_fate_in_order_and_within_bounds", () => {
  fc.assert(fc.property(paces, fc.array(event, { maxLength: 120 }), rare, fc.array(event, { maxLength: 20 }), (options, events, change, rest) => {
    const rig = new Rig(options)
    for (const happen of [...events, change, ...rest]) {
      happen(rig)
      rig.settle()
    }
    rig.finish()
    if (!rig.isStopped) assert.ok(![...rig.fates.values()].includes("cancelled"))
  }), { numRuns: 2000 })
})

test("a_stopped_stream_ends_when_nothing_is_computed_whoever_still_takes", () => {
  const rig = new Rig({ maxInFlight: 3, maxComputing: 3, maxQueueSize: 3 })
  for (let at = 0; at < 6; at += 1) {
    rig.arrive()
    rig.settle()
  }
  rig.answer(0, "computed")
  rig.settle()
  assert.equal(rig.giving, 0)
  rig.stop()
  rig.settle()
  assert.ok(!rig.isOver, "two are still computed")
  rig.answer(0, "computed")
  rig.answer(0, "failed")
  rig.settle()
  assert.ok(rig.isOver)
  assert.deepEqual(Object.fromEntries(rig.fates), { 0: "given", 1: "cancelled", 2: "failed", 3: "cancelled", 4: "cancelled", 5: "cancelled" })
  rig.take()
  assert.equal(rig.pacer.poll(rig.nowMs), undefined)
})

test("latest_computes_the_newest_when_there_is_room", () => {
  const rig = new Rig({ policy: "latest", maxQueueSize: 1 })
  for (let at = 0; at < 5; at += 1) {
    rig.arrive()
    rig.settle()
  }
  assert.deepEqual([...rig.computing], [0])
  rig.answer(0, "computed")
  rig.settle()
  rig.take()
  rig.settle()
  assert.deepEqual([...rig.computing], [4])
  rig.answer(0, "computed")
  rig.settle()
  assert.deepEqual(rig.givenIds, [0, 4])
})

test("a_full_queue_makes_the_source_wait", () => {
  const rig = new Rig({ policy: "queue", maxQueueSize: 2 })
  for (let at = 0; at < 3; at += 1) {
    assert.ok(rig.isAsked)
    rig.arrive()
    rig.settle()
  }
  assert.ok(!rig.isAsked)
  rig.answer(0, "computed")
  rig.settle()
  assert.ok(!rig.isAsked, "its result is not taken yet")
  rig.take()
  rig.settle()
  assert.ok(rig.isAsked)
})

test("drop_new_keeps_what_came_first", () => {
  const rig = new Rig({ policy: "drop-new", maxQueueSize: 2 })
  for (let at = 0; at < 6; at += 1) {
    rig.arrive()
    rig.settle()
  }
  assert.deepEqual([...rig.fates], [[3, "dropped"], [4, "dropped"], [5, "dropped"]])
})

test("questions_keep_to_a_grid_that_does_not_drift_and_leave_out_missed_beats", () => {
  fc.assert(fc.property(fc.array(fc.nat(70), { minLength: 1, maxLength: 60 }), lates => {
    const rig = new Rig({ policy: "latest", intervalMs: 20 })
    const dues = []
    for (const lateMs of lates) {
      rig.arrive()
      rig.settle()
      const { wakeMs } = rig.pacer
      dues.push(wakeMs)
      assert.equal(wakeMs % 20, 0)
      assert.ok(wakeMs > rig.nowMs, "a beat that was missed is made up for")
      rig.advance(wakeMs - rig.nowMs - 1)
      rig.settle()
      assert.ok(!rig.isAsked, "it asks too early")
      rig.advance(1 + lateMs)
      rig.settle()
      assert.ok(rig.isAsked)
    }
    assert.equal(new Set(dues).size, dues.length)
  }))
})

test("a_paused_stream_asks_for_nothing_and_latest_forgets_what_waits", () => {
  const rig = new Rig({ policy: "latest" })
  for (let at = 0; at < 2; at += 1) {
    rig.arrive()
    rig.settle()
  }
  rig.pacer.pause()
  rig.settle()
  assert.deepEqual([...rig.fates], [[1, "dropped"]])
  rig.arrive()
  rig.settle()
  assert.ok(!rig.isAsked)
  assert.deepEqual([...rig.fates], [[1, "dropped"], [2, "dropped"]])
  rig.pacer.resume()
  rig.settle()
  assert.ok(rig.isAsked)
})

test("a_queue_of_any_length_can_be_dropped_at_once", () => {
  const pacer = new Pacer(pace({ policy: "latest", maxQueueSize: 1_000_000 }))
  for (let id = 0; id < 300_000; id += 1) pacer.arrived()
  pacer.pause()
  assert.equal(pacer.nWaiting, 0)
  assert.deepEqual(pacer.poll(0), { do: "drop", id: 0 })
})
