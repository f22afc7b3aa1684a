// The proxy that breaks connections does what the tests of faults believe that it does.
import assert from "node:assert/strict"
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { afterEach, test } from "node:test"
import { startProxy } from "./support/proxy.mjs"
import { randomOf } from "./support/random.mjs"

const closers = []
afterEach(async () => { while (closers.length > 0) await closers.pop()() })

/** A server that sends back what it gets, a proxy before it, and a way to open connections through it. */
async function startEcho(seed = 1) {
  const sockets = new Set()
  const server = createServer(socket => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.pipe(socket)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const proxy = await startProxy({ port: server.address().port, seed })
  closers.push(async () => {
    await proxy.close()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { proxy, open: () => open(proxy.port) }
}

async function open(port) {
  const socket = connect(port, "127.0.0.1")
  socket.setNoDelay(true)
  closers.push(() => socket.destroy())
  const got = []
  let error
  let wake = () => {}
  socket.on("data", piece => { got.push(piece); wake() })
  socket.on("error", reason => { error = reason })
  const closed = new Promise(resolve => socket.on("close", () => resolve(error?.code ?? "ended")))
  await once(socket, "connect")
  return {
    socket,
    closed,
    send: bytes => socket.write(bytes),
    received: () => Buffer.concat(got),
    async receive(length) {
      while (Buffer.concat(got).length < length) await new Promise(resolve => { wake = resolve })
      return Buffer.concat(got)
    },
  }
}

/** So many turns of the event loop that loopback would have carried anything twice over. */
async function turns(count = 200) {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

test("bytes_come_through_unchanged_where_there_is_no_fault", async () => {
  const { proxy, open } = await startEcho()
  const connection = await open()
  const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, at) => at % 251))
  connection.send(bytes)
  assert.ok((await connection.receive(bytes.length)).equals(bytes))
  connection.socket.end()
  assert.equal(await connection.closed, "ended")
  assert.deepEqual(proxy.struck, { refuse: 0, stall: 0, delay: 0, drop: 0, truncate: 0, corrupt: 0 })
})

test("a_stalled_connection_gives_nothing_until_it_is_healed_and_then_everything_in_order", async () => {
  const { proxy, open } = await startEcho()
  const connection = await open()
  proxy.fault = { kind: "stall" }
  connection.send("first ")
  await turns()
  connection.send("second")
  await turns()
  assert.equal(connection.received().length, 0)
  proxy.heal()
  assert.equal(String(await connection.receive(12)), "first second")
})

test("a_delayed_connection_keeps_the_order", async () => {
  const { proxy, open } = await startEcho()
  const connection = await open()
  proxy.fault = { kind: "delay", delayMs: 5 }
  const startedMs = performance.now()
  for (const piece of ["one ", "two ", "three"]) {
    connection.send(piece)
    await turns(5)
  }
  assert.equal(String(await connection.receive(13)), "one two three")
  assert.ok(performance.now() - startedMs >= 9, "there and back are two delays")
  assert.ok(proxy.struck.delay >= 2)
})

test("a_dropped_connection_is_reset", async () => {
  const { proxy, open } = await startEcho()
  const connection = await open()
  proxy.fault = { kind: "drop", probability: 1 }
  connection.send("never")
  assert.equal(await connection.closed, "ECONNRESET")
  assert.equal(connection.received().length, 0)
  await turns()
  assert.equal(proxy.connections, 0)
})

test("a_truncated_connection_ends_within_a_piece", async () => {
  const { proxy, open } = await startEcho(7)
  const connection = await open()
  connection.send("whole ")
  await connection.receive(6)
  proxy.fault = { kind: "truncate", probability: 1 }
  connection.send("x".repeat(1000))
  assert.equal(await connection.closed, "ended")
  assert.ok(connection.received().length < 1006, "something is missing")
  assert.equal(proxy.struck.truncate, 1)
})

test("corruption_changes_one_byte_of_each_piece_that_it_strikes", async () => {
  const { proxy, open } = await startEcho(3)
  const connection = await open()
  proxy.fault = { kind: "corrupt", probability: 1 }
  connection.send(Buffer.alloc(64))
  const got = await connection.receive(64)
  const changed = [...got].filter(byte => byte !== 0).length
  assert.equal(got.length, 64)
  assert.ok(changed >= 1 && changed <= proxy.struck.corrupt, `${changed} bytes of ${proxy.struck.corrupt} pieces`)
})

test("random_numbers_repeat_for_a_seed_and_fill_the_unit_interval", () => {
  const first = randomOf(9)
  const again = randomOf(9)
  const numbers = Array.from({ length: 2000 }, first)
  assert.deepEqual(Array.from({ length: 2000 }, again), numbers)
  assert.ok(numbers.every(number => number >= 0 && number < 1))
  const mean = numbers.reduce((sum, number) => sum + number, 0) / numbers.length
  assert.ok(Math.abs(mean - 0.5) < 0.03, `the mean is ${mean}`)
  assert.notDeepEqual(Array.from({ length: 5 }, randomOf(10)), numbers.slice(0, 5))
})

test("a_refused_connection_is_reset_while_open_ones_live", async () => {
  const { proxy, open } = await startEcho()
  const before = await open()
  before.send("a")
  await before.receive(1)
  proxy.fault = { kind: "refuse" }
  const after = await open().catch(error => ({ closed: error.code }))
  assert.equal(await after.closed, "ECONNRESET")
  before.send("b")
  assert.equal(String(await before.receive(2)), "ab")
})

test("cut_ends_every_connection_and_new_ones_open", async () => {
  const { proxy, open } = await startEcho()
  const connections = [await open(), await open()]
  for (const each of connections) {
    each.send("x")
    await each.receive(1)
  }
  proxy.cut()
  for (const each of connections) assert.equal(await each.closed, "ECONNRESET")
  const next = await open()
  next.send("y")
  assert.equal(String(await next.receive(1)), "y")
})
