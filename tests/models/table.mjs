// What ran where, kept for the README's table (pkg-scripts/models-table).
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { inRepository } from "../node/support.mjs"

const folder = inRepository("target/ran")

/**
 * Runs `check` and notes that a model met its reference on a backend in an environment (`node`, `chromium`), or, where
 * `check` gives one, the reason why it did not run. What an earlier run noted is gone before it starts.
 */
export async function recorded(environment, model, backend, check) {
  const file = `${folder}/${environment}.${backend}.${model}`
  mkdirSync(folder, { recursive: true })
  rmSync(file, { force: true })
  writeFileSync(file, (await check()) ?? "")
}
