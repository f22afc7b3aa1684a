// Bar charts as SVG text: times on a logarithmic scale, so that a ratio has the same length everywhere.
import { short } from "./report.mjs"

const COLOURS = ["#2563eb", "#0891b2", "#7c3aed", "#f97316", "#a3a3a3", "#65a30d"]
const LEFT = 190
const WIDTH = 860
const BAR = 11
const GAP = 14
const FONT = "font-family=\"system-ui, sans-serif\""

export const escape = text => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

/** Powers of ten around all values. */
export function decades(values) {
  const positive = values.filter(value => value > 0)
  if (positive.length === 0) return [0, 1]
  const low = Math.floor(Math.log10(Math.min(...positive)))
  return [low, Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))))]
}

/**
 * @param {{ heading: string, unit: string, series: string[], groups: { label: string, bars: ({ value: number, low: number, high: number, isWrong?: boolean } | undefined)[] }[] }} chart
 *   each group has one bar for each series; undefined leaves its place empty
 */
export function barChart({ heading, unit, series, groups }) {
  const [low, high] = decades(groups.flatMap(({ bars }) => bars.flatMap(bar => (bar ? [bar.low, bar.high] : []))))
  const right = WIDTH - 70
  const x = value => LEFT + ((Math.log10(value) - low) / (high - low)) * (right - LEFT)
  const shapes = []
  let y = 62
  const top = y
  for (const { label, bars } of groups) {
    const height = bars.length * BAR
    shapes.push(`<text x="${LEFT - 8}" y="${y + height / 2 + 4}" text-anchor="end" class="label">${escape(label)}</text>`)
    bars.forEach((bar, at) => {
      const line = y + at * BAR
      if (bar === undefined) return
      const middle = line + BAR / 2
      const end = x(bar.value)
      shapes.push(`<rect x="${LEFT}" y="${line + 1}" width="${Math.max(1, end - LEFT).toFixed(1)}" height="${BAR - 2}" fill="${COLOURS[at % COLOURS.length]}"${bar.isWrong ? " opacity=\"0.35\"" : ""}/>`)
      shapes.push(`<path d="M${x(bar.low).toFixed(1)} ${middle}H${x(bar.high).toFixed(1)}" class="spread"/>`)
      shapes.push(`<text x="${(Math.max(end, x(bar.high)) + 5).toFixed(1)}" y="${middle + 3.5}" class="value">${short(bar.value)}${bar.isWrong ? " WRONG" : ""}</text>`)
    })
    y += height + GAP
  }
  const ticks = []
  for (let power = low; power <= high; power++) {
    const at = x(10 ** power).toFixed(1)
    ticks.push(`<path d="M${at} ${top - 6}V${y - GAP + 4}" class="grid"/>`, `<text x="${at}" y="${y + 6}" text-anchor="middle" class="value">${short(10 ** power).replace(/\.0+$/, "")}</text>`)
  }
  let legendX = LEFT
  const legend = series.flatMap((name, at) => {
    const entry = [`<rect x="${legendX}" y="32" width="10" height="10" fill="${COLOURS[at % COLOURS.length]}"/>`, `<text x="${legendX + 14}" y="41" class="label">${escape(name)}</text>`]
    legendX += 26 + name.length * 6.4
    return entry
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 22}" width="${WIDTH}" height="${y + 22}" ${FONT} role="img" aria-label="${escape(heading)}">`,
    "<style>text{fill:#1f2937}.label{font-size:11px}.value{font-size:9.5px}.grid{stroke:#d1d5db;fill:none}.spread{stroke:#111827;fill:none}</style>",
    "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
    `<text x="${LEFT}" y="20" font-size="14" font-weight="600">${escape(heading)}, ${escape(unit)}</text>`,
    ...legend,
    ...ticks,
    ...shapes,
    "</svg>",
    "",
  ].join("\n")
}
