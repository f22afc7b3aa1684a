// Runs the client that was written from docs/PROTOCOL.md alone.
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("../stub/checks.py", import.meta.url))

/** Its checks of one door: `[{ name, why }]`, where `why` is undefined for one that holds. */
export async function checkText(door, options) {
  const environment = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" }
  const { stdout, stderr } = await new Promise(resolve => {
    execFile("python3", [script, door, JSON.stringify(options)], { env: environment, timeout: 60_000 }, (_, stdout, stderr) => resolve({ stdout, stderr }))
  })
  const checks = [...stdout.matchAll(/^(ok|not ok) (\w+)(?:: (.*))?$/gm)].map(([, , name, why]) => ({ name, why }))
  if (checks.length === 0) throw new Error(`no checks of ${door} ran:\n${stdout}${stderr}`)
  return checks
}
