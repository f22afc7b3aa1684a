import { SentinelError } from "../../errors.js"
import { crc32 } from "./checksum.js"

/** One message, cut in two. */
export interface Frame {
  header: Readonly<Record<string, unknown>>
  payload: Uint8Array
}

/** Tensors begin at a multiple of this, so that readers need not move them. */
const ALIGNMENT = 8
/** In the length of the header: a checksum follows the tensors. */
const CHECKED = 0x80000000
const LENGTH_BYTES = 4
const CHECKSUM_BYTES = 4
/** Beyond any header that is meant: a thousand models with their inputs and outputs are less. */
const MAX_HEADER_BYTES = 4 * 2 ** 20
const SPACE = 0x20

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true })

/** A message of a header and the bytes of its tensors, with its checksum. */
export function writeFrame(header: object, parts: readonly Uint8Array[] = []): Uint8Array<ArrayBuffer> {
  const json = encoder.encode(JSON.stringify(header))
  const unaligned = LENGTH_BYTES + json.byteLength
  const from = parts.length === 0 ? unaligned : Math.ceil(unaligned / ALIGNMENT) * ALIGNMENT
  const sizeBytes = parts.reduce((sum, part) => sum + part.byteLength, from)
  const message = new Uint8Array(sizeBytes + CHECKSUM_BYTES)
  const view = new DataView(message.buffer)
  view.setUint32(0, (CHECKED | (from - LENGTH_BYTES)) >>> 0, true)
  message.set(json, LENGTH_BYTES)
  message.fill(SPACE, unaligned, from)
  let at = from
  for (const part of parts) {
    message.set(part, at)
    at += part.byteLength
  }
  view.setUint32(sizeBytes, crc32(message.subarray(0, sizeBytes)), true)
  return message
}

/**
 * Cuts a message; nothing is copied.
 *
 * @throws `INVALID_INPUT` for what is no frame, and where the checksum is not that of the message.
 */
export function readFrame(message: Uint8Array): Frame {
  if (message.byteLength < LENGTH_BYTES) throw wrong(`${message.byteLength} bytes, expected a length of 4 at least`)
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  const first = view.getUint32(0, true)
  const isChecked = first >= CHECKED
  const lengthBytes = isChecked ? first - CHECKED : first
  const endBytes = isChecked ? message.byteLength - CHECKSUM_BYTES : message.byteLength
  if (lengthBytes > MAX_HEADER_BYTES) throw wrong(`a header of ${lengthBytes} bytes, the limit is ${MAX_HEADER_BYTES}`)
  if (LENGTH_BYTES + lengthBytes > endBytes) throw wrong(`a header of ${lengthBytes} bytes in a message of ${message.byteLength}`)
  if (isChecked && view.getUint32(endBytes, true) !== crc32(message.subarray(0, endBytes))) {
    throw wrong("its checksum is not that of its bytes")
  }
  const payloadAt = LENGTH_BYTES + lengthBytes
  return { header: readObject(message.subarray(LENGTH_BYTES, payloadAt)), payload: message.subarray(payloadAt, endBytes) }
}

/** @throws `INVALID_INPUT` for other bytes than an object in JSON. */
export function readObject(json: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(json))
  } catch (cause) {
    throw wrong("its header is not JSON", cause)
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong("its header is no object")
  return value as Record<string, unknown>
}

function wrong(why: string, cause?: unknown): SentinelError {
  return new SentinelError("INVALID_INPUT", `frame: ${why}`, { cause })
}
