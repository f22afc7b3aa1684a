import { SentinelError, version } from "../host/index.js"
import { listDevices } from "./devices.js"
import { inspect } from "./inspect.js"
import { run } from "./run.js"
import { paintFor, printable } from "./terminal.js"

const HELP = `sentinel ${version}: ONNX models on WebGPU and on the CPU.

Usage: sentinel <command> [options]

  run       run a model on pictures, arrays or random input
  inspect   show what is in a model and what would run it
  devices   show the backends on this machine

  --version, --help; sentinel <command> --help says more
`

const COMMANDS = new Map([
  ["run", run],
  ["inspect", inspect],
  ["devices", listDevices],
])

async function command([name, ...args]: string[]): Promise<string> {
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
  process.stdout.write(await command(process.argv.slice(2)))
} catch (thrown) {
  const { code = "INTERNAL", message } = thrown as Partial<SentinelError>
  const paint = paintFor(process.stderr)
  process.stderr.write(`${paint.bad(code)}: ${printable(message ?? String(thrown))}\n`)
  process.exitCode = 1
}
