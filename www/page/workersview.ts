import type { DistributedStatistics } from "../host/index.js"
import { BarChart, LineChart, type Span } from "./charts.js"
import { byId, element, milliseconds } from "./view.js"

export const TICK_MS = 200
const SPAN: Span = { tickMs: TICK_MS, leastSeconds: 5, mostSeconds: 30 }

const SHOWN: Record<string, (statistics: DistributedStatistics) => string> = {
  totalInputs: ({ totalInputs }) => String(totalInputs),
  totalOutputs: ({ totalOutputs }) => String(totalOutputs),
  totalErrors: ({ totalErrors }) => String(totalErrors),
  localInputs: ({ localInputs }) => String(localInputs),
  remoteInputs: ({ remoteInputs }) => String(remoteInputs),
  queueDepth: ({ queueDepth }) => String(queueDepth),
  p50Latency: ({ p50Latency }) => milliseconds(p50Latency),
  p95Latency: ({ p95Latency }) => milliseconds(p95Latency),
  p99Latency: ({ p99Latency }) => milliseconds(p99Latency),
}

type Worker = DistributedStatistics["workers"][number]

/** A worker's row: its cells change, the row stays, so that nothing that is marked or focused is lost. */
interface Row {
  row: HTMLElement
  state: HTMLElement
  note: HTMLElement
  figures: HTMLElement[]
}

/** The part of the page that shows workers. */
export class WorkersView {
  readonly #rate = new LineChart(byId("worker-rate-chart"), SPAN)
  readonly #share = new BarChart(byId("worker-share-chart"))
  readonly #counters = new Map(Object.keys(SHOWN).map(name => [name, element("dd", "", "–")]))
  readonly #rows = new Map<string, Row>()
  readonly #remove: (url: string) => void
  #size = 0
  #isRunning = false

  constructor(remove: (url: string) => void) {
    this.#remove = remove
    const tiles = [...this.#counters].map(([name, value]) => {
      const tile = element("div", "", element("dt", "", name), value)
      tile.dataset["workersStatistic"] = name
      return tile
    })
    byId("worker-statistics").replaceChildren(...tiles)
    this.#showRows([])
  }

  begin(status: string): void {
    byId("worker-error").hidden = true
    this.say(status)
  }

  say(status: string): void {
    byId("worker-status").textContent = status
  }

  fail(code: string, message: string): void {
    byId("worker-error-code").textContent = code
    byId("worker-error-message").textContent = message
    byId("worker-error").hidden = false
    this.say("")
  }

  /** So many workers are there. */
  size(size: number): void {
    this.#size = size
    this.#enable()
  }

  running(isRunning: boolean): void {
    this.#isRunning = isRunning
    if (isRunning) this.#rate.clear()
    this.#enable()
  }

  statistics(statistics: DistributedStatistics | undefined): void {
    this.#showRows(statistics?.workers ?? [])
    if (statistics === undefined) return this.#clear()
    for (const [name, value] of this.#counters) value.textContent = SHOWN[name]?.(statistics) ?? "–"
    if (this.#isRunning) this.#rate.push(statistics.throughput, statistics.throughput.toFixed(0))
    const bars = statistics.workers.map(({ url, done }) => ({ label: url, value: done }))
    this.#share.show(bars, `${statistics.totalOutputs} done`)
  }

  #clear(): void {
    for (const value of this.#counters.values()) set(value, "–")
    this.#share.clear()
  }

  #enable(): void {
    byId<HTMLButtonElement>("worker-start").disabled = this.#isRunning || this.#size === 0
    byId<HTMLButtonElement>("worker-stop").disabled = !this.#isRunning
  }

  #showRows(workers: readonly Worker[]): void {
    const body = byId("worker-rows")
    for (const [url, { row }] of this.#rows) {
      if (workers.some(worker => worker.url === url)) continue
      row.remove()
      this.#rows.delete(url)
    }
    if (workers.length > 0) body.querySelector(".empty")?.closest("tr")?.remove()
    for (const worker of workers) this.#showRow(body, worker)
    if (workers.length > 0 || body.childElementCount > 0) return
    const cell = element("td", "empty", "Nobody yet. Add a worker, and it is shown here.")
    cell.setAttribute("colspan", "8")
    body.append(element("tr", "", cell))
  }

  #showRow(body: HTMLElement, worker: Worker): void {
    const { url, state, provider, lastError, inFlight, done, failed, p50Latency, p95Latency } = worker
    const row = this.#rows.get(url) ?? this.#addRow(body, url)
    row.state.className = `state ${state}`
    set(row.state, state)
    set(row.note, state === "open" ? provider : (lastError?.message ?? ""))
    const figures = [inFlight, done, failed].map(String).concat([p50Latency, p95Latency].map(ms => (done === 0 ? "–" : milliseconds(ms))))
    for (const [at, figure] of figures.entries()) set(row.figures[at], figure)
  }

  #addRow(body: HTMLElement, url: string): Row {
    const [state, note] = [element("span", "state"), element("span", "hint")]
    const figures = Array.from({ length: 5 }, () => element("td", "number"))
    const actions = element("td", "")
    if (url !== "local") {
      const remove = element("button", "remove", "×")
      remove.setAttribute("type", "button")
      remove.setAttribute("aria-label", `Remove ${url}`)
      remove.title = "Remove"
      remove.addEventListener("click", () => this.#remove(url))
      actions.append(remove)
    }
    const row = element("tr", "", element("td", "", url === "local" ? "this page" : url), element("td", "", state, note), ...figures, actions)
    row.dataset["worker"] = url
    body.append(row)
    const made = { row, state, note, figures }
    this.#rows.set(url, made)
    return made
  }
}

/** What somebody is marking stays as it is. */
function set(cell: HTMLElement | undefined, text: string): void {
  if (cell !== undefined && cell.textContent !== text) cell.textContent = text
}
