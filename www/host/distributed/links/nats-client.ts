import { LinkError } from "../link.js"

/** As much of a connection of the NATS library as is needed. */
export interface NatsConnection {
  readonly info?: { max_payload: number }
  publish(subject: string, payload: Uint8Array, options?: { reply: string }): void
  subscribe(subject: string, options: { callback(error: Error | null, message: NatsMessage): void }): { unsubscribe(): void }
  flush(): Promise<void>
  close(): Promise<void>
  /** Settles with why it closed for good. */
  closed(): Promise<void | Error>
  status(): AsyncIterable<{ type: string }>
}

export interface NatsMessage {
  readonly subject: string
  readonly data: Uint8Array
  readonly headers?: { readonly code: number }
}

export interface NatsOptions {
  servers: string
  token?: string
  user?: string
  pass?: string
  name: string
  maxReconnectAttempts: number
  reconnectTimeWait: number
  reconnectJitter: number
  timeout: number
  pingInterval: number
}

export interface NatsLibrary {
  connect(options: NatsOptions): Promise<NatsConnection>
  createInbox(): string
}

/** What a client says on NATS, and hears. */
export interface NatsClient {
  readonly maxPayloadBytes: number
  readonly isConnected: boolean
  createInbox(): string
  publish(subject: string, message: Uint8Array, reply?: string): void
  /** `message` is undefined where nobody has subscribed to what was asked. Gives what ends it. */
  subscribe(subject: string, hear: (subject: string, message: Uint8Array | undefined) => void): () => void
  /** Settles when the server has all that was said. */
  flush(): Promise<void>
  /** Settles when it ended by itself, with the reason. */
  readonly closed: Promise<string>
  onConnected: (isConnected: boolean) => void
  close(): Promise<void>
}

const NO_RESPONDERS = 503
const DEFAULT_MAX_PAYLOAD_BYTES = 2 ** 20

/** Connects, once; after that, the library connects again by itself for as long as it takes. */
export async function connectNats(library: NatsLibrary, url: URL, token: string | undefined, signal: AbortSignal): Promise<NatsClient> {
  // The library has its own idea of schemes.
  const servers = url.protocol === "nats:" ? url.host : `${url.protocol.slice("nats+".length)}//${url.host}${url.pathname}`
  const [user, pass] = [decodeURIComponent(url.username), decodeURIComponent(url.password)]
  // A name without a password is a token, as in other clients of NATS.
  const named = user === "" ? {} : pass === "" ? { token: user } : { user, pass }
  const connecting = library.connect({
    servers,
    ...named,
    ...(token === undefined ? {} : { token }),
    name: "sentinel-inference",
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    timeout: 5000,
    pingInterval: 10_000,
  })
  let giveUp = () => {}
  const givenUp = new Promise<never>((_, reject) => {
    giveUp = () => reject(new LinkError("worker", "CANCELLED", `${servers}: given up`))
  })
  signal.addEventListener("abort", giveUp)
  if (signal.aborted) giveUp()
  try {
    return wrap(library, await Promise.race([connecting, givenUp]))
  } catch (thrown) {
    if (signal.aborted) connecting.then(connection => connection.close()).catch(() => undefined)
    throw thrown
  } finally {
    signal.removeEventListener("abort", giveUp)
  }
}

function wrap(library: NatsLibrary, connection: NatsConnection): NatsClient {
  let isConnected = true
  const client: NatsClient = {
    get maxPayloadBytes() {
      return connection.info?.max_payload ?? DEFAULT_MAX_PAYLOAD_BYTES
    },
    get isConnected() {
      return isConnected
    },
    createInbox: () => library.createInbox(),
    publish: (subject, message, reply) => { connection.publish(subject, message, reply === undefined ? undefined : { reply }) },
    subscribe(subject, hear) {
      const subscription = connection.subscribe(subject, {
        callback(error, message) {
          if (error !== null) return
          hear(message.subject, message.data.byteLength === 0 && message.headers?.code === NO_RESPONDERS ? undefined : message.data)
        },
      })
      return () => { subscription.unsubscribe() }
    },
    flush: () => connection.flush(),
    closed: connection.closed().then(error => (error instanceof Error ? error.message : "it was closed")),
    onConnected() {},
    close: () => connection.close(),
  }
  const watch = async () => {
    for await (const { type } of connection.status()) {
      if (type !== "disconnect" && type !== "reconnect") continue
      isConnected = type === "reconnect"
      client.onConnected(isConnected)
    }
  }
  watch().catch(() => undefined)
  return client
}
