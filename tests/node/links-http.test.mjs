// The way to any server of the Open Inference Protocol over HTTP.
import assert from "node:assert/strict"
import { after, test } from "node:test"
import { Clock } from "./lanes.mjs"
import { assertLinkError, never, requestOf, until } from "./links/check.mjs"
import { linksHost } from "./links/host.mjs"
import { startServer } from "./links/oip-server.mjs"

const host = await linksHost()
const { openLink, openHttpLinkIn, Tensor } = host
const request = requestOf(Tensor)

const started = []
after(() => Promise.all(started.map(server => server.close())))
async function serverThat(options) {
  const server = await startServer(options)
  started.push(server)
  return server
}

const WANTED = { name: "echo", version: undefined, sha256: undefined, upload: undefined }
const open = (server, { wanted = {}, signal = never(), ...target } = {}) => openLink({ url: server.url, ...target }, { ...WANTED, ...wanted }, signal)
const readyIn = url => url.endsWith("/ready")
const inferIn = url => url.endsWith("/infer")

test("a_server_with_the_binary_extension_gets_and_gives_bytes", async () => {
  const server = await serverThat()
  const link = await open(server, { token: "geheim" })
  assert.deepEqual(link.facts, {
    workerId: server.url, server: "a-server 2.1", provider: "onnx", modelVersion: "2", inputNames: ["x"], outputNames: ["y"], members: [],
  })
  assert.equal(link.capacity, 8)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  assert.deepEqual([...(await link.run(request({ outputNames: ["y"] }))).y.data], [1, 2, 3])
  for (const { headers, body } of server.inferences()) {
    const header = JSON.parse(body.subarray(0, Number(headers["inference-header-content-length"])))
    assert.equal(header.inputs[0].parameters.binary_data_size, 12)
    assert.equal(header.parameters.binary_data_output, true)
    assert.equal(headers["content-type"], "application/octet-stream")
  }
  assert.ok(server.received.every(({ headers }) => headers.authorization === "Bearer geheim"))
  await link.close()
  await assertLinkError(link.run(request()), "worker", "RELEASED")
})

test("a_server_without_it_gets_json", async () => {
  const server = await serverThat({ extensions: [] })
  const link = await open(server)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  const [{ headers, body }] = server.inferences()
  assert.equal(headers["content-type"], "application/json")
  assert.deepEqual(JSON.parse(body).inputs, [{ name: "x", datatype: "FP32", shape: [3], data: [1, 2, 3] }])
  await assert.rejects(link.run(request({ inputs: { x: new Tensor("float32", [NaN], [1]) } })), { code: "INVALID_INPUT" })
  await assert.rejects(link.run(request({ inputs: { x: new Tensor("float16", new Uint16Array(1), [1]) } })), { code: "DTYPE_MISMATCH" })
  assert.equal(server.inferences().length, 1)
  await link.close()
})

test("deadlines_and_priorities_go_to_our_own_workers_only", async () => {
  for (const [name, expected] of [["sentinel-worker", { binary_data_output: true, timeout: 1_500_000, priority: 2 }], ["triton", { binary_data_output: true }]]) {
    const server = await serverThat({ about: { name } })
    const link = await open(server)
    await link.run(request({ timeoutMs: 1500, priority: 2 }))
    const [{ headers, body }] = server.inferences()
    assert.deepEqual(JSON.parse(body.subarray(0, Number(headers["inference-header-content-length"]))).parameters, expected)
    await link.close()
  }
})

test("a_version_is_part_of_the_path_and_a_prefix_stays", async () => {
  const server = await serverThat()
  const link = await open(server, { wanted: { version: "2" } })
  await link.run(request())
  assert.equal(server.inferences()[0].url, "/v2/models/echo/versions/2/infer")
  await link.close()
  const prefixed = await serverThat({ answer: ({ url }, _, json) => (url.startsWith("/there/") ? false : json(404, {})) })
  await assertLinkError(open({ url: `${prefixed.url}/there/` }), "setting", "NOT_FOUND")
  assert.equal(prefixed.received[0].url, "/there/v2/models/echo")
})

test("a_server_that_tells_nothing_about_itself_is_used", async () => {
  const server = await serverThat({ answer: ({ url }, _, json) => url === "/v2" && (json(404, {}), true) })
  const link = await open(server)
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  await link.close()
})

test("another_file_is_refused_where_the_server_tells_it", async () => {
  const server = await serverThat({ metadata: { parameters: { sha256: "a".repeat(64), provider: "cuda" } } })
  await assertLinkError(open(server, { wanted: { sha256: "b".repeat(64) } }), "setting", "NOT_FOUND", /another file/)
  const link = await open(server, { wanted: { sha256: "A".repeat(64) } })
  assert.equal(link.facts.provider, "cuda")
  await link.close()
})

test("every_status_has_its_code_and_blame", async () => {
  const json = error => JSON.stringify(error)
  for (const [status, body, blame, code, message, retryAfter] of [
    [400, json({ error: "unexpected shape" }), "input", "INVALID_INPUT", /unexpected shape/],
    [400, json({ error: "Request for unknown model: 'echo' is not found" }), "setting", "NOT_FOUND", /unknown model/],
    [400, json({ error: "sizes", code: "SHAPE_MISMATCH" }), "input", "SHAPE_MISMATCH", /sizes/],
    [401, "", "setting", "UNAUTHORIZED", /answered 401/],
    [403, "<html>no</html>", "setting", "UNAUTHORIZED", /answered 403/],
    [404, json({ detail: "no model" }), "setting", "NOT_FOUND", /no model/],
    [413, "", "input", "TOO_LARGE", /413/],
    [418, "I am a teapot", "input", "INVALID_INPUT", /teapot/],
    [422, json({ detail: [{ loc: ["x"] }] }), "input", "INVALID_INPUT", /loc/],
    [429, "", "busy", "QUEUE_FULL", /429/],
    [500, json({ error: 7 }), "worker", "INTERNAL", /7/],
    [500, json(null), "worker", "INTERNAL", /./],
    [503, json({ error: "no healthy upstream" }), "worker", "WORKER_UNAVAILABLE", /upstream/],
    [503, json({ error: "Exceeds maximum queue size" }), "busy", "QUEUE_FULL", /queue/],
    [503, "", "busy", "QUEUE_FULL", /503/, "2"],
    [408, json({ error: "the body comes too slowly", code: "TIMEOUT" }), "worker", "TIMEOUT", /slowly/],
    [502, "<html>" + " ".repeat(200_000), "worker", "INTERNAL", /answered 502/],
    [503, json({ error: "down", trace: "x".repeat(200_000) }), "worker", "WORKER_UNAVAILABLE", /down/],
    [504, "", "worker", "WORKER_UNAVAILABLE", /504/],
    [504, json({ error: "late", code: "TIMEOUT" }), "input", "TIMEOUT", /late/],
    [507, "", "worker", "OUT_OF_MEMORY", /507/],
  ]) {
    const headers = retryAfter === undefined ? {} : { "retry-after": retryAfter }
    const server = await serverThat({ answer: ({ url }, response) => inferIn(url) && (response.writeHead(status, headers).end(body), true) })
    const link = await open(server)
    const error = await link.run(request()).catch(thrown => thrown)
    assert.deepEqual([error.blame, error.code, error.retryAfterMs], [blame, code, retryAfter && 2000], `${status} ${body}: ${error.message}`)
    assert.match(error.message, message)
    await link.close()
  }
})

test("an_answer_that_makes_no_sense_loses_the_link", async () => {
  const y = { name: "y", datatype: "FP32", shape: [3], data: [1, 2, 3] }
  const bodies = {
    "not JSON": "{{{",
    "a list": "[]",
    "nothing": "",
    "no outputs": "{}",
    "other outputs": JSON.stringify({ outputs: [{ ...y, name: "z" }] }),
    "another type": JSON.stringify({ outputs: [{ ...y, datatype: "INT32" }] }),
    "elements missing": JSON.stringify({ outputs: [{ ...y, data: [1] }] }),
    "elements that are none": JSON.stringify({ outputs: [{ ...y, data: [1, null, 3] }] }),
  }
  for (const [name, body] of Object.entries(bodies)) {
    const server = await serverThat({ answer: ({ url }, response) => inferIn(url) && (response.end(body), true) })
    const link = await open(server)
    await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /breaks the protocol/).catch(error => { throw new Error(`${name}: ${error.message}`) })
    assert.equal((await link.lost).code, "WORKER_UNAVAILABLE")
    await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE")
  }
  for (const length of ["-1", "1e9", "x", "99999"]) {
    const server = await serverThat({ answer: ({ url }, response) => inferIn(url) && (response.writeHead(200, { "inference-header-content-length": length }).end("{}"), true) })
    const link = await open(server)
    await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /Inference-Header-Content-Length/)
  }
})

test("a_server_that_is_not_there_or_speaks_otherwise_is_explained", async () => {
  const server = await startServer()
  await server.close()
  await assertLinkError(open(server), "worker", "WORKER_UNAVAILABLE", /is a worker running there\? .*ECONNREFUSED/)
  const other = await serverThat({ answer: (_, response) => (response.end("<html>hello</html>"), true) })
  await assertLinkError(open(other), "setting", "WORKER_UNAVAILABLE", /does not speak the Open Inference Protocol/)
  const elsewhere = await serverThat({ answer: (_, response) => (response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(), true) })
  await assertLinkError(open(elsewhere), "worker", "WORKER_UNAVAILABLE", /redirect/)
  const loading = await serverThat({ answer: ({ url }, response) => readyIn(url) && (response.writeHead(503).end(), true) })
  await assertLinkError(open(loading), "worker", "WORKER_UNAVAILABLE", /not ready/)
})

test("a_connection_that_breaks_fails_its_request_alone", async () => {
  let n = 0
  const server = await serverThat({ answer: ({ url }, response) => inferIn(url) && n++ === 0 && (response.destroy(), true) })
  const link = await open(server)
  await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE")
  assert.deepEqual([...(await link.run(request())).y.data], [1, 2, 3])
  await link.close()
})

test("a_request_taken_back_ends_its_connection", async () => {
  let isGone = false
  const server = await serverThat({ answer: ({ url }, response) => inferIn(url) && (response.on("close", () => { isGone = true }), true) })
  const link = await open(server, { maxInFlight: 1 })
  const controller = new AbortController()
  const running = link.run(request({ signal: controller.signal }))
  await until(() => server.inferences().length > 0)
  await assertLinkError(link.run(request()), "busy", "QUEUE_FULL")
  controller.abort()
  await assert.rejects(running, { code: "CANCELLED" })
  await until(() => isGone)
  const last = link.run(request())
  last.catch(() => undefined)
  await until(() => server.inferences().length > 1)
  await link.close()
  await assertLinkError(last, "worker", "RELEASED")
})

test("opening_is_given_up_by_its_signal", async () => {
  const server = await serverThat({ answer: () => true })
  const controller = new AbortController()
  const opening = open(server, { signal: controller.signal })
  await until(() => server.received.length > 0)
  controller.abort()
  await assertLinkError(opening, "worker", "CANCELLED")
})

test("a_server_that_takes_a_connection_and_is_silent_is_not_waited_for", async () => {
  const clock = new Clock()
  for (const silent of [/echo$/, /v2$/, /ready$/]) {
    const fetch = async (url, { signal }) => {
      if (!silent.test(url)) return new Response(JSON.stringify({ inputs: [], outputs: [] }))
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    }
    const opening = openHttpLinkIn({ now: () => clock.now(), after: (...given) => clock.after(...given), fetch }, { url: "http://test" }, WANTED, never())
    const refused = assertLinkError(opening, "worker", "WORKER_UNAVAILABLE", /does not answer within 10000 ms/)
    await clock.advance(10_000)
    await refused
    assert.equal(clock.nTimers, 0)
  }
})

test("a_server_that_fails_two_checks_is_lost", async () => {
  const clock = new Clock()
  let isReady = true
  let checks = 0
  const fetch = async (url, options) => {
    if (!readyIn(url)) return new Response(JSON.stringify({ inputs: [], outputs: [] }))
    checks += 1
    if (isReady === "silent") return new Promise((_, reject) => options.signal.addEventListener("abort", () => reject(options.signal.reason)))
    if (isReady === "gone") throw new TypeError("fetch failed")
    return new Response("", { status: isReady ? 200 : 503 })
  }
  for (const [state, message] of [[false, /answered 503/], ["gone", /cannot be reached/], ["silent", /does not say within 5000 ms/]]) {
    isReady = true
    const link = await openHttpLinkIn({ now: () => clock.now(), after: (...given) => clock.after(...given), fetch }, { url: "http://test" }, WANTED, never())
    let lost
    link.lost.then(error => { lost = error })
    await clock.advance(20_000)
    assert.ok(checks >= 4)
    isReady = state
    await clock.advance(5000)
    assert.equal(lost, undefined)
    await clock.advance(20_000)
    assert.match(lost.message, message)
    assert.equal(lost.blame, "worker")
    assert.equal(clock.nTimers, 0)
  }
})

test("a_server_that_is_not_ready_any_more_answers_what_it_has", async () => {
  const clock = new Clock()
  const answers = []
  let status = 200
  const fetch = async url => {
    if (inferIn(url)) return new Promise(resolve => answers.push(() => resolve(new Response(JSON.stringify({ outputs: [{ name: "y", datatype: "FP32", shape: [1], data: [7] }] })))))
    return readyIn(url) ? new Response("", { status }) : new Response(JSON.stringify({ inputs: [], outputs: [{ name: "y", datatype: "FP32" }] }))
  }
  const link = await openHttpLinkIn({ now: () => clock.now(), after: (...given) => clock.after(...given), fetch }, { url: "http://test" }, WANTED, never())
  let lost
  link.lost.then(error => { lost = error })
  const running = link.run(request())
  status = 503
  await clock.advance(20_000)
  assert.equal(link.draining.aborted, true)
  assert.equal(lost, undefined)
  await assertLinkError(link.run(request()), "worker", "WORKER_UNAVAILABLE", /answered 503/)
  answers[0]()
  assert.deepEqual([...(await running).y.data], [7])
  await clock.advance(0)
  assert.match(lost.message, /answered 503/)
  assert.equal(clock.nTimers, 0)
})

test("a_check_takes_no_place_of_a_request", async () => {
  const clock = new Clock()
  let isSilent = false
  const fetch = async (url, { signal }) => {
    if (inferIn(url)) return new Response(JSON.stringify({ outputs: [{ name: "y", datatype: "FP32", shape: [1], data: [7] }] }))
    if (isSilent) return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
    return new Response(JSON.stringify({ inputs: [], outputs: [{ name: "y", datatype: "FP32" }] }))
  }
  const link = await openHttpLinkIn({ now: () => clock.now(), after: (...given) => clock.after(...given), fetch }, { url: "http://test", maxInFlight: 1 }, WANTED, never())
  isSilent = true
  await clock.advance(6000)
  assert.deepEqual([...(await link.run(request())).y.data], [7])
  await link.close()
})
