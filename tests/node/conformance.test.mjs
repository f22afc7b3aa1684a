// The ONNX backend suite through the built package in Node. `tests/conformance/node.tsv` keeps what passes: a pass that
// is lost fails, and so does a wrong or crashed case. `SENTINEL_UPDATE=1` writes the table again.
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, existsSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { difference } from "../models/difference.mjs"
import { findWebGpu, inRepository } from "./support.mjs"

const SUITE = inRepository("target/conformance")
const TABLE = inRepository("tests/conformance/node.tsv")
const BACKENDS = ["cpu", "wonnx", "webgpu"]

const { webgpu, missing: noWebGpu } = await findWebGpu()
if (webgpu !== undefined) await host.init({ webgpu })

/** The names of all cases, `node/test_abs`, unpacked into `SUITE`. */
function unpack() {
  mkdirSync(SUITE, { recursive: true })
  execFileSync("tar", ["xzf", inRepository("tests/conformance/onnx_conformance.tar.gz"), "-C", SUITE])
  const kinds = readdirSync(SUITE, { withFileTypes: true }).filter(entry => entry.isDirectory())
  return kinds.flatMap(({ name: kind }) => readdirSync(`${SUITE}/${kind}`).map(name => `${kind}/${name}`)).sort()
}

/** The tensors `stem_0.pb`, `stem_1.pb`, ...; undefined where one is a sequence or of a type that JavaScript lacks. */
async function readTensors(name, stem) {
  const tensors = []
  for (let at = 0; existsSync(`${SUITE}/${name}/test_data_set_0/${stem}_${at}.pb`); at++) {
    const bytes = readFileSync(`${SUITE}/${name}/test_data_set_0/${stem}_${at}.pb`)
    tensors.push(await host.tools.readTensorProto(bytes).then(({ tensor }) => tensor, () => undefined))
  }
  return tensors
}

// References in half precision are sums of rounded steps themselves: two steps away is no pass, and no error either.
const MAX_HALF_STEPS = 2

/** The most halves that lie between two elements of float16 tensors; Infinity for other types and across zero. */
function halfSteps(got, expected) {
  if (got.type !== "float16" || expected.type !== "float16" || got.size !== expected.size) return Infinity
  const bits = tensor => new Uint16Array(tensor.data.buffer, tensor.data.byteOffset, tensor.size)
  const [left, right] = [bits(got), bits(expected)]
  return left.reduce((most, a, at) => Math.max(most, (a ^ right[at]) & 0x8000 ? (a === right[at] ? 0 : Infinity) : Math.abs(a - right[at])), 0)
}

/** `pass`, `part` (right, with a part on the cpu), `unsupported`, `rounded`, `wrong` or `crashed`, and why. */
async function judge(name, backend) {
  let session
  try {
    const inputs = await readTensors(name, "input")
    if (inputs.includes(undefined)) return ["unsupported", "an input is no tensor of JavaScript's"]
    session = await host.InferenceSession.create(`${SUITE}/${name}/model.onnx`, { executionProviders: [backend], strict: backend !== "webgpu" })
    const feeds = Object.fromEntries(session.inputNames.map((input, at) => [input, inputs[at]]))
    const outputs = await session.run(feeds)
    const meta = `${SUITE}/${name}/meta.json`
    const { rtol = 1e-3, atol = 1e-7 } = existsSync(meta) ? JSON.parse(readFileSync(meta, "utf8")) : {}
    const expected = await readTensors(name, "output")
    for (const [at, output] of session.outputNames.entries()) {
      if (expected[at] === undefined) return ["wrong", `output ${at} should be no tensor`]
      const differs = difference(outputs[output], expected[at], { rtol, atol })
      if (differs === undefined) continue
      const isStep = halfSteps(outputs[output], expected[at]) <= MAX_HALF_STEPS
      return [isStep ? "rounded" : "wrong", `output ${at}: ${differs}`]
    }
    const elsewhere = session.placement().filter(node => node.backend !== backend)
    return elsewhere.length === 0 ? ["pass", ""] : ["part", elsewhere.map(({ op, reason }) => `${op}: ${reason}`).join("; ")]
  } catch (error) {
    if (error.code === "MODEL_UNSUPPORTED") return ["unsupported", error.message]
    // Values beyond what a backend carries are refused one by one.
    if (error.code === "INVALID_INPUT" && error.message.includes("does not fit")) return ["unsupported", error.message]
    return [error.code === "INTERNAL" || error.code === undefined ? "crashed" : "wrong", `${error.code}: ${error.message}`]
  } finally {
    await session?.release()
  }
}

function readTable() {
  if (!existsSync(TABLE)) return new Map()
  const [, ...rows] = readFileSync(TABLE, "utf8").trimEnd().split("\n").map(line => line.split("\t"))
  return new Map(rows.map(([name, ...outcomes]) => [name, outcomes]))
}

test("no pass of the ONNX suite is lost, and nothing is wrong or crashed", async t => {
  const [names, kept] = [unpack(), readTable()]
  const [rows, bad] = [new Map(names.map(name => [name, []])), []]
  for (const [column, backend] of BACKENDS.entries()) {
    if (backend !== "cpu" && noWebGpu !== undefined) {
      t.diagnostic(`${backend} skipped: ${noWebGpu}`)
      for (const name of names) rows.get(name).push(kept.get(name)?.[column] ?? "unsupported")
      continue
    }
    const counts = { pass: 0, part: 0, unsupported: 0, rounded: 0, wrong: 0, crashed: 0 }
    const report = []
    for (const name of names) {
      const [outcome, why] = await judge(name, backend)
      rows.get(name).push(outcome)
      counts[outcome]++
      report.push(`${name}\t${outcome}\t${why}`)
      const isLost = { pass: ["pass"], part: ["pass", "part"] }[kept.get(name)?.[column]]?.includes(outcome) === false
      if (isLost || outcome === "wrong" || outcome === "crashed") bad.push(`${name} on ${backend}: ${outcome}: ${why}`)
    }
    writeFileSync(`${SUITE}/${backend}.report.tsv`, `${report.join("\n")}\n`)
    t.diagnostic(`${names.length} cases on ${backend}: ${JSON.stringify(counts)}`)
  }
  if (process.env.SENTINEL_UPDATE) {
    const lines = [["case", ...BACKENDS], ...Array.from(rows, ([name, outcomes]) => [name, ...outcomes])]
    writeFileSync(TABLE, `${lines.map(line => line.join("\t")).join("\n")}\n`)
  }
  assert.deepEqual(bad, [])
})
