// The models of tests/fixtures/manifest.json: which are on this machine, and where.
import { existsSync, readFileSync } from "node:fs"
import { inRepository } from "../node/support.mjs"

/** `here` has the entries whose files exist, with absolute paths; `missing` the names of the others. */
export function findModels() {
  const { models } = JSON.parse(readFileSync(inRepository("tests/fixtures/manifest.json"), "utf8"))
  const located = models.map(entry => ({
    ...entry,
    file: inRepository(entry.file),
    io: inRepository(entry.io),
    externalData: (entry.sideFiles ?? []).map(({ file }) => inRepository(file)),
  }))
  const isHere = entry => [entry.file, entry.io, ...entry.externalData].every(path => existsSync(path))
  return { here: located.filter(isHere), missing: located.filter(entry => !isHere(entry)).map(({ name }) => name) }
}

/** Tolerances of a model's outputs, by name, in the order of the manifest. */
export const tolerances = entry => entry.outputs.map(({ name, tolerance }) => ({ name, ...tolerance }))
