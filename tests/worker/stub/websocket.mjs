// The server's side of a WebSocket (RFC 6455), as far as binary messages need it.
import { createHash } from "node:crypto"
import { EventEmitter } from "node:events"

const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 }
const LARGEST_CONTROL = 125

/** Accepts an upgrade of node:http: a `WebSocketPeer` that selected `subprotocol`. */
export function acceptWebSocket(request, socket, head, { subprotocol, maxMessageBytes }) {
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + ACCEPT_SUFFIX).digest("base64")
  const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`]
  if (subprotocol !== undefined) lines.push(`Sec-WebSocket-Protocol: ${subprotocol}`)
  socket.write(`${lines.join("\r\n")}\r\n\r\n`)
  return new WebSocketPeer(socket, head, maxMessageBytes)
}

/** Emits `message` with the bytes of each binary message, and `close` once. */
export class WebSocketPeer extends EventEmitter {
  #socket
  #maxMessageBytes
  #buffered
  #fragments = []
  #closing = false

  constructor(socket, head, maxMessageBytes) {
    super()
    this.#socket = socket
    this.#maxMessageBytes = maxMessageBytes
    this.#buffered = head
    socket.setNoDelay(true)
    socket.on("data", bytes => {
      this.#buffered = Buffer.concat([this.#buffered, bytes])
      this.#read()
    })
    socket.on("error", () => socket.destroy())
    socket.on("end", () => socket.end())
    socket.on("close", () => this.emit("close"))
    setImmediate(() => this.#read())
  }

  send(message) {
    this.#write(OPCODE.binary, message)
  }

  close(code, reason = "") {
    if (this.#closing) return
    this.#closing = true
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason))
    payload.writeUInt16BE(code)
    payload.write(reason, 2)
    this.#write(OPCODE.close, payload)
    this.#socket.end()
  }

  /** Ends it without a word, as a process does that is killed. */
  destroy() {
    this.#socket.destroy()
  }

  #write(opcode, payload) {
    if (this.#socket.destroyed || this.#socket.writableEnded) return
    const { length } = payload
    const head = Buffer.alloc(length < 126 ? 2 : length < 2 ** 16 ? 4 : 10)
    head[0] = 0x80 | opcode
    if (head.length === 2) head[1] = length
    else if (head.length === 4) head.writeUInt16BE(length, ((head[1] = 126), 2))
    else head.writeBigUInt64BE(BigInt(length), ((head[1] = 127), 2))
    this.#socket.write(head)
    this.#socket.write(payload)
  }

  #read() {
    for (let frame = this.#nextFrame(); frame !== undefined && !this.#closing; frame = this.#nextFrame()) this.#take(frame)
  }

  #nextFrame() {
    const bytes = this.#buffered
    if (bytes.length < 2) return
    const short = bytes[1] & 127
    const lengthBytes = short < 126 ? 0 : short === 126 ? 2 : 8
    const start = 2 + lengthBytes + 4
    if (bytes.length < start) return
    const length = lengthBytes === 0 ? short : lengthBytes === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
    if ((bytes[0] & 0x70) !== 0 || (bytes[1] & 0x80) === 0) return this.close(1002, "reserved bits, or no mask")
    if (length > this.#maxMessageBytes) return this.close(1009, "a message beyond the limits")
    if (bytes.length < start + length) return
    const payload = Buffer.from(bytes.subarray(start, start + length))
    const mask = bytes.subarray(start - 4, start)
    for (let at = 0; at < length; at++) payload[at] ^= mask[at & 3]
    this.#buffered = bytes.subarray(start + length)
    return { last: (bytes[0] & 0x80) !== 0, opcode: bytes[0] & 15, payload }
  }

  #take({ last, opcode, payload }) {
    switch (opcode) {
      case OPCODE.binary:
      case OPCODE.continuation: {
        if ((opcode === OPCODE.binary) !== (this.#fragments.length === 0)) return this.close(1002, "a fragment out of place")
        this.#fragments.push(payload)
        const sizeBytes = this.#fragments.reduce((sum, each) => sum + each.length, 0)
        if (sizeBytes > this.#maxMessageBytes) return this.close(1009, "a message beyond the limits")
        if (!last) return
        const message = Buffer.concat(this.#fragments.splice(0))
        this.emit("message", message)
        return
      }
      case OPCODE.ping:
        if (payload.length > LARGEST_CONTROL) return this.close(1002, "a ping beyond its limit")
        return this.#write(OPCODE.pong, payload)
      case OPCODE.pong:
        return
      case OPCODE.close:
        return this.close(payload.length >= 2 ? payload.readUInt16BE(0) : 1000)
      case OPCODE.text:
        return this.close(1003, "messages are binary")
      default:
        return this.close(1002, "an unknown kind of frame")
    }
  }
}
