import { Tensor } from "onnxruntime-common"
import type { SharedGpu } from "./device.js"
import { SentinelError, toSentinelError } from "./errors.js"
import { Handle, type Instance } from "./instance.js"
import type { EngineModule, Feed, GpuTensor, GpuTensorData, Output, TensorData } from "./wasm.js"

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

// WebGPU's GPUBufferUsage, which is no global name in Node.
const COPY_SRC = 4
const COPY_DST = 8

/** Whose buffers the outputs on a GPU are. */
const owners = new WeakMap<object, SharedGpu>()

/** The tensor for a session on `gpu`, or on the CPU where there is none. */
export async function toFeed(name: string, tensor: Tensor, gpu: SharedGpu | undefined): Promise<Feed> {
  checkTensor(name, tensor)
  if (tensor.location === "gpu-buffer" && gpu !== undefined && isOn(gpu, tensor)) {
    checkUsage(name, tensor, COPY_SRC, "COPY_SRC")
    return { type: tensor.type, dims: [...tensor.dims], gpuBuffer: tensor.gpuBuffer }
  }
  if (tensor.location === "gpu-buffer") {
    try {
      await tensor.getData()
    } catch (thrown) {
      const error = toSentinelError(thrown)
      if (error.code !== "INTERNAL") throw error
      throw new SentinelError("INVALID_INPUT", `"${name}": its data is in a gpu-buffer that this session cannot read: ${error.message}`)
    }
  }
  return toTensorData(name, tensor)
}

/** True where a tensor is on this device. A buffer that a caller made is taken to be: WebGPU does not tell. */
export function isOn(gpu: SharedGpu, tensor: Tensor): boolean {
  const owner = owners.get(tensor.gpuBuffer)
  return owner === undefined || owner === gpu
}

function checkTensor(name: string, tensor: Tensor): void {
  // A Tensor of another copy of onnxruntime-common is as good.
  if (typeof tensor?.location !== "string" || !Array.isArray(tensor.dims)) {
    throw new SentinelError("INVALID_INPUT", `"${name}": expected a Tensor, got ${tensor === null ? "null" : typeof tensor}`)
  }
}

function checkUsage(name: string, tensor: Tensor, bit: number, bitName: string): void {
  const { usage } = tensor.gpuBuffer as { usage?: number }
  if (usage !== undefined && (usage & bit) === 0) {
    throw new SentinelError("INVALID_INPUT", `"${name}": its buffer is without GPUBufferUsage.${bitName}`)
  }
}

/** Gives back what nobody reads: on a GPU, it would stay until it is found to be garbage. */
export function disposeOnGpu(tensors: Readonly<Record<string, Tensor>>): void {
  for (const tensor of Object.values(tensors)) if (tensor.location === "gpu-buffer") tensor.dispose()
}

/** A view of the tensor's own bytes: nothing is copied until WebAssembly takes them. */
export function toTensorData(name: string, tensor: Tensor): TensorData {
  checkTensor(name, tensor)
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

/** A state of more than that would be a gibibyte and more before a model has run. */
const MOST_ZEROS = 2 ** 28

/** A tensor of zeros. */
export function zeros(name: string, type: string, dims: number[]): Tensor {
  const size = dims.reduce((product, dim) => product * dim, 1)
  if (size > MOST_ZEROS) throw new SentinelError("TOO_LARGE", `"${name}": [${dims}] of zeros, expected at most ${MOST_ZEROS}`)
  if (type === "string") return new Tensor("string", new Array<string>(size).fill(""), dims)
  const data = new Uint8Array(size * (ARRAYS[type]?.BYTES_PER_ELEMENT ?? 0))
  return fromTensorData(name, { type, dims, data })
}

/** The tensor in a GPU buffer of its own, which goes with `dispose()`. */
export function fromGpuTensor(name: string, { type, dims, gpuTensor }: GpuTensorData, gpu: SharedGpu, instance: Instance<EngineModule>): Tensor {
  const handle = new Handle<GpuTensor>(instance, gpuTensor)
  try {
    const buffer = handle.use(tensor => tensor.buffer)
    const tensor = Tensor.fromGpuBuffer(buffer as Tensor.GpuBufferType, {
      dataType: type as Tensor.GpuBufferDataTypes,
      dims,
      download: async () => {
        const data = await handle.wait(tensor => tensor.read()).catch(thrown => { throw toSentinelError(thrown, name) })
        return fromTensorData(name, { type, dims, data }).data as Tensor.DataTypeMap[Tensor.GpuBufferDataTypes]
      },
      dispose: () => handle.free(),
    })
    owners.set(buffer, gpu)
    return tensor
  } catch (thrown) {
    handle.free()
    // onnxruntime's tensors have fewer types on the GPU than elsewhere.
    throw thrown instanceof TypeError ? new SentinelError("DTYPE_MISMATCH", `"${name}": ${thrown.message}`) : thrown
  }
}

/** What became of an output: a tensor of its own, or the one that the caller gave for it. */
export function toOutput(name: string, output: Output, target: Tensor | null, gpu: SharedGpu | undefined, instance: Instance<EngineModule>): Tensor {
  if (!("gpuTensor" in output)) {
    if (target === null) return fromTensorData(name, output)
    checkTarget(name, target, output)
    return fill(target, output)
  }
  if (gpu === undefined) throw new SentinelError("INTERNAL", `output "${name}": it is on a GPU that the session does not have`)
  if (target === null) return fromGpuTensor(name, output, gpu, instance)
  const handle = new Handle<GpuTensor>(instance, output.gpuTensor)
  try {
    checkTarget(name, target, output)
    checkUsage(name, target, COPY_DST, "COPY_DST")
    handle.use(tensor => tensor.copyTo(target.gpuBuffer))
  } finally {
    handle.free()
  }
  return target
}

/** @throws `DTYPE_MISMATCH` or `SHAPE_MISMATCH` when the output is not like the tensor that the caller gave for it. */
function checkTarget(name: string, target: Tensor, output: Output): void {
  if (target.type !== output.type) {
    throw new SentinelError("DTYPE_MISMATCH", `output "${name}": it is ${output.type}, the given tensor is ${target.type}`)
  }
  if (target.dims.join() !== output.dims.join()) {
    throw new SentinelError("SHAPE_MISMATCH", `output "${name}": it is [${output.dims}], the given tensor is [${target.dims}]`)
  }
  const isHere = target.location === "cpu" || target.location === "cpu-pinned"
  const expected = "gpuTensor" in output ? target.location === "gpu-buffer" : isHere
  if (!expected) {
    throw new SentinelError("INVALID_INPUT", `output "${name}": the given tensor is in a ${target.location}, expected on the CPU`)
  }
}

function fill(target: Tensor, output: TensorData): Tensor {
  if (output.data instanceof Uint8Array) {
    const { buffer, byteOffset, byteLength } = target.data as Exclude<Tensor.DataType, string[]>
    new Uint8Array(buffer, byteOffset, byteLength).set(output.data)
  } else {
    (target.data as string[]).splice(0, target.data.length, ...output.data)
  }
  return target
}
