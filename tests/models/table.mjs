// What ran where, kept for the README's table (pkg-scripts/models-table).
import { mkdirSync, writeFileSync } from "node:fs"
import { inRepository } from "../node/support.mjs"

const folder = inRepository("target/ran")

/** Notes that a model met its reference on a backend in an environment (`node`, `chromium`). */
export function record(environment, model, backend) {
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/${environment}.${backend}.${model}`, "")
}
