// The dispatcher in a simulated world of slow, dying and unequal workers; docs/balancing.md has the large runs.
import assert from "node:assert/strict"
import { test } from "node:test"
import { simulate } from "../simulation/simulate.mjs"

const POLICIES = ["least-loaded", "round-robin", "weighted", "latency"]

test("no_policy_loses_a_request_or_answers_one_twice_while_workers_die_and_come_back", () => {
  for (const balancing of POLICIES) {
    for (const hedgeMs of [Infinity, 40, "p95"]) {
      for (const nWorkers of [1, 2, 10]) {
        const run = simulate({ balancing, hedgeMs, nWorkers, nRequests: 1500, seed: 11, world: { dieEveryMs: 2000, deadForMs: 500 } })
        assert.deepEqual([run.lost, run.twice], [0, 0], `${balancing}, ${hedgeMs}, ${nWorkers}`)
        assert.ok(run.deaths > 0 && run.retried > 0, `${balancing}, ${hedgeMs}, ${nWorkers}`)
      }
    }
  }
})

test("the_same_seed_gives_the_same_run", () => {
  const run = () => simulate({ balancing: "latency", hedgeMs: "p95", nWorkers: 10, nRequests: 2000, seed: 5 })
  assert.deepEqual(run(), run())
})

test("least_loaded_keeps_unequal_workers_equally_busy_and_its_tail_short_without_being_told_their_speeds", () => {
  const of = balancing => simulate({ balancing, nWorkers: 20, nRequests: 10_000, seed: 3 })
  const [best, ...others] = POLICIES.map(of)
  for (const other of others) assert.ok(best.p99 < other.p99, `${other.balancing}: ${other.p99}, least-loaded: ${best.p99}`)
})

test("second_tries_shorten_the_far_tail_for_a_few_percent_more_work", () => {
  const of = hedgeMs => simulate({ balancing: "round-robin", hedgeMs, nWorkers: 100, nRequests: 20_000, seed: 3 })
  const [without, hedged] = [of(Infinity), of("p95")]
  assert.ok(hedged.p999 < without.p999, `${hedged.p999} and ${without.p999}`)
  assert.ok(hedged.extra < 0.12, `${hedged.extra}`)
})

test("an_idle_fleet_adds_nothing_but_the_network_to_the_work_itself", () => {
  const { p50, p95, extra } = simulate({
    balancing: "least-loaded", nWorkers: 8, nRequests: 2000, seed: 2,
    world: { load: 0.05, sigma: 0, heavyShare: 0, slowEveryMs: Infinity, dieEveryMs: Infinity },
  })
  // The fastest take 5 ms and the others 10 or 20, and the network takes 1.
  assert.deepEqual([p50, p95].map(Math.round), [6, 6])
  assert.equal(extra, 0)
})
