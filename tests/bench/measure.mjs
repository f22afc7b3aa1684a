// Measuring in the place where the contenders run: a page, a Node process, or the bench itself for native programs.
import { difference } from "../models/difference.mjs"
import { runsFor, schedule, summary } from "./statistics.mjs"

const WARM_UP = { ms: 200, runs: 10 }

export const describe = thrown => String(thrown?.code ? `${thrown.code}: ${thrown.message}` : thrown?.message ?? thrown).split("\n", 1)[0].slice(0, 400)

/**
 * Opens contenders one after the other, warms each up, then lets them run in turns. `open(name)` gives
 * `{ run, check, placement, release }`, where `run()` gives its milliseconds; `report` hears who is at work.
 * @returns {Promise<Record<string, object>>} a row for each contender: `warm`, or `error`; and `wrong`, `placement`.
 */
export async function warm({ contenders, open, limits, report }) {
  const rows = {}
  const lanes = []
  for (const name of contenders) {
    report({ contender: name })
    const row = (rows[name] = {})
    try {
      const session = await open(name)
      await session.run()
      row.wrong = await session.check()
      row.placement = session.placement?.()
      report({ contender: name })
      lanes.push({ name, row, session, times: [], runs: runsFor(await warmUp(session), limits) })
    } catch (thrown) {
      row.error = describe(thrown)
    }
  }
  let reported = -Infinity
  for (const round of schedule(lanes.map(({ runs }) => runs))) {
    for (const { name, row, session, times } of round.map(at => lanes[at])) {
      if (row.error !== undefined) continue
      if (performance.now() - reported > 500) {
        report({ contender: name })
        reported = performance.now()
      }
      try {
        times.push(await session.run())
      } catch (thrown) {
        row.error = describe(thrown)
      }
    }
  }
  for (const { name, row, session, times } of lanes) {
    report({ contender: name })
    if (row.error === undefined) {
      row.warm = summary(times)
      row.wrong ??= await session.check()
    }
    await session.release().catch(() => {})
  }
  return rows
}

/** Runs until caches are filled and the code is compiled for good; gives the time of the last run. */
async function warmUp(session) {
  let [total, latest] = [0, 0]
  for (let run = 0; run < WARM_UP.runs && total < WARM_UP.ms; run++) {
    latest = await session.run()
    total += latest
  }
  return latest
}

/** A session of a library in this process, as `warm` wants it. `library` has `tensor`, `run` and what `warm` knows. */
export function inProcess(library, { inputs, outputs }) {
  const feeds = Object.fromEntries(inputs.map(({ name, type, data, dims }) => [name, library.tensor(type, data, dims)]))
  let latest
  return {
    async run() {
      const begin = performance.now()
      latest = await library.run(feeds)
      return performance.now() - begin
    },
    async check() {
      const differing = outputs.map(want => [want.name, difference(latest[want.name], want, want.tolerance)])
      const [name, why] = differing.find(([, why]) => why !== undefined) ?? []
      return name === undefined ? undefined : `${name}: ${why}`
    },
    placement: library.placement,
    release: library.release,
  }
}

/**
 * Counts the memories of every WebAssembly instance made from now on. They never shrink, so their sizes at the end
 * are their peaks.
 */
export function watchWasmMemory() {
  const memories = new Set()
  const look = object => {
    for (const value of Object.values(object ?? {})) {
      if (value instanceof WebAssembly.Memory) memories.add(value)
    }
  }
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const original = WebAssembly[name]
    WebAssembly[name] = async (source, imports) => {
      for (const module of Object.values(imports ?? {})) look(module)
      const made = await original.call(WebAssembly, source, imports)
      look((made.instance ?? made).exports)
      return made
    }
  }
  return () => [...memories].reduce((sum, memory) => sum + memory.buffer.byteLength, 0)
}
