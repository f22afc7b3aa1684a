// A real nats-server, and a worker behind it that does what a test tells it, written from docs/PROTOCOL.md alone.
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { connect as dial, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { turn } from "./check.mjs"
import { cut, echoed, frame, HELLO } from "./frames.mjs"
import { fromWww } from "./host.mjs"

const { connect } = fromWww("@nats-io/transport-node")

/** Why there is no nats-server here; undefined where there is one. */
export function missingNats() {
  try {
    execFileSync("nats-server", ["--version"], { stdio: "ignore" })
    return undefined
  } catch {
    return "nats-server is not installed"
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address()
  server.close()
  await once(server, "close")
  return port
}

async function answers(port) {
  for (;;) {
    const socket = dial(port, "127.0.0.1")
    const isThere = await new Promise(resolve => socket.on("connect", () => resolve(true)).on("error", () => resolve(false)))
    socket.destroy()
    if (isThere) return
    await turn()
  }
}

/** A server with plain and WebSocket listeners on loopback; `restart()` starts it again on the same ports. */
export async function startNats({ maxPayloadBytes = 64 * 1024, token } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-nats-"))
  const [port, socketPort] = [await freePort(), await freePort()]
  const config = join(folder, "nats.conf")
  writeFileSync(config, `
    listen: "127.0.0.1:${port}"
    max_payload: ${maxPayloadBytes}
    websocket { listen: "127.0.0.1:${socketPort}", no_tls: true }
    ${token === undefined ? "" : `authorization { token: "${token}" }`}
  `)
  let server
  const start = async () => {
    server = spawn("nats-server", ["-c", config], { stdio: "ignore" })
    await Promise.all([answers(port), answers(socketPort)])
  }
  const stop = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    server.kill("SIGKILL")
    await once(server, "exit")
  }
  await start()
  return {
    url: `nats://127.0.0.1:${port}`,
    socketUrl: `nats+ws://127.0.0.1:${socketPort}`,
    servers: `127.0.0.1:${port}`,
    start,
    stop,
    async close() {
      await stop()
      rmSync(folder, { recursive: true })
    },
  }
}

/**
 * A worker of the queue group `sentinel`. `handlers[type](message, say, worker)` replaces what is done about a message: `say(header,
 * payload)` and `sayBytes(bytes)` answer. Frames beyond `maxPayloadBytes` go and come in parts.
 */
export async function startNatsWorker(nats, { hello = {}, handlers = {}, token, subject = "sentinel.v1.infer.echo" } = {}) {
  const connection = await connect({ servers: nats.servers, token, maxReconnectAttempts: -1, reconnectTimeWait: 20, reconnectJitter: 1 })
  const received = []
  const opened = new Map()
  const me = { ...HELLO, worker_id: `fake-${Math.random()}`, ...hello }
  const own = `sentinel.v1.parts.${me.worker_id.replace(".", "")}`
  const limit = () => connection.info.max_payload
  const tell = (reply, bytes) => { if (!connection.isClosed()) connection.publish(reply, bytes) }

  const answer = (id, bytes, reply) => {
    if (bytes.length <= limit()) return tell(reply, bytes)
    const size = limit() - 1000
    const count = Math.ceil(bytes.length / size)
    for (let index = 0; index < count; index += 1) tell(reply, frame({ type: "part", id, index, count }, bytes.subarray(index * size, (index + 1) * size)))
  }
  const take = (data, reply) => {
    const message = cut(Buffer.from(data))
    const { header, payload } = message
    received.push(header)
    const say = (...given) => tell(reply, frame(...given))
    const handler = handlers[header.type]
    if (handler !== undefined) return handler(message, say, { sayBytes: bytes => tell(reply, bytes), answer: bytes => answer(header.id, bytes, reply), own })
    switch (header.type) {
      case "infer":
        say({ type: "working", id: header.id, worker_id: me.worker_id })
        return answer(header.id, echoed(message), reply)
      case "open":
        opened.set(header.id, [])
        return say({ type: "opened", id: header.id, subject: own, part_bytes: limit() - 1000 })
      case "part": {
        const parts = opened.get(header.id)
        parts[header.index] = Buffer.from(payload)
        if (Object.keys(parts).length === header.count) take(Buffer.concat(parts), reply)
      }
    }
  }
  const options = { callback: (_, { data, reply }) => take(data, reply) }
  connection.subscribe(subject, { ...options, queue: "sentinel" })
  connection.subscribe(own, options)
  connection.subscribe("sentinel.v1.cancel", { callback: (_, { data }) => received.push(cut(Buffer.from(data)).header) })
  connection.subscribe("sentinel.v1.hello", { callback: (_, { reply }) => tell(reply, frame(me)) })
  await connection.flush()
  return {
    id: me.worker_id,
    connection,
    received,
    said: type => received.filter(header => header.type === type),
    close: () => connection.close(),
  }
}
