// A worker written from docs/PROTOCOL.md alone: it shares no code with ours, so a client that it serves understands the text.
import { createHash, randomUUID } from "node:crypto"
import { once } from "node:events"
import { createServer } from "node:http"
import { answerHttp } from "./http.mjs"
import { decodeFrame, encodeFrame } from "./frame.mjs"
import { readTensors, Refusal, writeTensors } from "./tensors.mjs"
import { acceptWebSocket } from "./websocket.mjs"

const LIMITS = { max_message_bytes: 1 << 24, max_header_bytes: 1 << 20, max_tensors: 256, max_elements: 2 ** 31 }

/**
 * Starts it on a free port. A model has `name`, `version`, `sha256`, `inputs`, `outputs` and `run(tensors)`, which gives its outputs by name or
 * a promise of them; `loadUpload` makes one of the bytes of a file. `requests` counts what came through each door; `drain()` and `end()` are those
 * of a process.
 */
export async function startStub(options) {
  const stub = new StubWorker(options)
  await stub.listen()
  return stub
}

export class StubWorker {
  workerId = randomUUID()
  limits = LIMITS
  requests = { http: 0, websocket: 0 }
  models
  credits
  heartbeatMs
  token
  allowedOrigins
  loadUpload
  /** What came of each file so far, by its SHA-256. */
  uploads = new Map()
  draining = false
  #server
  #connections = new Set()

  constructor({ models, credits = 16, heartbeatMs = 5000, token, allowedOrigins = [], loadUpload }) {
    Object.assign(this, { models: [...models], credits, heartbeatMs, token, allowedOrigins, loadUpload })
    this.#server = createServer((request, response) => answerHttp(this, request, response))
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head))
  }

  async listen() {
    this.#server.listen(0, "127.0.0.1")
    await once(this.#server, "listening")
    this.port = this.#server.address().port
  }

  url(scheme) {
    return `${scheme}://127.0.0.1:${this.port}`
  }

  get connections() {
    return this.#connections.size
  }

  describe() {
    return this.models.map(({ name, version, sha256, inputs, outputs }) => ({ name, version, sha256, state: "READY", provider: "stub", inputs, outputs }))
  }

  hello() {
    return {
      type: "hello",
      protocol: 1,
      server: "stub",
      version: "1",
      worker_id: this.workerId,
      limits: this.limits,
      credits: this.credits,
      heartbeat_ms: this.heartbeatMs,
      allows_upload: this.loadUpload !== undefined,
      models: this.describe(),
    }
  }

  /** The latest version, unless one is given. */
  find(name, version) {
    const found = this.models.filter(model => model.name === name && (version === undefined || model.version === version))
    if (found.length === 0) throw new Refusal("NOT_FOUND", `there is no model ${name}${version === undefined ? "" : ` of version ${version}`}`)
    return found.reduce((latest, each) => (Number(each.version) > Number(latest.version) ? each : latest))
  }

  addModel(model) {
    this.models.push(model)
    for (const connection of this.#connections) connection.tell({ type: "models", models: this.describe() })
  }

  /** Runs a model after what the protocol says of its inputs was checked. */
  async infer(model, tensors, wanted) {
    for (const { name, datatype, shape } of model.inputs) {
      const tensor = tensors.get(name)
      if (tensor === undefined) throw new Refusal("INVALID_INPUT", `input ${name} is missing`)
      if (tensor.datatype !== datatype) throw new Refusal("DTYPE_MISMATCH", `input ${name}: expected ${datatype}, given ${tensor.datatype}`)
      const fits = tensor.shape.length === shape.length && shape.every((size, axis) => size === -1 || size === tensor.shape[axis])
      if (!fits) throw new Refusal("SHAPE_MISMATCH", `input ${name}: expected [${shape}], given [${tensor.shape}]`)
    }
    for (const name of tensors.keys()) {
      if (!model.inputs.some(input => input.name === name)) throw new Refusal("INVALID_INPUT", `there is no input ${name}`)
    }
    const outputs = new Map(Object.entries(await model.run(tensors)))
    if (wanted === undefined) return outputs
    return new Map(wanted.map(({ name }) => {
      if (!outputs.has(name)) throw new Refusal("INVALID_INPUT", `there is no output ${name}`)
      return [name, outputs.get(name)]
    }))
  }

  /** No new requests; connections close when their answers are out. */
  drain() {
    this.draining = true
    for (const connection of this.#connections) connection.drain()
  }

  /** Ends as a process does that is killed. */
  async end() {
    for (const connection of this.#connections) connection.peer.destroy()
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, "close")
  }

  #upgrade(request, socket, head) {
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map(each => each.trim())
    const refused = this.#refusal(request, offered)
    const { origin } = request.headers
    if (request.url !== "/v2/ws" || !offered.includes("sentinel.v1")) return socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    if (this.draining) return socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    if (refused !== undefined && origin === undefined) return socket.end(`HTTP/1.1 ${refused - 4000} Refused\r\nContent-Length: 0\r\n\r\n`)
    const peer = acceptWebSocket(request, socket, head, { subprotocol: "sentinel.v1", maxMessageBytes: LIMITS.max_message_bytes })
    if (refused !== undefined) return peer.close(refused)
    const connection = new Connection(this, peer)
    this.#connections.add(connection)
    peer.on("close", () => this.#connections.delete(connection))
  }

  #refusal({ headers }, offered) {
    if (headers.origin !== undefined && !this.allowedOrigins.includes(headers.origin)) return 4403
    const encoded = offered.find(each => each.startsWith("sentinel.token."))?.slice("sentinel.token.".length)
    const given = encoded === undefined ? headers.authorization?.replace(/^Bearer /, "") : Buffer.from(encoded, "base64url").toString()
    return this.token === undefined || given === this.token ? undefined : 4401
  }
}

/** What one WebSocket says and hears. */
class Connection {
  peer
  #worker
  #waiting = new Map()
  #uploads = new Map()
  #draining = false
  #silence

  constructor(worker, peer) {
    this.#worker = worker
    this.peer = peer
    peer.on("message", message => this.#take(message))
    peer.on("close", () => clearTimeout(this.#silence))
    this.#heard()
    this.tell(worker.hello())
  }

  tell(header, pieces) {
    this.peer.send(encodeFrame(header, pieces))
  }

  drain() {
    this.#draining = true
    this.tell({ type: "draining" })
    this.#closeWhenDone()
  }

  #heard() {
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.peer.close(1002, "nothing was heard"), 2 * this.#worker.heartbeatMs)
  }

  #take(message) {
    this.#heard()
    let frame
    try {
      frame = decodeFrame(message)
    } catch (error) {
      return this.#break(error.message)
    }
    const { header, payload } = frame
    switch (header.type) {
      case "infer":
        return void this.#infer(header, payload)
      case "cancel":
        this.#waiting.delete(header.id)
        return this.#closeWhenDone()
      case "ping":
        return this.tell({ type: "pong", id: header.id, queue_depth: 0 })
      case "upload":
        return this.#upload(header)
      case "upload_chunk":
        return this.#uploadChunk(header, payload)
      default:
        return this.#break(`${header.type} is no message of a client`)
    }
  }

  #break(why) {
    this.tell({ type: "error", code: "INVALID_INPUT", error: why })
    this.peer.close(1002, "not a frame of this protocol")
  }

  async #infer(header, payload) {
    const { id } = header
    this.#worker.requests.websocket += 1
    const fail = error => {
      const known = error instanceof Refusal
      this.tell({ type: "error", id, code: known ? error.code : "INTERNAL", error: error.message, ...(error.code === "QUEUE_FULL" && { retry_after_ms: 10 }) })
    }
    if (this.#waiting.has(id)) return fail(new Refusal("INVALID_INPUT", `request ${id} has no answer yet`))
    if (this.#waiting.size >= this.#worker.credits) return fail(new Refusal("QUEUE_FULL", "more requests than credits"))
    if (this.#draining) return fail(new Refusal("WORKER_UNAVAILABLE", "the worker drains"))
    const request = {}
    this.#waiting.set(id, request)
    const answer = send => {
      clearTimeout(request.timer)
      if (this.#waiting.get(id) !== request) return
      this.#waiting.delete(id)
      send()
      this.#closeWhenDone()
    }
    if (header.deadline_ms !== undefined) request.timer = setTimeout(() => answer(() => fail(new Refusal("TIMEOUT", "its time was over"))), header.deadline_ms)
    try {
      const model = this.#worker.find(header.model_name, header.model_version)
      const outputs = await this.#worker.infer(model, readTensors(header.inputs, payload), header.outputs)
      const { list, pieces } = writeTensors(outputs, () => true)
      const parameters = { provider: "stub", queue_ms: 0, compute_ms: 0, batch_size: 1 }
      answer(() => this.tell({ type: "output", id, model_name: model.name, model_version: model.version, outputs: list, parameters }, pieces))
    } catch (error) {
      answer(() => fail(error))
    }
  }

  #upload({ id, model_name, model_version, sha256, size_bytes }) {
    if (this.#worker.loadUpload === undefined) return this.tell({ type: "error", id, code: "UNAUTHORIZED", error: "uploads are not allowed here" })
    const model = this.#worker.describe().find(each => each.sha256 === sha256)
    if (model !== undefined) return this.tell({ type: "uploaded", id, model })
    this.#uploads.set(id, { model_name, model_version, sha256, size_bytes })
    this.tell({ type: "upload_state", id, offset: this.#worker.uploads.get(sha256)?.length ?? 0 })
  }

  #uploadChunk({ id, offset }, payload) {
    const announced = this.#uploads.get(id)
    if (announced === undefined) return this.tell({ type: "error", id, code: "INVALID_INPUT", error: "this upload was not announced" })
    const { sha256, size_bytes, model_name, model_version } = announced
    const soFar = this.#worker.uploads.get(sha256) ?? Buffer.alloc(0)
    // A chunk that does not continue the file is answered with where it goes on.
    if (offset !== soFar.length || soFar.length + payload.length > size_bytes) return this.tell({ type: "upload_state", id, offset: soFar.length })
    const bytes = Buffer.concat([soFar, payload])
    this.#worker.uploads.set(sha256, bytes)
    if (bytes.length < size_bytes) return this.tell({ type: "upload_state", id, offset: bytes.length })
    this.#uploads.delete(id)
    this.#worker.uploads.delete(sha256)
    if (createHash("sha256").update(bytes).digest("hex") !== sha256) {
      return this.tell({ type: "error", id, code: "INVALID_INPUT", error: "the bytes are not those that were announced" })
    }
    const model = this.#worker.loadUpload(bytes)
    this.#worker.addModel({ ...model, name: model_name, version: model_version, sha256 })
    this.tell({ type: "uploaded", id, model: this.#worker.describe().find(each => each.sha256 === sha256) })
  }

  #closeWhenDone() {
    if (this.#draining && this.#waiting.size === 0) this.peer.close(1001, "the worker goes away")
  }
}
