// The built demo, as pkg-scripts/demo starts it.
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { existsSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { findWebGpu, inRepository } from "./support.mjs"

/** Skips with a line that says why when a model of a package has not been fetched. */
const needs = (...names) => {
  const missing = names.filter(name => !existsSync(inRepository(`target/models/${name}`)))
  return { timeout: 300_000, skip: missing.length > 0 && `${missing.join(", ")}: not in target/models (pkg-scripts/fetch-models)` }
}
const OCR = needs("ppocrv4_det.onnx", "ppocrv4_rec.onnx")
const MAGIKA = needs("magika_v3_3.onnx", "magika_v3_3.config.json", "magika_content_types.json")

function demo(...args) {
  return new Promise(resolve => {
    const environment = { ...process.env, NO_COLOR: "1" }
    execFile(process.execPath, [inRepository("pkg/bin/demo.mjs"), ...args], { env: environment }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : error.code, stdout, stderr })
    })
  })
}

async function demoJson(...args) {
  const { exitCode, stdout, stderr } = await demo("--json", "--repeat", "1", ...args)
  assert.equal(exitCode, 0, stderr)
  return JSON.parse(stdout)
}

function assertSteps(steps) {
  for (const { backend, loadMs, firstMs, medianMs, runs } of steps) {
    assert.match(backend, /^(cpu|webgpu|wonnx)$/)
    for (const ms of [loadMs, firstMs, medianMs]) assert.ok(ms > 0)
    assert.ok(runs >= 1)
  }
}

test("the_text_of_a_picture_is_read", OCR, async () => {
  const { results } = await demoJson("--model", "text")
  assert.deepEqual(results[0].answers[0].lines.map(({ text }) => text), ["WebGPU inference", "ONNX 1234 + TFLite"])
  assert.equal(results[0].steps.length, 2)
  assertSteps(results[0].steps)
})

test("ten_digits_are_recognised_on_the_gpu_where_there_is_one", async () => {
  const { results } = await demoJson("--model", "digits")
  const [{ answers, steps }] = results
  assert.deepEqual(answers[0].lines.map(({ text }) => Number(text)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  assertSteps(steps)
  const { webgpu } = await findWebGpu()
  assert.equal(steps[0].backend, webgpu === undefined ? "cpu" : "webgpu", steps[0].reason)
})

test("files_are_told_by_their_bytes", MAGIKA, async () => {
  const folder = mkdtempSync(join(tmpdir(), "demo-"))
  const files = { empty: "", short: "ab", page: `<!doctype html>\n<html><head><title>x</title></head><body>${"<p>text</p>\n".repeat(50)}</body></html>` }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const named = [...Object.keys(files).map(name => join(folder, name)), inRepository("tests/fixtures/digits/digits.onnx"), inRepository("tests/fixtures/images/coffee.jpg")]
  const { results } = await demoJson("--model", "filetype", ...named.flatMap(path => ["--file", path]))
  const types = results[0].answers.map(({ lines }) => lines[0].text)
  assert.deepEqual(types, ["empty", "too short to tell", "html", "onnx", "jpeg"])
})

test("people_get_answers_backends_and_milliseconds", async () => {
  const { exitCode, stdout, stderr } = await demo("--model", "digits", "--provider", "cpu")
  assert.equal(exitCode, 0, stderr)
  assert.match(stdout, /10 of 10 right/)
  assert.match(stdout, /classifier +cpu +load [\d.]+ ms +first [\d.]+ ms +median [\d.]+ ms of \d/)
})

test("wrong_arguments_end_with_a_code", async () => {
  for (const args of [["--model", "nothing"], ["--provider", "abacus"], ["--repeat", "x"], ["--unknown"]]) {
    const { exitCode, stderr } = await demo(...args)
    assert.equal(exitCode, 1)
    assert.match(stderr, /^demo: INVALID_INPUT: /)
  }
})

test("a_picture_that_is_none_ends_with_a_code", OCR, async () => {
  const { exitCode, stderr } = await demo("--model", "text", "--image", inRepository("Cargo.toml"))
  assert.equal(exitCode, 1)
  assert.match(stderr, /demo: INVALID_INPUT: image: neither PNG/)
  const missing = await demo("--model", "text", "--image", inRepository("no-such-picture.png"))
  assert.equal(missing.exitCode, 1)
  assert.match(missing.stderr, /demo: IO: .*no-such-picture\.png/)
})
