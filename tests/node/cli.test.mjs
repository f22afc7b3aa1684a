// The `sentinel` command of the built package, as a person calls it.
import assert from "node:assert/strict"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { assertClose, digits, inRepository, readNpz, sentinel } from "./support.mjs"

const folder = mkdtempSync(join(tmpdir(), "sentinel-cli-"))
after(() => rmSync(folder, { recursive: true }))
const scratch = name => join(folder, name)
const model = digits("digits.onnx")
const run = (...args) => sentinel("run", model, "--provider", "cpu", ...args)

async function succeeds(running) {
  const { exitCode, stdout, stderr } = await running
  assert.equal(exitCode, 0, stderr)
  return stdout
}

async function fails(running, code, message) {
  const { exitCode, stdout, stderr } = await running
  assert.equal(exitCode, 1, stdout)
  assert.equal(stdout, "")
  assert.match(stderr, new RegExp(`^${code}: `, "m"))
  assert.match(stderr, message)
}

test("help_and_version_are_printed", async () => {
  assert.match(await succeeds(sentinel("--help")), /Usage: sentinel/)
  assert.equal(await succeeds(sentinel("--version")), `${host.version}\n`)
  for (const command of ["run", "inspect", "diff", "devices"]) {
    assert.match(await succeeds(sentinel(command, "--help")), new RegExp(`Usage: sentinel ${command}`))
  }
})

test("run_reads_a_picture_and_names_its_class", async () => {
  const labels = scratch("labels.txt")
  writeFileSync(labels, "zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n")
  const stdout = await succeeds(run("--input", `image=${digits("digit_7.png")}`, "--top", "3", "--labels", labels))
  assert.match(stdout, /logits {2}float32\[1,10\]\n {2}1 {2}seven/)
  assert.match(stdout, /cpu \(\d+ nodes?\)/)
})

test("run_prints_json_that_a_program_can_read", async () => {
  const { backends, outputs, runMs } = JSON.parse(await succeeds(run("--input", digits("digit_3.png"), "--json", "--repeat", "3")))
  assert.ok(backends.cpu > 0)
  assert.equal(runMs.length, 3)
  const { dims, data } = outputs.logits
  assert.deepEqual(dims, [1, 10])
  assert.equal(data.indexOf(Math.max(...data)), 3)
})

test("run_writes_a_trace_of_what_took_how_long", async () => {
  await succeeds(run("--input", "random", "--free-dim", "batch=1", "--repeat", "2", "--trace", scratch("trace.json")))
  const { traceEvents } = JSON.parse(readFileSync(scratch("trace.json")))
  const spans = traceEvents.filter(({ ph }) => ph === "X")
  assert.deepEqual(spans.map(({ name }) => name), ["create", "run", "run"])
  assert.ok(spans.every(({ dur }) => dur > 0))
})

test("run_takes_npz_by_order_and_writes_npz_npy_and_json", async () => {
  const expected = (await readNpz(host, digits("digits.npz"))).get("out_0")
  for (const name of ["out.npz", "out.npy", "out.json"]) {
    await succeeds(run("--input", digits("digits.npz"), "--output", scratch(name)))
  }
  assertClose((await readNpz(host, scratch("out.npz"))).get("logits"), expected)
  assertClose(await host.tools.readNpy(readFileSync(scratch("out.npy"))), expected)
  const { dims, data } = JSON.parse(readFileSync(scratch("out.json"), "utf8")).logits
  assertClose({ dims, data }, expected)
})

test("run_takes_npy_json_and_one_array_of_an_npz", async () => {
  const image = (await readNpz(host, digits("digits.npz"))).get("in_0")
  const first = new host.Tensor(image.data.slice(0, 784), [1, 1, 28, 28])
  writeFileSync(scratch("first.npy"), await host.tools.writeNpy(first))
  writeFileSync(scratch("first.json"), JSON.stringify({ dims: [1, 1, 28, 28], data: [...first.data] }))
  for (const value of [scratch("first.npy"), scratch("first.json"), `${digits("digits.npz")}:in_0`]) {
    const { outputs } = JSON.parse(await succeeds(run("--input", `image=${value}`, "--json")))
    const scores = outputs.logits.data.slice(0, 10)
    assert.equal(scores.indexOf(Math.max(...scores)), 0)
  }
})

test("random_input_is_the_same_for_the_same_seed", async () => {
  const outputs = []
  for (const seed of ["random", "random:0", "random:1"]) {
    outputs.push(JSON.parse(await succeeds(run("--input", `image=${seed}`, "--free-dim", "batch=2", "--json"))).outputs.logits)
  }
  assert.deepEqual(outputs[0].dims, [2, 10])
  assert.deepEqual(outputs[0], outputs[1])
  assert.notDeepEqual(outputs[0], outputs[2])
})

test("a_free_dimension_that_nobody_names_is_taken_as_one_and_said_so", async () => {
  const stdout = await succeeds(run("--input", "random"))
  assert.match(stdout, /note: .*batch is taken as 1/)
  assert.match(stdout, /float32\[1,10\] {2}min /)
})

test("inspect_shows_inputs_operators_and_placement", async () => {
  const stdout = await succeeds(sentinel("inspect", model))
  assert.match(stdout, /image +float32\[batch,1,28,28\]/)
  assert.match(stdout, /Conv +\d/)
  assert.match(stdout, /Placement\n +cpu/)
  const { inputs, ops, placement } = JSON.parse(await succeeds(sentinel("inspect", model, "--json")))
  assert.equal(inputs[0].name, "image")
  assert.ok(ops.Conv > 0)
  assert.ok(placement.length > 0)
})

test("inspect_prints_each_stage_as_text", async () => {
  for (const stage of ["model", "graph", "passes"]) {
    assert.match(await succeeds(sentinel("inspect", model, "--stage", stage, "--free-dim", "batch=1")), /Conv/)
  }
})

test("devices_lists_both_backends", async () => {
  const devices = JSON.parse(await succeeds(sentinel("devices", "--json")))
  assert.deepEqual(devices.map(({ backend }) => backend), ["webgpu", "wonnx", "cpu"])
  assert.match(await succeeds(sentinel("devices")), /cpu +ready/)
})

test("errors_are_one_line_with_a_code_and_exit_with_one", async () => {
  await fails(sentinel("fly"), "INVALID_INPUT", /"fly"/)
  await fails(sentinel("run"), "INVALID_INPUT", /expected one model/)
  await fails(sentinel("run", "none.onnx", "--input", "random"), "IO", /none\.onnx/)
  await fails(sentinel("run", digits("digit_0.png"), "--input", "random"), "MODEL_PARSE", /digit_0\.png/)
  await fails(run(), "INVALID_INPUT", /"image" float32\[batch,1,28,28\]/)
  await fails(run("--input", "picture=random"), "INVALID_INPUT", /no input "picture"/)
  await fails(run("--input", "image=none.png"), "IO", /none\.png/)
  await fails(run("--input", "image=nonsense"), "INVALID_INPUT", /nonsense/)
  await fails(run("--input", "image=[1,2]"), "SHAPE_MISMATCH", /image/)
  await fails(run("--input", "random", "--output", scratch("out.txt")), "INVALID_INPUT", /\.npz/)
  await fails(run("--input", "random", "--output", scratch("none/out.npz")), "IO", /out\.npz/)
  await fails(run("--input", "random", "--top", "0"), "INVALID_INPUT", /--top/)
  await fails(run("--input", "random", "--free-dim", "batch"), "INVALID_INPUT", /--free-dim/)
  await fails(run("--input", "random", "--fast"), "INVALID_INPUT", /--fast/)
  await fails(sentinel("run", model, "--input", "random", "--provider", "webnn"), "INVALID_INPUT", /'webgpu'/)
  await fails(sentinel("inspect", inRepository("tests/fixtures/none.onnx")), "IO", /none\.onnx/)
})
