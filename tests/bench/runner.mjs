// Takes every case to every place. A contender that fails, hangs or brings its page down is a row with its error, and
// the others go on without it.
import { describe } from "./measure.mjs"
import { summary } from "./statistics.mjs"

/** Fails when `done` is not settled and nobody has called `heard` for `silenceMs`. */
function untilSilent(done, silenceMs) {
  let timer
  let giveUp
  const silence = new Promise((_, reject) => { giveUp = () => reject(new Error(`no sign of life for ${silenceMs / 1000} s`)) })
  const heard = () => {
    clearTimeout(timer)
    timer = setTimeout(giveUp, silenceMs)
  }
  heard()
  const settled = Promise.race([done, silence]).finally(() => clearTimeout(timer))
  return { settled, heard }
}

/** Whether it was the page or process that failed, which may have had other reasons than the contender. */
const hasEnded = thrown => /\b(ended|crashed|closed)\b/.test(describe(thrown))

/** As `tryJob`, with a second try where the page or process ended. */
async function runJob(...args) {
  try {
    return await tryJob(...args)
  } catch (thrown) {
    if (!hasEnded(thrown)) throw thrown
    return tryJob(...args)
  }
}

/** Runs one job; it is ended when it fails, hangs or is done. */
async function tryJob(place, job, silenceMs, onProgress = () => {}) {
  let heard = () => {}
  const { done, kill } = place.start({ ...job, report(progress) { onProgress(progress); heard() } })
  done.catch(() => {})
  const watched = untilSilent(done, silenceMs)
  heard = watched.heard
  let isStuck = true
  try {
    const result = await watched.settled
    isStuck = false
    return result
  } finally {
    await kill(isStuck)
  }
}

/** Warm rows of all contenders, taking turns in one page or process; whoever ends it is left out of the next try. */
async function warmRows(place, job, names, silenceMs) {
  const rows = {}
  let left = names
  while (left.length > 0) {
    let current = left[0]
    try {
      Object.assign(rows, await runJob(place, { ...job, mode: "warm", contenders: left }, silenceMs, ({ contender }) => { current = contender }))
      return rows
    } catch (thrown) {
      rows[current] = { error: describe(thrown) }
      left = left.filter(name => name !== current)
    }
  }
  return rows
}

/** First results of one contender, each from a fresh start. */
async function coldRow(place, job, name, { cold, silenceMs, isLate }) {
  const results = []
  for (let run = 0; run < cold && (run === 0 || !isLate()); run++) results.push(await runJob(place, { ...job, mode: "cold", contenders: [name] }, silenceMs))
  const most = field => {
    const values = results.flatMap(({ memory }) => memory?.[field] ?? [])
    return values.length === 0 ? undefined : Math.max(...values)
  }
  const fields = ["heapBytes", "wasmBytes", "processBytes", "gpuProcessBytes"]
  return {
    first: summary(results.map(({ firstMs }) => firstMs)),
    memory: Object.fromEntries(fields.flatMap(field => (most(field) === undefined ? [] : [[field, most(field)]]))),
    download: results.at(-1).download,
  }
}

/** The rows of one case in one place. Once `isLate()`, no more first results are taken. */
export async function measureCase(place, benchCase, names, { limits, cold, silenceMs, isLate }) {
  const job = { path: benchCase.path, limits, ...(place.name === "native" ? { benchCase } : {}) }
  const rows = await warmRows(place, job, names, silenceMs)
  const done = []
  for (const name of names) {
    const row = rows[name]
    if (row.error === undefined && cold > 0 && benchCase.kind === "model" && !isLate()) {
      try {
        Object.assign(row, await coldRow(place, job, name, { cold, silenceMs, isLate }))
      } catch (thrown) {
        row.firstError = describe(thrown)
      }
    }
    done.push({ where: place.name, case: benchCase.name, kind: benchCase.kind, contender: name, ...row })
  }
  return done
}
