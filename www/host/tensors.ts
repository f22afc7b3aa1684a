import { Tensor } from "onnxruntime-common"
import { SentinelError } from "./errors.js"
import type { TensorData } from "./wasm.js"

type TypedArrayConstructor = {
  new (buffer: ArrayBuffer): Tensor.DataType & ArrayBufferView
  readonly BYTES_PER_ELEMENT: number
}

// float16 travels as its bits: the Tensor makes a Float16Array of them where there is one.
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  int4: Uint8Array,
  uint4: Uint8Array,
} as unknown as Record<string, TypedArrayConstructor | undefined>

/** A view of the tensor's own bytes: nothing is copied until WebAssembly takes them. */
export function toTensorData(name: string, tensor: Tensor): TensorData {
  // A Tensor of another copy of onnxruntime-common is as good.
  if (typeof tensor?.location !== "string") {
    throw new SentinelError("INVALID_INPUT", `"${name}": expected a Tensor, got ${tensor === null ? "null" : typeof tensor}`)
  }
  if (tensor.location !== "cpu" && tensor.location !== "cpu-pinned") {
    const why = tensor.location === "none" ? "the tensor is disposed" : `its data is in a ${tensor.location}, expected on the CPU`
    throw new SentinelError("INVALID_INPUT", `"${name}": ${why}`)
  }
  const dims = [...tensor.dims]
  if (tensor.type === "string") return { type: "string", dims, data: tensor.data as string[] }
  const { buffer, byteOffset, byteLength } = tensor.data as Exclude<Tensor.DataType, string[]>
  return { type: tensor.type, dims, data: new Uint8Array(buffer, byteOffset, byteLength) }
}

/** The tensor over these bytes; `data` belongs to the tensor afterwards. */
export function fromTensorData(name: string, { type, dims, data }: TensorData): Tensor {
  if (!(data instanceof Uint8Array)) return new Tensor("string", data, dims)
  const TypedArray = ARRAYS[type]
  if (TypedArray === undefined) {
    throw new SentinelError("MODEL_UNSUPPORTED", `"${name}": JavaScript tensors have no element type ${type}`)
  }
  const isOwnBuffer = data.byteOffset === 0 && data.byteLength === data.buffer.byteLength
  const buffer = (isOwnBuffer ? data.buffer : data.slice().buffer) as ArrayBuffer
  return new Tensor(type as Tensor.Type, new TypedArray(buffer), dims)
}

/**
 * Puts an output into the tensor that the caller gave for it.
 *
 * @throws `DTYPE_MISMATCH` or `SHAPE_MISMATCH` when the two differ.
 */
export function fillPreallocated(name: string, target: Tensor, output: TensorData): Tensor {
  if (target.type !== output.type) {
    throw new SentinelError("DTYPE_MISMATCH", `output "${name}": it is ${output.type}, the given tensor is ${target.type}`)
  }
  if (target.dims.join() !== output.dims.join()) {
    throw new SentinelError("SHAPE_MISMATCH", `output "${name}": it is [${output.dims}], the given tensor is [${target.dims}]`)
  }
  if (target.location !== "cpu" && target.location !== "cpu-pinned") {
    throw new SentinelError("INVALID_INPUT", `output "${name}": the given tensor is in a ${target.location}, expected on the CPU`)
  }
  if (output.data instanceof Uint8Array) {
    const { buffer, byteOffset, byteLength } = target.data as Exclude<Tensor.DataType, string[]>
    new Uint8Array(buffer, byteOffset, byteLength).set(output.data)
  } else {
    (target.data as string[]).splice(0, target.data.length, ...output.data)
  }
  return target
}
