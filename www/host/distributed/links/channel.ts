import type { Outputs } from "../../batch/engine.js"
import type { World } from "../../batch/world.js"
import { cancelled, type ProgressListener } from "../../download.js"
import { SentinelError, toSentinelError } from "../../errors.js"
import { LinkError, type Link, type LinkFacts, type LinkRequest, type WantedModel } from "../link.js"
import { chooseModel, factsOf, namedVersion, ownParameters } from "./choose.js"
import { readFrame, writeFrame } from "./frame.js"
import { readMessage, toLinkError, type FromWorker, type Hello, type Model } from "./messages.js"
import { readTensors, toCpu, writeTensors } from "./oip.js"
import { uploadModel, type UploadReply } from "./upload.js"

/** A connection that carries messages. */
export interface ChannelSocket {
  /** Throws where it is closed. */
  send(message: Uint8Array<ArrayBuffer>): void
  /** What is given to `send` and not on its way yet. */
  readonly bufferedBytes: number
  close(code: number, reason: string): void
}

export interface ChannelOptions {
  /** Goes in front of messages: the worker's URL. */
  place: string
  wanted: WantedModel
  socket: ChannelSocket
  world: Pick<World, "now" | "after">
  onProgress: ProgressListener | undefined
}

/** A request without an answer. */
interface Pending {
  readonly id: string
  readonly request: LinkRequest
  readonly askedMs: number
  model: Model
  isSent: boolean
  resolve(outputs: Outputs): void
  reject(error: SentinelError): void
}

/** More of what waits in the socket would only grow older there. */
const MAX_BUFFERED_BYTES = 4 * 2 ** 20
const BUFFER_POLL_MS = 4
/** Answers that cross with their cancelling are known by their ids, so far back. */
const MAX_CANCELLED = 4096
/** Messages that nobody asked for, from one beat to the next. */
const MAX_UNASKED = 1000
/** A browser's sockets may close with 1000, or with 3000 and above. */
const CLOSE_DONE = 1000
const CLOSE_BROKEN = 4002

/** The client's side of a WebSocket to a worker: a state machine of messages and a clock. */
export class Channel implements Link {
  /** Settles when the worker has greeted and the model is ready. */
  readonly opened: Promise<void>
  readonly lost: Promise<SentinelError>
  readonly #options: ChannelOptions
  readonly #pending = new Map<string, Pending>()
  readonly #unsent: Pending[] = []
  readonly #cancelled = new Set<string>()
  readonly #pings = new Set<string>()
  readonly #draining = new AbortController()
  #state: "greeting" | "choosing" | "open" | "ended" = "greeting"
  #hello: Hello | undefined
  #model: Model | undefined
  #uploading: { id: string; answer(reply: UploadReply): void; fail(error: SentinelError): void } | undefined
  #fault: SentinelError | undefined
  /** Why nothing is left to do once the last answer is here. */
  #leaving: LinkError | undefined
  #said: LinkError | undefined
  #nextId = 0
  #nUnasked = 0
  #heardMs: number
  #sentMs: number
  #beatMs: number
  #bufferedBytes = 0
  #stopBeat = () => {}
  #stopPump: (() => void) | undefined
  #setOpened = () => {}
  #setFailed: (error: SentinelError) => void = () => {}
  #setLost: (error: SentinelError) => void = () => {}

  constructor(options: ChannelOptions) {
    this.#options = options
    this.#heardMs = this.#sentMs = this.#beatMs = options.world.now()
    this.opened = new Promise((resolve, reject) => {
      this.#setOpened = resolve
      this.#setFailed = reject
    })
    this.opened.catch(() => undefined)
    this.lost = new Promise(resolve => { this.#setLost = resolve })
  }

  get facts(): LinkFacts {
    if (this.#hello === undefined || this.#model === undefined) throw new SentinelError("INTERNAL", `${this.#options.place}: it has not greeted`)
    return factsOf(this.#hello, this.#model)
  }

  get capacity(): number {
    return this.#hello?.credits ?? 0
  }

  get hasGreeted(): boolean {
    return this.#hello !== undefined
  }

  get isOver(): boolean {
    return this.#state === "ended"
  }

  get draining(): AbortSignal {
    return this.#draining.signal
  }

  async run(request: LinkRequest): Promise<Outputs> {
    await toCpu(request.inputs)
    const { place, world } = this.#options
    if (request.signal.aborted) throw cancelled(place)
    if (this.#fault !== undefined) throw this.#fault
    const model = this.#model
    if (model === undefined || this.#state !== "open") throw unavailable(`${place}: it is not open`)
    if (this.draining.aborted) throw takesNothing(place)
    if (this.#pending.size >= this.capacity) {
      throw new LinkError("busy", "QUEUE_FULL", `${place}: ${this.#pending.size} requests are without an answer, it takes ${this.capacity}`)
    }
    const id = this.#newId()
    const cancel = () => this.#cancel(id)
    request.signal.addEventListener("abort", cancel)
    try {
      return await new Promise((resolve, reject) => {
        const pending: Pending = { id, request, askedMs: world.now(), model, isSent: false, resolve, reject }
        this.#pending.set(id, pending)
        this.#unsent.push(pending)
        this.#pump()
      })
    } finally {
      request.signal.removeEventListener("abort", cancel)
    }
  }

  /** Takes a message of the worker; whatever it is, nothing is thrown here. */
  receive(message: Uint8Array): void {
    if (this.#state === "ended") return
    this.#heardMs = this.#options.world.now()
    try {
      this.#take(readMessage(readFrame(message)))
    } catch (thrown) {
      this.#break(thrown)
    }
  }

  /** The connection ended, for this reason; what the worker said about it before counts more. */
  closed(error: LinkError): void {
    this.lose(this.#said ?? error)
  }

  /** Gives it up for this reason. */
  lose(error: SentinelError): void {
    if (this.#state === "ended") return
    this.#end(error, CLOSE_BROKEN)
    this.#setLost(error)
  }

  async close(): Promise<void> {
    if (this.#state !== "ended") this.#end(new LinkError("worker", "RELEASED", `${this.#options.place}: the link was closed`), CLOSE_DONE)
  }

  #end(error: SentinelError, code: number): void {
    this.#state = "ended"
    this.#fault = error
    this.#stopBeat()
    this.#stopPump?.()
    this.#unsent.length = 0
    this.#setFailed(error)
    this.#uploading?.fail(error)
    const waiting = [...this.#pending.values()]
    this.#pending.clear()
    for (const { reject } of waiting) reject(error)
    this.#options.socket.close(code, "")
  }

  #take(message: FromWorker): void {
    if (message.type === "hello") return this.#greet(message)
    if (this.#state === "greeting" && message.type !== "error") throw broken(`"${message.type}" before "hello"`)
    switch (message.type) {
      case "models":
        this.#unasked()
        return this.#choose(message.models)
      case "output":
        return this.#output(message)
      case "error":
        return this.#error(message)
      case "pong":
        if (!this.#pings.delete(message.id)) throw broken("a pong without a ping")
        return
      case "draining":
        this.#unasked()
        return this.#drain()
      case "upload_state":
      case "uploaded":
        if (this.#uploading?.id !== message.id) throw broken(`"${message.type}" without an upload`)
        return this.#uploading.answer(message)
      case "opened":
      case "working":
      case "part":
        throw broken(`"${message.type}" is said over NATS only`)
    }
  }

  #greet(hello: Hello): void {
    if (this.#state !== "greeting") throw broken("a second hello")
    this.#hello = hello
    this.#state = "choosing"
    this.#beat()
    this.#choose(hello.models)
  }

  #choose(models: readonly Model[]): void {
    const { place, wanted } = this.#options
    if (this.#uploading !== undefined) return
    const choice = chooseModel(place, models, wanted)
    if (this.#state === "open") {
      if (choice.is === "ready") {
        this.#model = choice.model
        this.#leaving = undefined
        return
      }
      this.#leaving = choice.is === "loading" ? unavailable(`${place}: the model is loaded anew`) : choice.error
      this.#drain()
      return this.#leaveWhenDone()
    }
    switch (choice.is) {
      case "ready":
        return this.#open(choice.model)
      case "loading":
        return
      case "refused":
        return this.lose(choice.error)
      case "missing":
        if (wanted.upload === undefined) return this.lose(choice.error)
        if (this.#hello?.allowsUpload === true) return void this.#upload(choice.version)
        return this.lose(new LinkError("setting", "NOT_FOUND", `${choice.error.message}; it could be given the model if it was started with --allow-upload`))
    }
  }

  /** Takes nothing new: what has not been sent may go elsewhere. */
  #drain(): void {
    this.#draining.abort()
    for (const { id, reject } of this.#unsent.splice(0)) {
      this.#pending.delete(id)
      reject(takesNothing(this.#options.place))
    }
  }

  #open(model: Model): void {
    this.#model = model
    this.#state = "open"
    this.#setOpened()
  }

  async #upload(version: string): Promise<void> {
    const { place, wanted, onProgress } = this.#options
    const id = this.#newId()
    const uploading = { id, answer: (_: UploadReply) => {}, fail: (_: SentinelError) => {} }
    this.#uploading = uploading
    const ask = (header: object, parts: Uint8Array[]) => new Promise<UploadReply>((resolve, reject) => {
      if (this.#fault !== undefined) return reject(this.#fault)
      Object.assign(uploading, { answer: resolve, fail: reject })
      this.#send(header, parts)
    })
    try {
      const maxMessageBytes = this.#hello?.maxMessageBytes ?? 0
      const model = await uploadModel({ place, id, wanted, version, maxMessageBytes, onProgress, ask })
      this.#uploading = undefined
      this.#choose([model])
    } catch (thrown) {
      const error = toSentinelError(thrown, place)
      const blame = error instanceof LinkError && error.blame === "worker" ? "worker" : "setting"
      this.lose(new LinkError(blame, error.code, error.message, { cause: thrown }))
    }
  }

  #output({ id, modelVersion, outputs, payload }: Extract<FromWorker, { type: "output" }>): void {
    const pending = this.#answered(id)
    if (pending === undefined) return
    const { model, request } = pending
    const { place } = this.#options
    // A worker that was given a newer version takes it at its own moment.
    const ports = modelVersion === "" || modelVersion === model.version ? model.outputs : []
    const wantedNames = request.outputNames ?? ports.map(({ name }) => name)
    try {
      pending.resolve(readTensors(outputs, payload, wantedNames, ports))
    } catch (thrown) {
      const error = toSentinelError(thrown, place)
      if (error.code === "MODEL_UNSUPPORTED") return pending.reject(error)
      this.#break(error)
      pending.reject(this.#fault ?? error)
    }
    this.#leaveWhenDone()
  }

  #error(failure: Extract<FromWorker, { type: "error" }>): void {
    const error = toLinkError(this.#options.place, failure)
    if (failure.id === undefined) {
      this.#unasked()
      this.#said = new LinkError(error.blame === "setting" ? "setting" : "worker", error.code, error.message)
      return
    }
    if (this.#uploading?.id === failure.id) return this.#uploading.fail(error)
    this.#answered(failure.id)?.reject(error)
    this.#leaveWhenDone()
  }

  /** The request that this is the answer to; undefined where it was cancelled meanwhile. */
  #answered(id: string): Pending | undefined {
    const pending = this.#pending.get(id)
    if (pending?.isSent === true) {
      this.#pending.delete(id)
      return pending
    }
    if (this.#cancelled.delete(id)) return undefined
    throw broken("an answer to a request that was not sent, or has one already")
  }

  #cancel(id: string): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    if (pending.isSent) {
      this.#cancelled.add(id)
      const [oldest] = this.#cancelled
      if (this.#cancelled.size > MAX_CANCELLED && oldest !== undefined) this.#cancelled.delete(oldest)
      this.#send({ type: "cancel", id })
    } else {
      this.#unsent.splice(this.#unsent.indexOf(pending), 1)
    }
    pending.reject(cancelled(this.#options.place))
    this.#leaveWhenDone()
  }

  /** Sends what waits, as far as the socket is not behind. */
  #pump(): void {
    this.#stopPump?.()
    this.#stopPump = undefined
    const { socket, world } = this.#options
    while (this.#unsent.length > 0 && socket.bufferedBytes <= MAX_BUFFERED_BYTES) {
      const pending = this.#unsent.shift() as Pending
      try {
        this.#sendRequest(pending)
      } catch (thrown) {
        this.#pending.delete(pending.id)
        pending.reject(toSentinelError(thrown, this.#options.place))
      }
    }
    this.#leaveWhenDone()
    if (this.#unsent.length > 0) this.#stopPump = world.after(BUFFER_POLL_MS, () => this.#pump())
  }

  #sendRequest(pending: Pending): void {
    const { place, wanted, world } = this.#options
    const { id, request } = pending
    const { wired, parts } = writeTensors(request.inputs)
    const leftMs = request.timeoutMs - (world.now() - pending.askedMs)
    pending.model = this.#model ?? pending.model
    const message = writeFrame({
      type: "infer",
      id,
      model_name: wanted.name,
      ...namedVersion(wanted, pending.model),
      ...(Number.isFinite(leftMs) ? { deadline_ms: Math.max(leftMs, 0) } : {}),
      parameters: ownParameters(wanted, request),
      inputs: wired,
      ...(request.outputNames === undefined ? {} : { outputs: request.outputNames.map(name => ({ name })) }),
    }, parts)
    const most = this.#hello?.maxMessageBytes ?? 0
    if (message.byteLength > most) {
      throw new LinkError("input", "TOO_LARGE", `${place}: a request of ${message.byteLength} bytes, it takes ${most} (--max-message-mib)`)
    }
    pending.isSent = true
    this.#sendMessage(message)
  }

  #send(header: object, parts: readonly Uint8Array[] = []): void {
    this.#sendMessage(writeFrame(header, parts))
  }

  #sendMessage(message: Uint8Array<ArrayBuffer>): void {
    if (this.#state === "ended") return
    this.#sentMs = this.#options.world.now()
    try {
      this.#options.socket.send(message)
    } catch (thrown) {
      this.lose(unavailable(`${this.#options.place}: nothing can be sent: ${toSentinelError(thrown).message}`, thrown))
    }
  }

  /** Twice in each heartbeat: says that we are here, and notices when the worker is not. */
  #beat(): void {
    const { place, socket, world } = this.#options
    const heartbeatMs = this.#hello?.heartbeatMs ?? 0
    const nowMs = world.now()
    // Where this thread was away itself, what the worker said meanwhile has not been looked at.
    const wasAway = nowMs - this.#beatMs > heartbeatMs
    const isMoving = socket.bufferedBytes < this.#bufferedBytes
    if (wasAway || isMoving) this.#heardMs = nowMs
    this.#bufferedBytes = socket.bufferedBytes
    this.#beatMs = nowMs
    this.#nUnasked = 0
    if (nowMs - this.#heardMs > 2 * heartbeatMs) {
      return this.lose(unavailable(`${place}: it says nothing for ${Math.round(nowMs - this.#heardMs)} ms, expected something each ${heartbeatMs}`))
    }
    if (this.#pings.size < 8 && (nowMs - this.#sentMs >= heartbeatMs / 2 || nowMs - this.#heardMs >= heartbeatMs / 2)) {
      const id = this.#newId()
      this.#pings.add(id)
      this.#send({ type: "ping", id })
    }
    if (this.#state !== "ended") this.#stopBeat = world.after(heartbeatMs / 2, () => this.#beat())
  }

  #unasked(): void {
    this.#nUnasked += 1
    if (this.#nUnasked > MAX_UNASKED) throw broken(`${this.#nUnasked} messages that nobody asked for`)
  }

  #leaveWhenDone(): void {
    if (this.#leaving !== undefined && this.#pending.size === 0) this.lose(this.#leaving)
  }

  /** Gives up a worker that says what makes no sense: nothing else that it says can be trusted. */
  #break(thrown: unknown): void {
    const { place } = this.#options
    const error = toSentinelError(thrown)
    if (error instanceof LinkError) return this.lose(new LinkError(error.blame, error.code, `${place}: ${error.message}`, { cause: error }))
    this.lose(new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it breaks the protocol: ${error.message}`, { cause: error }))
  }

  #newId(): string {
    this.#nextId += 1
    return String(this.#nextId)
  }
}

function unavailable(message: string, cause?: unknown): LinkError {
  return new LinkError("worker", "WORKER_UNAVAILABLE", message, { cause })
}

function takesNothing(place: string): LinkError {
  return unavailable(`${place}: it takes no new requests`)
}

function broken(why: string): SentinelError {
  return new SentinelError("INVALID_INPUT", why)
}
