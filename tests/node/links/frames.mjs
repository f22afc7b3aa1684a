// Frames, written from docs/PROTOCOL.md alone.
import { crc32 } from "node:zlib"

/** A frame of a header and bytes, with its checksum. */
export function frame(header, payload = Buffer.alloc(0)) {
  let json = JSON.stringify(header)
  while (payload.length > 0 && (4 + Buffer.byteLength(json)) % 8 !== 0) json += " "
  const bytes = Buffer.from(json)
  const length = Buffer.alloc(4)
  length.writeUInt32LE((0x80000000 | bytes.length) >>> 0)
  const body = Buffer.concat([length, bytes, payload])
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32(body))
  return Buffer.concat([body, checksum])
}

/** The header and the bytes of a frame. */
export function cut(message) {
  const first = message.readUInt32LE(0)
  const isChecked = first >= 0x80000000
  const length = isChecked ? first - 0x80000000 : first
  const end = isChecked ? message.length - 4 : message.length
  if (isChecked && message.readUInt32LE(end) !== crc32(message.subarray(0, end))) throw new Error("a wrong checksum")
  return { header: JSON.parse(message.subarray(4, 4 + length).toString()), payload: message.subarray(4 + length, end) }
}

export const SHA256 = "a".repeat(64)

/** A model that gives its inputs `x` back as `y`. */
export const ECHO = {
  name: "echo",
  version: "1",
  sha256: SHA256,
  state: "READY",
  provider: "fake",
  inputs: [{ name: "x", datatype: "FP32", shape: [-1] }],
  outputs: [{ name: "y", datatype: "FP32", shape: [-1] }],
}

export const HELLO = {
  type: "hello",
  protocol: 1,
  server: "fake-worker",
  version: "0.0.1",
  worker_id: "fake-1",
  limits: { max_message_bytes: 2 ** 20, max_header_bytes: 2 ** 16, max_tensors: 16, max_elements: 2 ** 20 },
  credits: 4,
  heartbeat_ms: 1000,
  allows_upload: false,
  models: [ECHO],
}

/** The answer of the model that gives `x` back. */
export function echoed({ header, payload }, changes = {}) {
  const [{ datatype, shape }] = header.inputs
  const outputs = [{ name: "y", datatype, shape, parameters: { binary_data_size: payload.length } }]
  return frame({ type: "output", id: header.id, model_name: "echo", model_version: "1", outputs, ...changes }, payload)
}
