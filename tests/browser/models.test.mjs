// Real models against their reference outputs, through the built package in Chromium. The bytes come from wherever
// the models are on this machine; reading the arrays and comparing happen in the page.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { basename } from "node:path"
import { findModels, tolerances } from "../models/models.mjs"
import { recorded } from "../models/table.mjs"
import { chromiumPath, startBrowser } from "./support.mjs"

const skip = chromiumPath() === undefined ? "no Chromium is installed" : undefined
const { here, missing } = findModels()

let browser
before(async () => { if (!skip) browser = await startBrowser() })
after(() => browser?.close())

test(`${missing.length} models are not on this machine: ${missing.join(", ")}`, { skip: missing.length > 0 }, () => {})

/** Runs one model in a page of its own; fails unless every output is met, and all of it ran on `backend`. */
async function check(entry, backend) {
  const page = await browser.open("/tests/browser/blank.html")
  const serve = (url, path) => page.route(url, route => route.fulfill({ path, contentType: "application/octet-stream" }))
  await serve("**/model.onnx", entry.file)
  await serve("**/model.npz", entry.io)
  const externalData = entry.externalData.map((path, at) => ({ path: basename(path), data: `/side${at}.data`, file: path }))
  for (const { data, file } of externalData) await serve(`**${data}`, file)
  const { backends, differences } = await page.evaluate(runInPage, {
    backend,
    inputs: entry.inputs.map(({ name }) => name),
    outputs: tolerances(entry),
    externalData: externalData.map(({ path, data }) => ({ path, data })),
  })
  await page.close()
  assert.deepEqual(differences, [])
  assert.deepEqual(backends, [backend])
}

/** In the page: what differs, and the backends that took part. */
async function runInPage({ backend, inputs, outputs, externalData }) {
  const { InferenceSession, tools } = await import("/pkg/dist/browser.mjs")
  const { difference } = await import("/tests/models/difference.mjs")
  const session = await InferenceSession.create("/model.onnx", { executionProviders: [backend], strict: true, externalData })
  const arrays = await tools.readNpz(new Uint8Array(await (await fetch("/model.npz")).arrayBuffer()))
  const got = await session.run(Object.fromEntries(inputs.map((name, at) => [name, arrays.get(`in_${at}`)])))
  const differences = outputs.flatMap(({ name, ...tolerance }, at) => {
    const differs = difference(got[name], arrays.get(`out_${at}`), tolerance)
    return differs === undefined ? [] : [`${name}: ${differs}`]
  })
  const backends = [...new Set(session.placement().map(node => node.backend))]
  await session.release()
  return { backends, differences }
}

for (const [backend, entries] of [["cpu", here], ["webgpu", here], ["wonnx", here.filter(({ wonnx }) => wonnx)]]) {
  for (const entry of entries) {
    test(`${entry.name} meets its reference on ${backend}`, { skip, timeout: 120_000 }, () => recorded("chromium", entry.name, backend, () => check(entry, backend)))
  }
}
