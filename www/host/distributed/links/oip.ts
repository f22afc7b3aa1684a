import { Tensor } from "onnxruntime-common"
import type { Outputs } from "../../batch/engine.js"
import type { Tensors } from "../../batch/join.js"
import { SentinelError } from "../../errors.js"
import { toTensorData } from "../../tensors.js"

/** A tensor of the Open Inference Protocol; without `data`, its elements are the next bytes of the payload. */
export interface WireTensor {
  name: string
  datatype: string
  shape: number[]
  parameters?: { binary_data_size: number }
  data?: readonly unknown[]
}

/** An input or output as a server announces it. */
export interface Port {
  name: string
  datatype: string
}

type Elements = Exclude<Tensor.DataType, string[]>
interface ElementsConstructor {
  new (buffer: ArrayBufferLike, offsetBytes: number, length: number): Elements
  readonly BYTES_PER_ELEMENT: number
}

interface Datatype {
  type: Tensor.Type
  Elements: ElementsConstructor
  /** A JSON value as an element; undefined where it is none. */
  read(value: unknown): number | bigint | undefined
}

const MAX_TENSORS = 256
const MAX_RANK = 16

const number = (value: unknown) => (typeof value === "number" ? value : undefined)
const truth = (value: unknown) => (value === true || value === 1 ? 1 : value === false || value === 0 ? 0 : undefined)
// JSON's numbers are doubles here: what is beyond them has been rounded already, and is refused.
const large = (value: unknown) => (Number.isSafeInteger(value) ? BigInt(value as number) : undefined)
const integer = (least: number, most: number) => (value: unknown) =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most ? (value as number) : undefined

// float16 travels as its bits: the Tensor makes a Float16Array of them where there is one.
const DATATYPES = new Map<string, Datatype>([
  ["BOOL", { type: "bool", Elements: Uint8Array, read: truth }],
  ["UINT8", { type: "uint8", Elements: Uint8Array, read: integer(0, 255) }],
  ["UINT16", { type: "uint16", Elements: Uint16Array, read: integer(0, 65535) }],
  ["UINT32", { type: "uint32", Elements: Uint32Array, read: integer(0, 2 ** 32 - 1) }],
  ["UINT64", { type: "uint64", Elements: BigUint64Array, read: value => (number(value) ?? -1) < 0 ? undefined : large(value) }],
  ["INT8", { type: "int8", Elements: Int8Array, read: integer(-128, 127) }],
  ["INT16", { type: "int16", Elements: Int16Array, read: integer(-32768, 32767) }],
  ["INT32", { type: "int32", Elements: Int32Array, read: integer(-(2 ** 31), 2 ** 31 - 1) }],
  ["INT64", { type: "int64", Elements: BigInt64Array, read: large }],
  ["FP16", { type: "float16", Elements: Uint16Array as unknown as ElementsConstructor, read: () => undefined }],
  ["FP32", { type: "float32", Elements: Float32Array, read: number }],
  ["FP64", { type: "float64", Elements: Float64Array, read: number }],
])
const NAMES = new Map<string, string>([...[...DATATYPES].map(([name, { type }]): [string, string] => [type, name]), ["string", "BYTES"]])

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Brings tensors from a GPU; the others are as they were. */
export async function toCpu(tensors: Tensors): Promise<void> {
  for (const tensor of Object.values(tensors)) if (tensor?.location === "gpu-buffer") await tensor.getData()
}

/**
 * Tensors as they are named in a header, and their bytes, which are views of their own.
 *
 * @throws `DTYPE_MISMATCH` for types that the protocol does not have; `INVALID_INPUT` for what is no tensor on the CPU.
 */
export function writeTensors(tensors: Tensors): { wired: WireTensor[]; parts: Uint8Array[] } {
  const parts: Uint8Array[] = []
  const wired = Object.entries(tensors).map(([name, tensor]): WireTensor => {
    const { type, dims, data } = toTensorData(name, tensor)
    const part = data instanceof Uint8Array ? data : writeStrings(data)
    parts.push(part)
    return { name, datatype: datatypeOf(name, type), shape: dims, parameters: { binary_data_size: part.byteLength } }
  })
  return { wired, parts }
}

/**
 * The same with elements in JSON, for servers that take no bytes.
 *
 * @throws As `writeTensors`, and `INVALID_INPUT` for numbers that JSON does not have.
 */
export function writeTensorsAsJson(tensors: Tensors): WireTensor[] {
  return Object.entries(tensors).map(([name, tensor]) => {
    const { type, dims } = toTensorData(name, tensor)
    const datatype = datatypeOf(name, type)
    if (type === "float16") throw new SentinelError("DTYPE_MISMATCH", `"${name}": FP16 travels as bytes only, which this server does not take`)
    return { name, datatype, shape: dims, data: Array.from(tensor.data as ArrayLike<unknown>, element => toJson(name, type, element)) }
  })
}

function toJson(name: string, type: string, element: unknown): unknown {
  if (typeof element === "string") return element
  if (type === "bool") return element !== 0
  const value = Number(element)
  const isExact = typeof element === "bigint" ? Number.isSafeInteger(value) : Number.isFinite(value)
  if (isExact) return value
  throw new SentinelError("INVALID_INPUT", `"${name}": ${String(element)} is no number of JSON, and this server takes no bytes`)
}

function datatypeOf(name: string, type: string): string {
  const datatype = NAMES.get(type)
  if (datatype === undefined) throw new SentinelError("DTYPE_MISMATCH", `"${name}": the Open Inference Protocol has no ${type}`)
  return datatype
}

/**
 * The tensors of an answer. Elements stay where they are in `payload`, unless their place does not suit their type.
 *
 * @throws `INVALID_INPUT` for anything else than the wanted outputs in full, each of its announced type; `MODEL_UNSUPPORTED`
 * where JavaScript has no tensors of an output's type.
 */
export function readTensors(listed: unknown, payload: Uint8Array, wantedNames: readonly string[], ports: readonly Port[]): Outputs {
  if (!Array.isArray(listed)) throw wrong("outputs", "expected a list")
  if (listed.length > MAX_TENSORS) throw wrong("outputs", `${listed.length} of them, the limit is ${MAX_TENSORS}`)
  const announced = new Map(ports.map(port => [port.name, port.datatype]))
  const read = new Map<string, Tensor>()
  let at = 0
  for (const each of listed as unknown[]) {
    const { name, datatype, shape, parameters, data } = members(each)
    if (typeof name !== "string" || typeof datatype !== "string") throw wrong("outputs", "one without a name or a datatype")
    const place = `output "${name.slice(0, 200)}"`
    if (read.has(name)) throw wrong(place, "it is given twice")
    const expected = announced.get(name)
    // A worker that does not know the type of an output announces BYTES.
    if (expected !== undefined && expected !== datatype && expected !== "BYTES") throw wrong(place, `it is ${datatype.slice(0, 40)}, announced was ${expected}`)
    const { dims, size } = readShape(place, shape)
    if (data !== undefined) {
      read.set(name, fromJson(place, datatype, dims, size, data))
      continue
    }
    const sizeBytes = members(parameters)["binary_data_size"]
    if (!isCount(sizeBytes) || sizeBytes > payload.byteLength - at) {
      throw wrong(place, `${String(sizeBytes).slice(0, 40)} bytes, ${payload.byteLength - at} are left of the message`)
    }
    read.set(name, fromBytes(place, datatype, dims, size, payload.subarray(at, at + sizeBytes)))
    at += sizeBytes
  }
  if (at !== payload.byteLength) throw wrong("outputs", `${payload.byteLength - at} bytes of the message belong to none`)
  const missing = wantedNames.find(name => !read.has(name))
  if (missing !== undefined) throw wrong(`output "${missing}"`, "it is missing")
  return Object.fromEntries([...read].filter(([name]) => wantedNames.length === 0 || wantedNames.includes(name)))
}

function readShape(place: string, shape: unknown): { dims: number[]; size: number } {
  if (!Array.isArray(shape) || shape.length > MAX_RANK || !shape.every(isCount)) throw wrong(place, `its shape is no list of ${MAX_RANK} sizes at most`)
  const size = shape.reduce((product, dim) => product * dim, 1)
  if (!Number.isSafeInteger(size)) throw wrong(place, `a shape of [${shape}]`)
  return { dims: shape, size }
}

function fromBytes(place: string, datatype: string, dims: number[], size: number, bytes: Uint8Array): Tensor {
  if (datatype === "BYTES") return new Tensor("string", readStrings(place, bytes, size), dims)
  const { type, Elements } = elementsOf(place, datatype)
  const elementBytes = Elements.BYTES_PER_ELEMENT
  if (bytes.byteLength !== size * elementBytes) throw wrong(place, `${bytes.byteLength} bytes for [${dims}] of ${datatype}`)
  // Not `slice`: that of Node's Buffer copies nothing.
  const aligned = bytes.byteOffset % elementBytes === 0 ? bytes : new Uint8Array(bytes)
  return new Tensor(type, new Elements(aligned.buffer, aligned.byteOffset, size), dims)
}

function fromJson(place: string, datatype: string, dims: number[], size: number, data: unknown): Tensor {
  const flat = Array.isArray(data) ? (data.flat(MAX_RANK) as unknown[]) : []
  if (flat.length !== size) throw wrong(place, `${flat.length} elements for [${dims}]`)
  if (datatype === "BYTES") {
    if (flat.some(element => typeof element !== "string")) throw wrong(place, "an element is no text")
    return new Tensor("string", flat as string[], dims)
  }
  const { type, Elements, read } = elementsOf(place, datatype)
  const elements = new Elements(new ArrayBuffer(size * Elements.BYTES_PER_ELEMENT), 0, size) as unknown as Record<number, unknown>
  for (const [at, element] of flat.entries()) {
    const value = read(element)
    if (value === undefined) throw wrong(place, `an element is no ${datatype}`)
    elements[at] = value
  }
  return new Tensor(type, elements as unknown as Elements, dims)
}

function elementsOf(place: string, datatype: string): Datatype {
  const found = DATATYPES.get(datatype)
  if (found !== undefined) return found
  if (datatype !== "BF16") throw wrong(place, `"${datatype.slice(0, 40)}" is no datatype of the protocol`)
  throw new SentinelError("MODEL_UNSUPPORTED", `${place}: JavaScript tensors have no element type bfloat16`)
}

/** Strings are written as their length in four bytes and their bytes. */
function writeStrings(strings: readonly string[]): Uint8Array {
  const encoded = strings.map(text => encoder.encode(text))
  const bytes = new Uint8Array(encoded.reduce((sum, text) => sum + 4 + text.byteLength, 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const text of encoded) {
    view.setUint32(at, text.byteLength, true)
    bytes.set(text, at + 4)
    at += 4 + text.byteLength
  }
  return bytes
}

function readStrings(place: string, bytes: Uint8Array, size: number): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const strings: string[] = []
  let at = 0
  while (strings.length < size && at + 4 <= bytes.byteLength) {
    const end = at + 4 + view.getUint32(at, true)
    if (end > bytes.byteLength) break
    strings.push(text(place, bytes.subarray(at + 4, end)))
    at = end
  }
  if (strings.length !== size || at !== bytes.byteLength) throw wrong(place, `its bytes are not ${size} strings`)
  return strings
}

function text(place: string, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${place}: a string is not UTF-8`, { cause })
  }
}

function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {}
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function wrong(place: string, why: string): SentinelError {
  return new SentinelError("INVALID_INPUT", `${place}: ${why}`)
}
