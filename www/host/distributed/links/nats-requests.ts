import type { Outputs } from "../../batch/engine.js"
import type { World } from "../../batch/world.js"
import { cancelled } from "../../download.js"
import { SentinelError, toSentinelError } from "../../errors.js"
import { LinkError, type LinkRequest, type WantedModel } from "../link.js"
import { namedVersion, ownParameters } from "./choose.js"
import { readFrame, writeFrame } from "./frame.js"
import { readMessage, toLinkError, type FromWorker, type Model } from "./messages.js"
import type { NatsClient } from "./nats-client.js"
import { readTensors, writeTensors } from "./oip.js"
import { Parts } from "./parts.js"

interface Pending {
  readonly id: string
  readonly reply: string
  readonly request: LinkRequest
  readonly model: Model
  readonly askedMs: number
  heardMs: number
  isSent: boolean
  /** The frame, until the worker that takes it in parts has all of them. */
  frame: Uint8Array | undefined
  parts: Parts | undefined
  resolve(outputs: Outputs): void
  reject(error: SentinelError): void
}

export interface RequestsOptions {
  place: string
  wanted: WantedModel
  client: NatsClient
  world: Pick<World, "now" | "after">
}

/** A worker says each second that it has a request. */
const STALL_MS = 3000
const BEAT_MS = 500
/** How long a request waits until it asks again whether there is a worker. */
const NOBODY_MS = 500
/** More than the header of a part needs. */
const PART_HEADER_BYTES = 512
const MIN_PART_BYTES = 1024
/** So many parts are on their way to the server at once. */
const PARTS_AHEAD = 8

const CANCEL = "sentinel.v1.cancel"

/** The subject of a model; any bytes may be in its name. */
export function inferSubject(model: string): string {
  const token = Array.from(new TextEncoder().encode(model), byte => {
    const character = String.fromCharCode(byte)
    return /[A-Za-z0-9_-]/.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`
  })
  return `sentinel.v1.infer.${token.join("")}`
}

/** Requests without an answer, over NATS: a state machine of messages and a clock. */
export class Requests {
  /** Frames beyond this are refused by every worker. */
  maxMessageBytes = Infinity
  readonly #options: RequestsOptions
  readonly #inbox: string
  readonly #subject: string
  readonly #pending = new Map<string, Pending>()
  readonly #unsubscribe: () => void
  #nextId = 0
  #beatMs = 0
  #stopBeat: (() => void) | undefined

  constructor(options: RequestsOptions) {
    this.#options = options
    this.#inbox = options.client.createInbox()
    this.#subject = inferSubject(options.wanted.name)
    this.#unsubscribe = options.client.subscribe(`${this.#inbox}.*`, (subject, message) => this.#hear(subject, message))
  }

  get size(): number {
    return this.#pending.size
  }

  /** Settles once, whatever happens. */
  async ask(request: LinkRequest, model: Model): Promise<Outputs> {
    const { client, place, world } = this.#options
    this.#nextId += 1
    const reply = `${this.#inbox}.${this.#nextId}`
    const cancel = () => this.#giveUp(reply, cancelled(place))
    request.signal.addEventListener("abort", cancel)
    try {
      return await new Promise((resolve, reject) => {
        const nowMs = world.now()
        // An inbox is nobody else's, and so is what it begins with.
        const id = reply.replaceAll(".", "-")
        const pending: Pending = {
          id, reply, request, model, askedMs: nowMs, heardMs: nowMs, isSent: false, frame: undefined, parts: undefined, resolve, reject,
        }
        this.#pending.set(reply, pending)
        if (client.isConnected) this.#send(pending)
        if (this.#stopBeat === undefined) this.#beatLater()
      })
    } finally {
      request.signal.removeEventListener("abort", cancel)
    }
  }

  /** What could not be sent is sent; for what was, the worker has its time again. */
  reconnected(): void {
    for (const pending of [...this.#pending.values()]) {
      pending.heardMs = this.#options.world.now()
      if (!pending.isSent) this.#send(pending)
    }
  }

  /** Fails what has no answer. */
  end(error: SentinelError): void {
    this.#stopBeat?.()
    this.#stopBeat = undefined
    for (const reply of [...this.#pending.keys()]) this.#giveUp(reply, error)
    this.#unsubscribe()
  }

  #send(pending: Pending): void {
    const { client, place, wanted, world } = this.#options
    const { id, reply, request, model } = pending
    try {
      const { wired, parts } = writeTensors(request.inputs)
      const leftMs = request.timeoutMs - (world.now() - pending.askedMs)
      const frame = writeFrame({
        type: "infer",
        id,
        model_name: wanted.name,
        ...namedVersion(wanted, model),
        ...(Number.isFinite(leftMs) ? { deadline_ms: Math.max(leftMs, 0) } : {}),
        parameters: ownParameters(wanted, request),
        inputs: wired,
        ...(request.outputNames === undefined ? {} : { outputs: request.outputNames.map(name => ({ name })) }),
      }, parts)
      if (frame.byteLength > this.maxMessageBytes) {
        throw new LinkError("input", "TOO_LARGE", `${place}: a request of ${frame.byteLength} bytes, its workers take ${this.maxMessageBytes} (--max-message-mib)`)
      }
      pending.isSent = true
      if (frame.byteLength <= client.maxPayloadBytes) return client.publish(this.#subject, frame, reply)
      pending.frame = frame
      client.publish(this.#subject, writeFrame({ type: "open", id, size_bytes: frame.byteLength }), reply)
    } catch (thrown) {
      this.#pending.delete(reply)
      pending.reject(toSentinelError(thrown, place))
    }
  }

  #hear(reply: string, message: Uint8Array | undefined): void {
    const pending = this.#pending.get(reply)
    if (pending === undefined) return
    const { place, world } = this.#options
    pending.heardMs = world.now()
    if (message === undefined) {
      const why = `${place}: no worker has model "${this.#options.wanted.name}" now`
      return this.#settle(pending, new LinkError("busy", "WORKER_UNAVAILABLE", why, { retryAfterMs: NOBODY_MS }))
    }
    try {
      this.#take(pending, readMessage(readFrame(message)))
    } catch (thrown) {
      const error = toSentinelError(thrown, place)
      if (error.code === "MODEL_UNSUPPORTED") return this.#settle(pending, error)
      // One of many workers: what the others say can be trusted still.
      this.#giveUp(reply, new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: a worker breaks the protocol: ${error.message}`, { cause: error }))
    }
  }

  #take(pending: Pending, message: FromWorker): void {
    const { place } = this.#options
    if ("id" in message && message.id !== undefined && message.id !== pending.id) throw wrong(`"${message.type}" of another request`)
    switch (message.type) {
      case "working":
        return
      case "opened":
        return void this.#sendParts(pending, message.subject, message.partBytes)
      case "part": {
        const whole = (pending.parts ??= new Parts()).add(message)
        if (whole === undefined) return
        const joined = readMessage(readFrame(whole))
        if (joined.type !== "output" && joined.type !== "error") throw wrong(`"${joined.type}" in parts`)
        return this.#take(pending, joined)
      }
      case "output": {
        const { model, request } = pending
        const ports = message.modelVersion === "" || message.modelVersion === model.version ? model.outputs : []
        const outputs = readTensors(message.outputs, message.payload, request.outputNames ?? ports.map(({ name }) => name), ports)
        this.#pending.delete(pending.reply)
        return pending.resolve(outputs)
      }
      case "error":
        return this.#settle(pending, toLinkError(place, message))
      default:
        throw wrong(`"${message.type}" as an answer`)
    }
  }

  async #sendParts(pending: Pending, subject: string, partBytes: number): Promise<void> {
    const { client, place, world } = this.#options
    const { frame, id, reply } = pending
    pending.frame = undefined
    try {
      if (frame === undefined) throw wrong(`"opened" without an open`)
      const most = Math.min(partBytes, client.maxPayloadBytes - PART_HEADER_BYTES)
      if (most < MIN_PART_BYTES || /[\s*>]/.test(subject) || subject === "") throw wrong(`parts of ${most} bytes to "${subject.slice(0, 100)}"`)
      const count = Math.ceil(frame.byteLength / most)
      for (let index = 0; index < count; index += 1) {
        if (!this.#pending.has(reply)) return
        client.publish(subject, writeFrame({ type: "part", id, index, count }, [frame.subarray(index * most, (index + 1) * most)]), reply)
        if ((index + 1) % PARTS_AHEAD !== 0) continue
        await client.flush()
        pending.heardMs = world.now()
      }
    } catch (thrown) {
      this.#giveUp(reply, new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: a request in parts did not arrive: ${toSentinelError(thrown).message}`, { cause: thrown }))
    }
  }

  /** Lets a worker know that nobody waits, and fails the request. */
  #giveUp(reply: string, error: SentinelError): void {
    const pending = this.#pending.get(reply)
    if (pending === undefined) return
    const { client } = this.#options
    this.#settle(pending, error)
    if (!pending.isSent || !client.isConnected) return
    try {
      client.publish(CANCEL, writeFrame({ type: "cancel", id: pending.id }))
    } catch {
      // The connection is gone, and with it the request.
    }
  }

  #settle(pending: Pending, error: SentinelError): void {
    this.#pending.delete(pending.reply)
    pending.reject(error)
  }

  #beatLater(): void {
    const { world } = this.#options
    this.#beatMs = world.now()
    this.#stopBeat = world.after(BEAT_MS, () => this.#beat())
  }

  #beat(): void {
    const { client, place, world } = this.#options
    const nowMs = world.now()
    // Where this thread was away itself, what workers said meanwhile has not been looked at.
    const wasAway = nowMs - this.#beatMs > 2 * BEAT_MS
    for (const pending of [...this.#pending.values()]) {
      if (wasAway) pending.heardMs = nowMs
      if (nowMs - pending.heardMs <= STALL_MS) continue
      this.#giveUp(pending.reply, client.isConnected
        ? new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: no worker says for ${STALL_MS} ms that it has the request`)
        : new LinkError("busy", "WORKER_UNAVAILABLE", `${place}: the connection is broken, and made anew`, { retryAfterMs: NOBODY_MS }))
    }
    this.#stopBeat = undefined
    if (this.#pending.size > 0) this.#beatLater()
  }
}

function wrong(why: string): SentinelError {
  return new SentinelError("INVALID_INPUT", why)
}
