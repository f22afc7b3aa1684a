// usage: see options.mjs; pkg-scripts/bench starts this once everything is installed.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus, totalmem, type } from "node:os"
import { dirname } from "node:path"
import { inRepository } from "../node/support.mjs"
import { benchBatching } from "./batching/main.mjs"
import { chooseCases, clearCases, stage } from "./cases.mjs"
import { CONTENDERS, PLACES, title } from "./contenders/contenders.mjs"
import { describe } from "./measure.mjs"
import { HELP, readOptions, UsageError } from "./options.mjs"
import { pictures } from "./pictures.mjs"
import { openChromium } from "./places/chromium.mjs"
import { openNativePlace } from "./places/native.mjs"
import { openNode } from "./places/node.mjs"
import { writeReadme } from "./readme.mjs"
import { fullReport, ratios, short } from "./report.mjs"
import { measureCase } from "./runner.mjs"
import { benchWorker } from "./worker/main.mjs"

const OPEN = { chromium: openChromium, node: openNode, native: openNativePlace }

const say = text => process.stderr.write(`${text}\n`)

const versionIn = path => JSON.parse(readFileSync(inRepository(path), "utf8")).version

function packageVersions() {
  const names = ["onnxruntime-web", "onnxruntime-node", "webgpu"]
  const peers = names.map(name => [name, versionIn(`target/bench/node_modules/${name}/package.json`)])
  return Object.fromEntries([["sentinel-inference", versionIn("pkg/package.json")], ...peers])
}

/** Errors name files; where this checkout lies is nobody's business. */
const withoutRoot = row => JSON.parse(JSON.stringify(row).replaceAll(inRepository("."), ""))

function sayRow(row) {
  const time = row.warm === undefined ? "" : `${short(row.warm.median)} ms (${short(row.warm.p10)}–${short(row.warm.p90)}, ${row.warm.runs} runs)`
  const first = row.first === undefined ? "" : `, first ${short(row.first.median)} ms`
  const why = row.error ?? (row.wrong === undefined ? "" : ` WRONG ${row.wrong}`)
  say(`  ${PLACES[row.where]} ${title(row.contender)}: ${time}${first}${why}`)
  return row
}

/** The places that the options name, each with its contenders; one that cannot be opened is an error row for every case. */
async function openPlaces(options, run, staged, host) {
  const places = []
  for (const where of options.where) {
    const names = CONTENDERS[where].filter(name => options.only?.includes(name) ?? true)
    if (names.length === 0) continue
    try {
      const place = await OPEN[where]({ host, threads: options.threads })
      run.adapters[where] = place.adapter ?? null
      run.versions[where] = place.version
      // A package that is no part of the bench takes part where it is, and is not missed where it is not.
      places.push({ place, names: names.filter(name => place.lacks?.(name) !== true) })
    } catch (thrown) {
      say(`bench: ${PLACES[where]}: ${describe(thrown)}`)
      for (const { name, kind } of staged) run.rows.push(...names.map(contender => ({ where, case: name, kind, contender, error: describe(thrown) })))
    }
  }
  return places
}

async function measure(options, args) {
  const host = await import(inRepository("pkg/dist/index.mjs"))
  const { cases, missing } = chooseCases(options)
  if (missing.length > 0) say(`bench: not on this machine: ${missing.join(", ")}`)
  if (cases.length === 0) throw new UsageError("there is nothing to run")
  const run = {
    date: new Date().toISOString(),
    command: ["pkg-scripts/bench", ...args].join(" "),
    device: { cpu: cpus()[0].model, cores: cpus().length, memoryBytes: totalmem(), system: type() },
    versions: packageVersions(),
    adapters: {},
    rows: [],
  }
  const staged = []
  clearCases()
  for (const each of cases) staged.push(await stage(host, each))
  const places = await openPlaces(options, run, staged, host)
  const begin = performance.now()
  const isLate = () => performance.now() - begin > options.budgetMs
  const late = []
  try {
    for (const benchCase of staged) {
      say(`${benchCase.name}:`)
      for (const { place, names } of places) {
        if (isLate()) late.push(`${benchCase.name} in ${PLACES[place.name]}`)
        else run.rows.push(...(await measureCase(place, benchCase, names, { ...options, isLate })).map(withoutRoot).map(sayRow))
      }
    }
  } finally {
    for (const { place } of places) await place.close()
  }
  if (late.length > 0) say(`bench: left out, the time was up: ${late.join(", ")}`)
  clearCases()
  run.ratios = ratios(run.rows)
  return run
}

async function main(args) {
  const options = readOptions(args)
  if (options.help) return console.log(HELP)
  if (options.from !== undefined) {
    const runs = options.from.map(file => JSON.parse(readFileSync(file, "utf8")))
    for (const run of runs) run.ratios = ratios(run.rows)
    runs.forEach(run => console.log(fullReport(run)))
    if (options.readme) writeReadme(runs)
    return
  }
  if (options.worker) return benchWorker(options, args)
  if (!existsSync(inRepository("pkg/dist/index.mjs"))) throw new UsageError("the package is not built: run pkg-scripts/build")
  if (options.batching) return benchBatching(options, args)
  const run = await measure(options, args)
  const file = options.json ?? inRepository(`target/bench/${run.date.slice(0, 19).replaceAll(":", "-")}.json`)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(run, undefined, 1)}\n`)
  const stem = file.replace(/\.json$/, "")
  writeFileSync(`${stem}.md`, fullReport(run))
  for (const { file: picture, text } of pictures(run, stem)) writeFileSync(picture, text)
  console.log(fullReport(run))
  say(`bench: ${file}`)
  if (options.readme) writeReadme([run])
}

try {
  await main(process.argv.slice(2))
  // Whatever a killed browser or program has left open does not hold the bench.
  process.exit(0)
} catch (error) {
  say(`bench: ${error instanceof UsageError ? error.message : error.stack}`)
  process.exit(error instanceof UsageError ? 2 : 1)
}
