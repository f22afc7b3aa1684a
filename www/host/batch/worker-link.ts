import { SentinelError, toSentinelError } from "../errors.js"
import type { Thread, Threads } from "../platform/threads.js"
import { fromPlain, type Answers, type Message, type Reply, type Request } from "./messages.js"

interface Asked {
  resolve(answer: never): void
  reject(error: SentinelError): void
}

/** A worker that is asked and answers, until it is lost or ended. */
export class WorkerLink {
  /** Settles when it listens. */
  readonly ready: Promise<void>
  /** Settles with the fault, unless `end` was called before. */
  readonly lost: Promise<SentinelError>
  readonly #thread: Thread
  readonly #asked = new Map<number, Asked>()
  #state: "starting" | "ready" | "ended" = "starting"
  #fault: SentinelError | undefined
  #nextId = 0
  #setReady: () => void = () => {}
  #setFailed: (error: SentinelError) => void = () => {}
  #setLost: (error: SentinelError) => void = () => {}

  /** @throws `WORKER_UNAVAILABLE` where there can be no worker. */
  constructor(threads: Threads) {
    this.ready = new Promise((resolve, reject) => {
      this.#setReady = resolve
      this.#setFailed = reject
    })
    this.ready.catch(() => undefined)
    this.lost = new Promise(resolve => { this.#setLost = resolve })
    this.#thread = threads.start({
      message: message => { this.#receive(message as Reply) },
      ended: why => {
        const message = this.#state === "starting" ? `a worker cannot be started: ${threads.advice}` : "a worker was lost"
        this.lose(new SentinelError("WORKER_UNAVAILABLE", why === "" ? message : `${message}: ${why}`))
      },
    })
  }

  get fault(): SentinelError | undefined {
    return this.#fault
  }

  /** The buffers in `transfer` are the worker's afterwards. */
  async ask<Type extends Request["type"]>(request: Extract<Request, { type: Type }>, transfer: ArrayBuffer[] = []): Promise<Answers[Type]> {
    if (this.#state === "ended") throw this.#fault ?? ended()
    const message: Message = { id: this.#nextId, request }
    this.#nextId += 1
    // Before anything is noted down: what cannot be sent is refused here.
    try {
      this.#thread.post(message, transfer)
    } catch (thrown) {
      throw new SentinelError("INVALID_INPUT", `${request.type}: it cannot be sent to a worker: ${toSentinelError(thrown).message}`, { cause: thrown })
    }
    const answer = new Promise<Answers[Type]>((resolve, reject) => { this.#asked.set(message.id, { resolve, reject }) })
    if (this.#asked.size === 1) this.#thread.hold(true)
    return answer
  }

  /** Gives it up for this reason. */
  lose(error: SentinelError): void {
    if (this.#state === "ended") return
    this.#fault = error
    this.#finish(error)
    this.#setLost(error)
  }

  /** Ends it; whoever waits for an answer gets an error. */
  end(error = ended()): Promise<void> {
    if (this.#state === "ended") return Promise.resolve()
    return this.#finish(error)
  }

  #finish(error: SentinelError): Promise<void> {
    this.#state = "ended"
    this.#setFailed(error)
    for (const { reject } of this.#asked.values()) reject(error)
    this.#asked.clear()
    return this.#thread.terminate()
  }

  #receive(reply: Reply): void {
    if (this.#state === "ended") return
    switch (reply.type) {
      case "ready":
        this.#state = "ready"
        if (reply.lock !== undefined) this.#thread.watch(reply.lock)
        return this.#setReady()
      case "answer":
        return this.#take(reply.id)?.resolve(reply.answer as never)
      case "failed":
        return this.#take(reply.id)?.reject(fromPlain(reply.error))
      case "faulted":
        return this.lose(fromPlain(reply.error))
    }
  }

  #take(id: number): Asked | undefined {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (this.#asked.size === 0) this.#thread.hold(false)
    return asked
  }
}

const ended = () => new SentinelError("RELEASED", "the worker was ended")
