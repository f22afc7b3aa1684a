import connections from "#connections"

// The polynomial of IEEE 802.3, its lowest bit first.
const POLYNOMIAL = 0xedb88320

/** `TABLES[k * 256 + b]`: what the byte `b` does to the sum when `k` more bytes follow it. */
let tables: Uint32Array | undefined

/** The CRC-32 of zip and PNG. */
export function crc32(bytes: Uint8Array): number {
  return connections.crc32 === undefined ? crc32InScript(bytes) : connections.crc32(bytes)
}

/** The same, eight bytes at a time, where the platform has none of its own. */
export function crc32InScript(bytes: Uint8Array): number {
  const t = (tables ??= makeTables())
  const n = bytes.length
  let sum = 0xffffffff
  let at = 0
  for (const end = n - 7; at < end; at += 8) {
    const low = sum ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24))
    sum = t[1792 + (low & 255)]! ^ t[1536 + ((low >>> 8) & 255)]! ^ t[1280 + ((low >>> 16) & 255)]! ^ t[1024 + (low >>> 24)]!
      ^ t[768 + bytes[at + 4]!]! ^ t[512 + bytes[at + 5]!]! ^ t[256 + bytes[at + 6]!]! ^ t[bytes[at + 7]!]!
  }
  for (; at < n; at += 1) sum = t[(sum ^ bytes[at]!) & 255]! ^ (sum >>> 8)
  return (sum ^ 0xffffffff) >>> 0
}

function makeTables(): Uint32Array {
  const made = new Uint32Array(8 * 256)
  for (let byte = 0; byte < 256; byte += 1) {
    let sum = byte
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ POLYNOMIAL : sum >>> 1
    made[byte] = sum
  }
  for (let at = 256; at < made.length; at += 1) {
    const before = made[at - 256]!
    made[at] = made[before & 255]! ^ (before >>> 8)
  }
  return made
}
