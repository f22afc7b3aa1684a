import type { BatchInferenceEngine, BatchStatistics, Statistics } from "../host/index.js"
import type { OutputReport } from "./bench.js"
import { BarChart, LineChart, type Span } from "./charts.js"
import { byId, element, milliseconds, showOutput } from "./view.js"

export const TICK_MS = 200
const SPAN: Span = { tickMs: TICK_MS, leastSeconds: 5, mostSeconds: 30 }

const POLICIES: Record<string, string> = {
  latest: "The newest frame takes the place of the one that waits.",
  queue: "Frames wait in a queue; while it is full, the source waits.",
  "drop-new": "Frames wait in a queue; while it is full, new ones are dropped.",
}

const SHOWN: Record<string, (statistics: Figures) => string> = {
  totalInputs: ({ totalInputs }) => String(totalInputs),
  totalOutputs: ({ totalOutputs }) => String(totalOutputs),
  totalDropped: ({ totalDropped }) => String(totalDropped),
  totalErrors: ({ totalErrors }) => String(totalErrors),
  totalBatches: ({ totalBatches }) => String(totalBatches),
  avgBatchSize: ({ avgBatchSize }) => avgBatchSize.toFixed(2),
  queueDepth: ({ queueDepth }) => String(queueDepth),
  avgInferenceTime: ({ avgInferenceTime }) => milliseconds(avgInferenceTime),
  p50Latency: ({ p50Latency }) => milliseconds(p50Latency),
  p95Latency: ({ p95Latency }) => milliseconds(p95Latency),
  p99Latency: ({ p99Latency }) => milliseconds(p99Latency),
  throughput: ({ throughput }) => `${throughput.toFixed(1)} /s`,
}

/** What is shown of a run: the engine's batches, and the inputs of the whole engine or of one stream. */
export type Figures = Omit<Statistics, "totalCancelled" | "localInputs" | "remoteInputs">

/** The part of the page that shows how a batch or a stream runs. */
export class LiveView {
  readonly #fps = new LineChart(byId("live-fps-chart"), SPAN)
  readonly #queue = new LineChart(byId("live-queue-chart"), SPAN)
  readonly #latency = new BarChart(byId("live-latency-chart"))
  readonly #counters = new Map(Object.keys(SHOWN).map(name => [name, element("dd", "", "–")]))
  readonly #buttons = [...document.querySelectorAll<HTMLButtonElement>("#live-buttons [data-source]")]
  readonly #stop = byId<HTMLButtonElement>("live-stop")

  constructor() {
    const tiles = [...this.#counters].map(([name, value]) => {
      const tile = element("div", "", element("dt", "", name), value)
      tile.dataset["statistic"] = name
      return tile
    })
    byId("live-statistics").replaceChildren(...tiles)
    const policy = byId<HTMLSelectElement>("live-policy")
    const explain = () => { byId("live-policy-about").textContent = POLICIES[policy.value] ?? "" }
    policy.addEventListener("change", explain)
    explain()
    this.#await("Run a batch or start a stream.")
  }

  /** A run begins: nothing of a former one is left. */
  begin(status: string): void {
    byId("live-error").hidden = true
    byId("live-place").hidden = true
    this.#await("Waiting for the first result…")
    for (const chart of [this.#fps, this.#queue, this.#latency]) chart.clear()
    for (const value of this.#counters.values()) value.textContent = "–"
    for (const button of this.#buttons) button.disabled = true
    this.#stop.disabled = false
    this.say(status)
  }

  /** A run has ended; the keyboard goes back to the button that began it. */
  end(source: string): void {
    const hadFocus = document.activeElement === this.#stop || document.activeElement === document.body
    for (const button of this.#buttons) button.disabled = false
    this.#stop.disabled = true
    this.preview(undefined)
    if (hadFocus) this.#buttons.find(button => button.dataset["source"] === source)?.focus({ preventScroll: true })
  }

  say(status: string): void {
    byId("live-status").textContent = status
  }

  fail(code: string, message: string): void {
    byId("live-error-code").textContent = code
    byId("live-error-message").textContent = message
    byId("live-error").hidden = false
    this.say("")
    if (document.querySelector("#live-outputs .output") === null) this.#await("Run a batch or start a stream.")
  }

  /** Where a model runs, how its inputs are joined, and why. Where the engine does not know before a run, it is as `provider` says. */
  place(engine: Pick<BatchInferenceEngine, "placement" | "facts">, { workers, batchSize }: BatchStatistics, isPool: boolean, provider: string): void {
    const placement = engine.placement()
    const backends = [...new Set(placement.map(({ backend }) => backend))].join(" + ") || provider
    const reasons = [...new Set(placement.map(({ reason }) => reason))]
    const where = isPool ? `${workers.length} worker${workers.length === 1 ? "" : "s"}` : "the page's own thread"
    const { mode, reason } = engine.facts.joining
    const joined = mode === "alone" ? `one by one: ${reason}` : batchSize === 1 ? "one by one" : `joined in batches of up to ${batchSize}`
    const why = reasons.length === 1 && reasons[0] !== "" ? ` (${reasons[0]})` : ""
    const rest = ` on ${where}, ${joined}${why}`
    const line = byId("live-place")
    // What somebody is marking stays as it is.
    if (line.textContent !== backends + rest) line.replaceChildren(element("strong", "", backends), rest)
    line.hidden = false
  }

  preview(stream: MediaStream | undefined): void {
    const video = byId<HTMLVideoElement>("live-preview")
    video.srcObject = stream ?? null
    video.hidden = stream === undefined
    // A stream that ends before its first frame is no error of the page.
    if (stream !== undefined) video.play().catch(() => undefined)
  }

  outputs(reports: readonly OutputReport[], labels: readonly string[]): void {
    byId("live-outputs").replaceChildren(...reports.map(report => showOutput(report, labels)))
  }

  /** What stands where outputs will be. */
  #await(text: string): void {
    byId("live-outputs").replaceChildren(element("p", "hint", text))
  }

  statistics(figures: Figures): void {
    for (const [name, value] of this.#counters) value.textContent = SHOWN[name]?.(figures) ?? "–"
    this.#fps.push(figures.throughput, figures.throughput.toFixed(1))
    this.#queue.push(figures.queueDepth, String(figures.queueDepth))
    this.#latency.show(latencyBars(figures), `p50 ${milliseconds(figures.p50Latency)}`)
  }
}

/** From the first range that has answers to the last. */
function latencyBars({ histogram: { bounds, counts } }: Figures) {
  const filled = [...counts.keys()].filter(at => counts[at] !== 0)
  const [first = 0, last = -1] = [filled[0], filled.at(-1)]
  return Array.from(counts.slice(first, last + 1), (value, at) => {
    const until = bounds[first + at]
    return { label: until === undefined ? "longer" : `≤ ${milliseconds(until)}`, value }
  })
}
