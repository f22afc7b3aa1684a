// What the dispatcher decides, event by event: which worker, how often, when again, and what an input is told.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Dispatcher, Heap, POLICY, randomFrom, SentinelError } from "../simulation/dispatcher.mjs"

const fault = (blame, options = {}) => ({ blame, error: new SentinelError(options.code ?? "INTERNAL", options.message ?? "it failed"), ...options })

/** A dispatcher with open workers, and what it wanted done. */
class Desk {
  nowMs = 0
  /** Attempts without an end: `{ attempt, worker, request }`, in the order in which they were sent. */
  sent = []
  revoked = []
  answers = new Map()
  told = []
  opening = new Set()
  #nextKey = 0

  constructor(options = {}, workers = [{}, {}]) {
    this.dispatcher = new Dispatcher({ ...POLICY, ...options }, randomFrom(7))
    for (const [at, { weight = 1 }] of workers.entries()) this.dispatcher.addWorker(`ws://${at}`, weight)
    this.settle()
    for (const [at, { capacity = 4 }] of workers.entries()) this.open(at, capacity)
  }

  open(worker, capacity = 4) {
    assert.ok(this.opening.delete(worker), `worker ${worker} is not asked for`)
    this.dispatcher.opened(this.nowMs, worker, capacity)
    this.settle()
  }

  submit({ priority = 0, timeoutMs = Infinity } = {}) {
    const key = this.#nextKey
    this.#nextKey += 1
    assert.ok(this.dispatcher.submit(this.nowMs, key, priority, this.nowMs + timeoutMs))
    this.settle()
    return key
  }

  answer(request, worker) {
    const { attempt } = this.#take(request, worker)
    const answered = this.dispatcher.answered(this.nowMs, attempt)
    if (answered !== undefined) this.answers.set(answered.request, "outputs")
    this.settle()
  }

  fail(request, given, worker) {
    const { attempt } = this.#take(request, worker)
    this.dispatcher.failed(this.nowMs, attempt, given)
    this.settle()
  }

  lose(worker) {
    this.sent = this.sent.filter(each => each.worker !== worker)
    this.dispatcher.lost(this.nowMs, worker, fault("worker", { code: "WORKER_UNAVAILABLE", message: "the connection ended" }))
    this.settle()
  }

  /** Where this request is now. */
  at(request) {
    return this.sent.filter(each => each.request === request).map(({ worker }) => worker)
  }

  state(worker) {
    return this.dispatcher.workers().find(({ url }) => url === `ws://${worker}`)
  }

  advance(elapsedMs) {
    const endMs = this.nowMs + elapsedMs
    for (let wakeMs = this.dispatcher.wake(); wakeMs !== undefined && wakeMs <= endMs; wakeMs = this.dispatcher.wake()) {
      this.nowMs = Math.max(this.nowMs, wakeMs)
      this.settle()
    }
    this.nowMs = endMs
  }

  settle() {
    for (let step = this.dispatcher.poll(this.nowMs); step !== undefined; step = this.dispatcher.poll(this.nowMs)) {
      if (step.do === "open") this.opening.add(step.worker)
      if (step.do === "send") this.sent.push(step)
      if (step.do === "tell") this.told.push(`${step.url} ${step.state}`)
      if (step.do === "answer") this.answers.set(step.request, step.error)
      if (step.do === "revoke") {
        this.revoked.push(step.attempt)
        this.sent = this.sent.filter(({ attempt }) => attempt !== step.attempt)
      }
    }
  }

  #take(request, worker) {
    const at = this.sent.findIndex(each => each.request === request && (worker === undefined || each.worker === worker))
    assert.ok(at >= 0, `request ${request} is not with ${worker ?? "any worker"}`)
    return this.sent.splice(at, 1)[0]
  }
}

const code = (desk, request) => desk.answers.get(request)?.code ?? desk.answers.get(request)
const times = (count, work) => Array.from({ length: count }, (_, at) => work(at))

test("the_least_loaded_worker_is_the_one_with_the_smallest_share_of_its_capacity_in_use", () => {
  const desk = new Desk({}, [{ capacity: 8 }, { capacity: 2 }])
  const at = times(10, () => desk.at(desk.submit())[0])
  assert.equal(at.filter(worker => worker === 0).length, 8)
  assert.equal(at.slice(0, 5).filter(worker => worker === 1).length, 1)
  desk.submit()
  assert.equal(desk.dispatcher.queueDepth, 1)
})

test("among_equally_loaded_workers_the_faster_one_is_taken", () => {
  const desk = new Desk()
  const [a, b] = [desk.submit(), desk.submit()]
  const [slow] = desk.at(a)
  desk.advance(5)
  desk.answer(b)
  desk.advance(50)
  desk.answer(a)
  for (let round = 0; round < 3; round += 1) {
    const request = desk.submit()
    assert.notEqual(desk.at(request)[0], slow)
    desk.advance(5)
    desk.answer(request)
  }
})

test("round_robin_takes_turns_and_passes_over_full_workers", () => {
  const desk = new Desk({ balancing: "round-robin" }, [{ capacity: 3 }, { capacity: 1 }, { capacity: 3 }])
  assert.deepEqual(times(7, () => desk.at(desk.submit())[0]), [0, 1, 2, 0, 2, 0, 2])
})

test("weighted_spreads_evenly_in_the_proportion_of_the_weights", () => {
  const desk = new Desk({ balancing: "weighted" }, [{ weight: 5, capacity: 100 }, { weight: 1, capacity: 100 }, { weight: 2, capacity: 100 }])
  const at = times(80, () => desk.at(desk.submit())[0])
  assert.deepEqual([0, 1, 2].map(worker => at.filter(each => each === worker).length), [50, 10, 20])
  for (let from = 0; from < 72; from += 8) assert.equal(at.slice(from, from + 8).filter(each => each === 1).length, 1)
})

test("a_worker_that_was_away_does_not_make_up_for_the_turns_that_it_missed", () => {
  const desk = new Desk({ balancing: "weighted" }, [{ capacity: 100 }, { capacity: 100 }])
  desk.lose(1)
  times(40, () => desk.submit())
  desk.advance(400)
  desk.open(1, 100)
  desk.answer(40 - 1)
  const probe = times(2, () => desk.submit()).find(request => desk.at(request)[0] === 1)
  desk.answer(probe)
  const at = times(20, () => desk.at(desk.submit())[0])
  assert.equal(at.filter(worker => worker === 1).length, 10)
})

test("latency_prefers_fast_workers", () => {
  const desk = new Desk({ balancing: "latency" }, times(4, () => ({ capacity: 100 })))
  const counts = [0, 0, 0, 0]
  for (let round = 0; round < 200; round += 1) {
    const request = desk.submit()
    const [worker] = desk.at(request)
    counts[worker] += 1
    desk.advance(worker === 3 ? 100 : 5)
    desk.answer(request)
  }
  assert.ok(counts[3] < 10, `${counts}`)
})

test("the_callers_own_function_chooses_and_what_it_gets_wrong_only_its_request_is_told", () => {
  const seen = []
  const desk = new Desk({ balancing: (workers, request) => {
    seen.push([request, workers.map(({ url, inFlight }) => `${url} ${inFlight}`)])
    if (request === 1) throw new TypeError("oops")
    if (request === 2) return { url: "ws://0" }
    return request === 3 ? undefined : workers[1]
  } })
  for (let round = 0; round < 4; round += 1) desk.submit()
  assert.deepEqual(desk.at(0), [1])
  assert.deepEqual([code(desk, 1), code(desk, 2)], ["INTERNAL", "INVALID_INPUT"])
  assert.match(desk.answers.get(1).message, /^balancing: oops/)
  assert.deepEqual(desk.at(3), [0])
  assert.deepEqual(seen[3], [3, ["ws://0 0", "ws://1 1"]])
})

test("higher_priority_goes_first_and_then_what_came_first", () => {
  const desk = new Desk({}, [{ capacity: 1 }])
  const running = desk.submit()
  const [low, high, second] = [desk.submit({ priority: -1 }), desk.submit({ priority: 1 }), desk.submit()]
  const order = []
  for (let request = running; request !== undefined; request = desk.sent[0]?.request) {
    order.push(request)
    desk.answer(request)
  }
  assert.deepEqual(order, [running, high, second, low])
})

test("a_request_that_failed_goes_to_another_worker_and_is_given_up_after_its_retries", () => {
  const desk = new Desk({ retries: 2 }, [{}, {}, {}])
  const request = desk.submit()
  const been = times(3, () => {
    const [worker] = desk.at(request)
    desk.fail(request, fault("worker", { message: `worker ${worker} failed` }))
    return worker
  })
  assert.equal(new Set(been).size, 3)
  assert.equal(desk.answers.get(request).message, `worker ${been[2]} failed`)
  assert.equal(desk.dispatcher.workers().reduce((sum, { retried }) => sum + retried, 0), 2)
})

test("it_waits_for_a_full_worker_rather_than_go_where_it_failed_and_others_take_that_place", () => {
  const desk = new Desk({}, [{ capacity: 1 }, { capacity: 1 }])
  const [first, second, third] = times(3, () => desk.submit())
  const [failing] = desk.at(first)
  desk.fail(first, fault("worker"))
  assert.deepEqual([desk.at(first), desk.at(third)], [[], [failing]])
  assert.equal(desk.dispatcher.queueDepth, 1)
  desk.answer(second)
  assert.deepEqual(desk.at(first), [1 - failing])
})

test("with_no_other_worker_it_is_sent_to_the_same_one_again", () => {
  const desk = new Desk({}, [{}])
  const request = desk.submit()
  desk.fail(request, fault("worker"))
  assert.deepEqual(desk.at(request), [0])
})

test("what_waits_for_a_worker_that_goes_away_goes_elsewhere", () => {
  const desk = new Desk({}, [{ capacity: 1 }, { capacity: 1 }])
  const [first, second] = times(2, () => desk.submit())
  const [failing] = desk.at(first)
  desk.fail(first, fault("worker"))
  desk.lose(1 - failing)
  assert.deepEqual([...desk.at(first), ...desk.at(second)], [failing])
})

test("an_error_of_the_input_is_answered_at_once_and_is_no_fault_of_the_worker", () => {
  const desk = new Desk()
  for (let round = 0; round < 20; round += 1) {
    const request = desk.submit()
    desk.fail(request, fault("input", { code: "SHAPE_MISMATCH" }))
    assert.equal(code(desk, request), "SHAPE_MISMATCH")
  }
  assert.deepEqual([0, 1].map(worker => desk.state(worker).circuit), ["closed", "closed"])
})

test("a_busy_worker_gets_nothing_until_its_time_is_over_and_that_counts_as_no_try", () => {
  const desk = new Desk({ retries: 0 }, [{}])
  const request = desk.submit()
  for (let round = 0; round < 5; round += 1) {
    desk.fail(request, fault("busy", { code: "QUEUE_FULL", retryAfterMs: 40 }))
    desk.advance(39)
    assert.deepEqual(desk.at(request), [])
    desk.advance(1)
    assert.deepEqual(desk.at(request), [0])
  }
  desk.answer(request)
  assert.equal(desk.state(0).failed, 0)
})

test("a_worker_cannot_say_that_it_is_busy_for_ever", () => {
  const desk = new Desk({}, [{}])
  const request = desk.submit()
  desk.fail(request, fault("busy", { retryAfterMs: 1e15 }))
  desk.advance(60_000)
  assert.deepEqual(desk.at(request), [0])
})

test("a_worker_that_is_too_busy_to_be_opened_is_asked_when_it_said", () => {
  const desk = new Desk({}, [{}])
  desk.lose(0)
  desk.advance(250)
  desk.opening.delete(0)
  desk.dispatcher.failedToOpen(desk.nowMs, 0, fault("busy", { retryAfterMs: 5000 }))
  desk.settle()
  desk.advance(4999)
  assert.ok(!desk.opening.has(0))
  desk.advance(1)
  assert.ok(desk.opening.has(0))
})

test("a_lost_worker_is_tried_again_after_growing_pauses_with_one_request_first", () => {
  const desk = new Desk({}, [{}])
  const pauses = []
  desk.lose(0)
  for (let round = 0; round < 10; round += 1) {
    const sinceMs = desk.nowMs
    while (!desk.opening.has(0)) desk.advance(1)
    pauses.push(desk.nowMs - sinceMs)
    desk.opening.delete(0)
    desk.dispatcher.failedToOpen(desk.nowMs, 0, fault("worker"))
    desk.settle()
  }
  for (const [round, pause] of pauses.entries()) {
    const longestMs = Math.min(30_000, 250 * 2 ** round)
    assert.ok(pause >= longestMs / 2 && pause <= longestMs + 1, `${round}: ${pause}`)
  }
  desk.advance(30_000)
  const requests = times(3, () => desk.submit())
  desk.open(0)
  assert.equal(desk.state(0).circuit, "half-open")
  assert.deepEqual(requests.map(request => desk.at(request).length), [1, 0, 0])
  desk.answer(requests[0])
  assert.equal(desk.state(0).circuit, "closed")
  assert.deepEqual(requests.slice(1).map(request => desk.at(request).length), [1, 1])
  assert.deepEqual(desk.told.filter((_, at) => at < 2 || at === desk.told.length - 1), ["ws://0 opened", "ws://0 aside", "ws://0 reopened"])
})

test("a_worker_that_answers_errors_is_put_aside_and_what_it_has_goes_elsewhere_without_losing_a_try", () => {
  const desk = new Desk({ retries: 1, balancing: workers => workers[0] }, [{ capacity: 8 }, { capacity: 64 }])
  const requests = times(8, () => desk.submit())
  for (const request of requests.slice(0, 4)) desk.fail(request, fault("worker"))
  assert.equal(desk.state(0).state, "aside")
  assert.deepEqual(requests.map(request => desk.at(request)), requests.map(() => [1]))
  desk.fail(requests[7], fault("worker"))
  assert.equal(code(desk, requests[7]), undefined)
})

test("a_worker_that_half_works_is_put_aside_too", () => {
  const desk = new Desk({ retries: 100 }, [{}])
  let round = 0
  for (; desk.state(0).state === "open" && round < 100; round += 1) {
    const request = desk.submit()
    desk.fail(request, fault("worker"))
    if (desk.at(request).length > 0 && round % 3 === 0) desk.answer(request)
  }
  assert.ok(round < 100, "it is still open")
})

test("a_setting_puts_the_worker_aside_for_long_and_says_why", () => {
  const desk = new Desk()
  const request = desk.submit()
  const [refusing] = desk.at(request)
  desk.fail(request, fault("setting", { code: "UNAUTHORIZED", message: "a wrong token" }))
  assert.deepEqual(desk.at(request), [1 - refusing])
  assert.equal(desk.told.at(-1), `ws://${refusing} aside`)
  assert.equal(desk.state(refusing).lastError.code, "UNAUTHORIZED")
  desk.advance(59_000)
  assert.ok(!desk.opening.has(refusing))
  desk.advance(61_000)
  assert.ok(desk.opening.has(refusing))
})

test("a_slow_request_is_sent_a_second_time_and_the_first_answer_wins", () => {
  const desk = new Desk({ hedgeMs: 20 })
  const request = desk.submit()
  desk.advance(19)
  const [first] = desk.at(request)
  desk.advance(1)
  assert.deepEqual(desk.at(request), [first, 1 - first])
  assert.equal(desk.state(first).hedged, 1)
  const [{ attempt }] = desk.sent
  desk.answer(request, 1 - first)
  assert.deepEqual(desk.revoked, [attempt])
  assert.equal(desk.dispatcher.answered(desk.nowMs, attempt), undefined)
  assert.deepEqual([0, 1].map(worker => desk.state(worker).inFlight), [0, 0])
})

test("the_failure_of_one_of_two_tries_leaves_the_other", () => {
  const desk = new Desk({ hedgeMs: 20, retries: 0 })
  const request = desk.submit()
  desk.advance(20)
  const [first, second] = desk.at(request)
  desk.fail(request, fault("worker"), first)
  assert.deepEqual(desk.at(request), [second])
  desk.answer(request)
  assert.equal(code(desk, request), "outputs")
})

test("when_everything_is_slow_second_tries_stay_few", () => {
  const desk = new Desk({ hedgeMs: 5 }, times(4, () => ({ capacity: 1000 })))
  const requests = times(500, () => desk.submit())
  desk.advance(1000)
  const hedged = desk.sent.length - requests.length
  assert.ok(hedged >= 0.05 * requests.length && hedged <= 0.06 * requests.length, `${hedged}`)
})

test("what_a_silent_worker_has_is_answered_by_others_little_by_little", () => {
  const desk = new Desk({ hedgeMs: 20 }, [{ capacity: 64 }, { capacity: 64 }])
  const requests = times(80, () => desk.submit())
  const stuck = requests.filter(request => desk.at(request)[0] === 0)
  assert.equal(stuck.length, 40)
  for (let round = 0; round < 10; round += 1) {
    for (const { request } of desk.sent.filter(({ worker }) => worker === 1)) desk.answer(request, 1)
    desk.advance(20)
    assert.ok(desk.sent.filter(({ worker }) => worker === 1).length <= 10)
  }
  assert.ok(stuck.every(request => code(desk, request) === "outputs"))
  assert.equal(desk.state(0).inFlight, 0)
})

test("p95_learns_what_is_slow", () => {
  const desk = new Desk({ hedgeMs: "p95" }, [{ capacity: 100 }, { capacity: 100 }])
  const early = desk.submit()
  desk.advance(10_000)
  assert.equal(desk.at(early).length, 1)
  for (let round = 0; round < 100; round += 1) {
    const request = desk.submit()
    desk.advance(round % 10 === 0 ? 40 : 10)
    desk.answer(request)
  }
  const slow = desk.submit()
  desk.advance(39)
  assert.equal(desk.at(slow).length, 1)
  desk.advance(2)
  assert.equal(desk.at(slow).length, 2)
})

test("a_deadline_is_kept_wherever_the_request_is", () => {
  const desk = new Desk({}, [{ capacity: 1 }])
  const [running, waiting] = times(2, () => desk.submit({ timeoutMs: 50 }))
  desk.advance(50)
  assert.deepEqual([code(desk, running), code(desk, waiting)], ["TIMEOUT", "TIMEOUT"])
  assert.equal(desk.revoked.length, 1)
  assert.equal(desk.state(0).inFlight, 0)
})

test("without_any_worker_requests_wait_so_long_and_are_told_each_workers_reason", () => {
  const desk = new Desk({ unavailableMs: 2000 })
  const early = desk.submit({ timeoutMs: 500 })
  desk.lose(0)
  desk.lose(1)
  const late = desk.submit()
  desk.advance(1000)
  assert.match(desk.answers.get(early).message, /^no outputs within its time; the last try: the connection ended$/)
  for (const worker of desk.opening) desk.dispatcher.failedToOpen(desk.nowMs, worker, fault("worker", { message: `cannot connect to ${worker}` }))
  desk.advance(1000)
  assert.equal(code(desk, late), "WORKER_UNAVAILABLE")
  assert.match(desk.answers.get(late).message, /ws:\/\/0: cannot connect to 0; ws:\/\/1: cannot connect to 1/)
})

test("a_draining_worker_gets_nothing_new_answers_what_it_has_and_is_tried_again_later", () => {
  const desk = new Desk({ balancing: workers => workers[0] })
  const request = desk.submit()
  const [worker] = desk.at(request)
  desk.dispatcher.draining(desk.nowMs, worker)
  assert.deepEqual(desk.at(desk.submit()), [1 - worker])
  assert.equal(desk.state(worker).state, "draining")
  desk.answer(request)
  assert.equal(desk.state(worker).state, "aside")
  desk.advance(250)
  assert.ok(desk.opening.has(worker))
})

test("a_removed_worker_answers_what_it_has_and_is_forgotten", () => {
  const desk = new Desk({ balancing: workers => workers[0] })
  const request = desk.submit()
  const [worker] = desk.at(request)
  desk.dispatcher.removeWorker(desk.nowMs, worker)
  desk.dispatcher.removeWorker(desk.nowMs, 1 - worker)
  desk.settle()
  assert.equal(desk.dispatcher.workers().length, 1)
  desk.answer(request)
  assert.deepEqual(desk.dispatcher.workers(), [])
  assert.deepEqual(desk.told.slice(-3), [`ws://${worker} draining`, `ws://${1 - worker} removed`, `ws://${worker} removed`])
  const left = desk.submit()
  desk.advance(30_000)
  assert.match(desk.answers.get(left).message, /addWorker/)
})

test("a_decision_costs_the_logarithm_of_the_number_of_workers", () => {
  for (const nWorkers of [10, 1000]) {
    const desk = new Desk({}, [])
    let nLooks = 0
    // Whoever compares how much two workers have to do reads this.
    const weight = { valueOf: () => { nLooks += 1; return 1 } }
    for (let worker = 0; worker < nWorkers; worker += 1) {
      desk.dispatcher.addWorker(`ws://${worker}`, weight)
      desk.settle()
      desk.open(worker, 8)
    }
    times(4 * nWorkers, () => desk.submit())
    nLooks = 0
    for (let round = 0; round < 200; round += 1) {
      desk.answer(desk.sent[(round * 7) % desk.sent.length].request)
      desk.submit()
    }
    assert.ok(nLooks / 200 > 1 && nLooks / 200 < 30 * Math.log2(nWorkers), `${nWorkers}: ${nLooks / 200}`)
  }
})

test("a_heap_of_a_hundred_thousand_gives_its_items_in_order_after_few_comparisons_each", () => {
  let nComparisons = 0
  const random = randomFrom(3)
  const heap = new Heap((a, b) => { nComparisons += 1; return a.value < b.value })
  const items = times(100_000, () => ({ value: random() }))
  for (const item of items) heap.put(item)
  for (const item of items.slice(0, 30_000)) heap.delete(item)
  for (const item of items.slice(30_000, 60_000)) {
    item.value = random()
    heap.put(item)
  }
  const taken = times(70_000, () => heap.takeFirst().value)
  assert.deepEqual(taken, items.slice(30_000).map(({ value }) => value).sort((a, b) => a - b))
  assert.equal(heap.takeFirst(), undefined)
  assert.ok(nComparisons < 230_000 * 2 * 17, `${nComparisons}`)
})
