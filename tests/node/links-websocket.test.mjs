// The way to a worker over a WebSocket, against a worker that does what each test says.
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer } from "node:net"
import { after, test } from "node:test"
import { assertLinkError, never, requestOf, until } from "./links/check.mjs"
import { echoed, ECHO, frame, HELLO, SHA256 } from "./links/frames.mjs"
import { startWorker } from "./links/fake-worker.mjs"
import { linksHost } from "./links/host.mjs"

const host = await linksHost()
const { openLink, Tensor } = host

const started = []
after(() => Promise.all(started.map(worker => worker.close())))
async function workerThat(options) {
  const worker = await startWorker(options)
  started.push(worker)
  return worker
}

const WANTED = { name: "echo", version: undefined, sha256: undefined, upload: undefined }
const open = (worker, { wanted = {}, signal = never(), ...target } = {}) => openLink({ url: worker.url, ...target }, { ...WANTED, ...wanted }, signal)
const request = requestOf(Tensor)

test("a_worker_answers_and_tells_its_facts", async () => {
  const worker = await workerThat()
  const link = await open(worker)
  assert.equal(link.capacity, 4)
  assert.deepEqual(link.facts, {
    workerId: "fake-1", server: "fake-worker 0.0.1", provider: "fake", modelVersion: "1", inputNames: ["x"], outputNames: ["y"], members: [],
  })
  const { y } = await link.run(request({ outputNames: ["y"], timeoutMs: 5000, priority: 3 }))
  assert.deepEqual([...y.data], [1, 2, 3])
  const [infer] = worker.said("infer")
  assert.deepEqual(infer.outputs, [{ name: "y" }])
  assert.deepEqual(infer.parameters, { priority: 3 })
  assert.equal(infer.model_version, undefined)
  assert.ok(infer.deadline_ms > 0 && infer.deadline_ms <= 5000, String(infer.deadline_ms))
  await link.close()
  await assertLinkError(link.run(request()), "worker", "RELEASED")
})

test("a_token_goes_into_the_header", async () => {
  const worker = await workerThat()
  const link = await open(worker, { token: "geheim" })
  assert.equal(worker.peers[0].request.headers.authorization, "Bearer geheim")
  assert.equal(worker.peers[0].request.headers["sec-websocket-protocol"], "sentinel.v1")
  assert.equal(worker.peers[0].request.url, "/v2/ws")
  await link.close()
})

test("an_http_refusal_is_explained", async () => {
  for (const [status, token, blame, code, message] of [
    [401, undefined, "setting", "UNAUTHORIZED", /it wants a token: name it as \{ url: "ws:/],
    [401, "wrong", "setting", "UNAUTHORIZED", /refuses the token/],
    [403, undefined, "setting", "UNAUTHORIZED", /refuses to be reached/],
    [404, undefined, "setting", "NOT_FOUND", /no sentinel-worker at this path/],
    [503, undefined, "worker", "WORKER_UNAVAILABLE", /--max-connections/],
    [500, undefined, "worker", "WORKER_UNAVAILABLE", /answered 500/],
  ]) {
    const worker = await workerThat({ refuse: () => status })
    await assertLinkError(open(worker, { token }), blame, code, message)
  }
})

test("every_closing_code_is_explained", async () => {
  for (const [closing, blame, code, message] of [
    [1000, "worker", "WORKER_UNAVAILABLE", /--idle-timeout-s/],
    [1001, "worker", "WORKER_UNAVAILABLE", /went away/],
    [1002, "worker", "WORKER_UNAVAILABLE", /a message of ours/],
    [1008, "worker", "WORKER_UNAVAILABLE", /answers were not taken/],
    [1009, "worker", "WORKER_UNAVAILABLE", /too large/],
    [1013, "worker", "WORKER_UNAVAILABLE", /--max-connections/],
    [4401, "setting", "UNAUTHORIZED", /wants a token/],
    [4403, "setting", "UNAUTHORIZED", /refuses/],
    [3999, "worker", "WORKER_UNAVAILABLE", /broke/],
  ]) {
    const greeting = await workerThat({ greet: peer => peer.close(closing) })
    await assertLinkError(open(greeting), blame, code, message)
    const inFlight = await workerThat({ handlers: { infer: (_, peer) => peer.close(closing) } })
    const link = await open(inFlight)
    await assertLinkError(link.run(request()), blame, code, message)
    assert.equal((await link.lost).code, code)
  }
})

test("a_worker_that_is_not_there_is_told_with_the_reason_of_the_system", async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const url = `ws://127.0.0.1:${server.address().port}`
  server.close()
  await once(server, "close")
  await assertLinkError(open({ url }), "worker", "WORKER_UNAVAILABLE", /is a worker running there\? .*ECONNREFUSED/)
})

test("a_worker_that_dies_fails_what_is_under_way", async () => {
  const worker = await workerThat({ handlers: { infer: (_, peer) => peer.socket.terminate() } })
  const link = await open(worker)
  await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /broke/)
  await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /broke/)
})

test("opening_is_given_up_by_its_signal", async () => {
  const worker = await workerThat({ greet: () => {} })
  const controller = new AbortController()
  const opening = open(worker, { signal: controller.signal })
  await until(() => worker.peers.length > 0)
  controller.abort()
  await assertLinkError(opening, "worker", "CANCELLED")
  await once(worker.peers[0].socket, "close")
  await assertLinkError(open(worker, { signal: AbortSignal.abort() }), "worker", "CANCELLED")
})

test("a_worker_without_the_model_is_refused_and_says_what_it_has", async () => {
  await assertLinkError(open(await workerThat(), { wanted: { name: "other" } }), "setting", "NOT_FOUND", /no model "other"; it has "echo"/)
  await assertLinkError(open(await workerThat(), { wanted: { version: "2" } }), "setting", "NOT_FOUND", /version 2/)
  await assertLinkError(open(await workerThat(), { wanted: { sha256: "b".repeat(64) } }), "setting", "NOT_FOUND", /another file: expected SHA-256 bbb.*given aaa/)
  const broken = { ...ECHO, state: "UNAVAILABLE", reason: "it is no ONNX" }
  await assertLinkError(open(await workerThat({ hello: { models: [broken] } })), "worker", "WORKER_UNAVAILABLE", /UNAVAILABLE, it is no ONNX/)
})

test("a_file_decides_which_version_is_asked", async () => {
  const models = [{ ...ECHO, version: "3", sha256: "c".repeat(64) }, ECHO, { ...ECHO, version: "10", sha256: "d".repeat(64) }]
  const worker = await workerThat({ hello: { models } })
  const link = await open(worker, { wanted: { sha256: SHA256.toUpperCase() } })
  await link.run(request())
  assert.equal(worker.said("infer")[0].model_version, "1")
  const latest = await open(worker)
  assert.equal(latest.facts.modelVersion, "10")
  await Promise.all([link.close(), latest.close()])
})

test("a_model_that_loads_is_waited_for", async () => {
  const worker = await workerThat({ hello: { models: [{ ...ECHO, state: "LOADING" }] } })
  let isOpen = false
  const opening = open(worker).then(link => { isOpen = true; return link })
  await until(() => worker.said("ping").length > 0)
  assert.equal(isOpen, false)
  worker.peers[0].say({ type: "models", models: [ECHO] })
  await (await opening).close()
})

test("a_hello_that_is_none_is_refused", async () => {
  const model = changes => ({ models: [{ ...ECHO, ...changes }] })
  for (const [hello, blame, message] of [
    [{ protocol: 2 }, "setting", /speaks protocol 2, expected 1/],
    [{ protocol: undefined }, "setting", /speaks protocol undefined/],
    [{ credits: 0 }, "worker", /credits/],
    [{ credits: "many" }, "worker", /credits/],
    [{ heartbeat_ms: 1e400 }, "worker", /heartbeat_ms/],
    [{ limits: null }, "worker", /limits/],
    [{ limits: {} }, "worker", /max_message_bytes/],
    [{ models: {} }, "worker", /models/],
    [{ worker_id: 7 }, "worker", /worker_id/],
    [model({ name: null }), "worker", /name/],
    [model({ outputs: [{ name: "y" }] }), "worker", /datatype/],
    [model({ inputs: "x" }), "worker", /inputs/],
  ]) {
    await assertLinkError(open(await workerThat({ hello })), blame, "WORKER_UNAVAILABLE", message)
  }
})

test("an_error_answer_keeps_its_code_and_its_blame", async () => {
  const answers = [
    [{ code: "SHAPE_MISMATCH" }, "input", "SHAPE_MISMATCH"],
    [{ code: "QUEUE_FULL", retry_after_ms: 250 }, "busy", "QUEUE_FULL"],
    [{ code: "OUT_OF_MEMORY" }, "worker", "OUT_OF_MEMORY"],
    [{ code: "UNAUTHORIZED" }, "setting", "UNAUTHORIZED"],
    [{ code: "MADE_UP" }, "worker", "INTERNAL"],
    [{ code: ["INTERNAL"] }, "worker", "INTERNAL"],
  ]
  const waiting = answers.map(([answer]) => answer)
  const worker = await workerThat({ handlers: { infer: ({ header }, peer) => peer.say({ type: "error", error: "why not", ...waiting.shift(), id: header.id }) } })
  const link = await open(worker)
  for (const [answer, blame, code] of answers) {
    const error = await link.run(request()).catch(thrown => thrown)
    assert.deepEqual([error.blame, error.code, error.retryAfterMs], [blame, code, answer.retry_after_ms], error.message)
    assert.match(error.message, /^ws:.*: why not$/)
  }
  await link.close()
})

test("what_the_worker_said_before_it_closed_is_the_reason", async () => {
  const worker = await workerThat({ handlers: { infer(_, peer) {
    peer.say({ type: "error", code: "TOO_LARGE", error: "the message has 9 bytes" })
    peer.close(1009)
  } } })
  const link = await open(worker)
  await assertLinkError(link.run(request()), "worker", "TOO_LARGE", /the message has 9 bytes/)
})

test("an_answer_that_makes_no_sense_loses_the_link_and_nothing_else", async () => {
  const raw = json => Buffer.concat([Buffer.from([json.length, 0, 0, 0]), Buffer.from(json)])
  const flipped = message => {
    const bytes = echoed(message)
    bytes[bytes.length - 6] ^= 1
    return bytes
  }
  const changed = (message, changes, payload = message.payload) => {
    const outputs = [{ name: "y", datatype: "FP32", shape: [3], parameters: { binary_data_size: 12 }, ...changes }]
    return frame({ type: "output", id: message.header.id, model_name: "echo", model_version: "1", outputs }, payload)
  }
  const hostilities = {
    "not JSON": () => raw("{{{{"),
    "a list": () => raw("[{}]"),
    "an empty message": () => Buffer.alloc(0),
    "a header of 2 GiB": () => Buffer.from([0xff, 0xff, 0xff, 0x7f, 1]),
    "a flipped bit": flipped,
    "an unknown type": () => frame({ type: "gift" }),
    "no type": () => frame({}),
    "an unknown id": message => echoed(message, { id: "77" }),
    "an id that is a number": message => echoed(message, { id: NaN }),
    "no id": message => echoed(message, { id: undefined }),
    "a missing output": message => echoed(message, { outputs: [] }),
    "no outputs": message => echoed(message, { outputs: undefined }),
    "another output": message => changed(message, { name: "z" }),
    "another type": message => changed(message, { datatype: "INT32" }),
    "another size": message => changed(message, { shape: [4] }),
    "bytes too few": message => changed(message, {}, message.payload.subarray(4)),
    "bytes too many": message => changed(message, {}, Buffer.alloc(16)),
    "a size of null": message => changed(message, { parameters: { binary_data_size: null } }),
    "a second hello": () => frame(HELLO),
    "a pong nobody asked for": () => frame({ type: "pong", id: "9" }),
    "an upload nobody asked for": () => frame({ type: "upload_state", id: "9", offset: 0 }),
    "what is said over NATS": message => frame({ type: "working", id: message.header.id, worker_id: "w" }),
  }
  for (const [name, answer] of Object.entries(hostilities)) {
    const worker = await workerThat({ handlers: { infer: (message, peer) => peer.sendBytes(answer(message)) } })
    const link = await open(worker)
    await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /breaks the protocol/).catch(error => { throw new Error(`${name}: ${error.message}`) })
    assert.equal((await link.lost).code, "WORKER_UNAVAILABLE", name)
    await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE")
  }
})

test("an_answer_given_twice_loses_the_link_after_the_first", async () => {
  const worker = await workerThat({ handlers: { infer(message, peer) {
    peer.sendBytes(echoed(message))
    peer.sendBytes(echoed(message))
  } } })
  const link = await open(worker)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  assert.match((await link.lost).message, /has one already/)
})

test("text_and_floods_lose_the_link", async () => {
  const text = await open(await workerThat({ handlers: { infer: (_, peer) => peer.socket.send("text") } }))
  await assertLinkError(text.run(request()), "worker", "WORKER_UNAVAILABLE", /a message of text/)
  const flood = await open(await workerThat({ hello: { heartbeat_ms: 100_000 }, handlers: { infer(_, peer) {
    for (let i = 0; i < 5000; i += 1) peer.say({ type: "models", models: [ECHO] })
  } } }))
  await assertLinkError(flood.run(request()), "worker", "WORKER_UNAVAILABLE", /nobody asked for/)
})

test("a_request_taken_back_is_cancelled_there_and_its_late_answer_ignored", async () => {
  const asked = []
  const worker = await workerThat({
    hello: { credits: 1 },
    handlers: {
      infer: (message, peer) => { asked.length === 0 ? asked.push(message) : peer.sendBytes(echoed(message)) },
      cancel: (_, peer) => peer.sendBytes(echoed(asked[0])),
    },
  })
  const link = await open(worker)
  const controller = new AbortController()
  const running = link.run(request({ signal: controller.signal }))
  await until(() => asked.length > 0)
  await assertLinkError(link.run(request()), "busy", "QUEUE_FULL")
  controller.abort()
  await assert.rejects(running, { code: "CANCELLED" })
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  assert.deepEqual(worker.said("cancel").map(({ id }) => id), [asked[0].header.id])
  await assert.rejects(link.run(request({ signal: AbortSignal.abort() })), { code: "CANCELLED" })
  assert.equal(worker.said("infer").length, 2)
  await link.close()
})

test("a_draining_worker_takes_nothing_new_and_answers_the_rest", async () => {
  const asked = []
  const worker = await workerThat({ handlers: { infer(message, peer) {
    asked.push(() => peer.sendBytes(echoed(message)))
    peer.say({ type: "draining" })
  } } })
  const link = await open(worker)
  const running = link.run(request())
  await once(link.draining, "abort")
  await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /no new requests/)
  asked[0]()
  assert.deepEqual([...(await running).y.data], [1, 2, 3])
  worker.peers[0].close(1001)
  assert.match((await link.lost).message, /went away/)
})

test("a_model_that_goes_drains_the_link_and_then_loses_it", async () => {
  const asked = []
  const worker = await workerThat({ handlers: { infer: (message, peer) => { asked.push(() => peer.sendBytes(echoed(message))) } } })
  const link = await open(worker)
  const running = link.run(request())
  await until(() => asked.length > 0)
  worker.peers[0].say({ type: "models", models: [] })
  await once(link.draining, "abort")
  asked[0]()
  assert.deepEqual([...(await running).y.data], [1, 2, 3])
  const lost = await link.lost
  assert.deepEqual([lost.blame, lost.code], ["setting", "NOT_FOUND"])
})

test("an_input_that_cannot_be_sent_fails_alone", async () => {
  const link = await open(await workerThat())
  const int4 = new Tensor("int4", new Uint8Array(1), [2])
  await assert.rejects(link.run(request({ inputs: { x: int4 } })), { code: "DTYPE_MISMATCH" })
  const large = new Tensor("float32", new Float32Array(2 ** 18), [2 ** 18])
  await assertLinkError(link.run(request({ inputs: { x: large } })), "input", "TOO_LARGE", /it takes 1048576 \(--max-message-mib\)/)
  await assert.rejects(link.run(request({ inputs: { x: 7 } })), { code: "INVALID_INPUT" })
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  await link.close()
})

/** A worker that takes uploads; `from` is what it has of the file already. */
function uploads({ from = 0, state } = {}) {
  const chunks = []
  let expected = from
  let announced
  const model = () => ({ ...ECHO, version: announced.model_version, sha256: announced.sha256 })
  const handlers = {
    upload({ header }, peer) {
      announced = header
      peer.say({ type: "upload_state", id: header.id, offset: expected })
    },
    upload_chunk({ header, payload }, peer) {
      assert.equal(header.offset, expected)
      chunks.push(payload)
      expected += payload.length
      const done = state?.(header) ?? (expected === announced.size_bytes ? { type: "uploaded", model: model() } : { type: "upload_state", offset: expected })
      peer.say({ ...done, id: header.id })
    },
  }
  return { options: { hello: { models: [], allows_upload: true }, handlers }, chunks, announced: () => announced }
}

const BYTES = Uint8Array.from({ length: 2.5 * 2 ** 20 }, (_, i) => i * 31)

test("a_missing_model_is_uploaded_in_chunks_and_told_as_progress", async () => {
  const progress = []
  host.setSettings({ onProgress: event => progress.push(event.loadedBytes) })
  const { options, chunks, announced } = uploads()
  const worker = await workerThat(options)
  const link = await open(worker, { wanted: { upload: async () => BYTES } })
  host.setSettings({ onProgress: () => {} })
  assert.deepEqual(Buffer.concat(chunks), Buffer.from(BYTES))
  assert.ok(chunks.length >= 3 && chunks.every(({ length }) => length < HELLO.limits.max_message_bytes))
  assert.equal(announced().model_version, "1")
  assert.match(announced().sha256, /^[0-9a-f]{64}$/)
  assert.equal(progress[0], 0)
  assert.equal(progress.at(-1), BYTES.length)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  await link.close()
})

test("an_upload_goes_on_where_the_last_one_stopped", async () => {
  const from = 2 ** 21
  const { options, chunks } = uploads({ from })
  const link = await open(await workerThat(options), { wanted: { upload: async () => BYTES } })
  assert.deepEqual(Buffer.concat(chunks), Buffer.from(BYTES.subarray(from)))
  await link.close()
})

test("an_upload_that_is_refused_or_goes_round_ends", async () => {
  const upload = async () => BYTES
  await assertLinkError(open(await workerThat({ hello: { models: [] } }), { wanted: { upload } }), "setting", "NOT_FOUND", /--allow-upload/)
  const refusing = uploads({ state: () => ({ type: "error", code: "INVALID_INPUT", error: "not its SHA-256" }) })
  await assertLinkError(open(await workerThat(refusing.options), { wanted: { upload } }), "setting", "INVALID_INPUT", /not its SHA-256/)
  const around = uploads()
  around.options.handlers.upload_chunk = ({ header }, peer) => peer.say({ type: "upload_state", id: header.id, offset: 0 })
  await assertLinkError(open(await workerThat(around.options), { wanted: { upload } }), "worker", "WORKER_UNAVAILABLE", /again and again/)
  const beyond = uploads({ from: 2 ** 40 })
  await assertLinkError(open(await workerThat(beyond.options), { wanted: { upload } }), "worker", "WORKER_UNAVAILABLE", /asks for byte/)
  const other = uploads({ state: () => ({ type: "uploaded", model: ECHO }) })
  await assertLinkError(open(await workerThat(other.options), { wanted: { upload } }), "worker", "WORKER_UNAVAILABLE", /says that it has/)
  const failing = uploads()
  await assertLinkError(open(await workerThat(failing.options), { wanted: { upload: async () => { throw new Error("no such file") } } }), "setting", "INTERNAL", /no such file/)
})

test("a_url_that_leads_to_no_worker_is_refused", async () => {
  for (const url of ["", "ftp://a", "localhost:8070", "/v2", "ws:"]) {
    await assertLinkError(open({ url }), "setting", "INVALID_INPUT")
  }
})
