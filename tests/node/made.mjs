// Models made here: a chain of operators, for tests of depth, and one of large weights, for tests of memory.

const varint = value => (value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))])
const number = (field, value) => [...varint(field << 3), ...varint(value)]
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content]
const text = (field, value) => bytes(field, [...new TextEncoder().encode(value)])

const FLOAT32 = 1
const INT64 = 7

/** ONNX's ValueInfoProto of a tensor; a string is the name of a free dimension. */
function value(name, dims, type = FLOAT32) {
  const shape = dims.flatMap(dim => bytes(1, typeof dim === "string" ? text(2, dim) : number(1, dim)))
  return [...text(1, name), ...bytes(2, bytes(1, [...number(1, type), ...bytes(2, shape)]))]
}

const modelOf = graph => Uint8Array.from([...number(1, 8), ...bytes(7, graph), ...bytes(8, number(2, 13))])

/** A model that gives its input back: `y = x`, both of one of ONNX's types, `[rows, 3]`. */
export function sameModel(type) {
  const node = [...text(1, "x"), ...text(2, "y"), ...text(4, "Identity")]
  const ports = [...bytes(11, value("x", ["rows", 3], type)), ...bytes(12, value("y", ["rows", 3], type))]
  return modelOf([...bytes(1, node), ...text(2, "same"), ...ports])
}

/** The bytes of a model with `depth` nodes in a row over `x: float32[4]`; what comes out is `y`. */
export function chainModel(depth, op = "Sin") {
  const name = at => (at === 0 ? "x" : at === depth ? "y" : `v${at}`)
  const nodes = Array.from({ length: depth }, (_, at) => bytes(1, [...text(1, name(at)), ...text(2, name(at + 1)), ...text(4, op)]))
  const graph = [...nodes.flat(), ...text(2, "chain"), ...bytes(11, value("x", [4])), ...bytes(12, value("y", [4]))]
  return modelOf(graph)
}

/** A model that multiplies `x: float32[1, size]` by a matrix of `size * size` times 1 / size: every element of `y` is the mean of x. */
export function meanModel(size) {
  const weights = Buffer.from(new Float32Array(size * size).fill(1 / size).buffer)
  const matrix = [...number(1, size), ...number(1, size), ...number(2, 1), ...text(8, "w"), ...varint((9 << 3) | 2), ...varint(weights.length)]
  const node = [...text(1, "x"), ...text(1, "w"), ...text(2, "y"), ...text(4, "MatMul")]
  const rest = [...text(2, "mean"), ...bytes(11, value("x", [1, size])), ...bytes(12, value("y", [1, size]))]
  const matrixLength = matrix.length + weights.length
  const head = [...bytes(1, node), ...varint((5 << 3) | 2), ...varint(matrixLength), ...matrix]
  const graphLength = head.length + weights.length + rest.length
  const opening = [...number(1, 8), ...varint((7 << 3) | 2), ...varint(graphLength), ...head]
  return Buffer.concat([Buffer.from(opening), weights, Buffer.from([...rest, ...bytes(8, number(2, 13))])])
}

/** A model that repeats `x: float32[1]` to `shape: int64[2]`: an input of a few bytes can ask for more memory than there is. */
export function expandModel() {
  const node = [...text(1, "x"), ...text(1, "shape"), ...text(2, "y"), ...text(4, "Expand")]
  const inputs = [...bytes(11, value("x", [1])), ...bytes(11, value("shape", [2], INT64))]
  return modelOf([...bytes(1, node), ...text(2, "expand"), ...inputs, ...bytes(12, value("y", ["rows", "columns"]))])
}

/**
 * A model of one row for each of the batch's: `y = table[at]`, where the table has the rows 0, 10, 20 and 30 of two numbers. Another
 * index fails while it runs.
 */
export function gatherModel(batch = "batch") {
  const table = Float32Array.from([0, 0, 10, 10, 20, 20, 30, 30])
  const values = [...number(1, 4), ...number(1, 2), ...number(2, FLOAT32), ...text(8, "table"), ...bytes(9, [...new Uint8Array(table.buffer)])]
  const node = [...text(1, "table"), ...text(1, "at"), ...text(2, "y"), ...text(4, "Gather")]
  const ports = [...bytes(11, value("at", [batch], INT64)), ...bytes(12, value("y", [batch, 2]))]
  return modelOf([...bytes(1, node), ...text(2, "gather"), ...bytes(5, values), ...ports])
}

/** A model with an input that the whole batch shares: `y = x * scale`, with `x: float32[batch, 2]` and a scalar `scale`. */
export const scaleModel = (batch = "batch") => modelOf(scaleGraph(batch))

/** The same with an output that the whole batch shares: `z = -scale`. */
export function sharedModel(batch = "batch", { scale = "scale", z = "z" } = {}) {
  const node = [...text(1, scale), ...text(2, z), ...text(4, "Neg")]
  return modelOf([...scaleGraph(batch, scale), ...bytes(1, node), ...bytes(12, value(z, []))])
}

function scaleGraph(batch, scale = "scale") {
  const node = [...text(1, "x"), ...text(1, scale), ...text(2, "y"), ...text(4, "Mul")]
  const ports = [...bytes(11, value("x", [batch, 2])), ...bytes(11, value(scale, [])), ...bytes(12, value("y", [batch, 2]))]
  return [...bytes(1, node), ...text(2, "scale"), ...ports]
}
