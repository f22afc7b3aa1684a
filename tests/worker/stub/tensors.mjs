// Tensors of the Open Inference Protocol with its binary extension, written from its text and docs/PROTOCOL.md.

const ARRAYS = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
}

/** What a client did wrong: a code of docs/PROTOCOL.md and why. */
export class Refusal extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

/** The tensors of `list` by name, as `{ datatype, shape, data }`; binary ones are taken from `payload`, all of it. */
export function readTensors(list, payload) {
  if (!Array.isArray(list)) throw new Refusal("INVALID_INPUT", "expected a list of inputs")
  const tensors = new Map()
  let offset = 0
  for (const { name, datatype, shape, data, parameters } of list) {
    const sizeBytes = parameters?.binary_data_size
    const count = shape.reduce((product, size) => product * size, 1)
    if (sizeBytes === undefined) {
      tensors.set(name, { datatype, shape, data: fromJson(datatype, data, count, name) })
      continue
    }
    if (offset + sizeBytes > payload.length) throw new Refusal("INVALID_INPUT", `${name}: ${sizeBytes} bytes are announced, and fewer are there`)
    tensors.set(name, { datatype, shape, data: fromBytes(datatype, payload.subarray(offset, offset + sizeBytes), count, name) })
    offset += sizeBytes
  }
  if (offset !== payload.length) throw new Refusal("INVALID_INPUT", `${payload.length - offset} bytes belong to no tensor`)
  return tensors
}

function arrayOf(datatype) {
  const array = ARRAYS[datatype]
  if (array === undefined) throw new Refusal("DTYPE_MISMATCH", `${datatype} is no type`)
  return array
}

function fromJson(datatype, data, count, name) {
  const flat = Array.isArray(data) ? data.flat(Infinity) : []
  if (flat.length !== count) throw new Refusal("SHAPE_MISMATCH", `${name}: ${flat.length} elements, expected ${count}`)
  if (datatype === "BYTES") return flat.map(String)
  if (datatype === "BOOL") return Uint8Array.from(flat, Number)
  const array = arrayOf(datatype)
  return array === BigInt64Array || array === BigUint64Array ? array.from(flat, BigInt) : array.from(flat)
}

function fromBytes(datatype, bytes, count, name) {
  if (datatype === "BYTES") return fromStrings(bytes, count, name)
  const array = arrayOf(datatype)
  if (bytes.length !== count * array.BYTES_PER_ELEMENT) throw new Refusal("SHAPE_MISMATCH", `${name}: ${bytes.length} bytes, expected ${count} elements`)
  return new array(Uint8Array.from(bytes).buffer)
}

function fromStrings(bytes, count, name) {
  const strings = []
  for (let offset = 0; offset < bytes.length; ) {
    const end = offset + 4 <= bytes.length ? offset + 4 + bytes.readUInt32LE(offset) : Infinity
    if (end > bytes.length) throw new Refusal("INVALID_INPUT", `${name}: a string ends behind its tensor`)
    strings.push(bytes.toString("utf8", offset + 4, end))
    offset = end
  }
  if (strings.length !== count) throw new Refusal("SHAPE_MISMATCH", `${name}: ${strings.length} strings, expected ${count}`)
  return strings
}

/** `{ list, pieces }`: the JSON of tensors by name, and the bytes of those that `isBinary(name)`. */
export function writeTensors(tensors, isBinary) {
  const pieces = []
  const list = [...tensors].map(([name, { datatype, shape, data }]) => {
    if (!isBinary(name)) return { name, datatype, shape, data: toJson(datatype, data) }
    const bytes = datatype === "BYTES" ? stringBytes(data) : Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    pieces.push(bytes)
    return { name, datatype, shape, parameters: { binary_data_size: bytes.length } }
  })
  return { list, pieces }
}

const toJson = (datatype, data) => (datatype === "BOOL" ? Array.from(data, Boolean) : Array.from(data, each => (typeof each === "bigint" ? Number(each) : each)))

const stringBytes = strings => Buffer.concat(strings.flatMap(each => {
  const text = Buffer.from(each)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return [length, text]
}))
