import { createConnection } from "node:net"
import * as zlib from "node:zlib"
import { LinkError } from "../link.js"
import { openGlobalSocket } from "./connections.browser.js"
import { MAX_ANSWER_BYTES, type Connections, type Socket, type SocketEvents, type SocketRequest } from "./connections.js"

/** Node. Deno and Bun have Node's modules too, but a WebSocket of their own that suits them better. */
const connections: Connections = {
  // Node has it since 20.15.
  crc32: (zlib as { crc32?: (bytes: Uint8Array) => number }).crc32,
  page: undefined,
  openSocket: async (request, events) => ("Deno" in globalThis || "Bun" in globalThis ? openGlobalSocket(request, events) : openNodeSocket(request, events)),

  async nats({ protocol, host, hostname, port }) {
    const { connect, createInbox, wsconnect } = await import("./nats-library.node.js")
    const isSocket = protocol !== "nats:"
    return {
      createInbox,
      async connect(options) {
        // The library has one transport for all connections of a process.
        const others = isSocket ? natsConnections.plain : natsConnections.socket
        if (others > 0) {
          throw new LinkError("setting", "INVALID_INPUT", `${protocol}//${host}: a process reaches NATS by nats:// or by nats+ws://, not by both at once`)
        }
        const kind = isSocket ? "socket" : "plain"
        natsConnections[kind] += 1
        const leave = () => { natsConnections[kind] -= 1 }
        try {
          if (!isSocket) await hearNats(hostname.replace(/^\[|\]$/g, ""), Number(port || NATS_PORT), options.timeout)
          const connection = await (isSocket ? wsconnect({ ...options, wsFactory: await webSocketFactory() }) : connect(options))
          connection.closed().then(leave, leave)
          return connection
        } catch (thrown) {
          leave()
          throw thrown
        }
      },
    }
  },
}

const NATS_PORT = 4222

// The library waits for a server's first word for ever, and keeps the socket of each try.
function hearNats(hostname: string, port: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, hostname)
    socket.setTimeout(timeoutMs, () => { socket.destroy(new Error(`it says nothing for ${timeoutMs} ms`)) })
    socket.on("data", () => {
      resolve()
      socket.destroy()
    })
    socket.on("error", reject)
    socket.on("close", () => { reject(new Error("it closed the connection")) })
  })
}

const natsConnections = { plain: 0, socket: 0 }

async function webSocketFactory() {
  const { WebSocket } = await import("./ws-library.node.js")
  return async (url: string) => ({
    socket: new WebSocket(url, { perMessageDeflate: false }) as unknown as globalThis.WebSocket,
    encrypted: url.startsWith("wss:"),
  })
}

// Node 20 has no WebSocket, and that of later ones does not tell why it could not be opened.
async function openNodeSocket({ url, protocol, token }: SocketRequest, events: SocketEvents): Promise<Socket> {
  const { WebSocket } = await import("./ws-library.node.js")
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const socket = new WebSocket(url, [protocol], { headers, perMessageDeflate: false, maxPayload: MAX_ANSWER_BYTES, skipUTF8Validation: true })
  socket.binaryType = "arraybuffer"
  let status: number | undefined
  let cause: string | undefined
  socket.on("open", () => events.opened())
  socket.on("message", (data, isBinary) => events.message(isBinary ? new Uint8Array(data as ArrayBuffer) : undefined))
  socket.on("unexpected-response", (_, response) => {
    status = response.statusCode
    socket.terminate()
  })
  socket.on("error", (error: Error & { code?: string; errors?: Error[] }) => {
    // Where a name has several addresses, each has an error of its own.
    cause ??= error.message || error.errors?.map(({ message }) => message).join(", ") || error.code
  })
  socket.on("close", (code, reason) => events.closed({ code, reason: reason.toString(), status, cause }))
  return {
    send: message => {
      if (socket.readyState !== WebSocket.OPEN) throw new Error("the WebSocket is closed")
      socket.send(message)
    },
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    close: (code, reason) => { socket.close(code, reason) },
    destroy: () => { socket.terminate() },
  }
}

export default connections
