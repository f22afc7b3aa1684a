import type { Outputs } from "../batch/engine.js"
import { SentinelError, toSentinelError } from "../errors.js"
import type { Fault } from "./dispatcher.js"
import { blameOf, LinkError, type Link, type LinkRequest } from "./link.js"

/** What the engine is told. */
export interface FleetEvents {
  opened(worker: number, link: Link): void
  failedToOpen(worker: number, fault: Fault): void
  draining(worker: number): void
  lost(worker: number, fault: Fault): void
  answered(attempt: number, outputs: Outputs): void
  failed(attempt: number, fault: Fault): void
}

/** A way to a worker, while there is one or one is being opened. */
interface Way {
  /** Gives up on opening it. */
  opening: AbortController
  link: Link | undefined
  isClosed: boolean
}

/** The open ways to workers, and the requests on them. Whatever an old one still says is not heard. */
export class Fleet {
  readonly #events: FleetEvents
  readonly #ways = new Map<number, Way>()
  readonly #revokes = new Map<number, AbortController>()
  readonly #closing = new Set<Promise<void>>()

  constructor(events: FleetEvents) {
    this.#events = events
  }

  link(worker: number): Link | undefined {
    return this.#ways.get(worker)?.link
  }

  open(worker: number, connect: (signal: AbortSignal) => Promise<Link>): void {
    const way: Way = { opening: new AbortController(), link: undefined, isClosed: false }
    this.#ways.set(worker, way)
    void this.#open(worker, way, connect)
  }

  close(worker: number): void {
    const way = this.#ways.get(worker)
    if (way === undefined) return
    this.#ways.delete(worker)
    way.isClosed = true
    if (way.link === undefined) way.opening.abort()
    else this.#close(way.link)
  }

  send(worker: number, attempt: number, request: Omit<LinkRequest, "signal">): void {
    const revoke = new AbortController()
    this.#revokes.set(attempt, revoke)
    void this.#send(worker, attempt, { ...request, signal: revoke.signal })
  }

  revoke(attempt: number): void {
    this.#revokes.get(attempt)?.abort()
  }

  /** Takes back every request, and waits until every way is closed. */
  async closeAll(): Promise<void> {
    // Until the next turn, it can be told who was there.
    await null
    for (const revoke of this.#revokes.values()) revoke.abort()
    for (const worker of [...this.#ways.keys()]) this.close(worker)
    while (this.#closing.size > 0) await Promise.all(this.#closing)
  }

  async #open(worker: number, way: Way, connect: (signal: AbortSignal) => Promise<Link>): Promise<void> {
    try {
      const link = await connect(way.opening.signal)
      if (way.isClosed) return this.#close(link)
      way.link = link
      this.#events.opened(worker, link)
      link.lost.then(error => { if (!way.isClosed) this.#events.lost(worker, faultOf(error)) }, () => undefined)
      const drain = () => { if (!way.isClosed) this.#events.draining(worker) }
      if (link.draining.aborted) drain()
      else link.draining.addEventListener("abort", drain, { once: true })
    } catch (thrown) {
      if (!way.isClosed) this.#events.failedToOpen(worker, faultOf(thrown))
    }
  }

  async #send(worker: number, attempt: number, request: LinkRequest): Promise<void> {
    let outputs: Outputs
    try {
      const link = this.link(worker)
      if (link === undefined) throw new SentinelError("WORKER_UNAVAILABLE", "it is not open")
      outputs = await link.run(request)
    } catch (thrown) {
      return this.#events.failed(attempt, faultOf(thrown))
    } finally {
      this.#revokes.delete(attempt)
    }
    this.#events.answered(attempt, outputs)
  }

  #close(link: Link): void {
    const closed = Promise.resolve(link.close()).catch(() => undefined).finally(() => this.#closing.delete(closed))
    this.#closing.add(closed)
  }
}

function faultOf(thrown: unknown): Fault {
  const error = toSentinelError(thrown)
  if (error instanceof LinkError) return { blame: error.blame, error, retryAfterMs: error.retryAfterMs }
  return { blame: blameOf(error.code), error }
}
