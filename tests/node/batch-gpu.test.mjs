// Batches of tensors that are in GPU buffers, in Node through npm `webgpu`: joined there, with the outputs of single runs.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { scaleModel } from "./made.mjs"
import { assertClose, digits, findWebGpu, readNpz } from "./support.mjs"

const { BatchInferenceEngine, env, gpuMemory, Tensor } = host
const { webgpu, missing } = await findWebGpu()
const options = { skip: missing }
if (webgpu !== undefined) await host.init({ webgpu })
const { COPY_SRC, COPY_DST, STORAGE } = webgpu?.globals.GPUBufferUsage ?? {}

/** A tensor in a buffer of the package's device, and the buffer. */
async function upload(data, dims, usage = STORAGE | COPY_SRC | COPY_DST) {
  const device = await env.webgpu.device
  const buffer = device.createBuffer({ size: data.byteLength, usage })
  device.queue.writeBuffer(buffer, 0, data)
  return Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims, dispose: () => buffer.destroy() })
}

async function withEngine(settings, work) {
  const engine = new BatchInferenceEngine({ executionProviders: ["webgpu"], maxDelayMs: 0, ...settings })
  await engine.start()
  try {
    await work(engine)
  } finally {
    await engine.stop()
  }
  assert.deepEqual(gpuMemory(), { buffers: 0, bytes: 0 })
}

test("inputs_in_gpu_buffers_are_joined_there", options, async () => {
  const arrays = await readNpz(host, digits("digits.npz"))
  const [images, logits] = [arrays.get("in_0"), arrays.get("out_0")]
  const [n] = images.dims
  const row = (tensor, at) => tensor.data.slice((at * tensor.data.length) / n, ((at + 1) * tensor.data.length) / n)
  await withEngine({ model: digits("digits.onnx"), batchSize: 4 }, async engine => {
    const inputs = await Promise.all(Array.from({ length: n }, (_, at) => upload(row(images, at), [1, 1, 28, 28])))
    const answers = await Promise.all(inputs.map(image => engine.run({ image })))
    for (const [at, answer] of answers.entries()) assertClose(answer.logits, { dims: [1, 10], data: row(logits, at) })
    assert.equal(engine.getStats().totalBatches, Math.ceil(n / 4))
    // They stay the caller's.
    assert.equal((await engine.run({ image: inputs[0] })).logits.dims.join(), "1,10")
    for (const input of inputs) input.dispose()
  })
})

/** The feeds of `scaleModel` for two values. */
const feeds = x => ({ x, scale: new Tensor(Float32Array.of(3), []) })
const onHost = (...values) => new Tensor(Float32Array.from(values), [1, 2])
const onGpu = (values, usage) => upload(Float32Array.from(values), [1, 2], usage)

test("inputs_on_both_sides_and_inputs_that_cannot_be_copied_run_apart", options, async () => {
  await withEngine({ model: scaleModel(), batchSize: 8 }, async engine => {
    const inputs = [onHost(1, 2), onHost(3, 4), await onGpu([5, 6]), await onGpu([7, 8])]
    const answers = await Promise.all(inputs.map(x => engine.run(feeds(x))))
    assert.deepEqual(answers.map(({ y }) => [...y.data]), [[3, 6], [9, 12], [15, 18], [21, 24]])
    assert.equal(engine.getStats().totalBatches, 2)
    const unread = await onGpu([9, 9], STORAGE | COPY_DST)
    const [refused, answered] = await Promise.allSettled([engine.run(feeds(unread)), engine.run(feeds(inputs[3]))])
    assert.equal(refused.reason.code, "INVALID_INPUT")
    assert.deepEqual([...answered.value.y.data], [21, 24])
    for (const input of [...inputs.slice(2), unread]) input.dispose()
  })
})

for (const padding of ["repeat", "zeros"]) {
  test(`a_fixed_batch_is_filled_on_the_gpu_with_${padding}`, options, async () => {
    await withEngine({ model: scaleModel(4), padding }, async engine => {
      assert.equal(engine.joining.mode, "pad", engine.joining.reason)
      const inputs = await Promise.all([[1, 2], [3, 4], [5, 6]].map(values => onGpu(values)))
      const answers = await Promise.all(inputs.map(x => engine.run(feeds(x))))
      assert.deepEqual(answers.map(({ y }) => [...y.data]), [[3, 6], [9, 12], [15, 18]])
      assert.equal(engine.getStats().totalBatches, 1)
      for (const input of inputs) input.dispose()
    })
  })
}

test("outputs_that_stay_on_the_gpu_keep_inputs_apart", options, async () => {
  await withEngine({ model: scaleModel(), preferredOutputLocation: "gpu-buffer" }, async engine => {
    assert.equal(engine.joining.mode, "alone")
    assert.match(engine.joining.reason, /preferredOutputLocation/)
    const inputs = await Promise.all([[1, 2], [3, 4]].map(values => onGpu(values)))
    for (const { y } of await Promise.all(inputs.map(x => engine.run(feeds(x))))) {
      assert.equal(y.location, "gpu-buffer")
      y.dispose()
    }
    for (const input of inputs) input.dispose()
  })
})

test("a_buffer_that_is_too_small_or_destroyed_costs_its_neighbours_nothing", options, async () => {
  await withEngine({ model: scaleModel(), batchSize: 8 }, async engine => {
    const device = await env.webgpu.device
    const small = device.createBuffer({ size: 4, usage: STORAGE | COPY_SRC | COPY_DST })
    const gone = device.createBuffer({ size: 8, usage: STORAGE | COPY_SRC | COPY_DST })
    gone.destroy()
    for (const buffer of [small, gone]) {
      const wrong = Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: [1, 2] })
      const good = await onGpu([5, 6])
      const [, answered] = await Promise.allSettled([engine.run(feeds(wrong)), engine.run(feeds(good))])
      assert.deepEqual([...answered.value.y.data], [15, 18])
      good.dispose()
    }
    small.destroy()
  })
})
