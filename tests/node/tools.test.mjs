// Reading and writing pictures and arrays through the built package.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { Tensor, tools } from "../../pkg/dist/index.mjs"
import { assertClose, digits, inRepository } from "./support.mjs"

test("arrays_survive_npz_and_npy", async () => {
  const tensors = new Map([
    ["floats", new Tensor(Float32Array.of(1.5, -2, 3), [3])],
    ["matrix", new Tensor(new Int32Array(6).fill(7), [2, 3])],
    ["wide", new Tensor("int64", [-1n, 2n ** 62n], [2, 1])],
    ["half", new Tensor("float16", Uint16Array.of(0x3c00, 0x0001), [2])],
    ["flags", new Tensor("bool", [true, false], [2])],
    ["scalar", new Tensor("float64", [2.5], [])],
    ["nothing", new Tensor(new Uint8Array(0), [0, 4])],
  ])
  const read = await tools.readNpz(await tools.writeNpz(tensors))
  assert.deepEqual([...read.keys()], [...tensors.keys()])
  for (const [name, expected] of tensors) {
    for (const got of [read.get(name), await tools.readNpy(await tools.writeNpy(expected))]) {
      assert.equal(got.type, expected.type)
      assert.deepEqual([...got.dims], [...expected.dims])
      assert.deepEqual([...got.data], [...expected.data])
    }
  }
})

test("a_picture_decodes_to_rgba", async () => {
  for (const name of ["astronaut.jpg", "camera.png"]) {
    const { width, height, rgba } = await tools.decodeImage(readFileSync(inRepository(`tests/fixtures/images/${name}`)))
    assert.equal(rgba.length, width * height * 4)
    assert.equal(rgba[3], 255)
  }
})

test("the_pictures_of_digits_become_the_reference_inputs", async () => {
  const reference = (await tools.readNpz(readFileSync(digits("digits.npz")))).get("in_0")
  for (const digit of [0, 7]) {
    const spec = { dims: [1, 1, 28, 28], layout: "NCHW", type: "float32", scale: 1 / 255, colorOrder: "GRAY" }
    const got = await tools.imageToTensor(readFileSync(digits(`digit_${digit}.png`)), spec)
    const expected = new Tensor(reference.data.slice(digit * 784, (digit + 1) * 784), [1, 1, 28, 28])
    assertClose(got, expected, { atol: 1 / 128 })
  }
})

test("the_best_classes_come_with_their_probabilities", async () => {
  const best = await tools.topClasses(new Tensor(Float32Array.of(0, Math.log(3), 0), [1, 3]), 2)
  assert.deepEqual(best.map(({ index }) => index), [1, 0])
  assert.ok(Math.abs(best[0].probability - 0.6) < 1e-6)
})

test("bytes_of_another_kind_are_refused_with_a_code", async () => {
  const readers = [
    tools.decodeImage,
    tools.readNpz,
    tools.readNpy,
    tools.readTensorProto,
    bytes => tools.imageToTensor(bytes, { dims: [1, 3, 8, 8], layout: "NCHW", type: "float32" }),
  ]
  for (const reader of readers) {
    await assert.rejects(reader(new TextEncoder().encode("neither a picture nor an array")), ({ code }) => code === "INVALID_INPUT" || code === "MODEL_PARSE")
  }
})

test("a_picture_for_an_impossible_shape_is_refused", async () => {
  const bytes = readFileSync(digits("digit_0.png"))
  for (const dims of [[3], [1, 2, 8, 8], [2, 3, 8, 8], [1, 3, 0, 8], [1, 3, 2 ** 20, 2 ** 20], [-1, 3, 8, 8], [0.5, 3, 8, 8]]) {
    await assert.rejects(tools.imageToTensor(bytes, { dims, layout: "NCHW", type: "float32" }), error => typeof error.code === "string" && error.code !== "INTERNAL")
  }
})
