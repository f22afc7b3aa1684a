// usage: node size.mjs DIST TARBALL BUDGET
// Prints what people download, in bytes as stored, with gzip -9 and with brotli; fails where the budget is exceeded.
import { readFileSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"

const [dist, tarball, budgetFile] = process.argv.slice(2)
const budget = JSON.parse(readFileSync(budgetFile, "utf8"))

function sizes(bytes) {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length }
  return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes, { params }).length }
}

const measured = {}
// What a page may load; the other modules are for Node.
const isForPages = name => name.endsWith(".wasm") || ["browser.mjs", "core.mjs", "nats.mjs", "worker.mjs"].includes(name)
for (const name of readdirSync(dist).filter(isForPages).sort()) {
  measured[name] = sizes(readFileSync(join(dist, name)))
}
measured.tarball = { raw: readFileSync(tarball).length }

const problems = []
const number = value => (value === undefined ? "" : value.toLocaleString("en"))
const row = cells => cells.map((cell, column) => (column === 0 ? cell.padEnd(14) : cell.padStart(24))).join("")
console.log(row(["bytes / budget", "raw", "gzip -9", "brotli"]))
for (const name of new Set([...Object.keys(measured), ...Object.keys(budget)])) {
  const kinds = ["raw", "gzip", "brotli"]
  for (const kind of kinds) {
    const size = measured[name]?.[kind]
    const limit = budget[name]?.[kind]
    if (size === undefined && limit !== undefined) problems.push(`${name} has a budget but was not built`)
    if (size !== undefined && limit === undefined) problems.push(`${name} has no ${kind} budget`)
    if (size > limit) problems.push(`${name} is ${number(size - limit)} bytes over its ${kind} budget`)
  }
  const cell = kind => {
    const size = measured[name]?.[kind]
    return size === undefined ? "" : `${number(size)} / ${number(budget[name]?.[kind])}`
  }
  console.log(row([name, ...kinds.map(cell)]))
}
for (const problem of problems) console.error(`size: ${problem}`)
process.exitCode = problems.length === 0 ? 0 : 1
