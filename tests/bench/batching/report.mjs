// From what was measured to the tables of the README. Pure functions.
import { markdown, short } from "../report.mjs"

const NAMES = { node: "Node.js", chromium: "Chromium" }

const spread = ({ median, p10, p90 }) => `${short(median)} (${short(p10)}–${short(p90)})`

export function costTable(costs) {
  const rows = costs.map(({ where, scheduler, engine }) => [NAMES[where], spread(scheduler), spread(engine)])
  return markdown(["µs per input", "scheduling alone", "the whole engine"], rows)
}

/** `rows` has one entry for a place, model and way to run: `{ where, model, backend, way, rate, longestTaskMs, error }`. */
export function throughputTable(rows) {
  const keys = [...new Set(rows.map(({ where, model, backend }) => JSON.stringify([where, model, backend])))]
  const ways = [...new Set(rows.map(({ way }) => way))]
  const body = keys.map(key => {
    const [where, model, backend] = JSON.parse(key)
    const find = way => rows.find(row => row.where === where && row.model === model && row.backend === backend && row.way === way)
    const base = find("one by one")
    return [`${NAMES[where]}, \`${backend}\`: ${model}`, ...ways.map(way => cell(find(way), base))]
  })
  return markdown(["inputs per second", ...ways], body)
}

function cell(row, base) {
  if (row === undefined) return "–"
  if (row.error !== undefined) return "failed"
  const times = row === base || base?.rate === undefined ? "" : `, ${(row.rate.median / base.rate.median).toFixed(2)}×`
  return `${short(row.rate.median)}${times}`
}

/** What two workers do against one, by place. */
export function workersGain(rows) {
  return Object.keys(NAMES).flatMap(where => {
    const rate = (model, way) => rows.find(row => row.where === where && row.backend === "cpu" && row.model === model && row.way === `batches of 8, ${way}`)?.rate?.median
    const models = [...new Set(rows.map(({ model }) => model))]
    const gains = models.map(model => rate(model, "two workers") / rate(model, "one worker")).filter(Number.isFinite)
    return gains.length === 0 ? [] : [`${NAMES[where]} ${gains.map(gain => `${gain.toFixed(2)}×`).join(", ")}`]
  }).join("; ")
}

/** How long a run on a pool kept the main thread. */
export function longestTasks(rows) {
  const pools = rows.filter(({ way, longestTaskMs }) => /worker/.test(way) && longestTaskMs !== undefined)
  return Object.keys(NAMES).flatMap(where => {
    const tasks = pools.filter(row => row.where === where).map(({ longestTaskMs }) => longestTaskMs)
    return tasks.length === 0 ? [] : [`${NAMES[where]} ${short(Math.max(...tasks))} ms`]
  }).join(", ")
}

export function report({ date, command, device, costs, rows }) {
  const failed = rows.filter(({ error }) => error !== undefined)
  const tasks = longestTasks(rows)
  const gain = workersGain(rows)
  return [
    `${device.cpu}, ${device.cores} cores; medians${costs.length > 0 ? ", in brackets the 10th and the 90th of a hundred" : ""}; ×: against one by one. ${date.slice(0, 10)}, \`${command}\`.`,
    ...(costs.length > 0 ? [costTable(costs)] : []),
    ...(rows.length > 0 ? [throughputTable(rows)] : []),
    ...(gain === "" ? [] : [`Two workers against one, by model in this order: ${gain}.`]),
    ...(tasks === "" ? [] : [`While workers ran, the calling thread was kept at most: ${tasks}.`]),
    ...failed.map(({ where, model, backend, way, error }) => `- ${NAMES[where]}, \`${backend}\`, ${model}, ${way}: ${error}`),
  ].join("\n\n")
}
