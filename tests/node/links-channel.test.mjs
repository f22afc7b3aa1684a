// The client's side of a WebSocket as a state machine, with a clock and a socket of the test's own.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Clock, settled } from "./lanes.mjs"
import { cut, echoed, ECHO, frame, HELLO } from "./links/frames.mjs"
import { fromWww, linksHost } from "./links/host.mjs"

const fc = fromWww("fast-check")
const { Channel, Tensor } = await linksHost()

const WANTED = { name: "echo", version: undefined, sha256: undefined, upload: undefined }

/** A channel that was greeted, and what it sent. */
async function rig({ hello = {} } = {}) {
  const clock = new Clock()
  const sent = []
  const closings = []
  const socket = {
    bufferedBytes: 0,
    send(message) {
      if (this.isBroken) throw new Error("it is gone")
      sent.push(cut(Buffer.from(message)))
    },
    close: code => closings.push(code),
  }
  const channel = new Channel({ place: "ws://test", wanted: WANTED, socket, world: clock, onProgress: undefined })
  let lost
  channel.lost.then(error => { lost = error })
  const hear = (header, payload) => channel.receive(frame(header, payload))
  hear({ ...HELLO, ...hello })
  await channel.opened
  return {
    clock, sent, socket, channel, closings, hear,
    get lost() { return lost },
    said: type => sent.filter(({ header }) => header.type === type),
    /** Answers every ping from now on. */
    pong() {
      socket.send = function (message) {
        const read = cut(Buffer.from(message))
        sent.push(read)
        if (read.header.type === "ping") queueMicrotask(() => hear({ type: "pong", id: read.header.id, queue_depth: 0 }))
      }
    },
    run(changes = {}) {
      const running = channel.run({ inputs: { x: new Tensor("float32", [1], [1]) }, outputNames: undefined, timeoutMs: Infinity, priority: 0, signal: new AbortController().signal, ...changes })
      running.catch(() => undefined)
      return running
    },
  }
}

test("a_silent_client_pings_in_time", async () => {
  const one = await rig()
  one.pong()
  await one.clock.advance(10_000)
  assert.equal(one.lost, undefined)
  assert.ok(one.said("ping").length >= 10, String(one.said("ping").length))
  assert.equal(new Set(one.said("ping").map(({ header }) => header.id)).size, one.said("ping").length)
  await one.channel.close()
  assert.equal(one.clock.nTimers, 0)
  assert.deepEqual(one.closings, [1000])
})

test("a_worker_that_says_nothing_for_two_heartbeats_is_lost", async () => {
  const one = await rig()
  const running = one.run()
  await one.clock.advance(2000)
  assert.equal(one.lost, undefined)
  await one.clock.advance(1000)
  assert.match(one.lost.message, /says nothing for \d+ ms, expected something each 1000/)
  assert.equal(one.lost.blame, "worker")
  await assert.rejects(running, { code: "WORKER_UNAVAILABLE" })
  assert.equal(one.clock.nTimers, 0)
})

test("any_message_shows_that_a_worker_lives", async () => {
  const one = await rig()
  for (let i = 0; i < 20; i += 1) {
    await one.clock.advance(900)
    one.hear({ type: "models", models: [ECHO] })
  }
  assert.equal(one.lost, undefined)
})

test("a_thread_that_was_away_blames_no_worker", async () => {
  const one = await rig()
  one.clock.nowMs += 60_000
  await one.clock.advance(0)
  assert.equal(one.lost, undefined)
  await one.clock.advance(3000)
  assert.match(one.lost.message, /says nothing/)
})

test("bytes_that_leave_show_that_a_worker_lives", async () => {
  const one = await rig()
  one.socket.bufferedBytes = 2 ** 30
  for (let i = 0; i < 20; i += 1) {
    await one.clock.advance(500)
    one.socket.bufferedBytes -= 1000
  }
  assert.equal(one.lost, undefined)
  await one.clock.advance(3000)
  assert.match(one.lost.message, /says nothing/)
})

test("a_request_waits_while_the_socket_is_behind", async () => {
  const one = await rig()
  one.pong()
  one.socket.bufferedBytes = 5 * 2 ** 20
  const running = one.run({ timeoutMs: 1000 })
  await one.clock.advance(100)
  assert.equal(one.said("infer").length, 0)
  one.socket.bufferedBytes = 0
  await one.clock.advance(10)
  assert.equal(one.said("infer").length, 1)
  const { deadline_ms: deadlineMs } = one.said("infer")[0].header
  assert.ok(deadlineMs <= 900 && deadlineMs >= 880, String(deadlineMs))
  one.channel.receive(echoed(one.said("infer")[0]))
  assert.deepEqual([...(await running).y.data], [1])
})

test("a_request_that_waits_is_taken_back_without_a_word", async () => {
  const one = await rig()
  one.pong()
  one.socket.bufferedBytes = 5 * 2 ** 20
  const controller = new AbortController()
  const running = one.run({ signal: controller.signal })
  await settled()
  controller.abort()
  await assert.rejects(running, { code: "CANCELLED" })
  one.socket.bufferedBytes = 0
  await one.clock.advance(100)
  assert.deepEqual([one.said("infer").length, one.said("cancel").length], [0, 0])
})

test("what_waits_may_go_elsewhere_when_the_worker_drains", async () => {
  const one = await rig()
  one.socket.bufferedBytes = 5 * 2 ** 20
  const running = one.run()
  await settled()
  one.hear({ type: "draining" })
  await assert.rejects(running, { code: "WORKER_UNAVAILABLE", blame: "worker" })
})

test("a_socket_that_takes_nothing_loses_the_link", async () => {
  const one = await rig()
  one.socket.isBroken = true
  await assert.rejects(one.run(), { code: "WORKER_UNAVAILABLE" })
  assert.match(one.lost.message, /it is gone/)
})

test("nothing_happens_after_the_end", async () => {
  const one = await rig()
  await one.channel.close()
  one.hear({ type: "pong", id: "1" })
  one.channel.receive(Buffer.from("garbage"))
  one.channel.closed(new Error("closed"))
  await one.channel.close()
  await one.clock.advance(10_000)
  assert.equal(one.lost, undefined)
  assert.deepEqual(one.closings, [1000])
})

const TYPES = ["hello", "models", "output", "error", "pong", "draining", "upload_state", "uploaded", "opened", "working", "part", "x"]
const member = fc.oneof(fc.constantFrom("1", "2", "3", "y", null, NaN, -1, 1, 1e300, [], {}), fc.jsonValue())
const hostile = fc.record({ type: fc.constantFrom(...TYPES), id: member, outputs: member, models: member, code: member, error: member, offset: member, model: member }, { requiredKeys: [] })

test("every_request_settles_once_whatever_a_worker_says", async () => {
  const schedule = fc.array(fc.oneof(
    fc.record({ do: fc.constant("say"), header: hostile, payload: fc.uint8Array({ maxLength: 16 }) }),
    fc.record({ do: fc.constant("raw"), bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.constantFrom({ do: "run" }, { do: "answer" }, { do: "abort" }, { do: "wait" }, { do: "behind" }, { do: "drain" }),
  ), { maxLength: 30 })
  await fc.assert(fc.asyncProperty(schedule, async steps => {
    const one = await rig()
    const settlings = []
    const controllers = []
    for (const step of steps) {
      switch (step.do) {
        case "say": one.hear(step.header, Buffer.from(step.payload)); break
        case "raw": one.channel.receive(step.bytes); break
        case "run": {
          const controller = new AbortController()
          const at = settlings.push(0) - 1
          controllers.push(controller)
          one.run({ signal: controller.signal }).then(() => { settlings[at] += 1 }, error => {
            assert.match(error.name, /SentinelError/)
            settlings[at] += 1
          })
          break
        }
        case "answer": one.said("infer").slice(-1).forEach(message => one.channel.receive(echoed(message))); break
        case "abort": controllers.pop()?.abort(); break
        case "wait": await one.clock.advance(700); break
        case "behind": one.socket.bufferedBytes = one.socket.bufferedBytes === 0 ? 2 ** 23 : 0; break
        case "drain": one.hear({ type: "draining" }); break
      }
    }
    await settled()
    await one.channel.close()
    await settled()
    assert.deepEqual(settlings, settlings.map(() => 1))
    assert.equal(one.clock.nTimers, 0)
    assert.ok(one.closings.length === 1, String(one.closings))
  }), { numRuns: 300 })
})
