import { LinkError } from "../link.js"
import type { Connections, Socket, SocketEvents, SocketRequest } from "./connections.js"

const TOKEN_PROTOCOL = "sentinel.token."
const ABNORMAL = 1006

const connections: Connections = {
  crc32: undefined,

  get page() {
    const { location } = globalThis as { location?: { origin: string; protocol: string } }
    return location === undefined ? undefined : { origin: location.origin, isSecure: location.protocol === "https:" }
  },

  openSocket: async (request, events) => openGlobalSocket(request, events),

  async nats(url) {
    if (url.protocol === "nats:") {
      throw new LinkError("setting", "INVALID_INPUT", `${url.protocol}//${url.host}: a page reaches NATS by its own WebSocket only: give nats-server a websocket listener, and name it with nats+wss://`)
    }
    const { createInbox, wsconnect } = await import("./nats-library.browser.js")
    return { connect: wsconnect, createInbox }
  },
}

/** The platform's own WebSocket: it cannot send headers, so that a token is a subprotocol. */
export function openGlobalSocket({ url, protocol, token }: SocketRequest, events: SocketEvents): Socket {
  const protocols = token === undefined ? [protocol] : [protocol, TOKEN_PROTOCOL + base64url(token)]
  const socket = new WebSocket(url, protocols)
  socket.binaryType = "arraybuffer"
  const watching = new AbortController()
  let isBlocked = false
  let isOver = false
  // Deno has no such event, and needs none.
  globalThis.addEventListener?.("securitypolicyviolation", event => {
    if ((event as SecurityPolicyViolationEvent).blockedURI.startsWith(new URL(url).origin)) isBlocked = true
  }, { signal: watching.signal })
  const over = (code: number, reason: string) => {
    if (isOver) return
    isOver = true
    watching.abort()
    events.closed({ code, reason, isBlocked })
  }
  socket.onopen = () => {
    watching.abort()
    events.opened()
  }
  socket.onmessage = ({ data }) => { events.message(data instanceof ArrayBuffer ? new Uint8Array(data) : undefined) }
  socket.onclose = ({ code, reason }) => { over(code, reason) }
  // Chromium does not close what a Content-Security-Policy blocked; elsewhere the close comes in the same turn.
  socket.onerror = () => { setTimeout(() => over(ABNORMAL, ""), 0) }
  return {
    send: message => { socket.send(message) },
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    close: (code, reason) => { socket.close(code, reason) },
    destroy() {
      // A browser has no harder end than an orderly one that nobody waits for.
      socket.close()
      over(ABNORMAL, "")
    },
  }
}

function base64url(token: string): string {
  const text = String.fromCharCode(...new TextEncoder().encode(token))
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
}

export default connections
