// Compares the balancing policies at 2 to 1,000 workers: node tests/simulation/main.mjs [--seed N] [--write]
import { writeFileSync } from "node:fs"
import { barChart } from "../bench/svg.mjs"
import { inRepository } from "../node/support.mjs"
import { simulate, WORLD } from "./simulate.mjs"

const POLICIES = ["least-loaded", "round-robin", "weighted", "latency"]
const SIZES = [[2, 20_000], [10, 40_000], [100, 80_000], [1000, 80_000]]

const seedAt = process.argv.indexOf("--seed")
const seed = seedAt < 0 ? 1 : Number(process.argv[seedAt + 1])

const runs = []
for (const [nWorkers, nRequests] of SIZES) {
  for (const hedgeMs of [Infinity, "p95"]) {
    for (const balancing of POLICIES) {
      const run = simulate({ balancing, hedgeMs, nWorkers, nRequests, seed })
      runs.push(run)
      process.stdout.write(`${row(run)}\n`)
    }
  }
}
process.stdout.write(`seed ${seed}\n`)
if (process.argv.includes("--write")) {
  writeFileSync(inRepository("docs/balancing.svg"), picture())
  writeFileSync(inRepository("docs/balancing.md"), page())
}

function row({ nWorkers, balancing, hedgeMs, p50, p95, p99, p999, imbalance, extra, retried, deaths, errors, lost, twice }) {
  const cells = [nWorkers.toLocaleString("en"), balancing, hedgeMs === "p95" ? "p95" : "", ...[p50, p95, p99, p999].map(value => value.toFixed(1)), imbalance.toFixed(2), `${(100 * extra).toFixed(1)} %`, deaths, retried, errors, lost + twice]
  return `| ${cells.join(" | ")} |`
}

function picture() {
  const series = [...POLICIES.map(balancing => [balancing, Infinity]), ["least-loaded", "p95"], ["latency", "p95"]]
  const bar = ({ p50, p99, p999 }) => ({ value: p99, low: p50, high: p999 })
  const groups = SIZES.map(([nWorkers]) => ({
    label: `${nWorkers.toLocaleString("en")} workers`,
    bars: series.map(([balancing, hedgeMs]) => bar(runs.find(run => run.nWorkers === nWorkers && run.balancing === balancing && run.hedgeMs === hedgeMs))),
  }))
  const names = series.map(([balancing, hedgeMs]) => (hedgeMs === "p95" ? `${balancing}, hedged` : balancing))
  return barChart({ heading: "Latency by balancing policy: p99, lines from p50 to p99.9", unit: "ms", series: names, groups })
}

function best(nWorkers, hedgeMs, value) {
  return runs.filter(run => run.nWorkers === nWorkers && run.hedgeMs === hedgeMs).reduce((a, b) => (b[value] < a[value] ? b : a)).balancing
}

function page() {
  const { meanWorkMs, heavyShare, heavyFactor, networkMs, capacity, load, slowEveryMs, slowForMs, slowFactor, dieEveryMs, deadForMs, detectMs } = WORLD
  const winners = SIZES.map(([nWorkers]) => `| ${nWorkers.toLocaleString("en")} | ${[Infinity, "p95"].flatMap(hedgeMs => ["p50", "p99", "p999"].map(value => best(nWorkers, hedgeMs, value))).join(" | ")} |`)
  const extras = runs.filter(({ hedgeMs }) => hedgeMs === "p95").map(({ extra }) => Math.round(100 * extra))
  return `# Balancing

Written by \`node tests/simulation/main.mjs --write\` (seed ${seed}): the dispatcher of \`DistributedInferenceEngine\` as it is shipped, with simulated
workers, network and time.

A request is ${meanWorkMs} ms of work on average (lognormal; ${100 * heavyShare} % take ${heavyFactor} times as long), one at a time on each worker. Of four workers,
one has half the speed of the others and one the double. Requests come at random, ${100 * load} % of what all workers could do. Every
${slowEveryMs / 1000} s on average a worker is ${slowFactor} times slower for ${slowForMs / 1000} s; every ${dieEveryMs / 1000} s it dies with what it has, which is noticed after ${detectMs} ms, and comes
back after ${deadForMs / 1000} s. The network takes ${networkMs} ms each way; a worker takes ${capacity} requests at once. "weighted" is told the speeds, the
others are not.

Times are in milliseconds from a request's arrival to its answer. Imbalance is the largest share of work among the workers
over their mean, as time at their own speed. Extra is what was sent more than once. No request was lost, and none was answered twice.

| workers | policy | hedgeMs | p50 | p95 | p99 | p99.9 | imbalance | extra | deaths | retried | errors | lost or twice |
| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${runs.map(row).join("\n")}

![Latency by balancing policy](balancing.svg)

## Which to take

The best of the four, without second tries and with them:

| workers | p50 | p99 | p99.9 | p50, hedged | p99, hedged | p99.9, hedged |
| ---: | --- | --- | --- | --- | --- | --- |
${winners.join("\n")}

- **"least-loaded"** is the default. What a worker has in flight tells its speed, its slow moments and its queue at once, without
  being told anything.
- **"round-robin"** gives a slow worker as much as a fast one: its queue decides the tail. It is for workers that are alike.
- **"weighted"** knows speeds, but nothing of what happens at the moment.
- **"latency"** asks two random workers only, so it does not crowd at the one that looks best; with many clients that do not know of each
  other, that is worth more than it is here, where one client sees everything.
- **hedgeMs** shortens the far tail where there are workers to spare, and costs ${Math.min(...extras)} to ${Math.max(...extras)} % more work here: with
  few workers, or when all of them are busy, it makes the middle slower.
- With two workers, what dies every half minute is half of everything: no policy makes up for that.
`
}
