// Runs a script of checks, which prints `ok NAME` or `not ok NAME: why` for each of them.
import assert from "node:assert/strict"
import { execFile } from "node:child_process"

/** Runs them as tests within the test `t`. */
export async function runChecks(t, python, script, ...words) {
  const environment = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" }
  const { stdout, stderr } = await new Promise(resolve => {
    execFile(python, [script, ...words], { env: environment, timeout: 90_000 }, (_, stdout, stderr) => resolve({ stdout, stderr }))
  })
  const checks = [...stdout.matchAll(/^(ok|not ok) (\w+)(?:: (.*))?$/gm)]
  assert.notEqual(checks.length, 0, `no checks ran:\n${stdout}${stderr}`)
  for (const [, , name, why] of checks) await t.test(name, () => { if (why !== undefined) assert.fail(why) })
}
