// The dispatcher under generated schedules, held against a plain book of its rules.
import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import { Dispatcher, POLICY, randomFrom, SentinelError } from "../simulation/dispatcher.mjs"
import { inRepository } from "./support.mjs"

const fc = createRequire(inRepository("www/package.json"))("fast-check")

const index = fc.nat(1000)
const events = fc.array(fc.oneof(
  { weight: 14, arbitrary: fc.record({ do: fc.constant("submit"), priority: fc.constantFrom(0, 0, 0, 1, -1), timeoutMs: fc.option(fc.nat(2000), { nil: Infinity }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("answer"), at: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("fail"), at: index, blame: fc.constantFrom("worker", "worker", "worker", "busy", "input", "setting"), retryAfterMs: fc.option(fc.nat(300), { nil: undefined }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("late"), at: index, isAnswer: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel"), at: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("open"), at: index, capacity: fc.constantFrom(1, 1, 2, 4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("refuse"), at: index, blame: fc.constantFrom("worker", "setting") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("lose"), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("drain"), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("add") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remove"), at: index }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("wait"), elapsedMs: fc.nat(1500) }) },
), { maxLength: 120, size: "max" })
const schedules = fc.record({
  events,
  nWorkers: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(),
  policy: fc.record({
    balancing: fc.constantFrom("least-loaded", "round-robin", "weighted", "latency", workers => workers[workers.length - 1]),
    maxQueueSize: fc.integer({ min: 1, max: 8 }),
    retries: fc.nat(3),
    hedgeMs: fc.constantFrom(Infinity, Infinity, 50, "p95"),
    unavailableMs: fc.constantFrom(500, 5000),
  }),
})

/** What a request, an attempt and a worker have come to, by the rules alone. */
class Book {
  nowMs = 0
  requests = new Map()
  attempts = new Map()
  /** Attempts that nobody waits for any more. */
  past = []
  workers = new Map()

  constructor({ policy, nWorkers, seed }) {
    this.policy = { ...POLICY, ...policy }
    this.dispatcher = new Dispatcher(this.policy, randomFrom(seed))
    for (let at = 0; at < nWorkers; at += 1) this.add()
    this.settle()
  }

  follow(event) {
    this.#act(event)
    this.settle()
  }

  add() {
    const worker = this.dispatcher.addWorker(`ws://${this.workers.size}`, 1 + (this.workers.size % 3))
    this.workers.set(worker, { state: "new", capacity: 0, isLeaving: false })
  }

  /** Lets time pass until everything that has an answer coming has it, with workers that do as they should. */
  finish() {
    if (![...this.workers.values()].some(({ isLeaving }) => !isLeaving)) this.add()
    this.settle()
    for (let left = 3000; this.#alive().length > 0; left -= 1) {
      assert.ok(left > 0, `${this.#alive().length} requests are never answered`)
      for (const worker of this.#inState("opening")) this.#open(worker, 2)
      this.settle()
      for (const attempt of [...this.attempts.keys()]) {
        if (this.attempts.has(attempt)) this.#answer(attempt)
        this.settle()
      }
      if (this.#alive().length > 0) this.wait(500)
    }
    for (const [key, { answers, isTaken }] of this.requests) assert.equal(answers.length, isTaken ? 1 : 0, `${key}: ${answers}`)
    assert.deepEqual([this.dispatcher.pending, this.dispatcher.queueDepth, this.attempts.size], [0, 0, 0])
    for (const { inFlight } of this.dispatcher.workers()) assert.equal(inFlight, 0)
  }

  wait(elapsedMs) {
    const endMs = this.nowMs + elapsedMs
    for (let wakeMs = this.dispatcher.wake(); wakeMs !== undefined && wakeMs <= endMs; wakeMs = this.dispatcher.wake()) {
      this.nowMs = Math.max(this.nowMs, wakeMs)
      this.settle()
    }
    this.nowMs = endMs
  }

  settle() {
    for (let left = 1000, step; (step = this.dispatcher.poll(this.nowMs)) !== undefined; left -= 1) {
      assert.ok(left > 0, "it never has enough")
      this.#do(step)
    }
    this.#check()
  }

  #act(event) {
    const pick = list => list[event.at % Math.max(1, list.length)]
    switch (event.do) {
      case "submit": return this.#submit(event)
      case "wait": return this.wait(event.elapsedMs)
      case "add": return this.workers.size < 8 && this.add()
      case "answer": {
        const attempt = pick([...this.attempts.keys()])
        return attempt !== undefined && this.#answer(attempt)
      }
      case "fail": {
        const attempt = pick([...this.attempts.keys()])
        return attempt !== undefined && this.#fail(attempt, event)
      }
      case "late": {
        const attempt = pick(this.past)
        if (attempt === undefined) return undefined
        if (event.isAnswer) return assert.equal(this.dispatcher.answered(this.nowMs, attempt), undefined)
        return this.dispatcher.failed(this.nowMs, attempt, { blame: "worker", error: new SentinelError("INTERNAL", "late") })
      }
      case "cancel": {
        const key = pick([...this.requests.keys()])
        if (key === undefined) return undefined
        const { isTaken, answers } = this.requests.get(key)
        const isOpen = isTaken && answers.length === 0
        assert.equal(this.dispatcher.cancel(this.nowMs, key), isOpen)
        return isOpen && answers.push("CANCELLED")
      }
      case "open": {
        const worker = pick(this.#inState("opening"))
        return worker !== undefined && this.#open(worker, event.capacity)
      }
      case "refuse": {
        const worker = pick(this.#inState("opening"))
        return worker !== undefined && this.dispatcher.failedToOpen(this.nowMs, worker, { blame: event.blame, error: new SentinelError("IO", "refused") })
      }
      case "lose": {
        const worker = pick([...this.#inState("open"), ...this.#inState("draining")])
        if (worker === undefined) return undefined
        for (const [attempt, { request, worker: at }] of this.attempts) {
          if (at !== worker) continue
          this.#end(attempt)
          this.#failedAt(request, worker)
        }
        return this.dispatcher.lost(this.nowMs, worker, { blame: "worker", error: new SentinelError("WORKER_UNAVAILABLE", "lost") })
      }
      case "drain": {
        const worker = pick(this.#inState("open"))
        if (worker === undefined) return undefined
        this.workers.get(worker).state = "draining"
        return this.dispatcher.draining(this.nowMs, worker)
      }
      case "remove": {
        const worker = pick([...this.workers.keys()].filter(each => !this.workers.get(each).isLeaving))
        if (worker === undefined) return undefined
        const record = this.workers.get(worker)
        record.isLeaving = true
        if (record.state === "open") record.state = "draining"
        return this.dispatcher.removeWorker(this.nowMs, worker)
      }
    }
  }

  #submit({ priority, timeoutMs }) {
    const key = this.requests.size
    const isFull = this.dispatcher.queueDepth >= this.policy.maxQueueSize
    const isTaken = this.dispatcher.submit(this.nowMs, key, priority, this.nowMs + timeoutMs)
    assert.equal(isTaken, !isFull)
    this.requests.set(key, { isTaken, answers: [], deadlineMs: this.nowMs + timeoutMs, failedAt: [], expects: undefined, hedges: 0 })
  }

  #open(worker, capacity) {
    Object.assign(this.workers.get(worker), { state: "open", capacity, busyUntilMs: 0 })
    this.dispatcher.opened(this.nowMs, worker, capacity)
  }

  #answer(attempt) {
    const { request } = this.#end(attempt)
    assert.equal(this.dispatcher.answered(this.nowMs, attempt)?.request, request)
    this.requests.get(request).answers.push("outputs")
  }

  #fail(attempt, { blame, retryAfterMs }) {
    const { request, worker } = this.#end(attempt)
    if (blame === "busy") {
      const record = this.workers.get(worker)
      record.busyUntilMs = Math.max(record.busyUntilMs, this.nowMs + Math.max(1, retryAfterMs ?? 100))
    }
    if (blame === "input") this.requests.get(request).expects = "input"
    if (blame === "worker" || blame === "setting") this.#failedAt(request, worker)
    const error = new SentinelError("INTERNAL", blame)
    this.dispatcher.failed(this.nowMs, attempt, { blame, error, retryAfterMs })
  }

  #failedAt(request, worker) {
    const record = this.requests.get(request)
    record.failedAt.push(worker)
    const isElsewhere = [...this.attempts.values()].some(each => each.request === request)
    if (record.failedAt.length > this.policy.retries && !isElsewhere) record.expects = "retries"
  }

  #end(attempt) {
    const record = this.attempts.get(attempt)
    this.attempts.delete(attempt)
    this.past.push(attempt)
    return record
  }

  #do(step) {
    switch (step.do) {
      case "open": {
        const record = this.workers.get(step.worker)
        assert.ok(["new", "closed"].includes(record.state), record.state)
        record.state = "opening"
        return
      }
      case "close":
        this.workers.get(step.worker).state = "closed"
        return
      case "send":
        return this.#send(step)
      case "revoke":
        assert.ok(this.attempts.has(step.attempt), "it revokes what has ended")
        this.#end(step.attempt)
        return
      case "answer":
        return this.#answered(step)
      case "tell":
        assert.ok(step.reason.length > 0)
        if (step.state === "removed") this.workers.get(step.worker).state = "removed"
    }
  }

  #send({ attempt, worker, request }) {
    const { state, capacity } = this.workers.get(worker)
    const record = this.requests.get(request)
    assert.equal(state, "open", "it sends to a worker that takes nothing")
    assert.ok(this.#at(worker).length < capacity, "it sends more than a worker takes")
    assert.ok(record.isTaken && record.answers.length === 0, "it sends what has its answer")
    const others = this.#attemptsOf(request)
    record.hedges += others.length
    assert.ok(record.hedges <= (this.policy.hedgeMs === Infinity ? 0 : 1), "it is under way too often")
    assert.ok(!others.some(each => each.worker === worker), "it is sent twice to one worker")
    const fresh = this.#inState("open").filter(each => !record.failedAt.includes(each))
    assert.ok(fresh.length === 0 || !record.failedAt.includes(worker), "it goes where it failed, with others there")
    this.attempts.set(attempt, { worker, request })
  }

  #answered({ request, error }) {
    const { answers, isTaken, deadlineMs, expects } = this.requests.get(request)
    assert.ok(isTaken && answers.length === 0, "it answers twice")
    assert.deepEqual(this.#attemptsOf(request), [], "it answers what is under way")
    answers.push(error.code)
    if (error.code === "TIMEOUT") return assert.ok(deadlineMs <= this.nowMs)
    if (/^no worker can be reached/.test(error.message)) {
      return assert.ok(this.dispatcher.workers().every(({ state, circuit }) => state !== "open" || circuit === "half-open"))
    }
    return assert.ok(expects !== undefined, `${error.message}: with tries left`)
  }

  #check() {
    const waiting = this.#alive().filter(key => this.#attemptsOf(key).length === 0)
    assert.equal(this.dispatcher.queueDepth, waiting.length)
    assert.equal(this.dispatcher.pending, this.#alive().length)
    for (const key of this.#alive()) {
      assert.equal(this.requests.get(key).expects, undefined, "an answer is due")
      assert.ok(this.requests.get(key).deadlineMs > this.nowMs, "it is late")
    }
    const wakeMs = this.dispatcher.wake()
    assert.ok(wakeMs === undefined || wakeMs > this.nowMs, "it wants to be woken in the past")
    for (const { url, inFlight, state, circuit, capacity } of this.dispatcher.workers()) {
      const worker = Number(url.slice(5))
      assert.equal(inFlight, this.#at(worker).length)
      const hasRoom = state === "open" && inFlight < (circuit === "closed" ? capacity : 1) && this.workers.get(worker).busyUntilMs <= this.nowMs
      const wanting = waiting.filter(key => !this.requests.get(key).failedAt.includes(worker))
      // What failed elsewhere may wait for a worker of its own.
      assert.ok(!hasRoom || wanting.every(key => this.requests.get(key).failedAt.length > 0), "a worker has room while requests wait")
    }
  }

  #alive() {
    return [...this.requests.keys()].filter(key => this.requests.get(key).isTaken && this.requests.get(key).answers.length === 0)
  }

  #inState(state) {
    return [...this.workers.keys()].filter(worker => this.workers.get(worker).state === state)
  }

  #at(worker) {
    return [...this.attempts.values()].filter(each => each.worker === worker)
  }

  #attemptsOf(request) {
    return [...this.attempts.values()].filter(each => each.request === request)
  }
}

test("every_request_is_answered_once_by_the_rules_whatever_happens", () => {
  fc.assert(fc.property(schedules, schedule => {
    const book = new Book(schedule)
    for (const event of schedule.events) book.follow(event)
    book.finish()
  }), { numRuns: 2000 })
})

test("at_its_end_it_wants_nothing_more_and_hears_nothing_more", () => {
  fc.assert(fc.property(schedules, schedule => {
    const book = new Book(schedule)
    for (const event of schedule.events) book.follow(event)
    book.dispatcher.abandon()
    assert.deepEqual([book.dispatcher.pending, book.dispatcher.queueDepth], [0, 0])
    assert.ok(book.dispatcher.workers().every(({ inFlight }) => inFlight === 0))
    for (const attempt of book.attempts.keys()) assert.equal(book.dispatcher.answered(book.nowMs, attempt), undefined)
  }), { numRuns: 300 })
})
