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
const speechFile = existsSync(inRepository("tests/fixtures/speech/speech.wav")) ? {} : { skip: "no tests/fixtures/speech/speech.wav" }

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
  const wrong = [
    [["--model", "nothing"], /--model nothing: neither/],
    [["--mode", "batch", "--model", "text"], /--model text: neither/],
    [["--mode", "batch", "--model", "digits", "--model", "digits"], /--mode batch takes one/],
    [["--provider", "abacus"], /--provider: expected one of auto, webgpu, wonnx, cpu, got "abacus"/],
    [["--mode", "party"], /--mode: expected one of basic, batch, async, stream, distributed, got "party"/],
    [["--policy", "first"], /--policy: expected one of latest, queue, drop-new/],
    [["--repeat", "x"], /--repeat: expected a whole number/],
    [["--batch-size", "0"], /--batch-size: expected a whole number from 1 to 65536 or auto, got "0"/],
    [["--workers", "-1"], /--workers/],
    [["--num-inputs", "1e3"], /--num-inputs: expected a whole number/],
    [["--duration", "0"], /--duration: expected seconds/],
    [["--balancing", "fair"], /--balancing: expected one of least-loaded, round-robin, weighted, latency/],
    [["--mode", "distributed", "ws://127.0.0.1:8070"], /unexpected "ws:\/\/127\.0\.0\.1:8070"/],
    [["--unknown"], /--unknown/],
  ]
  for (const [args, message] of wrong) {
    const { exitCode, stdout, stderr } = await demo(...args)
    assert.equal(exitCode, 1, `${args}`)
    assert.equal(stdout, "")
    assert.match(stderr, /^demo: INVALID_INPUT: /)
    assert.match(stderr, message)
  }
})

test("any_model_runs_once_on_made_inputs", async () => {
  for (const name of ["mlp_dyn_batch", inRepository("tests/fixtures/models/mlp_dyn_batch.onnx")]) {
    const { results } = await demoJson("--model", name, "--provider", "cpu")
    const [{ answers, steps }] = results
    for (const { lines } of answers) assert.match(lines[0].text, /^float32\[1,\d+\]$/)
    assert.match(steps[0].name, /^[1-9]\d* nodes$/)
    assertSteps(steps)
  }
})

for (const mode of ["batch", "async"]) {
  test(`${mode}_answers_every_input_in_batches`, async () => {
    const { results } = await demoJson("--mode", mode, "--model", "digits", "--provider", "cpu", "--batch-size", "4", "--num-inputs", "10", "--duration", "5")
    const [{ statistics, right, failures, joining, backend, startMs, elapsedMs }] = results
    assert.equal(statistics.totalInputs, 10)
    assert.equal(statistics.totalOutputs, 10)
    assert.equal(statistics.queueDepth, 0)
    assert.ok(statistics.totalBatches < 10, `${statistics.totalBatches} batches`)
    assert.equal(statistics.histogram.counts.reduce((sum, count) => sum + count, 0), 10)
    assert.equal(statistics.histogram.bounds.length + 1, statistics.histogram.counts.length)
    assert.deepEqual([right, failures, joining.mode, backend], [10, { count: 0 }, "join", "cpu"])
    assert.ok(startMs > 0 && elapsedMs > 0)
  })
}

test("a_model_made_for_one_runs_in_batches_with_rebatch", async () => {
  const { results } = await demoJson("--mode", "async", "--provider", "cpu", "--model", "mobilenet_v2_w025", "--rebatch", "--num-inputs", "4")
  const [{ statistics, failures }] = results
  assert.deepEqual([statistics.totalOutputs, failures.count], [4, 0])
  assert.ok(statistics.avgBatchSize > 1, `${statistics.avgBatchSize}`)
})

test("more_inputs_than_the_queue_takes_are_all_answered", async () => {
  const { results } = await demoJson("--mode", "batch", "--provider", "cpu", "--batch-size", "auto", "--num-inputs", "1000")
  assert.deepEqual([results[0].statistics.totalOutputs, results[0].right], [1000, 1000])
})

test("batches_show_a_table_and_a_histogram_and_no_bar_where_nobody_watches", async () => {
  const { exitCode, stdout, stderr } = await demo("--mode", "batch", "--provider", "cpu", "--model", "tiny_vit", "--num-inputs", "3")
  assert.equal(exitCode, 0, stderr)
  assert.equal(stderr, "")
  assert.match(stdout, /cpu on this thread, /)
  assert.match(stdout, /totalInputs +3 +avgBatchSize +[\d.]+\n/)
  assert.match(stdout, /p99Latency +[\d.]+ ms\n/)
  assert.match(stdout, /≤ [\d.]+ ms +\d+  █+\n/)
})

test("a_stream_polls_frames_for_as_long_as_it_is_told", async () => {
  const { results } = await demoJson("--mode", "stream", "--provider", "cpu", "--duration", "1", "--fps", "20", "--batch-size", "4", "--num-inputs", "10")
  const [{ statistics, right, failures, elapsedMs, nWorkers }] = results
  const { totalInputs, totalOutputs, totalDropped, totalCancelled } = statistics
  assert.ok(totalOutputs >= 1 && totalOutputs <= 21, `${totalOutputs} results`)
  assert.equal(totalInputs, totalOutputs + totalDropped + totalCancelled)
  assert.deepEqual([right, failures.count, nWorkers], [totalOutputs, 0, 0])
  assert.ok(elapsedMs >= 1000)
})

test("a_stream_runs_on_workers_by_the_policy_that_is_named", async () => {
  const { exitCode, stdout, stderr } = await demo("--mode", "stream", "--provider", "cpu", "--duration", "0.5", "--workers", "2", "--policy", "queue")
  assert.equal(exitCode, 0, stderr)
  assert.match(stdout, /cpu on 2 workers\n/)
  assert.match(stdout, /[1-9]\d* results of [1-9]\d* inputs in [\d.]+ s, 0 dropped/)
})

test("the_speech_detector_hears_a_file", { ...needs("silero_vad.onnx"), ...speechFile }, async () => {
  const { results } = await demoJson("--mode", "stream", "--provider", "cpu", "--model", "silero_vad", "--duration", "2")
  const [{ finding, statistics, failures }] = results
  assert.match(finding, /^speech in [1-9]\d* of \d+ windows$/)
  assert.ok(statistics.totalOutputs <= 2000 / 32 + 2, `${statistics.totalOutputs} windows in two seconds`)
  assert.equal(failures.count, 0)
})

const script = existsSync("/usr/bin/script") ? {} : { skip: "no script(1) to play a terminal" }
test("a_terminal_shows_a_bar_that_goes_away", script, async () => {
  const program = `${process.execPath} ${inRepository("pkg/bin/demo.mjs")} --mode async --provider cpu --num-inputs 50`
  const stdout = await new Promise(resolve => execFile("/usr/bin/script", ["-qec", program, "/dev/null"], (_, stdout) => resolve(stdout)))
  assert.match(stdout, /\r\x1b\[2K {2}.*·.* of 50\r\x1b\[2K/)
  assert.match(stdout, /50 of 50 in/)
})

test("a_picture_that_is_none_ends_with_a_code", OCR, async () => {
  const { exitCode, stderr } = await demo("--model", "text", "--image", inRepository("Cargo.toml"))
  assert.equal(exitCode, 1)
  assert.match(stderr, /demo: INVALID_INPUT: image: neither PNG/)
  const missing = await demo("--model", "text", "--image", inRepository("no-such-picture.png"))
  assert.equal(missing.exitCode, 1)
  assert.match(missing.stderr, /demo: IO: .*no-such-picture\.png/)
})
