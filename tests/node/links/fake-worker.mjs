// A worker behind a WebSocket that does what a test tells it, written from docs/PROTOCOL.md alone.
import { once } from "node:events"
import { fromWww } from "./host.mjs"
import { cut, echoed, frame, HELLO } from "./frames.mjs"

const { WebSocketServer } = fromWww("ws")

/**
 * `greet(peer)` replaces the hello; `handlers[type](message, peer)` replaces what is done about a message. `refuse(request)` gives
 * an HTTP status instead of a WebSocket. A `peer` has `say(header, payload)`, `sendBytes`, `close(code)` and the `socket`.
 */
export async function startWorker({ hello = {}, greet, handlers = {}, refuse, ...options } = {}) {
  const received = []
  const peers = []
  const verifyClient = ({ req }, verdict) => {
    const status = refuse?.(req)
    verdict(status === undefined, status)
  }
  const handleProtocols = protocols => (protocols.has("sentinel.v1") ? "sentinel.v1" : false)
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", verifyClient, handleProtocols, ...options })
  await once(server, "listening")
  server.on("connection", (socket, request) => {
    const peer = {
      socket,
      request,
      say: (header, payload) => socket.send(frame(header, payload)),
      sendBytes: bytes => socket.send(bytes),
      close: code => socket.close(code),
    }
    peers.push(peer)
    socket.on("error", () => {})
    socket.on("message", (data, isBinary) => {
      if (!isBinary) throw new Error("a client sent text")
      const message = cut(data)
      received.push(message.header)
      const handler = handlers[message.header.type]
      if (handler !== undefined) return handler(message, peer)
      if (message.header.type === "ping") peer.say({ type: "pong", id: message.header.id, queue_depth: 0 })
      if (message.header.type === "infer") peer.sendBytes(echoed(message))
    })
    if (greet !== undefined) return greet(peer)
    peer.say({ ...HELLO, ...hello })
  })
  return {
    url: `ws://127.0.0.1:${server.address().port}`,
    received,
    peers,
    /** Of one type. */
    said: type => received.filter(header => header.type === type),
    async close() {
      for (const { socket } of peers) socket.terminate()
      await new Promise(resolve => server.close(resolve))
    },
  }
}
