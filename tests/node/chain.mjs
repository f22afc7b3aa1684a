// A model made here: a chain of operators, for tests of depth.

const varint = value => (value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))])
const number = (field, value) => [...varint(field << 3), ...varint(value)]
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content]
const text = (field, value) => bytes(field, [...new TextEncoder().encode(value)])

/** ONNX's ValueInfoProto of a float32 tensor. */
function value(name, dims) {
  const shape = dims.flatMap(dim => bytes(1, number(1, dim)))
  return [...text(1, name), ...bytes(2, bytes(1, [...number(1, 1), ...bytes(2, shape)]))]
}

/** The bytes of a model with `depth` nodes in a row over `x: float32[4]`; what comes out is `y`. */
export function chainModel(depth, op = "Sin") {
  const name = at => (at === 0 ? "x" : at === depth ? "y" : `v${at}`)
  const nodes = Array.from({ length: depth }, (_, at) => bytes(1, [...text(1, name(at)), ...text(2, name(at + 1)), ...text(4, op)]))
  const graph = [...nodes.flat(), ...text(2, "chain"), ...bytes(11, value("x", [4])), ...bytes(12, value("y", [4]))]
  return Uint8Array.from([...number(1, 8), ...bytes(7, graph), ...bytes(8, number(2, 13))])
}
