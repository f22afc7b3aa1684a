// Where two backends part: `tools.diff`, and `sentinel diff` as a person calls it.
import assert from "node:assert/strict"
import { after, test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { chainModel } from "./made.mjs"
import { assertCode, digits, findWebGpu, inRepository, readNpz, sentinel } from "./support.mjs"

const { Tensor, tools } = host
const { webgpu, missing } = await findWebGpu()
const options = { skip: missing }
if (webgpu !== undefined) {
  await host.init({ webgpu })
  // For the commands that are started here.
  process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ""} --import ${new URL("checkout-webgpu.mjs", import.meta.url).href}`
}

const model = digits("digits.onnx")
const exactly = { rtol: 0, atol: 0 }
const diff = (...args) => sentinel("diff", model, ...args)

after(() => assert.deepEqual(host.gpuMemory(), { buffers: 0, bytes: 0 }))

test("the_same_backend_twice_differs_nowhere", async () => {
  const steps = []
  const { values, first } = await tools.diff(model, "random", { ...exactly, left: "cpu", right: "cpu", onStep: step => steps.push(step) })
  assert.equal(first, undefined)
  assert.ok(values.every(({ maxAbs, nOff, nElems }) => maxAbs === 0 && nOff === 0 && nElems > 0))
  const { value, op, left } = values.at(-1)
  assert.deepEqual([value, op, left.backend, left.type, left.dims], ["logits", "Gemm", "cpu", "float32", [1, 10]])
  assert.deepEqual(steps.slice(0, 2).map(({ step }) => step), ["left", "right"])
  assert.deepEqual(steps.at(-1), { step: "compare", done: values.length, total: values.length })
})

test("open_dimensions_feeds_and_seeds_are_the_callers", async () => {
  const sides = { left: "cpu", right: "cpu" }
  const named = await tools.diff(model, "random", { ...sides, freeDimensionOverrides: { batch: 2 } })
  assert.deepEqual(named.values.at(-1).left.dims, [2, 10])
  const image = (await readNpz(host, digits("digits.npz"))).get("in_0")
  const given = await tools.diff(model, { image }, sides)
  assert.deepEqual(given.values.at(-1).left.dims, [image.dims[0], 10])
  const asked = []
  const made = await tools.diff(model, async inputs => {
    asked.push(...inputs.map(({ name }) => name))
    return { image }
  }, sides)
  assert.deepEqual(asked, ["image"])
  assert.deepEqual(made, given)
  const input = { name: "x", type: "float32" }
  assert.deepEqual(tools.randomTensor(input, [3], 7).data, tools.randomTensor(input, [3], 7).data)
  assert.notDeepEqual(tools.randomTensor(input, [3], 7).data, tools.randomTensor(input, [3], 8).data)
})

test("what_cannot_be_compared_is_refused_with_a_code", async () => {
  await assertCode(tools.diff(model, "random", { left: "webnn" }), "INVALID_INPUT", /left: there is no provider 'webnn'/)
  await assertCode(tools.diff(model, "random", { right: "wonnx" }), "INVALID_INPUT", /right: 'wonnx' shows no values/)
  const sides = { left: "cpu", right: "cpu" }
  await assertCode(tools.diff("none.onnx", "random", sides), "IO", /none\.onnx/)
  await assertCode(tools.diff(model, {}, sides), "INVALID_INPUT", /image/)
  await assertCode(tools.diff(model, { image: new Tensor(new Float32Array(4), [1, 1, 2, 2]) }, sides), "SHAPE_MISMATCH", /image/)
  await assertCode(tools.diff(model, "random", { ...sides, signal: AbortSignal.abort() }), "CANCELLED")
})

test("values_of_the_gpu_come_with_their_kernels", options, async () => {
  const { values, first } = await tools.diff(model, "random")
  assert.equal(first, undefined, JSON.stringify(first))
  const { left, right } = values.find(({ op }) => /Conv$/.test(op))
  assert.deepEqual([left.backend, right.backend, right.kernel], ["webgpu", "cpu", ""])
  assert.match(left.kernel, /conv/)
  assert.deepEqual(left.dims, right.dims)
})

test("either_side_may_be_the_gpu", options, async () => {
  const { values } = await tools.diff(chainModel(3), "random", { ...exactly, left: "cpu", right: "webgpu" })
  const { value, left, right, maxAbs } = values.at(-1)
  assert.deepEqual([value, left.backend, right.backend], ["y", "cpu", "webgpu"])
  assert.equal(maxAbs, Math.abs(left.element - right.element))
  assert.ok(maxAbs < 1e-4)
})

test("the_command_says_that_nothing_differs", options, async () => {
  const { exitCode, stdout, stderr } = await diff("--left", "webgpu", "--right", "cpu")
  assert.equal(exitCode, 0, stderr)
  assert.match(stdout, /webgpu against cpu/)
  assert.match(stdout, /note: .*batch is taken as 1/)
  assert.match(stdout, /no value differs/)
  assert.match(stdout, /logits +Gemm/)
})

test("the_command_names_the_first_node_that_differs", options, async () => {
  const inputs = ["--input", digits("digits.npz"), "--rtol", "0", "--atol", "0"]
  const { exitCode, stdout, stderr } = await diff(...inputs, "--all")
  assert.equal(exitCode, 1, stderr)
  const json = await diff(...inputs, "--json")
  assert.equal(json.exitCode, 1)
  const { first, values } = JSON.parse(json.stdout)
  assert.ok(first.nOff > 0)
  assert.deepEqual(values.find(({ nOff }) => nOff > 0), first)
  assert.ok(stdout.includes(`first that differs  ${first.value}`), stdout)
  for (const text of [first.node, first.left.kernel, `${first.nOff} of ${first.nElems} elements`]) assert.ok(stdout.includes(text), stdout)
  assert.match(stdout, /element \[\d+(,\d+)*\]/)
  assert.match(stdout, /webgpu +-?[\d.e-]+ /)
  const rows = stdout.slice(stdout.indexOf("Values as they are computed")).trimEnd().split("\n")
  assert.equal(rows.length, values.length + 2)
})

test("the_command_exits_with_two_where_it_cannot_compare", async () => {
  const fails = async (args, code, message) => {
    const { exitCode, stdout, stderr } = await diff(...args)
    assert.equal(exitCode, 2, stdout)
    assert.equal(stdout, "")
    assert.match(stderr, new RegExp(`^${code}: `, "m"))
    assert.match(stderr, message)
  }
  await fails(["--left", "webnn"], "INVALID_INPUT", /left: there is no provider 'webnn'/)
  await fails(["--adapter", "no such adapter"], "DEVICE_LOST", /'webgpu' needs WebGPU/)
  await fails(["--rtol", "-1"], "INVALID_INPUT", /--rtol/)
  await fails(["--provider", "cpu"], "INVALID_INPUT", /--provider/)
  await fails(["--left", "cpu", "--input", "picture=random"], "INVALID_INPUT", /no input "picture"/)
  const { exitCode } = await sentinel("diff", inRepository("tests/fixtures/none.onnx"), "--left", "cpu")
  assert.equal(exitCode, 2)
})
