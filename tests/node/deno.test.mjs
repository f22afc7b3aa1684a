// The built command in Deno: its Node modules, and its own WebGPU.
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { test } from "node:test"
import { digits, inRepository } from "./support.mjs"

const deno = process.env.SENTINEL_DENO ?? "deno"
const isInstalled = spawnSync(deno, ["--version"]).status === 0
const options = { skip: isInstalled ? undefined : "Deno is not installed (SENTINEL_DENO names it)" }

function sentinel(...args) {
  const { status, stdout, stderr } = spawnSync(deno, ["run", "--allow-all", inRepository("pkg/bin/sentinel.mjs"), ...args], { encoding: "utf8" })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

function assertSeven({ outputs }) {
  const { data } = outputs.logits
  assert.equal(data.indexOf(Math.max(...data)), 7)
}

test("deno_runs_a_model_on_the_cpu", options, () => {
  const result = sentinel("run", digits("digits.onnx"), "--input", digits("digit_7.png"), "--provider", "cpu", "--json")
  assert.deepEqual(Object.keys(result.backends), ["cpu"])
  assertSeven(result)
})

test("deno_runs_a_model_on_its_own_webgpu", options, t => {
  const wonnx = sentinel("devices", "--json").find(({ backend }) => backend === "wonnx")
  if (!wonnx.available) return t.skip(wonnx.description)
  const result = sentinel("run", digits("digits.onnx"), "--input", digits("digit_7.png"), "--provider", "wonnx", "--json")
  assert.deepEqual(Object.keys(result.backends), ["wonnx"])
  assertSeven(result)
})
