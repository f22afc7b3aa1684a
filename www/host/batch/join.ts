import { Tensor } from "onnxruntime-common"
import { SentinelError } from "../errors.js"
import { fromTensorData, toTensorData } from "../tensors.js"
import type { TensorData } from "../wasm.js"
import { gpuRowBytes } from "./join-gpu.js"
import type { Padding } from "./options.js"
import { own } from "./own.js"

export type Tensors = Readonly<Record<string, Tensor>>

/** How the inputs of a model are joined and its outputs split; plain data, so that it goes to workers as it is. */
export interface Joining {
  /** `join`: any number of rows. `pad`: always `size` rows. `alone`: each input runs by itself. */
  mode: "join" | "pad" | "alone"
  /** The rows of every batch, where they are fixed. */
  size: number
  /** The inputs that have rows, and their axis; the others are the same for a whole batch. */
  inputs: Record<string, number>
  /** The outputs that have rows, and their axis; the others are the same for a whole batch. */
  outputs: Record<string, number>
  padding: Padding
  /** Why inputs run alone; empty where they do not. */
  reason: string
}

/** What decides which inputs fit together. */
export interface Signature {
  /** Equal for inputs that may be joined. */
  text: string
  rows: number
}

/** Values that a whole batch shares are compared as text up to this size. */
const MAX_SHARED_BYTES = 256

/** Their rows are no whole bytes, or no bytes at all. */
const UNJOINED_TYPES: readonly string[] = ["string", "int4", "uint4"]

/** What has to be equal to be joined with `feeds`; undefined for what runs by itself. */
export function signature(feeds: Tensors, joining: Joining): Signature | undefined {
  if (joining.mode === "alone") return undefined
  let rows: number | undefined
  const parts: string[] = []
  for (const name of Object.keys(feeds).sort()) {
    const tensor = feeds[name] as Tensor
    const axis = own(joining.inputs, name)
    if (!Array.isArray(tensor?.dims) || UNJOINED_TYPES.includes(tensor.type)) return undefined
    const isOnGpu = tensor.location === "gpu-buffer"
    if (isOnGpu ? axis === undefined || gpuRowBytes(tensor, axis) === undefined : tensor.location !== "cpu") return undefined
    if (axis === undefined) {
      const { data } = toTensorData(name, tensor)
      if (data.length > MAX_SHARED_BYTES) return undefined
      parts.push(`${name}:${tensor.type}[${tensor.dims}]=${data}`)
      continue
    }
    const size = tensor.dims[axis]
    if (size === undefined || size === 0 || (rows !== undefined && rows !== size)) return undefined
    rows = size
    parts.push(`${name}:${isOnGpu ? "gpu " : ""}${tensor.type}[${tensor.dims.map((dim, at) => (at === axis ? "" : dim))}]`)
  }
  if (rows === undefined || (joining.mode === "pad" && rows > joining.size)) return undefined
  return { text: parts.join(";"), rows }
}

/** One set of feeds from several of the same signature. */
export function join(parts: readonly Tensors[], joining: Joining): Record<string, TensorData> {
  const [first = {}] = parts
  const feeds = Object.keys(first).map(name => {
    const axis = own(joining.inputs, name)
    if (axis === undefined) return [name, toTensorData(name, first[name] as Tensor)]
    return [name, joinAlong(axis, parts.map(part => toTensorData(name, part[name] as Tensor)), joining)]
  })
  return Object.fromEntries(feeds)
}

/** The outputs of each input: `rows` has the rows of each, in their order. */
export function split(outputs: Record<string, TensorData>, rows: readonly number[], joining: Joining): Record<string, TensorData>[] {
  const n = rows.reduce((sum, count) => sum + count, 0)
  const parts: [name: string, value: TensorData][][] = rows.map(() => [])
  for (const [name, output] of Object.entries(outputs)) {
    const axis = own(joining.outputs, name)
    if (axis === undefined) {
      // It is the same for all; each gets its own.
      for (const part of parts) part.push([name, { ...output, data: output.data.slice() }])
      continue
    }
    const expected = joining.mode === "pad" ? joining.size : n
    if (output.dims[axis] !== expected) {
      throw new SentinelError("INTERNAL", `output "${name}": expected ${expected} rows along axis ${axis}, got [${output.dims}]`)
    }
    let from = 0
    for (const [at, count] of rows.entries()) {
      parts[at]?.push([name, cut(output, axis, from, count)])
      from += count
    }
  }
  return parts.map(part => Object.fromEntries(part))
}

export function toTensors(values: Record<string, TensorData>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, fromTensorData(name, value)]))
}

/** `outer` blocks of `n` rows of `rowBytes`. */
function blocks({ type, dims, data }: TensorData, axis: number): { data: Uint8Array; outer: number; n: number; rowBytes: number } {
  if (!(data instanceof Uint8Array)) throw new SentinelError("INTERNAL", `a tensor of ${type} has no rows of bytes`)
  const n = dims[axis] as number
  const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1)
  return { data, outer, n, rowBytes: outer * n === 0 ? 0 : data.byteLength / (outer * n) }
}

function joinAlong(axis: number, parts: readonly TensorData[], { mode, size, padding }: Joining): TensorData {
  const [{ type, dims }] = parts as [TensorData]
  const all = parts.map(part => blocks(part, axis))
  const nGiven = all.reduce((sum, { n }) => sum + n, 0)
  const n = mode === "pad" ? size : nGiven
  const [{ outer, rowBytes }] = all as [ReturnType<typeof blocks>]
  const joined = new Uint8Array(outer * n * rowBytes)
  for (let block = 0; block < outer; block += 1) {
    let at = block * n * rowBytes
    for (const part of all) {
      const bytes = part.n * rowBytes
      joined.set(part.data.subarray(block * bytes, (block + 1) * bytes), at)
      at += bytes
    }
    if (padding === "repeat") {
      for (const end = (block + 1) * n * rowBytes; at < end; at += rowBytes) joined.copyWithin(at, at - rowBytes, at)
    }
  }
  return { type, dims: dims.map((dim, at) => (at === axis ? n : dim)), data: joined }
}

/** Rows `from` to `from + count`, in a buffer of their own. */
function cut(output: TensorData, axis: number, from: number, count: number): TensorData {
  const { data, outer, n, rowBytes } = blocks(output, axis)
  const part = new Uint8Array(outer * count * rowBytes)
  for (let block = 0; block < outer; block += 1) {
    const start = (block * n + from) * rowBytes
    part.set(data.subarray(start, start + count * rowBytes), block * count * rowBytes)
  }
  return { type: output.type, dims: output.dims.map((dim, at) => (at === axis ? count : dim)), data: part }
}
