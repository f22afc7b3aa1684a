// The way to all workers of a queue group over NATS, with a real nats-server and workers written from the protocol's text.
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer } from "node:net"
import { after, afterEach, before, test } from "node:test"
import { Clock, settled } from "./lanes.mjs"
import { assertLinkError, never, requestOf, until } from "./links/check.mjs"
import { cut, echoed, ECHO, frame, HELLO, SHA256 } from "./links/frames.mjs"
import { fromWww, linksHost } from "./links/host.mjs"
import { missingNats, startNats, startNatsWorker } from "./links/nats.mjs"

const fc = fromWww("fast-check")
const host = await linksHost()
const { openLink, openNatsLinkOver, inferSubject, Tensor } = host
const request = requestOf(Tensor)
const real = { skip: missingNats() }
const WANTED = { name: "echo", version: undefined, sha256: undefined, upload: undefined }

let nats
const workers = []
const links = []
before(async () => { if (real.skip === undefined) nats = await startNats() })
afterEach(async () => {
  await Promise.all([...links.splice(0), ...workers.splice(0)].map(each => each.close()))
})
after(() => nats?.close())

async function workerThat(options) {
  const worker = await startNatsWorker(nats, options)
  workers.push(worker)
  return worker
}
async function open({ wanted = {}, signal = never(), url = nats.url, ...target } = {}) {
  const link = await openLink({ url, ...target }, { ...WANTED, ...wanted }, signal)
  links.push(link)
  return link
}

test("a_subject_has_any_name", () => {
  assert.equal(inferSubject("mnist-12_b"), "sentinel.v1.infer.mnist-12_b")
  assert.equal(inferSubject("a.b *>"), "sentinel.v1.infer.a=2Eb=20=2A=3E")
  assert.equal(inferSubject("ü"), "sentinel.v1.infer.=C3=BC")
})

for (const kind of ["url", "socketUrl"]) {
  test(`requests_are_answered_by_every_worker_at_a_${kind}`, real, async () => {
    const [one, two] = [await workerThat(), await workerThat()]
    const link = await open({ url: nats[kind] })
    assert.deepEqual([...link.facts.members].sort(), [one.id, two.id].sort())
    assert.equal(link.capacity, 64)
    const n = 40
    const answers = await Promise.all(Array.from({ length: n }, (_, i) => link.run(request({ inputs: { x: new Tensor("float32", [i], [1]) }, outputNames: ["y"], timeoutMs: 5000 }))))
    assert.deepEqual(answers.map(({ y }) => y.data[0]), Array.from({ length: n }, (_, i) => i))
    assert.ok(one.said("infer").length > 0 && two.said("infer").length > 0)
    assert.equal(one.said("infer").length + two.said("infer").length, n)
    assert.equal(new Set([...one.said("infer"), ...two.said("infer")].map(({ id }) => id)).size, n)
    await link.close()
      await assertLinkError(link.run(request()), "worker", "RELEASED")
  })

  test(`a_frame_beyond_the_payload_goes_and_comes_in_parts_at_a_${kind}`, real, async () => {
    const limits = { ...HELLO.limits, max_message_bytes: 8 * 2 ** 20 }
    const worker = await workerThat({ hello: { limits } })
    const link = await open({ url: nats[kind] })
    const elements = Float32Array.from({ length: 2 ** 20 }, (_, i) => i)
    const { y } = await link.run(request({ inputs: { x: new Tensor("float32", elements, [elements.length]) } }))
    assert.deepEqual(y.data, elements)
    assert.ok(worker.said("part").length > 60)
    const beyond = new Tensor("float32", new Float32Array(2 ** 21 + 1), [2 ** 21 + 1])
    await assertLinkError(link.run(request({ inputs: { x: beyond } })), "input", "TOO_LARGE", /its workers take 8388608/)
    await link.close()
    })
}

test("nobody_there_is_told_at_once_and_means_busy_later", real, async () => {
  await assertLinkError(open(), "worker", "WORKER_UNAVAILABLE", /no worker is there \(sentinel-worker --nats nats:/)
  const worker = await workerThat()
  const link = await open()
  await worker.connection.drain()
  const error = await link.run(request()).catch(thrown => thrown)
  assert.deepEqual([error.blame, error.code, error.retryAfterMs], ["busy", "WORKER_UNAVAILABLE", 500], error.message)
  await link.close()
})

test("a_worker_with_another_model_of_that_name_is_refused", real, async () => {
  await workerThat()
  await assertLinkError(open({ wanted: { sha256: "b".repeat(64) } }), "setting", "NOT_FOUND", /another file/)
  await assertLinkError(open({ wanted: { name: "other" } }), "setting", "NOT_FOUND", /no model "other"/)
  const link = await open({ wanted: { sha256: SHA256 } })
  await link.run(request())
  assert.equal(workers[0].said("infer")[0].model_version, "1")
  await link.close()
  const stranger = await workerThat({ hello: { models: [{ ...ECHO, version: "2", sha256: "b".repeat(64) }] } })
  await assertLinkError(open({ wanted: { sha256: SHA256 } }), "setting", "NOT_FOUND", new RegExp(`worker ${stranger.id} has a model "echo" too`))
})

test("a_token_is_that_of_the_server", real, async () => {
  const guarded = await startNats({ token: "geheim" })
  try {
    for (const url of [guarded.url, guarded.socketUrl]) {
      await assertLinkError(open({ url }), "setting", "UNAUTHORIZED", /wants a token/)
      await assertLinkError(open({ url, token: "wrong" }), "setting", "UNAUTHORIZED", /refuses the token/)
    }
    const worker = await startNatsWorker(guarded, { token: "geheim" })
    await (await open({ url: guarded.url.replace("nats://", "nats://geheim@") })).close()
    const link = await open({ url: guarded.url, token: "geheim" })
    assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
    await link.close()
    await worker.close()
  } finally {
    await guarded.close()
  }
})

test("no_server_is_explained", real, async () => {
  const gone = await startNats()
  await gone.close()
  for (const url of [gone.url, gone.socketUrl]) await assertLinkError(open({ url }), "worker", "WORKER_UNAVAILABLE", /is nats-server running there\?/)
  await assertLinkError(open({ signal: AbortSignal.abort() }), "worker", "CANCELLED")
})

test("errors_and_garbage_fail_their_request_alone", real, async () => {
  const doings = [
    ({ header }, say) => say({ type: "error", id: header.id, code: "QUEUE_FULL", error: "full", retry_after_ms: 70 }),
    (_, say) => say({ type: "error", code: "INVALID_INPUT", error: "no frame" }),
    (_, __, { sayBytes }) => sayBytes(Buffer.from("garbage!")),
    (message, __, { sayBytes }) => sayBytes(echoed(message, { id: "another" })),
    (message, __, { sayBytes }) => sayBytes(echoed(message, { outputs: [] })),
    ({ header }, say) => say({ type: "part", id: header.id, index: 3, count: 2 }),
    ({ header }, say) => say({ type: "opened", id: header.id, subject: "a", part_bytes: 5000 }),
    (_, say) => say(HELLO),
  ]
  const expected = [["busy", "QUEUE_FULL"], ["input", "INVALID_INPUT"], ...Array(6).fill(["worker", "WORKER_UNAVAILABLE"])]
  const left = [...doings]
  const worker = await workerThat({ handlers: { infer(message, say, more) {
    const doing = left.shift()
    if (doing === undefined) return more.answer(echoed(message))
    doing(message, say, more)
  } } })
  const link = await open()
  for (const [blame, code] of expected) await assertLinkError(link.run(request()), blame, code)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  assert.ok(worker.said("cancel").length >= 5)
  await link.close()
})

test("a_request_taken_back_is_cancelled_there", real, async () => {
  const worker = await workerThat({ handlers: { infer() {} } })
  const link = await open({ maxInFlight: 1 })
  const controller = new AbortController()
  const running = link.run(request({ signal: controller.signal }))
  await until(() => worker.said("infer").length > 0)
  await assertLinkError(link.run(request()), "busy", "QUEUE_FULL")
  controller.abort()
  await assert.rejects(running, { code: "CANCELLED" })
  await until(() => worker.said("cancel").length > 0)
  assert.equal(worker.said("cancel")[0].id, worker.said("infer")[0].id)
  await link.close()
})

test("a_server_that_is_started_again_is_used_again", real, async () => {
  const own = await startNats()
  const worker = await startNatsWorker(own)
  const link = await open({ url: own.url })
  try {
    await link.run(request())
    await own.stop()
    await own.start()
    for (;;) {
      try {
        assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
        break
      } catch (error) {
        assert.ok(["busy", "worker"].includes(error.blame), String(error.stack))
        await settled()
      }
    }
  } finally {
    await link.close()
    await worker.close()
    await own.close()
  }
})

/** A link over a client that the test plays, with its clock. */
async function rig({ hello = {}, open = true } = {}) {
  const clock = new Clock()
  const published = []
  const subscriptions = new Map()
  let nInboxes = 0
  let end
  const client = {
    maxPayloadBytes: 10_000,
    isConnected: true,
    createInbox: () => `inbox.${nInboxes += 1}`,
    publish(subject, message, reply) {
      published.push({ subject, reply, ...cut(Buffer.from(message)) })
      if (subject === "sentinel.v1.hello") queueMicrotask(() => rigged.hellos().forEach(each => rigged.hear(reply, each === undefined ? undefined : frame(each))))
    },
    subscribe(subject, hear) {
      subscriptions.set(subject.replace(".*", ""), hear)
      return () => subscriptions.delete(subject.replace(".*", ""))
    },
    flush: async () => {},
    closed: new Promise(resolve => { end = resolve }),
    onConnected() {},
    close: async () => {},
  }
  const rigged = {
    clock, client, published, subscriptions,
    hellos: () => [{ ...HELLO, ...hello }],
    hear(subject, message) {
      const at = subscriptions.has(subject) ? subject : subject?.replace(/\.\d+$/, "")
      subscriptions.get(at)?.(subject, message)
    },
    said: type => published.filter(({ header }) => header.type === type),
    run: (changes = {}) => {
      const running = rigged.link.run(request(changes))
      running.catch(() => undefined)
      return running
    },
    endConnection: why => end(why),
  }
  const opening = openNatsLinkOver(client, clock, "nats://test", { url: "nats://test" }, WANTED, never())
  if (!open) return Object.assign(rigged, { opening })
  await clock.advance(250)
  rigged.link = await opening
  rigged.link.lost.then(error => { rigged.lost = error })
  return rigged
}
test("a_request_without_a_sign_of_work_for_three_seconds_is_given_up", async () => {
  const one = await rig()
  const running = one.run()
  await one.clock.advance(1000)
  const [{ header, reply }] = one.said("infer")
  for (let i = 0; i < 8; i += 1) {
    one.hear(reply, frame({ type: "working", id: header.id, worker_id: "w" }))
    await one.clock.advance(1000)
  }
  assert.equal(one.said("cancel").length, 0)
  await one.clock.advance(3000)
  await assertLinkError(running, "worker", "WORKER_UNAVAILABLE", /no worker says for 3000 ms/)
  assert.deepEqual(one.said("cancel").map(({ header: { id } }) => id), [header.id])
  one.hear(reply, echoed(one.said("infer")[0]))
  assert.equal(one.lost, undefined)
  await one.link.close()
  assert.equal(one.clock.nTimers, 0)
  assert.equal(one.subscriptions.size, 0)
})

test("a_thread_that_was_away_blames_no_worker", async () => {
  const one = await rig()
  const running = one.run()
  await settled()
  one.clock.nowMs += 60_000
  await one.clock.advance(0)
  one.hear(one.said("infer")[0].reply, echoed(one.said("infer")[0]))
  assert.deepEqual([...(await running).y.data], [1, 2, 3])
})

test("without_a_connection_requests_wait_a_while_and_are_sent_when_it_is_back", async () => {
  const one = await rig()
  one.client.isConnected = false
  const early = one.run()
  await one.clock.advance(2000)
  const late = one.run()
  await one.clock.advance(1500)
  await assertLinkError(early, "busy", "WORKER_UNAVAILABLE", /connection is broken/)
  assert.equal(one.said("infer").length, 0)
  one.client.isConnected = true
  one.client.onConnected(true)
  assert.equal(one.said("infer").length, 1)
  one.hear(one.said("infer")[0].reply, echoed(one.said("infer")[0]))
  assert.deepEqual([...(await late).y.data], [1, 2, 3])
})

test("members_come_and_go_and_with_the_last_one_the_link", async () => {
  const one = await rig()
  assert.deepEqual(one.link.facts.members, ["fake-1"])
  one.hellos = () => [HELLO, { ...HELLO, worker_id: "fake-2" }]
  await one.clock.advance(6000)
  assert.deepEqual(one.link.facts.members, ["fake-1", "fake-2"])
  one.hellos = () => [undefined]
  await one.clock.advance(5000)
  assert.deepEqual(one.link.facts.members, [])
  assert.equal(one.lost, undefined)
  await one.clock.advance(6000)
  assert.match(one.lost.message, /no worker is there any more/)
  assert.equal(one.clock.nTimers, 0)
})

test("a_connection_that_ends_for_good_fails_what_is_under_way", async () => {
  const one = await rig()
  const running = one.run()
  await settled()
  one.endConnection("authorization expired")
  await assertLinkError(running, "worker", "WORKER_UNAVAILABLE", /the connection ended: authorization expired/)
  assert.equal(one.lost.code, "WORKER_UNAVAILABLE")
})

test("a_model_that_loads_everywhere_is_waited_for", async () => {
  const one = await rig({ open: false, hello: { models: [{ ...ECHO, state: "LOADING" }] } })
  await one.clock.advance(2000)
  one.hellos = () => [HELLO]
  await one.clock.advance(1000)
  await (await one.opening).close()
  assert.equal(one.clock.nTimers, 0)
})

test("parts_go_only_where_a_message_may_go", async () => {
  for (const [subject, partBytes] of [["a.>", 5000], ["a b", 5000], ["", 5000], ["a", 1]]) {
    const one = await rig()
    const running = one.run({ inputs: { x: new Tensor("float32", new Float32Array(5000), [5000]) } })
    await settled()
    const [{ header, reply }] = one.said("open")
    assert.ok(header.size_bytes > 20_000)
    one.hear(reply, frame({ type: "opened", id: header.id, subject, part_bytes: partBytes }))
    await assertLinkError(running, "worker", "WORKER_UNAVAILABLE", /did not arrive/)
    assert.equal(one.said("part").length, 0)
  }
})

const TYPES = ["working", "opened", "part", "output", "error", "hello", "x"]
const member = fc.oneof(fc.constantFrom("1", "y", null, NaN, -1, 1, 2, 5000, 1e300, [], {}), fc.jsonValue())
const hostile = fc.record(
  { type: fc.constantFrom(...TYPES), outputs: member, code: member, subject: member, part_bytes: member, index: member, count: member, worker_id: member },
  { requiredKeys: ["type"] },
)

test("every_request_settles_once_whatever_is_said_on_its_subject", async () => {
  const schedule = fc.array(fc.oneof(
    fc.record({ do: fc.constant("say"), header: hostile, isNamed: fc.boolean(), payload: fc.uint8Array({ maxLength: 16 }) }),
    fc.record({ do: fc.constant("raw"), bytes: fc.uint8Array({ maxLength: 40 }) }),
    fc.constantFrom({ do: "run" }, { do: "large" }, { do: "open" }, { do: "answer" }, { do: "nobody" }, { do: "abort" }, { do: "wait" }, { do: "break" }),
  ), { maxLength: 25 })
  await fc.assert(fc.asyncProperty(schedule, async steps => {
    const one = await rig()
    const settlings = []
    const controllers = []
    const latest = (...types) => one.published.filter(({ header }) => types.includes(header.type)).at(-1)
    for (const step of steps) {
      const asked = latest("infer", "open")
      switch (step.do) {
        case "say": one.hear(asked?.reply, frame({ ...step.header, ...(step.isNamed ? { id: asked?.header.id } : {}) }, Buffer.from(step.payload))); break
        case "raw": one.hear(asked?.reply, step.bytes); break
        case "run":
        case "large": {
          const controller = new AbortController()
          const at = settlings.push(0) - 1
          controllers.push(controller)
          const n = step.do === "run" ? 3 : 5000
          one.run({ inputs: { x: new Tensor("float32", new Float32Array(n), [n]) }, signal: controller.signal }).then(() => { settlings[at] += 1 }, error => {
            assert.equal(error.name, "SentinelError")
            settlings[at] += 1
          })
          await settled()
          break
        }
        case "open": one.hear(asked?.reply, frame({ type: "opened", id: asked?.header.id, subject: "a", part_bytes: 4096 })); break
        case "answer": if (asked?.header.type === "infer") one.hear(asked.reply, echoed(asked)); break
        case "nobody": one.hear(asked?.reply, undefined); break
        case "abort": controllers.pop()?.abort(); break
        case "wait": await one.clock.advance(1700); break
        case "break":
          one.client.isConnected = !one.client.isConnected
          one.client.onConnected(one.client.isConnected)
      }
    }
    await settled()
    await one.link.close()
    await settled()
    assert.deepEqual(settlings, settlings.map(() => 1))
    assert.deepEqual([one.clock.nTimers, one.subscriptions.size], [0, 0])
  }), { numRuns: 200 })
})

test("a_server_that_takes_a_connection_and_closes_it_is_told_as_such", async () => {
  const server = createServer(socket => { socket.end() }).listen(0, "127.0.0.1")
  await once(server, "listening")
  try {
    const opening = openLink({ url: `nats://127.0.0.1:${server.address().port}` }, { name: "echo" }, never())
    await assertLinkError(opening, "worker", "WORKER_UNAVAILABLE", /NATS cannot be reached.*closed the connection/)
  } finally {
    server.close()
  }
})
