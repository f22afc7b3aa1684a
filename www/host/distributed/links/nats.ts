import connections from "#connections"
import type { Outputs } from "../../batch/engine.js"
import { realWorld, type World } from "../../batch/world.js"
import { cancelled } from "../../download.js"
import { SentinelError, toSentinelError } from "../../errors.js"
import { LinkError, type Link, type LinkFacts, type LinkRequest, type OpenLink, type WantedModel, type WorkerTarget } from "../link.js"
import { chooseModel, factsOf } from "./choose.js"
import { explainNats } from "./explain.js"
import { readFrame, writeFrame } from "./frame.js"
import { readMessage, type Hello, type Model } from "./messages.js"
import { connectNats, type NatsClient } from "./nats-client.js"
import { Requests } from "./nats-requests.js"
import { toCpu } from "./oip.js"

const HELLO = "sentinel.v1.hello"
/** Many workers share it. */
const DEFAULT_CAPACITY = 64
/** Workers have answered a greeting when none did for so long. */
const QUIET_MS = 250
const GREETING_MS = 2000
/** How often workers are greeted, to see who came and who went. */
const ROUND_MS = 5000
/** So many rounds without a worker, or as long without a connection, end the link. */
const MAX_EMPTY_ROUNDS = 2
const LOADING_MS = 500
const MAX_WORKERS = 10_000

/** All workers of a queue group; spreading, membership and reconnection are NATS' business. */
export const openNatsLink: OpenLink = async (target, wanted, signal) => {
  const url = new URL(target.url)
  const place = `${url.protocol}//${url.host}`
  let client: NatsClient
  try {
    client = await connectNats(await connections.nats(url), url, target.token, signal)
  } catch (thrown) {
    throw thrown instanceof LinkError ? thrown : explainNats(thrown, place, target.token !== undefined)
  }
  return openNatsLinkOver(client, realWorld, place, target, wanted, signal)
}

/** The same over a connection that is there already; it is closed with the link. */
export async function openNatsLinkOver(
  client: NatsClient, world: Pick<World, "now" | "after">, place: string, target: WorkerTarget, wanted: WantedModel, signal: AbortSignal,
): Promise<Link> {
  const link = new NatsLink(client, world, place, target, wanted)
  try {
    await link.open(signal)
  } catch (thrown) {
    await link.close()
    throw thrown instanceof LinkError ? thrown : new LinkError("worker", toSentinelError(thrown).code, toSentinelError(thrown).message, { cause: thrown })
  }
  return link
}

class NatsLink implements Link {
  readonly capacity: number
  readonly lost: Promise<SentinelError>
  /** Workers come and go; there is no end to them all. */
  readonly draining = new AbortController().signal
  readonly #client: NatsClient
  readonly #world: Pick<World, "now" | "after">
  readonly #place: string
  readonly #wanted: WantedModel
  readonly #requests: Requests
  readonly #ending = new AbortController()
  #facts: LinkFacts | undefined
  #model: Model | undefined
  #fault: SentinelError | undefined
  #nEmptyRounds = 0
  #stopRound = () => {}
  #setLost: (error: SentinelError) => void = () => {}

  constructor(client: NatsClient, world: Pick<World, "now" | "after">, place: string, target: WorkerTarget, wanted: WantedModel) {
    this.#client = client
    this.#world = world
    this.#place = place
    this.#wanted = wanted
    this.capacity = target.maxInFlight ?? DEFAULT_CAPACITY
    this.lost = new Promise(resolve => { this.#setLost = resolve })
    this.#requests = new Requests({ place, wanted, client, world })
    client.onConnected = isConnected => { if (isConnected) this.#requests.reconnected() }
    client.closed.then(why => this.#lose(unavailable(`${place}: the connection ended: ${why}`)), () => undefined)
  }

  get facts(): LinkFacts {
    if (this.#facts === undefined) throw new SentinelError("INTERNAL", `${this.#place}: it is not open`)
    return this.#facts
  }

  async open(signal: AbortSignal): Promise<void> {
    for (;;) {
      const hellos = await this.#greet(signal)
      if (signal.aborted) throw cancelled(this.#place)
      if (hellos.length === 0) throw unavailable(`${this.#place}: no worker is there (sentinel-worker --nats ${this.#place})`)
      if (this.#choose(hellos) !== "loading") break
      await this.#pause(LOADING_MS, signal)
    }
    this.#roundLater()
  }

  async run(request: LinkRequest): Promise<Outputs> {
    await toCpu(request.inputs)
    const place = this.#place
    if (request.signal.aborted) throw cancelled(place)
    if (this.#fault !== undefined) throw this.#fault
    if (this.#model === undefined) throw new SentinelError("INTERNAL", `${place}: it is not open`)
    if (this.#requests.size >= this.capacity) {
      throw new LinkError("busy", "QUEUE_FULL", `${place}: ${this.#requests.size} requests are without an answer, it is given ${this.capacity}`)
    }
    return this.#requests.ask(request, this.#model)
  }

  async close(): Promise<void> {
    await this.#end(new LinkError("worker", "RELEASED", `${this.#place}: the link was closed`))
  }

  #lose(error: SentinelError): void {
    if (this.#fault !== undefined) return
    this.#end(error).catch(() => undefined)
    this.#setLost(error)
  }

  async #end(error: SentinelError): Promise<void> {
    if (this.#fault !== undefined) return
    this.#fault = error
    this.#ending.abort()
    this.#stopRound()
    this.#requests.end(error)
    await this.#client.close()
  }

  /** @throws A `LinkError` where the wanted model is not what requests would get. */
  #choose(hellos: readonly Hello[]): "ready" | "loading" {
    const place = this.#place
    const choice = chooseModel(place, hellos.flatMap(({ models }) => models), this.#wanted)
    if (choice.is === "loading") return "loading"
    if (choice.is !== "ready") throw choice.error
    const { model } = choice
    const has = ({ models }: Hello) => models.some(each => each.name === model.name && each.state === "READY")
    const members = hellos.filter(has)
    // Requests for a model go to any worker that has one of its name.
    const stranger = members.find(({ models }) => chooseModel(place, models, this.#wanted).is !== "ready")
    if (stranger !== undefined) {
      throw new LinkError("setting", "NOT_FOUND", `${place}: worker ${stranger.workerId} has a model "${model.name}" too, but not the one that is wanted`)
    }
    const [first] = members as [Hello]
    this.#model = model
    this.#requests.maxMessageBytes = Math.max(...members.map(({ maxMessageBytes }) => maxMessageBytes))
    this.#facts = factsOf(first, model, members.map(({ workerId }) => workerId))
    return "ready"
  }

  /** Asks all workers who they are. */
  async #greet(signal: AbortSignal): Promise<Hello[]> {
    const heard = new Map<string, Hello>()
    const inbox = this.#client.createInbox()
    const over = new AbortController()
    let [stopQuiet, stopWaiting, unsubscribe] = [() => {}, () => {}, () => {}]
    try {
      await new Promise<void>(resolve => {
        for (const each of [signal, this.#ending.signal]) {
          if (each.aborted) return resolve()
          each.addEventListener("abort", () => resolve(), { signal: over.signal })
        }
        stopWaiting = this.#world.after(GREETING_MS, resolve)
        unsubscribe = this.#client.subscribe(inbox, (_, message) => {
          if (message === undefined) return resolve()
          const hello = readHello(message)
          if (hello === undefined || heard.size >= MAX_WORKERS) return
          heard.set(hello.workerId, hello)
          stopQuiet()
          stopQuiet = this.#world.after(QUIET_MS, resolve)
        })
        this.#client.publish(HELLO, writeFrame({ type: "hello" }), inbox)
      })
    } finally {
      over.abort()
      for (const stop of [stopQuiet, stopWaiting, unsubscribe]) stop()
    }
    return [...heard.values()]
  }

  #roundLater(): void {
    if (this.#fault === undefined) this.#stopRound = this.#world.after(ROUND_MS, () => void this.#round())
  }

  /** Sees who is there, and gives up where nobody is. */
  async #round(): Promise<void> {
    try {
      const hellos = this.#client.isConnected ? await this.#greet(this.#ending.signal) : []
      if (this.#fault !== undefined) return
      this.#nEmptyRounds = hellos.length === 0 ? this.#nEmptyRounds + 1 : 0
      if (this.#nEmptyRounds >= MAX_EMPTY_ROUNDS) {
        const what = this.#client.isConnected ? "no worker is there any more" : "the connection is broken, and cannot be made anew"
        return this.#lose(unavailable(`${this.#place}: ${what}`))
      }
      if (hellos.length === 0 && this.#facts !== undefined) this.#facts = { ...this.#facts, members: [] }
      if (hellos.length > 0) this.#choose(hellos)
      this.#roundLater()
    } catch (thrown) {
      this.#lose(toSentinelError(thrown, this.#place))
    }
  }

  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    let stop = () => {}
    await new Promise<void>(resolve => {
      stop = this.#world.after(delayMs, resolve)
      signal.addEventListener("abort", () => resolve(), { signal: over.signal })
    })
    stop()
    over.abort()
  }
}

/** What a worker says of itself; undefined for anything else on that subject. */
function readHello(message: Uint8Array): Hello | undefined {
  try {
    const hello = readMessage(readFrame(message))
    return hello.type === "hello" ? hello : undefined
  } catch {
    // One worker of another protocol is none of ours; the others are asked all the same.
    return undefined
  }
}

function unavailable(message: string): LinkError {
  return new LinkError("worker", "WORKER_UNAVAILABLE", message)
}
