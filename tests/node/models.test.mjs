// Real models against their reference outputs, through the built package in Node.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { difference } from "../models/difference.mjs"
import { findModels, tolerances } from "../models/models.mjs"
import { record } from "../models/table.mjs"
import { findWebGpu } from "./support.mjs"

const { here, missing } = findModels()
const { webgpu, missing: noWebGpu } = await findWebGpu()
if (webgpu !== undefined) await host.init({ webgpu })

test(`${missing.length} models are not on this machine: ${missing.join(", ")}`, { skip: missing.length > 0 }, () => {})

/** Runs one model; returns which backend took it. */
async function check(entry, executionProviders) {
  const session = await host.InferenceSession.create(entry.file, { executionProviders, strict: true })
  try {
    const arrays = await host.tools.readNpz(readFileSync(entry.io))
    const feeds = Object.fromEntries(entry.inputs.map(({ name }, at) => [name, arrays.get(`in_${at}`)]))
    const outputs = await session.run(feeds)
    for (const [at, { name, ...tolerance }] of tolerances(entry).entries()) {
      const differs = difference(outputs[name], arrays.get(`out_${at}`), tolerance)
      assert.equal(differs, undefined, `${name}: ${differs}`)
    }
    const backends = new Set(session.placement().map(({ backend }) => backend))
    return [...backends].join(" + ")
  } finally {
    await session.release()
  }
}

for (const entry of here) {
  test(`${entry.name} meets its reference on cpu`, async () => {
    assert.equal(await check(entry, ["cpu"]), "cpu")
    record("node", entry.name, "cpu")
  })
}

for (const entry of here.filter(({ wonnx }) => wonnx)) {
  test(`${entry.name} meets its reference on wonnx`, { skip: noWebGpu }, async () => {
    assert.equal(await check(entry, ["wonnx"]), "wonnx")
    record("node", entry.name, "wonnx")
  })
}
