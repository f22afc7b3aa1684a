// A case's arrays as one file of bytes and a description; for Node and for pages.

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
}

/** The arrays of `tensors` one after the other, each at a multiple of eight bytes, and where each lies. */
export function pack(tensors) {
  let end = 0
  const entries = tensors.map(({ name, type, dims, data, tolerance }) => {
    if (ARRAYS[type] === undefined) throw new Error(`${name}: arrays of ${type} are not benched`)
    const offset = end
    end += Math.ceil(data.byteLength / 8) * 8
    return { name, type, dims: [...dims], offset, length: data.length, tolerance }
  })
  const bytes = new Uint8Array(end)
  entries.forEach(({ offset }, at) => {
    const { data } = tensors[at]
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset)
  })
  return { entries, bytes }
}

/** What `pack` was given. `buffer` is an ArrayBuffer. */
export function unpack(entries, buffer) {
  return entries.map(({ offset, length, ...entry }) => ({ ...entry, data: new ARRAYS[entry.type](buffer, offset, length) }))
}
