// From rows to ratios and tables. Pure functions of what was measured.
import { CONTENDERS, PLACES, RIVALS, title } from "./contenders/contenders.mjs"
import { geomean } from "./statistics.mjs"

const KINDS = { model: "models", op: "operators" }
const METRICS = { warm: "warm run", first: "first result" }

const isRight = row => row !== undefined && row.error === undefined && row.wrong === undefined

/**
 * How many times as fast as each peer ours are: the geometric mean over the cases that both compute right, the
 * peer's median divided by ours.
 */
export function ratios(rows) {
  const find = index(rows)
  const found = []
  for (const where of Object.keys(PLACES)) {
    for (const kind of Object.keys(KINDS)) {
      const cases = caseNames(rows, where, kind)
      for (const metric of Object.keys(METRICS)) {
        for (const [ours, peers] of RIVALS) {
          for (const peer of peers) {
            const both = cases.map(name => [find(where, name, ours), find(where, name, peer)])
            const compared = both.filter(pair => pair.every(row => isRight(row) && row[metric] !== undefined))
            if (compared.length === 0) continue
            const each = compared.map(([our, their]) => their[metric].median / our[metric].median)
            found.push({ where, kind, metric, ours, peer, timesAsFast: geomean(each), least: Math.min(...each), most: Math.max(...each), cases: each.length })
          }
        }
      }
    }
  }
  return found
}

function index(rows) {
  const byKey = new Map(rows.map(row => [`${row.where}/${row.case}/${row.contender}`, row]))
  return (where, name, contender) => byKey.get(`${where}/${name}/${contender}`)
}

export function caseNames(rows, where, kind) {
  return [...new Set(rows.filter(row => row.where === where && row.kind === kind).map(row => row.case))]
}

/** Contenders of a place that have rows, in the order of the tables. */
export function contendersOf(rows, where) {
  return CONTENDERS[where].filter(name => rows.some(row => row.where === where && row.contender === name))
}

/** Three digits, as short as they can be: 0.123, 4.56, 78.9, 1,234. */
export function short(value) {
  if (!Number.isFinite(value)) return "–"
  if (value >= 100) return Math.round(value).toLocaleString("en-US")
  return value.toPrecision(3).includes("e") ? value.toExponential(1) : value.toPrecision(3)
}

const megabytes = bytes => (bytes === undefined ? "–" : short(bytes / 1e6))

/** Columns of equal width, as people write them; the first is words, the others are numbers. */
export function markdown(head, rows) {
  const plain = cell => String(cell).replaceAll("|", "\\|")
  const cells = [head, ...rows].map(row => row.map(plain))
  const widths = head.map((_, column) => Math.max(3, ...cells.map(row => row[column].length)))
  const line = row => `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(" | ")} |`
  const rule = `| ${widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join("\n")
}

/** "1.23 (1.1–1.4)", with WRONG before it where the result is. */
function timeCell(row, metric) {
  if (row === undefined) return "–"
  if (row.error !== undefined) return "failed"
  const time = row[metric]
  if (time === undefined) return "–"
  const text = time.runs === 1 ? short(time.median) : `${short(time.median)} (${short(time.p10)}–${short(time.p90)})`
  return row.wrong === undefined ? text : `WRONG ${text}`
}

/** One table of times: cases down, contenders across. */
export function timesTable(rows, where, kind, metric) {
  const find = index(rows)
  const names = contendersOf(rows, where)
  const body = caseNames(rows, where, kind).map(name => [name, ...names.map(contender => timeCell(find(where, name, contender), metric))])
  return markdown([`${PLACES[where]}, ${METRICS[metric]}, ms`, ...names.map(title)], body)
}

/** Memory after the first result, the largest of all cases; and what a page fetches before it, model apart. */
export function sizesTable(rows, where) {
  const most = (contender, read) => {
    const values = rows.filter(row => row.where === where && row.contender === contender).flatMap(row => read(row) ?? [])
    return values.length === 0 ? undefined : Math.max(...values)
  }
  const columns = [
    ["download, MB", row => row.download?.rawBytes],
    ["gzip, MB", row => row.download?.gzipBytes],
    ["JS heap, MB", row => row.memory?.heapBytes],
    ["wasm memory, MB", row => row.memory?.wasmBytes],
    ["process, MB", row => row.memory?.processBytes],
    ["GPU process, MB", row => row.memory?.gpuProcessBytes],
  ].filter(([, read]) => rows.some(row => row.where === where && read(row) !== undefined))
  if (columns.length === 0) return undefined
  const body = contendersOf(rows, where).map(name => [title(name), ...columns.map(([, read]) => megabytes(most(name, read)))])
  return markdown([`${PLACES[where]}, at most`, ...columns.map(([head]) => head)], body)
}

export function ratiosTable(found) {
  const rows = found.map(({ where, kind, metric, ours, peer, timesAsFast, least, most, cases }) =>
    [`${PLACES[where]}: \`${ours}\` against ${title(peer)}`, `${METRICS[metric]}, ${KINDS[kind]}`, `${short(timesAsFast)}×`, `${short(least)}–${short(most)}`, String(cases)])
  return markdown(["", "what", "times as fast", "from–to", "cases"], rows)
}

/** Which went wrong or failed, and how; the same words for many cases are one line. */
export function complaints(rows) {
  const lines = new Map()
  for (const row of rows) {
    const why = row.wrong !== undefined ? `WRONG: ${row.wrong}` : row.error ?? row.firstError
    if (why === undefined) continue
    const key = `${PLACES[row.where]}, ${title(row.contender)}: ${why}`
    lines.set(key, [...(lines.get(key) ?? []), row.case])
  }
  return [...lines].map(([why, cases]) => `- ${why} (${cases.length > 4 ? `${cases.slice(0, 3).join(", ")} and ${cases.length - 3} more` : cases.join(", ")})`)
}

const adapterName = adapter => [...new Set([adapter?.vendor, adapter?.architecture, adapter?.device, adapter?.description].filter(Boolean))].join(" ") || "no adapter"

/** What was measured, on what and how: a paragraph. */
export function provenance({ date, command, device, versions, adapters }) {
  const places = Object.keys(PLACES).filter(where => where in adapters).map(where => `${PLACES[where]}${versions[where] ? ` ${versions[where]}` : ""} on ${adapterName(adapters[where])}`)
  const packages = Object.entries(versions).filter(([name]) => !(name in PLACES)).map(([name, version]) => `${name} ${version}`)
  return `${device.cpu}, ${device.cores} cores, ${short(device.memoryBytes / 2 ** 30)} GiB, ${device.system}; WebGPU: ${places.join("; ")}. ${packages.join(", ")}. ${date.slice(0, 10)}, \`${command}\`.`
}

function runsOf(rows) {
  const runs = rows.flatMap(row => row.warm?.runs ?? [])
  if (runs.length === 0) return ""
  const [least, most] = [Math.min(...runs), Math.max(...runs)]
  return `Each time is of ${least === most ? least : `${least} to ${most}`} warm runs, in turns.`
}

/** Every table of a run. */
export function fullReport(run) {
  const { rows } = run
  const parts = [provenance(run), `Medians in milliseconds; in brackets, where there are several runs, the 10th and the 90th of a hundred. A run ends when its outputs are on the CPU. First results are measured from navigation, or from the start of the process. ${runsOf(rows)}`]
  if (run.ratios.length > 0) parts.push(ratiosTable(run.ratios))
  for (const where of Object.keys(PLACES)) {
    for (const kind of Object.keys(KINDS)) {
      if (caseNames(rows, where, kind).length === 0) continue
      parts.push(timesTable(rows, where, kind, "warm"))
      if (rows.some(row => row.where === where && row.kind === kind && row.first !== undefined)) parts.push(timesTable(rows, where, kind, "first"))
    }
    const sizes = sizesTable(rows, where)
    if (sizes !== undefined) parts.push(sizes)
  }
  const wrong = complaints(rows)
  if (wrong.length > 0) parts.push("What failed or came out wrong:", wrong.join("\n"))
  return `${parts.join("\n\n")}\n`
}
