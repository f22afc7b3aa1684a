import { milliseconds, table, type Paint } from "../cli/terminal.js"
import type { LatencyHistogram, Statistics } from "../host/index.js"

const BAR_WIDTH = 30
/** Neighbouring buckets are taken together where there are more rows. */
const MOST_ROWS = 12

type Figures = Partial<Omit<Statistics, "histogram">>

const COUNTS = [
  "totalInputs",
  "totalOutputs",
  "totalBatches",
  "totalErrors",
  "totalCancelled",
  "totalDropped",
  "localInputs",
  "remoteInputs",
  "queueDepth",
] as const
const TIMES = ["avgInferenceTime", "p50Latency", "p95Latency", "p99Latency"] as const

/** The figures under the names that programs see, in two columns: how many, and how long. */
export function showStatistics(statistics: Figures, paint: Paint): string {
  const counts = COUNTS.flatMap(name => (statistics[name] === undefined ? [] : [[name, String(statistics[name])]]))
  const times = [
    ...(statistics.avgBatchSize === undefined ? [] : [["avgBatchSize", statistics.avgBatchSize.toFixed(2)]]),
    ...TIMES.flatMap(name => (statistics[name] === undefined ? [] : [[name, milliseconds(statistics[name])]])),
    ...(statistics.throughput === undefined ? [] : [["throughput", `${statistics.throughput.toFixed(1)} /s`]]),
  ]
  const rows = Array.from({ length: Math.max(counts.length, times.length) }, (_, at) => [...(counts[at] ?? ["", ""]), "", ...(times[at] ?? [])])
  const [name, value] = [{ style: paint.dim }, { align: "right" as const }]
  return table(rows, [name, value, {}, name, value])
}

/** How many answers took how long, a bar for each range that has some. */
export function showHistogram(histogram: LatencyHistogram, paint: Paint): string {
  const rows = ranges(histogram)
  const most = Math.max(...rows.map(({ count }) => count))
  return table(
    rows.map(({ untilMs, count }) => [
      Number.isFinite(untilMs) ? `≤ ${milliseconds(untilMs)}` : "longer",
      String(count),
      "█".repeat(Math.ceil((count / most) * BAR_WIDTH)),
    ]),
    [{ align: "right", style: paint.dim }, { align: "right" }, { style: paint.accent }],
  )
}

/** From the first bucket that has answers to the last, at most `MOST_ROWS` of them. */
export function ranges({ bounds, counts }: LatencyHistogram): { untilMs: number; count: number }[] {
  const filled = [...counts.keys()].filter(at => counts[at] !== 0)
  const [first = 0, last = -1] = [filled[0], filled.at(-1)]
  const step = Math.max(1, Math.ceil((last - first + 1) / MOST_ROWS))
  return Array.from({ length: Math.ceil((last - first + 1) / step) }, (_, row) => {
    const from = first + row * step
    const until = Math.min(last + 1, from + step)
    return { untilMs: bounds[until - 1] ?? Infinity, count: counts.slice(from, until).reduce((sum, count) => sum + count, 0) }
  })
}
