// Single operators in the shapes that real networks have: each a model of one node, its input, and the output as
// plain loops in double precision give it. Weights are constants of the model, as in networks.
import { writeModel } from "./onnx.mjs"

const TOLERANCE = { atol: 1e-3, rtol: 1e-3 }

export const OPERATORS = [
  { name: "MatMul 256x256x256", op: "MatMul", m: 256, k: 256, n: 256 },
  { name: "MatMul 512x512x512", op: "MatMul", m: 512, k: 512, n: 512 },
  { name: "MatMul 1x1024x1024", op: "MatMul", m: 1, k: 1024, n: 1024 },
  { name: "Conv 7x7/2 3-64 112", op: "Conv", channels: 3, size: 112, filters: 64, kernel: 7, stride: 2 }, // ResNet's first, on pictures of half the size
  { name: "Conv 3x3 64-64 56", op: "Conv", channels: 64, size: 56, filters: 64, kernel: 3 }, // ResNet's body
  { name: "Conv 3x3/2 128-256 28", op: "Conv", channels: 128, size: 28, filters: 256, kernel: 3, stride: 2 },
  { name: "Conv 1x1 64-256 56", op: "Conv", channels: 64, size: 56, filters: 256, kernel: 1 }, // ResNet-50's widening
  { name: "Conv 1x1 192-32 28", op: "Conv", channels: 192, size: 28, filters: 32, kernel: 1 }, // MobileNet's narrowing
  { name: "Conv depthwise 3x3 96 56", op: "Conv", channels: 96, size: 56, filters: 96, kernel: 3, groups: 96 },
  { name: "Conv depthwise 3x3/2 144 56", op: "Conv", channels: 144, size: 56, filters: 144, kernel: 3, stride: 2, groups: 144 },
  { name: "LayerNormalization 128x768", op: "LayerNormalization", rows: 128, cols: 768 }, // a BERT layer's
  { name: "Softmax 12x128x128", op: "Softmax", rows: 12 * 128, cols: 128 }, // its attention
]

/** Numbers in -1..1, the same in every run. */
export function noise(length, seed) {
  let state = seed >>> 0
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
}

/** a: [m, k], b: [k, n] -> [m, n] */
function multiply(a, b, m, k, n) {
  const y = new Float64Array(m * n)
  for (let row = 0; row < m; row++) {
    for (let i = 0; i < k; i++) {
      const factor = a[row * k + i]
      for (let col = 0; col < n; col++) y[row * n + col] += factor * b[i * n + col]
    }
  }
  return y
}

/** x: [channels, size, size], w: [filters, channels / groups, kernel, kernel] -> [filters, out, out] */
function convolve(x, w, bias, { channels, size, filters, kernel, stride, groups, pad, out }) {
  const y = new Float64Array(filters * out * out)
  const depth = channels / groups
  for (let filter = 0; filter < filters; filter++) {
    const firstChannel = Math.floor(filter / (filters / groups)) * depth
    for (let row = 0; row < out; row++) {
      for (let col = 0; col < out; col++) {
        let sum = bias[filter]
        for (let channel = 0; channel < depth; channel++) {
          for (let i = 0; i < kernel; i++) {
            const from = row * stride - pad + i
            if (from < 0 || from >= size) continue
            const line = ((firstChannel + channel) * size + from) * size + col * stride - pad
            const weights = ((filter * depth + channel) * kernel + i) * kernel
            for (let j = Math.max(0, pad - col * stride); j < kernel && col * stride - pad + j < size; j++) sum += x[line + j] * w[weights + j]
          }
        }
        y[(filter * out + row) * out + col] = sum
      }
    }
  }
  return y
}

/** Applies `row` to each row of x. */
function perRow(x, cols, row) {
  const y = new Float64Array(x.length)
  for (let at = 0; at < x.length; at += cols) y.set(row(Float64Array.from(x.subarray(at, at + cols))), at)
  return y
}

function softmaxRow(row) {
  const max = Math.max(...row)
  const exponentials = row.map(each => Math.exp(each - max))
  const sum = exponentials.reduce((a, b) => a + b)
  return exponentials.map(each => each / sum)
}

function normalizeRow(row, epsilon) {
  const mean = row.reduce((a, b) => a + b) / row.length
  const variance = row.reduce((sum, each) => sum + (each - mean) ** 2, 0) / row.length
  return row.map(each => (each - mean) / Math.sqrt(variance + epsilon))
}

const BUILD = {
  MatMul({ m, k, n }) {
    const [x, w] = [noise(m * k, 1), noise(k * n, 2)]
    return { x: [m, k], input: x, y: [m, n], output: () => multiply(x, w, m, k, n), constants: [{ name: "w", dims: [k, n], data: w }] }
  },
  Conv({ channels, size, filters, kernel, stride = 1, groups = 1 }) {
    const pad = kernel >> 1
    const out = Math.floor((size + 2 * pad - kernel) / stride) + 1
    const [x, bias] = [noise(channels * size * size, 1), noise(filters, 3)]
    const wDims = [filters, channels / groups, kernel, kernel]
    const w = noise(wDims.reduce((a, b) => a * b), 2)
    return {
      x: [1, channels, size, size],
      input: x,
      y: [1, filters, out, out],
      output: () => convolve(x, w, bias, { channels, size, filters, kernel, stride, groups, pad, out }),
      constants: [{ name: "w", dims: wDims, data: w }, { name: "b", dims: [filters], data: bias }],
      attributes: { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad], group: groups },
    }
  },
  LayerNormalization({ rows, cols }) {
    const [x, scale, bias] = [noise(rows * cols, 1), noise(cols, 2), noise(cols, 3)]
    const row = values => normalizeRow(values, 1e-5).map((each, col) => each * scale[col] + bias[col])
    return {
      x: [rows, cols],
      input: x,
      y: [rows, cols],
      output: () => perRow(x, cols, row),
      constants: [{ name: "scale", dims: [cols], data: scale }, { name: "b", dims: [cols], data: bias }],
      attributes: { axis: -1, epsilon: { float: 1e-5 } },
    }
  },
  Softmax({ rows, cols }) {
    const x = noise(rows * cols, 1).map(each => each * 4)
    return { x: [rows, cols], input: x, y: [rows, cols], output: () => perRow(x, cols, softmaxRow), constants: [], attributes: { axis: -1 } }
  },
}

/** The model of an entry of `OPERATORS`, what is fed and what has to come out. */
export function buildOperator(entry) {
  const { x, input, y, output, constants, attributes } = BUILD[entry.op](entry)
  const model = writeModel({
    opset: 17,
    nodes: [{ op: entry.op, inputs: ["x", ...constants.map(({ name }) => name)], outputs: ["y"], attributes }],
    inputs: [{ name: "x", dims: x }],
    outputs: [{ name: "y", dims: y }],
    constants,
  })
  return {
    model,
    inputs: [{ name: "x", type: "float32", dims: x, data: input }],
    outputs: [{ name: "y", type: "float32", dims: y, data: Float32Array.from(output()), tolerance: TOLERANCE }],
  }
}
