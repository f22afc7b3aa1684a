// Real models against their reference outputs, through the built package in Node.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { difference } from "../models/difference.mjs"
import { findModels, tolerances } from "../models/models.mjs"
import { recorded } from "../models/table.mjs"
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
    await recorded("node", entry.name, "cpu", async () => assert.equal(await check(entry, ["cpu"]), "cpu"))
  })
}

for (const entry of here) {
  test(`${entry.name} meets its reference on webgpu, whole on the GPU`, { skip: noWebGpu }, async () => {
    await recorded("node", entry.name, "webgpu", async () => assert.equal(await check(entry, ["webgpu"]), "webgpu"))
  })
}

for (const entry of here.filter(({ wonnx }) => wonnx)) {
  test(`${entry.name} meets its reference on wonnx`, { skip: noWebGpu }, async () => {
    await recorded("node", entry.name, "wonnx", async () => assert.equal(await check(entry, ["wonnx"]), "wonnx"))
  })
}

for (const entry of here.filter(({ wonnx }) => !wonnx)) {
  test(`${entry.name} is refused by wonnx with the operator that it lacks`, { skip: noWebGpu }, async () => {
    await recorded("node", entry.name, "wonnx", async () => {
      const refusal = await check(entry, ["wonnx"]).then(() => undefined, error => error)
      assert.equal(refusal?.code, "MODEL_UNSUPPORTED", String(refusal))
      const [, why] = /: (wonnx\b.*)$/.exec(refusal.message) ?? []
      assert.ok(why, refusal.message)
      return why
    })
  })
}
