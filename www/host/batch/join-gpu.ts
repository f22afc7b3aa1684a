import { Tensor } from "onnxruntime-common"
import type { SharedGpu } from "../device.js"
import { isOn } from "../tensors.js"
import type { Joining, Tensors } from "./join.js"

/** The part of WebGPU's `GPUDevice` that copies between buffers. */
interface CopyingDevice {
  createBuffer(descriptor: { label: string; size: number; usage: number }): GpuBuffer
  createCommandEncoder(): {
    copyBufferToBuffer(source: GpuBuffer, sourceOffset: number, target: GpuBuffer, targetOffset: number, size: number): void
    finish(): object
  }
  readonly queue: { submit(commands: object[]): void }
}

interface GpuBuffer {
  readonly usage?: number
  destroy(): void
}

// WebGPU's GPUBufferUsage, which is no global name in Node.
const COPY_SRC = 4
const COPY_DST = 8
const STORAGE = 128

/** Bytes of an element in a GPU buffer. */
const ELEMENT_BYTES: Readonly<Record<string, number | undefined>> = { float32: 4, int32: 4, uint32: 4, float16: 2, uint8: 1, int8: 1 }

/** Bytes of a row along axis 0, where rows can be copied between buffers: in whole words. */
export function gpuRowBytes({ type, dims }: Tensor, axis: number): number | undefined {
  const elementBytes = ELEMENT_BYTES[type]
  if (axis !== 0 || elementBytes === undefined) return undefined
  const rowBytes = dims.slice(1).reduce((product, dim) => product * dim, elementBytes)
  return rowBytes > 0 && rowBytes % 4 === 0 ? rowBytes : undefined
}

/** True where these are in buffers of this device that can be copied from. */
export function canJoinOnGpu(tensors: readonly Tensor[], gpu: SharedGpu): boolean {
  return tensors.every(tensor => {
    const { usage = COPY_SRC } = tensor.gpuBuffer as GpuBuffer
    return isOn(gpu, tensor) && (usage & COPY_SRC) !== 0
  })
}

/** The names of the inputs that are in GPU buffers. */
export function namesOnGpu(feeds: Tensors): string[] {
  return Object.keys(feeds).filter(name => feeds[name]?.location === "gpu-buffer")
}

/** One tensor in a buffer of its own from several of one signature, joined along axis 0; `dispose()` gives the buffer back. */
export function joinOnGpu(tensors: readonly Tensor[], { mode, size, padding }: Joining, gpu: SharedGpu): Tensor {
  const [first] = tensors as [Tensor]
  const rowBytes = gpuRowBytes(first, 0) as number
  const nGiven = tensors.reduce((sum, { dims }) => sum + (dims[0] as number), 0)
  const n = mode === "pad" ? size : nGiven
  const device = gpu.device as unknown as CopyingDevice
  const joined = device.createBuffer({ label: "joined inputs", size: n * rowBytes, usage: STORAGE | COPY_SRC | COPY_DST })
  const encoder = device.createCommandEncoder()
  let at = 0
  for (const tensor of tensors) {
    const bytes = (tensor.dims[0] as number) * rowBytes
    encoder.copyBufferToBuffer(tensor.gpuBuffer as unknown as GpuBuffer, 0, joined, at, bytes)
    at += bytes
  }
  // A new buffer has zeros. Rows are repeated from their own tensor: a buffer is not copied into itself.
  const last = tensors.at(-1) as Tensor
  const lastRow = ((last.dims[0] as number) - 1) * rowBytes
  if (padding === "repeat") {
    for (; at < n * rowBytes; at += rowBytes) encoder.copyBufferToBuffer(last.gpuBuffer as unknown as GpuBuffer, lastRow, joined, at, rowBytes)
  }
  device.queue.submit([encoder.finish()])
  return Tensor.fromGpuBuffer(joined as unknown as Tensor.GpuBufferType, {
    dataType: first.type as Tensor.GpuBufferDataTypes,
    dims: [n, ...first.dims.slice(1)],
    dispose: () => { joined.destroy() },
  })
}
