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
  const rows = found.flatMap(({ backend, available, auto, software, description, features = [], limits = {} }) => [
    [backend, !available ? "not available" : auto ? "ready" : "only when named", printable(software ? `${description} (a software adapter: slower than cpu)` : description)],
    ...(features.length === 0 ? [] : [["", "", `features ${features.map(printable).join(", ")}`]]),
    ...Object.entries(limits).map(([name, value]) => ["", "", `${printable(name)} ${value.toLocaleString("en")}`]),
  ])
  const state = (text: string) => (text.startsWith("ready") ? paint.good(text) : text.startsWith("only") ? paint.warn(text) : paint.bad(text))
  return `${table(rows, [{ style: paint.bold }, { style: state }, { style: paint.dim }])}\n`
}
