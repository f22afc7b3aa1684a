// Writes the smallest ONNX files: one graph of float32 values. Field numbers are those of onnx.proto.

const IR_VERSION = 8
const FLOAT = 1
const ATTRIBUTE = { float: 1, int: 2, ints: 7 }

function varint(value) {
  const bytes = []
  let rest = BigInt.asUintN(64, BigInt(value))
  do {
    const low = Number(rest & 127n)
    rest >>= 7n
    bytes.push(rest > 0n ? low | 128 : low)
  } while (rest > 0n)
  return Buffer.from(bytes)
}

const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)])

function bytes(field, content) {
  const buffer = Buffer.from(content)
  return Buffer.concat([varint((field << 3) | 2), varint(buffer.length), buffer])
}

const message = (field, ...parts) => bytes(field, Buffer.concat(parts))

function float(field, value) {
  const four = Buffer.alloc(4)
  four.writeFloatLE(value)
  return Buffer.concat([varint((field << 3) | 5), four])
}

function attribute([name, value]) {
  if (Array.isArray(value)) return message(5, bytes(1, name), ...value.map(each => number(8, each)), number(20, ATTRIBUTE.ints))
  if (Number.isInteger(value)) return message(5, bytes(1, name), number(3, value), number(20, ATTRIBUTE.int))
  return message(5, bytes(1, name), float(2, value.float), number(20, ATTRIBUTE.float))
}

const node = ({ op, inputs, outputs, attributes = {} }) =>
  message(1, ...inputs.map(name => bytes(1, name)), ...outputs.map(name => bytes(2, name)), bytes(4, op), ...Object.entries(attributes).map(attribute))

const tensor = ({ name, dims, data }) =>
  message(5, ...dims.map(dim => number(1, dim)), number(2, FLOAT), bytes(8, name), bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)))

/** A text is the name of an open size. */
const dimension = dim => (typeof dim === "string" ? bytes(2, dim) : number(1, dim))

const value = (field, { name, dims }) =>
  message(field, bytes(1, name), message(2, message(1, number(1, FLOAT), message(2, ...dims.map(dim => message(1, dimension(dim)))))))

/**
 * The bytes of a model. Attributes are whole numbers, lists of them, or `{ float }`; values have a name and dims,
 * constants also `data`, a Float32Array.
 */
export function writeModel({ opset, nodes, inputs, outputs, constants = [] }) {
  const graph = [...nodes.map(node), bytes(2, "graph"), ...constants.map(tensor), ...inputs.map(each => value(11, each)), ...outputs.map(each => value(12, each))]
  return Buffer.concat([number(1, IR_VERSION), message(7, ...graph), message(8, bytes(1, ""), number(2, opset))])
}
