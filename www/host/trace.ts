import platform from "#platform"
import { currentSettings } from "./settings.js"

/** Runs `work`; with the debug switch `time`, says on the console how long it took. */
export async function timed<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
  const switches = (currentSettings().debug ?? platform.debug ?? "").split(",")
  if (!switches.includes("time")) return work()
  const startedMs = performance.now()
  try {
    return await work()
  } finally {
    console.warn(`sentinel time: ${what} ${(performance.now() - startedMs).toFixed(1)} ms`)
  }
}
