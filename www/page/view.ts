import type { InferenceSession, Placement } from "../host/index.js"
import type { Loaded, OutputReport, RunReport } from "./bench.js"

/** The element of this id; the page's own HTML has it. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`no element #${id}`)
  return element as E
}

/** A new element with what is in it. */
export function element(tag: string, className: string, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(tag)
  if (className !== "") made.className = className
  made.append(...children)
  return made
}

/** Work in progress; a share of undefined is a bar that only moves. */
export function showProgress(text: string, share?: number): void {
  const bar = byId<HTMLProgressElement>("progress-bar")
  byId("progress").hidden = false
  byId("progress-text").textContent = text
  if (share === undefined) bar.removeAttribute("value")
  else bar.value = share
}

export function hideProgress(): void {
  byId("progress").hidden = true
}

/** An error with its code, until the next attempt. */
export function showError(code: string, message: string): void {
  byId("error-code").textContent = code
  byId("error-message").textContent = message
  byId("error").hidden = false
  clearResults()
}

export function hideError(): void {
  byId("error").hidden = true
}

/** Takes away what a former run said. */
export function clearResults(): void {
  byId("outputs").replaceChildren()
  byId("timing").hidden = true
  byId("reason").hidden = true
}

/** What a loaded model says of itself; its operators once they are placed. */
export function showFacts({ name, session }: Loaded, placement: readonly Placement[]): void {
  const rows: [string, string[]][] = [
    ["File", [name]],
    ["Inputs", describe(session.inputMetadata)],
    ["Outputs", describe(session.outputMetadata)],
  ]
  if (placement.length > 0) rows.push(["Operators", [countedOperators(placement)]])
  byId("facts-list").replaceChildren(
    ...rows.flatMap(([term, lines]) => [
      element("dt", "", term),
      element("dd", "", ...lines.flatMap((line, index) => (index === 0 ? [line] : [document.createElement("br"), line]))),
    ]),
  )
  byId("facts").hidden = false
}

/** `Conv 3, Relu 2`: the most frequent first. */
function countedOperators(placement: readonly Placement[]): string {
  const counts = new Map<string, number>()
  for (const { op } of placement) counts.set(op, (counts.get(op) ?? 0) + 1)
  const sorted = [...counts].sort((a, b) => b[1] - a[1])
  return sorted.map(([op, count]) => `${op} ${count}`).join(", ")
}

export function hideFacts(): void {
  byId("facts").hidden = true
  byId("placement").hidden = true
}

function describe(values: readonly InferenceSession.ValueMetadata[]): string[] {
  return values.map(value => (value.isTensor ? `${value.name}  ${value.type} [${value.shape.join(", ")}]` : value.name))
}

/** The answer and what it took. */
export function showRun(report: RunReport, loadMs: number, labels: readonly string[]): void {
  byId("results-empty").hidden = true
  byId("try").hidden = true
  byId("outputs").replaceChildren(...report.outputs.map(output => showOutput(output, labels)))
  const backends = [...new Set(report.placement.map(({ backend }) => backend))].join(" + ")
  const tiles: [string, string, string][] = [
    ["backend", "Backend", backends],
    ["load", "Load", milliseconds(loadMs)],
    ["first", "First run", milliseconds(report.firstMs)],
    ["median", `Median of ${report.runs}`, milliseconds(report.medianMs)],
  ]
  byId("timing").replaceChildren(
    ...tiles.map(([key, term, value]) => {
      const tile = element("div", "", element("dt", "", term), element("dd", "", value))
      tile.dataset["tile"] = key
      return tile
    }),
  )
  byId("timing").hidden = false
  showReason(report.placement)
  // On a narrow screen the answer is below the fold.
  byId("results").scrollIntoView({ block: "nearest" })
}

/** Why the model runs where it does, when all of it runs there for one reason. */
function showReason(placement: readonly Placement[]): void {
  const reasons = new Set(placement.map(({ reason }) => reason))
  const [reason = ""] = reasons
  byId("reason").textContent = `Why: ${reason}`
  byId("reason").hidden = reasons.size !== 1 || reason === ""
}

/** An output as a ranking or as values. */
export function showOutput({ name, about, classes, values }: OutputReport, labels: readonly string[]): HTMLElement {
  const heading = element("h3", "", `${name}  `, element("span", "mono", about))
  if (classes === undefined) return element("div", "output", heading, element("p", "values mono", values ?? ""))
  const rows = classes.map(({ index, probability }) => {
    const filled = element("span", "")
    filled.style.width = `${Math.max(0, Math.min(1, probability)) * 100}%`
    const bar = element("span", "bar", filled)
    bar.ariaHidden = "true"
    const label = element("span", "label", labels[index] ?? `class ${index}`)
    label.title = label.textContent ?? ""
    return element("li", "", label, bar, element("span", "share", `${(probability * 100).toFixed(1)} %`))
  })
  return element("div", "output", heading, element("ol", "ranks", ...rows))
}

/** Where the nodes run; only those that match the filter. */
export function showPlacement(placement: readonly Placement[], filter: string): void {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean)
  const matching = placement.filter(({ node, op, backend, reason }) => {
    const text = `${node} ${op} ${backend} ${reason}`.toLowerCase()
    return words.every(word => text.includes(word))
  })
  byId("placement").hidden = placement.length === 0
  byId("placement-count").textContent = words.length === 0 ? `${placement.length} nodes` : `${matching.length} of ${placement.length} nodes`
  byId("placement-rows").replaceChildren(
    ...matching.map(({ node, op, backend, reason }) =>
      element(
        "tr",
        "",
        element("td", "", node),
        element("td", "", op),
        element("td", "", element("span", backend === "cpu" ? "backend" : "backend gpu", backend)),
        element("td", "", reason),
      ),
    ),
  )
}

export function milliseconds(ms: number): string {
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`
}
