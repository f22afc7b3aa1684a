// The stub behind NATS, written from docs/PROTOCOL.md and NATS' own text protocol.
import { randomUUID } from "node:crypto"
import { once } from "node:events"
import { connect } from "node:net"
import { decodeFrame, encodeFrame } from "./frame.mjs"
import { readTensors, Refusal, writeTensors } from "./tensors.mjs"

const PREFIX = "sentinel.v1"
const WORKING_MS = 1000
/** Room for the header of a frame around the bytes of a part. */
const PART_HEADER_BYTES = 1024

const subjectOf = name => `${PREFIX}.infer.${[...Buffer.from(name)].map(byte => {
  const letter = String.fromCharCode(byte)
  return /[A-Za-z0-9_-]/.test(letter) ? letter : `=${byte.toString(16).padStart(2, "0")}`
}).join("")}`

/** Lets a `StubWorker` answer over the NATS server at `url`; `end()` leaves it without a word. */
export async function joinNats(stub, url) {
  const door = new NatsDoor(stub, url)
  await door.join()
  return door
}

class NatsDoor {
  requests = 0
  #stub
  #socket
  #buffered = Buffer.alloc(0)
  #handlers = new Map()
  #wakePong
  #maxPayloadBytes
  #cancelled = new Set()

  constructor(stub, url) {
    this.#stub = stub
    const { hostname, port } = new URL(url)
    this.#socket = connect(Number(port), hostname)
    this.#socket.on("error", () => this.#socket.destroy())
  }

  async join() {
    this.#socket.on("data", bytes => {
      this.#buffered = Buffer.concat([this.#buffered, bytes])
      while (this.#read());
    })
    this.#socket.write(`CONNECT ${JSON.stringify({ verbose: false, pedantic: false, lang: "stub", version: "1", protocol: 1, headers: false })}\r\n`)
    this.#subscribe(`${PREFIX}.hello`, undefined, (_, reply) => this.#publish(reply, encodeFrame(this.#stub.hello())))
    this.#subscribe(`${PREFIX}.cancel`, undefined, ({ header }) => this.#cancelled.add(header.id))
    for (const { name } of this.#stub.models) this.#subscribe(subjectOf(name), "sentinel", (frame, reply) => this.#take(frame, reply))
    this.#socket.write("PING\r\n")
    await new Promise(resolve => { this.#wakePong = resolve })
  }

  async end() {
    this.#socket.destroy()
    if (!this.#socket.closed) await once(this.#socket, "close")
  }

  #subscribe(subject, group, handle) {
    const number = String(this.#handlers.size + 1)
    this.#handlers.set(number, handle)
    this.#socket.write(`SUB ${subject} ${group === undefined ? "" : `${group} `}${number}\r\n`)
  }

  #publish(subject, message) {
    if (!this.#socket.writable) return
    this.#socket.write(`PUB ${subject} ${message.length}\r\n`)
    this.#socket.write(message)
    this.#socket.write("\r\n")
  }

  /** Whether there was a whole line, with its message, in what has come. */
  #read() {
    const end = this.#buffered.indexOf("\r\n")
    if (end === -1) return false
    const line = this.#buffered.toString("latin1", 0, end)
    const [verb, ...words] = line.split(" ")
    let taken = end + 2
    if (verb === "MSG") {
      const sizeBytes = Number(words.at(-1))
      if (this.#buffered.length < taken + sizeBytes + 2) return false
      const message = Buffer.from(this.#buffered.subarray(taken, taken + sizeBytes))
      taken += sizeBytes + 2
      this.#heard(words[1], words.length === 4 ? words[2] : undefined, message)
    } else if (verb === "PING") this.#socket.write("PONG\r\n")
    else if (verb === "PONG") this.#wakePong()
    else if (verb === "INFO") this.#maxPayloadBytes = JSON.parse(line.slice(5)).max_payload
    else if (verb === "-ERR") this.#socket.destroy(new Error(line))
    this.#buffered = this.#buffered.subarray(taken)
    return true
  }

  #heard(number, reply, message) {
    // A hello may be asked for with any message.
    let frame = { header: {}, payload: message }
    try {
      frame = decodeFrame(message)
    } catch {
      if (reply === undefined) return
    }
    this.#handlers.get(number)(frame, reply)
  }

  #take({ header, payload }, reply) {
    if (reply === undefined) return
    if (header.type === "infer") return void this.#infer(header, payload, reply)
    if (header.type === "open") return this.#open(header, reply)
  }

  #open({ id, size_bytes }, reply) {
    if (size_bytes > this.#stub.limits.max_message_bytes) {
      return this.#publish(reply, encodeFrame({ type: "error", id, code: "TOO_LARGE", error: "beyond the limits" }))
    }
    const subject = `_STUB.${randomUUID()}`
    const parts = new Map()
    this.#subscribe(subject, undefined, ({ header, payload }, replyOfPart) => {
      parts.set(header.index, payload)
      if (parts.size < header.count) return
      const whole = decodeFrame(Buffer.concat(Array.from({ length: header.count }, (_, at) => parts.get(at))))
      parts.clear()
      void this.#infer(whole.header, whole.payload, replyOfPart)
    })
    this.#publish(reply, encodeFrame({ type: "opened", id, subject, part_bytes: this.#maxPayloadBytes - PART_HEADER_BYTES }))
  }

  async #infer(header, payload, reply) {
    const { id } = header
    this.requests += 1
    const working = () => this.#publish(reply, encodeFrame({ type: "working", id, worker_id: this.#stub.workerId }))
    working()
    const timer = setInterval(working, WORKING_MS)
    let answer
    try {
      const model = this.#stub.find(header.model_name, header.model_version)
      const outputs = await this.#stub.infer(model, readTensors(header.inputs, payload), header.outputs)
      const { list, pieces } = writeTensors(outputs, () => true)
      answer = encodeFrame({ type: "output", id, model_name: model.name, model_version: model.version, outputs: list }, pieces)
    } catch (error) {
      answer = encodeFrame({ type: "error", id, code: error instanceof Refusal ? error.code : "INTERNAL", error: error.message })
    } finally {
      clearInterval(timer)
    }
    if (!this.#cancelled.delete(id)) this.#answer(id, answer, reply)
  }

  #answer(id, answer, reply) {
    if (answer.length <= this.#maxPayloadBytes) return this.#publish(reply, answer)
    const partBytes = this.#maxPayloadBytes - PART_HEADER_BYTES
    const count = Math.ceil(answer.length / partBytes)
    for (let index = 0; index < count; index++) {
      this.#publish(reply, encodeFrame({ type: "part", id, index, count }, [answer.subarray(index * partBytes, (index + 1) * partBytes)]))
    }
  }
}
