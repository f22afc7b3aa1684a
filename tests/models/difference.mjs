// How far two tensors are apart; for Node and for pages.

const HALF = new Float32Array(1 << 16)
for (let bits = 0; bits < 1 << 16; bits++) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
  if (exponent === 31) HALF[bits] = fraction ? NaN : sign * Infinity
  else HALF[bits] = sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024))
}

/** Elements as numbers, bigints or strings; halves are widened from their bits. */
function elements({ type, data }) {
  return type === "float16" && data instanceof Uint16Array ? Array.from(data, bits => HALF[bits]) : data
}

/** What differs: type, shape, or an element with `|got - want| > atol + rtol * |want|`; undefined when nothing does. */
export function difference(got, want, { atol, rtol }) {
  const describe = tensor => `${tensor.type}[${tensor.dims}]`
  if (describe(got) !== describe(want)) return `got ${describe(got)}, want ${describe(want)}`
  const [left, right] = [elements(got), elements(want)]
  const isFloat = got.type.startsWith("float")
  for (let at = 0; at < right.length; at++) {
    const [a, b] = [left[at], right[at]]
    if (a === b || (isFloat && Number.isNaN(a) && Number.isNaN(b))) continue
    if (isFloat && Math.abs(a - b) <= atol + rtol * Math.abs(b)) continue
    return `element ${at}: got ${a}, want ${b}`
  }
  return undefined
}
