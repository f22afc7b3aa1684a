// Batches of real models on the calling thread: joined, split, padded and isolated, the outputs are those of single runs.
import assert from "node:assert/strict"
import { test } from "node:test"
import { BatchInferenceEngine, InferenceSession, Tensor, tools } from "../../pkg/dist/index.mjs"
import { gatherModel, meanModel, scaleModel, sharedModel } from "./made.mjs"
import { assertClose, assertCode, digits, readNpz } from "./support.mjs"

const CPU = { executionProviders: ["cpu"] }

async function withEngine(options, work) {
  const engine = new BatchInferenceEngine({ ...CPU, ...options })
  try {
    await engine.start()
    return await work(engine)
  } finally {
    await engine.stop()
  }
}

/** Rows `from` to `to` of a tensor. */
function rows(tensor, from, to) {
  const size = tensor.data.length / tensor.dims[0]
  return new Tensor(tensor.type, tensor.data.slice(from * size, to * size), [to - from, ...tensor.dims.slice(1)])
}

const floats = (values, dims) => new Tensor("float32", Float32Array.from(values), dims)
const indices = (...values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [values.length])

test("joined_inputs_give_what_single_runs_give", async () => {
  const images = (await readNpz({ tools }, digits("digits.npz"))).get("in_0")
  const session = await InferenceSession.create(digits("digits.onnx"), CPU)
  const cuts = [[0, 1], [1, 3], [3, 4], [4, 8], [8, 10]]
  await withEngine({ model: digits("digits.onnx"), batchSize: 10 }, async engine => {
    const outputs = await Promise.all(cuts.map(([from, to]) => engine.run({ image: rows(images, from, to) })))
    assert.equal(engine.getStats().totalBatches, 1)
    for (const [at, [from, to]] of cuts.entries()) {
      const expected = await session.run({ image: rows(images, from, to) })
      assert.deepEqual(Object.keys(outputs[at]), Object.keys(expected))
      for (const [name, tensor] of Object.entries(expected)) {
        // How many rows a kernel is given changes the order of its sums.
        assertClose(outputs[at][name], tensor, { atol: 1e-5, rtol: 1e-5 })
        assert.equal(outputs[at][name].data.buffer.byteLength, outputs[at][name].data.byteLength, "a buffer of its own")
      }
    }
  })
  await session.release()
})

test("the_callers_tensors_stay_the_callers", () => withEngine({ model: scaleModel() }, async engine => {
  const x = floats([1, 2], [1, 2])
  const scale = floats([3], [])
  for (let time = 0; time < 2; time += 1) {
    const [first, second] = await Promise.all([engine.run({ x, scale }), engine.run({ x, scale })])
    assert.deepEqual([[...first.y.data], [...second.y.data], [...x.data]], [[3, 6], [3, 6], [1, 2]])
  }
}))

test("inputs_are_joined_only_where_what_they_share_is_equal", () => withEngine({ model: scaleModel(), batchSize: 2, maxDelayMs: 50 }, async engine => {
  assert.equal(engine.joining.mode, "join", engine.joining.reason)
  const runs = [[1, 10], [2, 100], [3, 10], [4, 100]].map(([value, scale]) => engine.run({ x: floats([value, value], [1, 2]), scale: floats([scale], []) }))
  const outputs = await Promise.all(runs)
  assert.deepEqual(outputs.map(({ y }) => y.data[0]), [10, 200, 30, 400])
  const { totalBatches, avgBatchSize } = engine.getStats()
  assert.deepEqual([totalBatches, avgBatchSize], [2, 2])
}))

test("an_output_that_all_inputs_share_is_given_to_each", () => withEngine({ model: sharedModel(), batchSize: 2 }, async engine => {
  assert.equal(engine.joining.mode, "join", engine.joining.reason)
  const given = [[1, 2], [3, 4]].map(values => engine.run({ x: floats(values, [1, 2]), scale: floats([5], []) }))
  const [first, second] = await Promise.all(given)
  assert.deepEqual([[...first.y.data], [...second.y.data]], [[5, 10], [15, 20]])
  assert.deepEqual([[...first.z.data], [...second.z.data]], [[-5], [-5]])
  assert.notEqual(first.z.data.buffer, second.z.data.buffer)
  assert.equal(engine.getStats().totalBatches, 1)
}))

test("a_wrong_type_or_shape_is_the_error_of_its_own_input", () => withEngine({ model: scaleModel(), maxDelayMs: 0 }, async engine => {
  const scale = floats([2], [])
  const good = () => engine.run({ x: floats([1, 2], [1, 2]), scale })
  const [first, second, ...wrong] = await Promise.allSettled([
    good(),
    good(),
    engine.run({ x: floats([1, 2, 3], [1, 3]), scale }),
    engine.run({ x: floats([1, 2], [2]), scale }),
    engine.run({ x: new Tensor("int32", Int32Array.of(1, 2), [1, 2]), scale }),
    engine.run({ x: new Tensor("string", ["a", "b"], [1, 2]), scale }),
    engine.run({ x: 5, scale }),
  ])
  for (const { value } of [first, second]) assert.deepEqual([...value.y.data], [2, 4])
  assert.deepEqual(wrong.map(({ reason }) => reason?.code), ["SHAPE_MISMATCH", "SHAPE_MISMATCH", "DTYPE_MISMATCH", "DTYPE_MISMATCH", "INVALID_INPUT"])
}))

test("an_input_that_fails_while_its_batch_runs_fails_alone", () => withEngine({ model: gatherModel(), batchSize: 4 }, async engine => {
  const settled = await Promise.allSettled([0, 3, 9, 1].map(at => engine.run({ at: indices(at) })))
  const seen = settled.map(({ status, value, reason }) => (status === "fulfilled" ? [...value.y.data] : reason.code))
  assert.deepEqual([seen[0], seen[1], seen[3]], [[0, 0], [30, 30], [10, 10]])
  assert.equal(typeof seen[2], "string")
  const { totalOutputs, totalErrors } = engine.getStats()
  assert.deepEqual([totalOutputs, totalErrors], [3, 1])
}))

test("a_model_for_one_row_runs_inputs_one_by_one_until_it_is_made_for_any", async () => {
  for (const rebatch of [false, true]) {
    await withEngine({ model: meanModel(2), rebatch, maxDelayMs: 0 }, async engine => {
      const outputs = await Promise.all([1, 2, 3].map(value => engine.run({ x: floats([value, value + 1], [1, 2]) })))
      assert.deepEqual(outputs.map(({ y }) => [...y.data]), [[1.5, 1.5], [2.5, 2.5], [3.5, 3.5]])
      assert.equal(engine.getStats().totalBatches, rebatch ? 1 : 3)
      assert.equal(engine.joining.reason === "", rebatch)
    })
  }
})

test("places_of_a_fixed_batch_that_no_input_takes_are_filled_and_cut", async () => {
  for (const padding of ["repeat", "zeros"]) {
    await withEngine({ model: gatherModel(4), padding, maxDelayMs: 0 }, async engine => {
      assert.equal(engine.joining.mode, "pad", engine.joining.reason)
      for (const given of [[[3]], [[1, 2], [3]], [[0, 1, 2, 3]], [[1], [2], [3], [0], [2]]]) {
        const outputs = await Promise.all(given.map(each => engine.run({ at: indices(...each) })))
        const expected = given.map(each => each.flatMap(at => [at * 10, at * 10]))
        assert.deepEqual(outputs.map(({ y }) => [...y.data]), expected)
        assert.deepEqual(outputs.map(({ y }) => y.dims), given.map(each => [each.length, 2]))
      }
      await assertCode(engine.run({ at: indices(0, 1, 2, 3, 0) }), "SHAPE_MISMATCH")
    })
  }
})

test("map_gives_the_outputs_of_many_inputs_in_order", () => withEngine({ model: gatherModel(), batchSize: 4, maxQueueSize: 8 }, async engine => {
  const numbers = Array.from({ length: 100 }, (_, at) => (at * 7) % 4)
  const seen = []
  for await (const { outputs } of engine.map(numbers.map(at => ({ at: indices(at) })))) seen.push(outputs.y.data[0] / 10)
  assert.deepEqual(seen, numbers)
}))

test("an_engine_whose_model_is_none_says_so", async () => {
  const engine = new BatchInferenceEngine({ ...CPU, model: Uint8Array.of(1, 2, 3) })
  await assertCode(engine.start(), "MODEL_PARSE")
  await assertCode(engine.run({}), "MODEL_PARSE")
  await engine.stop()
})
