// A way between a client and a server that can be broken: bytes that come late, changed, cut off or not at all.
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { randomOf } from "./random.mjs"

/**
 * Listens on a free port and carries every connection to `port`. What it does with the bytes is its `fault`:
 *
 * - `{ kind: "none" }` carries them
 * - `{ kind: "refuse" }` resets new connections and leaves the others alone
 * - `{ kind: "stall" }` holds bytes back until the fault changes
 * - `{ kind: "delay", delayMs }` brings every piece later, in order
 * - `{ kind: "drop", probability }` resets the connection instead of carrying a piece
 * - `{ kind: "truncate", probability }` carries the beginning of a piece and ends the connection
 * - `{ kind: "corrupt", probability }` changes one byte of a piece
 */
export async function startProxy({ port, seed }) {
  const proxy = new Proxy(port, randomOf(seed))
  await proxy.listen()
  return proxy
}

class Proxy {
  #target
  #random
  #server
  #pairs = new Set()
  #fault = { kind: "none" }
  /** How often each kind of fault struck. */
  struck = { refuse: 0, stall: 0, delay: 0, drop: 0, truncate: 0, corrupt: 0 }

  constructor(target, random) {
    this.#target = target
    this.#random = random
    this.#server = createServer({ allowHalfOpen: true }, socket => this.#accept(socket))
  }

  async listen() {
    this.#server.listen(0, "127.0.0.1")
    await once(this.#server, "listening")
    this.port = this.#server.address().port
  }

  get connections() {
    return this.#pairs.size
  }

  set fault(fault) {
    this.#fault = fault
    for (const pair of this.#pairs) pair.flow()
  }

  heal() {
    this.fault = { kind: "none" }
  }

  /** Resets every connection. */
  cut() {
    for (const pair of this.#pairs) pair.reset()
  }

  async close() {
    this.cut()
    this.#server.close()
    await once(this.#server, "close")
  }

  #accept(client) {
    if (this.#fault.kind === "refuse") {
      this.struck.refuse += 1
      client.on("error", () => {})
      client.resetAndDestroy()
      return
    }
    const pair = new Pair(client, connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true }), () => this.#strike())
    this.#pairs.add(pair)
    pair.closed.then(() => this.#pairs.delete(pair))
  }

  /** What happens to the next piece. */
  #strike() {
    const fault = this.#fault
    if (fault.kind === "none" || fault.kind === "refuse") return { kind: "none" }
    if (fault.probability !== undefined && this.#random() >= fault.probability) return { kind: "none" }
    this.struck[fault.kind] += 1
    return { ...fault, random: this.#random }
  }
}

/** The two sockets of a connection. */
class Pair {
  #sockets
  #lanes
  closed

  constructor(client, server, strike) {
    this.#sockets = [client, server]
    this.#lanes = [new Lane(client, server, strike, this), new Lane(server, client, strike, this)]
    for (const socket of this.#sockets) {
      socket.setNoDelay(true)
      socket.on("error", () => this.reset())
    }
    this.closed = Promise.all(this.#sockets.map(socket => new Promise(resolve => socket.on("close", resolve))))
  }

  flow() {
    for (const lane of this.#lanes) lane.flow()
  }

  reset() {
    for (const socket of this.#sockets) {
      // A socket that is being shut down cannot be reset any more: Node would keep it, and its process would not end.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  end() {
    for (const socket of this.#sockets) socket.destroySoon()
  }
}

/** One direction: a piece goes on when those before it have gone. */
class Lane {
  #from
  #to
  #strike
  #pair
  #held
  #ended = false
  #timer

  constructor(from, to, strike, pair) {
    this.#from = from
    this.#to = to
    this.#strike = strike
    this.#pair = pair
    from.on("data", piece => {
      from.pause()
      this.#held = piece
      this.#carry(strike())
    })
    from.on("end", () => {
      this.#ended = true
      if (this.#held === undefined) to.end()
    })
    from.on("close", () => clearTimeout(this.#timer))
    to.on("drain", () => { if (this.#held === undefined) from.resume() })
  }

  /** Tries again what a fault held back. */
  flow() {
    if (this.#held === undefined) return
    clearTimeout(this.#timer)
    this.#carry(this.#strike())
  }

  #carry(fault) {
    switch (fault.kind) {
      case "none":
        return this.#write(this.#held)
      case "stall":
        return
      case "delay":
        this.#timer = setTimeout(() => this.#write(this.#held), fault.delayMs)
        return
      case "drop":
        return this.#pair.reset()
      case "truncate":
        this.#to.write(this.#held.subarray(0, Math.floor(fault.random() * this.#held.length)))
        return this.#pair.end()
      case "corrupt": {
        const changed = Buffer.from(this.#held)
        changed[Math.floor(fault.random() * changed.length)] ^= 1 + Math.floor(fault.random() * 255)
        return this.#write(changed)
      }
      default:
        throw new Error(`no such fault: ${fault.kind}`)
    }
  }

  #write(piece) {
    this.#held = undefined
    if (this.#to.destroyed) return
    const room = this.#to.write(piece)
    if (this.#ended) this.#to.end()
    else if (room) this.#from.resume()
  }
}
