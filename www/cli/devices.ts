import { devices } from "../host/index.js"
import { MODEL_OPTIONS, parse, sessionOptions } from "./options.js"
import { paintFor, printable, table } from "./terminal.js"

export const DEVICES_HELP = `Shows which backends there are on this machine and what they run on.

Usage: sentinel devices [--json] [--adapter name]
`

const { adapter, debug, json, help } = MODEL_OPTIONS

/** `sentinel devices`. */
export async function listDevices(args: string[]): Promise<string> {
  const { values } = parse(args, { adapter, debug, json, help }, "devices")
  if (values.help === true) return DEVICES_HELP
  await sessionOptions(values)
  const found = await devices()
  if (values.json === true) return `${JSON.stringify(found)}\n`
  const paint = paintFor(process.stdout)
  const rows = found.map(({ backend, available, software, description }) => [
    backend,
    !available ? "not available" : software ? "only when named" : "ready",
    printable(software ? `${description} (a software adapter: slower than cpu)` : description),
  ])
  const state = (text: string) => (text.startsWith("ready") ? paint.good(text) : text.startsWith("only") ? paint.warn(text) : paint.bad(text))
  return `${table(rows, [{ style: paint.bold }, { style: state }, { style: paint.dim }])}\n`
}
