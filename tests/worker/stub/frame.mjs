// Frames as docs/PROTOCOL.md has them, written from that text alone.

const CHECKSUM_FLAG = 2 ** 31
const ALIGNMENT = 8

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1
  return rest >>> 0
})

function crc32(bytes) {
  let rest = 0xffffffff
  for (const byte of bytes) rest = (rest >>> 8) ^ CRC_TABLE[(rest ^ byte) & 255]
  return (rest ^ 0xffffffff) >>> 0
}

/** A frame of a header and the bytes of its tensors. */
export function encodeFrame(header, pieces = []) {
  const json = Buffer.from(JSON.stringify(header))
  const headerLength = json.length + ((ALIGNMENT - ((4 + json.length) % ALIGNMENT)) % ALIGNMENT)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(headerLength + CHECKSUM_FLAG)
  const body = Buffer.concat([length, json, Buffer.alloc(headerLength - json.length, " "), ...pieces])
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32(body))
  return Buffer.concat([body, checksum])
}

/** The header of a frame and the bytes after it; throws where it is none. */
export function decodeFrame(bytes) {
  if (bytes.length < 4) throw new Error("a frame has four bytes at least")
  const word = bytes.readUInt32LE(0)
  const hasChecksum = word >= CHECKSUM_FLAG
  const headerEnd = 4 + (word % CHECKSUM_FLAG)
  const end = bytes.length - (hasChecksum ? 4 : 0)
  if (headerEnd > end) throw new Error("the header is longer than the frame")
  if (hasChecksum && bytes.readUInt32LE(end) !== crc32(bytes.subarray(0, end))) throw new Error("the checksum is wrong")
  const header = JSON.parse(bytes.toString("utf8", 4, headerEnd))
  if (typeof header !== "object" || header === null || typeof header.type !== "string") throw new Error("the header has no type")
  return { header, payload: bytes.subarray(headerEnd, end) }
}
