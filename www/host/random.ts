import { Tensor, type InferenceSession } from "onnxruntime-common"
import { SentinelError } from "./errors.js"

/** Whole numbers stay below this, so that they are valid ids for almost every model. */
const LARGEST_INTEGER = 10

/**
 * A tensor of repeatable random values: floats in [0, 1), integers in [0, 10), booleans.
 * The same seed gives the same values on every machine.
 */
export function randomTensor(input: Pick<InferenceSession.TensorValueMetadata, "name" | "type">, dims: readonly number[], seed: number): Tensor {
  const next = generator(seed)
  const size = dims.reduce((product, dim) => product * dim, 1)
  if (!Number.isSafeInteger(size) || size > 2 ** 30) {
    throw new SentinelError("TOO_LARGE", `input "${input.name}": [${dims}] is too many random values`)
  }
  const integer = () => Math.floor(next() * LARGEST_INTEGER)
  switch (input.type) {
    case "float32":
      return new Tensor(Float32Array.from({ length: size }, next), dims)
    case "float64":
      return new Tensor(Float64Array.from({ length: size }, next), dims)
    case "float16":
      return new Tensor("float16", Uint16Array.from({ length: size }, () => halfBits(Math.floor(next() * 1024))), dims)
    case "int64":
    case "uint64":
      return new Tensor(input.type, Array.from({ length: size }, () => BigInt(integer())), dims)
    case "bool":
      return new Tensor("bool", Array.from({ length: size }, () => next() < 0.5), dims)
    case "string":
      throw new SentinelError("DTYPE_MISMATCH", `input "${input.name}": random strings make no sense, give a .json file`)
    default:
      return new Tensor(input.type, Array.from({ length: size }, integer), dims)
  }
}

/** The bits of `thousandth / 1024` in float16, exactly: such a fraction has at most ten significant bits. */
function halfBits(thousandth: number): number {
  if (thousandth === 0) return 0
  const exponent = Math.floor(Math.log2(thousandth))
  const mantissa = (thousandth - 2 ** exponent) * 2 ** (10 - exponent)
  return ((exponent + 5) << 10) | mantissa
}

/** Numbers in [0, 1) from a 32-bit counter stirred by multiplications (the finaliser of MurmurHash3). */
function generator(seed: number): () => number {
  let counter = seed >>> 0
  return () => {
    counter = (counter + 0x9e3779b9) >>> 0
    let bits = counter
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32
  }
}
