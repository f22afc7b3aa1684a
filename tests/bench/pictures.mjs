// The pictures of a run: one for each place, kind of case and metric that has numbers.
import { PLACES, title } from "./contenders/contenders.mjs"
import { caseNames, contendersOf } from "./report.mjs"
import { barChart } from "./svg.mjs"

const WHAT = { warm: "a warm run", first: "from a fresh start to the first result" }
const KINDS = { model: "models", op: "operators" }

/** `{ file, text, heading }` for each. */
export function pictures({ rows }, prefix) {
  const made = []
  for (const where of Object.keys(PLACES)) {
    for (const kind of Object.keys(KINDS)) {
      for (const metric of Object.keys(WHAT)) {
        const mine = rows.filter(row => row.where === where && row.kind === kind && row[metric] !== undefined)
        if (mine.length === 0) continue
        const names = contendersOf(mine, where)
        const groups = caseNames(mine, where, kind).map(label => ({ label, bars: names.map(name => bar(mine.find(row => row.case === label && row.contender === name), metric)) }))
        const heading = `${PLACES[where]}, ${KINDS[kind]}: ${WHAT[metric]}`
        made.push({ file: `${prefix}-${where}-${KINDS[kind]}-${metric}.svg`, heading, text: barChart({ heading, unit: "ms", series: names.map(title), groups }) })
      }
    }
  }
  return made
}

function bar(row, metric) {
  if (row === undefined) return undefined
  const { median, p10, p90 } = row[metric]
  return { value: median, low: p10, high: p90, isWrong: row.wrong !== undefined }
}
