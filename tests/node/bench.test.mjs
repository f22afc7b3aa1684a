// The parts of pkg-scripts/bench that decide something: numbers in, numbers or text out. No time is asserted.
import assert from "node:assert/strict"
import { test } from "node:test"
import { longestTasks, throughputTable, workersGain } from "../bench/batching/report.mjs"
import { warm } from "../bench/measure.mjs"
import { writeModel } from "../bench/onnx.mjs"
import { buildOperator, OPERATORS } from "../bench/operators.mjs"
import { readOptions, UsageError } from "../bench/options.mjs"
import { between, slug } from "../bench/readme.mjs"
import { complaints, markdown, ratios, short, timesTable } from "../bench/report.mjs"
import { geomean, quantile, runsFor, schedule, summary } from "../bench/statistics.mjs"
import { barChart, decades, escape } from "../bench/svg.mjs"
import { pack, unpack } from "../bench/tensors.mjs"
import { idleLine, loadTable, overheadLine, report as workerReport, soakLine } from "../bench/worker/report.mjs"

/** Calls `work` with each row's arguments; the last of a row is what has to come out. */
function check(work, rows) {
  for (const row of rows) assert.deepEqual(work(...row.slice(0, -1)), row.at(-1), `${work.name}(${JSON.stringify(row.slice(0, -1))})`)
}

test("quantiles_lie_between_neighbours", () => {
  check(quantile, [
    [[], 0.5, NaN],
    [[7], 0.1, 7],
    [[3, 1, 2], 0.5, 2],
    [[4, 1, 3, 2], 0.5, 2.5],
    [[0, 10], 0.9, 9],
    [[10, 0, 20, 30, 40], 0.1, 4],
  ])
  assert.deepEqual(summary([0, 10, 20, 30, 40]), { median: 20, p10: 4, p90: 36, runs: 5 })
})

test("twice_and_half_are_even", () => {
  const rounded = ratios => Number(geomean(ratios).toFixed(9))
  check(rounded, [[[2, 0.5], 1], [[8], 8], [[1, 10, 100], 10]])
})

test("slow_contenders_run_less_often_but_never_less_than_the_least", () => {
  const limits = { budgetMs: 1000, minRuns: 3, maxRuns: 50 }
  check(estimateMs => runsFor(estimateMs, limits), [[0, 50], [1, 50], [100, 10], [333, 3], [17_000, 3]])
  assert.equal(runsFor(5, { budgetMs: 0, minRuns: 7, maxRuns: 7 }), 7)
})

test("contenders_take_turns_and_begin_in_turns", () => {
  check(schedule, [
    [[], []],
    [[0, 0], []],
    [[2, 2], [[0, 1], [1, 0]]],
    [[3, 3, 3], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]],
    [[4, 2], [[0], [1, 0], [0], [1, 0]]],
  ])
})

test("everyone_gets_all_runs_spread_over_the_rounds", () => {
  const counts = [50, 3, 17, 1]
  const rounds = schedule(counts)
  assert.equal(rounds.length, 50)
  counts.forEach((count, at) => assert.equal(rounds.flat().filter(each => each === at).length, count))
  const slow = rounds.flatMap((round, at) => (round.includes(1) ? [at] : []))
  assert.deepEqual(slow, [16, 33, 49])
})

/** A contender whose runs take these times; a string is thrown. */
function fake(times, { wrong } = {}) {
  let at = 0
  return {
    async run() {
      const time = times[Math.min(at++, times.length - 1)]
      if (typeof time === "string") throw new Error(time)
      return time
    },
    check: async () => wrong,
    release: async () => {},
  }
}

test("who_fails_is_a_row_and_the_others_go_on", async () => {
  const contenders = {
    good: () => fake([100]),
    late: () => fake([100, 300, "the device is lost"]),
    wrong: () => fake([100], { wrong: "y: element 0: got 1, want 2" }),
    absent: () => { throw Object.assign(new Error("not here"), { code: "IO" }) },
  }
  const heard = []
  const rows = await warm({
    contenders: Object.keys(contenders),
    open: async name => contenders[name](),
    limits: { budgetMs: 0, minRuns: 3, maxRuns: 3 },
    report: ({ contender }) => heard.push(contender),
  })
  assert.deepEqual(rows.good.warm, { median: 100, p10: 100, p90: 100, runs: 3 })
  assert.equal(rows.late.error, "the device is lost")
  assert.equal(rows.late.warm, undefined)
  assert.equal(rows.wrong.wrong, "y: element 0: got 1, want 2")
  assert.equal(rows.absent.error, "IO: not here")
  assert.ok(Object.keys(contenders).every(name => heard.includes(name)))
})

test("numbers_are_short", () => {
  check(short, [[0.12345, "0.123"], [4.5678, "4.57"], [78.91, "78.9"], [1234.5, "1,235"], [NaN, "–"]])
})

test("tables_line_up", () => {
  assert.equal(markdown(["x|y", "ms"], [["a", "1.5"], ["long name", "10"]]), [
    "| x\\|y      |  ms |",
    "| --------- | --: |",
    "| a         | 1.5 |",
    "| long name |  10 |",
  ].join("\n"))
})

const time = (median, spread = 0) => ({ median, p10: median - spread, p90: median + spread, runs: 3 })
const row = (name, contender, values) => ({ where: "node", case: name, kind: "model", contender, ...values })
const ROWS = [
  row("a", "cpu", { warm: time(10, 1) }),
  row("a", "ort-wasm", { warm: time(20) }),
  row("b", "cpu", { warm: time(10) }),
  row("b", "ort-wasm", { warm: time(5) }),
  row("c", "cpu", { warm: time(1) }),
  row("c", "ort-wasm", { warm: time(100), wrong: "y: element 3: got 1, want 2" }),
  row("d", "cpu", { error: "MODEL_UNSUPPORTED: no such operator" }),
  row("d", "ort-wasm", { warm: time(100) }),
]

test("only_what_both_compute_right_is_compared", () => {
  assert.deepEqual(ratios(ROWS), [{ where: "node", kind: "model", metric: "warm", ours: "cpu", peer: "ort-wasm", timesAsFast: 1, least: 0.5, most: 2, cases: 2 }])
})

test("wrong_and_failed_show_in_the_table", () => {
  assert.equal(timesTable(ROWS, "node", "model", "warm"), [
    "| Node.js, warm run, ms |              cpu | onnxruntime-web/wasm |",
    "| --------------------- | ---------------: | -------------------: |",
    "| a                     | 10.0 (9.00–11.0) |     20.0 (20.0–20.0) |",
    "| b                     | 10.0 (10.0–10.0) |     5.00 (5.00–5.00) |",
    "| c                     | 1.00 (1.00–1.00) |  WRONG 100 (100–100) |",
    "| d                     |           failed |        100 (100–100) |",
  ].join("\n"))
  assert.deepEqual(complaints(ROWS), [
    "- Node.js, onnxruntime-web/wasm: WRONG: y: element 3: got 1, want 2 (c)",
    "- Node.js, cpu: MODEL_UNSUPPORTED: no such operator (d)",
  ])
})

test("charts_keep_their_words_and_reach_around_all_values", () => {
  check(decades, [[[], [0, 1]], [[1, 10], [0, 1]], [[0.2, 3000], [-1, 4]], [[5], [0, 1]]])
  assert.equal(escape("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;")
  const groups = [{ label: "one <1>", bars: [{ value: 2, low: 1, high: 3 }, undefined, { value: 30, low: 30, high: 30, isWrong: true }] }]
  const svg = barChart({ heading: "times", unit: "ms", series: ["a", "b", "c"], groups })
  assert.match(svg, /^<svg .*<\/svg>\n$/s)
  assert.equal(svg.match(/class="spread"/g).length, 2)
  assert.match(svg, /one &lt;1&gt;/)
  assert.match(svg, /30\.0 WRONG/)
})

test("options_are_read_and_wrong_ones_are_refused", () => {
  const quick = readOptions(["--quick", "--models", "a,b", "--ops"])
  assert.deepEqual([quick.models, quick.ops, quick.limits.minRuns, quick.limits.maxRuns, quick.cold], [["a", "b"], "", 3, 3, 1])
  assert.deepEqual(readOptions(["--ops", "conv", "--models", "none", "--runs", "9"]).limits, { budgetMs: 0, minRuns: 9, maxRuns: 9 })
  assert.deepEqual(readOptions(["--where", "node,native"]).where, ["node", "native"])
  for (const args of [["--where", "moon"], ["--only", "me"], ["--runs", "0"], ["--runs", "x"], ["--fast"], ["--cold", "-1"]]) {
    assert.throws(() => readOptions(args), UsageError, args.join(" "))
  }
})

test("arrays_survive_packing", () => {
  const tensors = [
    { name: "a", type: "uint8", dims: [3], data: Uint8Array.of(1, 2, 3) },
    { name: "b", type: "int64", dims: [1, 2], data: BigInt64Array.of(-1n, 2n) },
    { name: "c", type: "float32", dims: [], data: Float32Array.of(0.5), tolerance: { atol: 1, rtol: 0 } },
  ]
  const { entries, bytes } = pack(tensors)
  assert.deepEqual(unpack(JSON.parse(JSON.stringify(entries)), bytes.buffer).map(({ tolerance, ...each }) => (tolerance ? { ...each, tolerance } : each)), tensors)
})

test("text_is_put_between_its_marks", () => {
  assert.equal(between("x\n<!-- t -->\nold\n<!-- /t -->\ny", "t", "new"), "x\n<!-- t -->\nnew\n<!-- /t -->\ny")
  assert.throws(() => between("x", "t", "new"), /no <!-- t -->/)
  check(adapter => slug({ adapters: { chromium: adapter } }), [[{ vendor: "google", architecture: "swiftshader" }, "swiftshader"], [null, "no-gpu"]])
})

test("models_are_written_as_protobuf", () => {
  const model = writeModel({ opset: 17, nodes: [{ op: "Relu", inputs: ["x"], outputs: ["y"] }], inputs: [{ name: "x", dims: [2] }], outputs: [{ name: "y", dims: [2] }] })
  assert.equal(model.toString("hex"), "08083a37" + "0a0c0a0178120179220452656c75" + "12056772617068" + "5a0f0a017812" + "0a0a08080112040a020802" + "620f0a017912" + "0a0a08080112040a020802" + "42040a001011")
})

test("operators_have_the_shapes_of_their_names", () => {
  const softmax = buildOperator(OPERATORS.find(({ op }) => op === "Softmax"))
  const [{ dims, data }] = softmax.outputs
  assert.deepEqual(dims, [1536, 128])
  assert.ok(Math.abs(data.subarray(0, 128).reduce((a, b) => a + b) - 1) < 1e-5)
  const strided = buildOperator(OPERATORS.find(({ name }) => name === "Conv depthwise 3x3/2 144 56"))
  assert.deepEqual(strided.outputs[0].dims, [1, 144, 28, 28])
})

test("batches_are_compared_with_single_runs_of_the_same_model_in_the_same_place", () => {
  const row = (where, way, median, longestTaskMs) => ({ where, model: "m", backend: "cpu", way, rate: { median, p10: 0, p90: 0 }, longestTaskMs })
  const rows = [row("node", "one by one", 100, 90), row("node", "two workers", 180, 7), row("chromium", "two workers", 50, 3)]
  const lines = throughputTable([...rows, { ...row("chromium", "one by one"), rate: undefined, error: "gone" }]).split("\n")
  assert.deepEqual(lines.slice(2).map(line => line.split("|").map(cell => cell.trim()).slice(1, -1)), [
    ["Node.js, `cpu`: m", "100", "180, 1.80×"],
    ["Chromium, `cpu`: m", "failed", "50.0"],
  ])
  assert.equal(longestTasks(rows), "Node.js 7.00 ms, Chromium 3.00 ms")
})

test("two_workers_are_told_against_one_for_each_model", () => {
  const row = (model, way, median) => ({ where: "node", model, backend: "cpu", way: `batches of 8, ${way}`, rate: { median } })
  const rows = [row("m", "one worker", 100), row("m", "two workers", 190), row("n", "one worker", 10), row("n", "two workers", 15)]
  assert.equal(workersGain([...rows, row("failed", "one worker", undefined)]), "Node.js 1.90×, 1.50×")
  assert.equal(workersGain([]), "")
})

test("a_worker_is_reported_with_what_it_was_measured_for_and_no_more", () => {
  const latency_ms = { p50: 0.25, p99: 1.5, max: 12 }
  const row = { connections: 16, idle: 0, requests_per_s: 12345.6, n_requests: 60_000, latency_ms, avg_batch_size: 3.5, errors: {} }
  const webSocket = {
    transport: "WebSocket",
    rows: [row, { ...row, idle: 1000 }],
    direct: { overhead_p50_ms: 0.125 },
    idle: { connections: 1000, resident_bytes_before: 2 ** 20, resident_bytes_after: 11 * 2 ** 20, bytes_per_connection: 10_486, lost: 0 },
  }
  assert.deepEqual(loadTable([webSocket, { transport: "HTTP", rows: [row] }]).split("\n").map(line => line.replaceAll(/ +/g, " ")).slice(2), [
    "| WebSocket, 16 | 12,346 | 0.250 | 1.50 | 12.0 | 3.50 |",
    "| WebSocket, 16 beside 1,000 idle | 12,346 | 0.250 | 1.50 | 12.0 | 3.50 |",
    "| HTTP, 16 | 12,346 | 0.250 | 1.50 | 12.0 | 3.50 |",
  ])
  assert.match(overheadLine([webSocket]), /WebSocket 0\.125 ms/)
  assert.match(idleLine([webSocket]), /1,000 idle connections take 10\.0 MiB .* 10\.2 KiB each; none was lost/)
  const samples = [[0, 1], [300, 2], [600, 2]].map(([at_s, mib]) => ({ at_s, resident_bytes: mib * 2 ** 20 }))
  const soak = { row: { ...row, errors: { QUEUE_FULL: 2 } }, samples, bytes_per_s: -3.25, is_flat: true }
  assert.equal(soakLine(soak), "10.0 minutes at full load: 60,000 requests, 2.00 QUEUE_FULL; memory from the middle to the end: 2.00 to 2.00 MiB, which is flat (−3.25 bytes per second).")
  const text = workerReport({ date: "2026-01-02T03:04:05Z", command: "c", device: { cpu: "cpu", cores: 2 }, reports: [{ transport: "HTTP", rows: [row] }] })
  assert.doesNotMatch(text, /undefined|NaN|idle|full load|direct call/)
})
