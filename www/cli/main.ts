import { SentinelError, version } from "../host/index.js"
import { listDevices } from "./devices.js"
import { diff } from "./diff.js"
import { inspect } from "./inspect.js"
import { run } from "./run.js"
import { paintFor, printable } from "./terminal.js"

const HELP = `sentinel ${version}: ONNX models on WebGPU and on the CPU.

Usage: sentinel <command> [options]

  run       run a model on pictures, arrays or random input
  inspect   show what is in a model and what would run it
  diff      run a model on two backends and name the first node that differs
  devices   show the backends on this machine

  --version, --help; sentinel <command> --help says more
`

/** What a command prints, and its exit code where that is not 0. */
type Outcome = string | { text: string; exitCode: number }

const COMMANDS = new Map<string, (args: string[]) => Promise<Outcome>>([
  ["run", run],
  ["inspect", inspect],
  ["diff", diff],
  ["devices", listDevices],
])

async function command([name, ...args]: string[]): Promise<Outcome> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") return HELP
  if (name === "--version" || name === "-V") return `${version}\n`
  const chosen = COMMANDS.get(name)
  if (chosen === undefined) throw new SentinelError("INVALID_INPUT", `there is no command "${name}" (see: sentinel --help)`)
  return chosen(args)
}

// A reader that leaves early, as in `sentinel … | head`, is not an error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error
})

try {
  const outcome = await command(process.argv.slice(2))
  const { text, exitCode } = typeof outcome === "string" ? { text: outcome, exitCode: 0 } : outcome
  process.stdout.write(text)
  process.exitCode = exitCode
} catch (thrown) {
  const { code = "INTERNAL", message } = thrown as Partial<SentinelError>
  const paint = paintFor(process.stderr)
  process.stderr.write(`${paint.bad(code)}: ${printable(message ?? String(thrown))}\n`)
  // As diff(1) does: there, 1 says that something differs.
  process.exitCode = process.argv[2] === "diff" ? 2 : 1
}
