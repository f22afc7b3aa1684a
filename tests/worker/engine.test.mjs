// Our client and the worker of the text: what docs/PROTOCOL.md says is enough for `DistributedInferenceEngine`.
import assert from "node:assert/strict"
import { test } from "node:test"
import { DistributedInferenceEngine, Tensor } from "../../pkg/dist/index.mjs"
import { assertCode } from "../node/support.mjs"
import { startStub } from "./stub/worker.mjs"
import { assertScaled, scaleBytes, scaleInputs, scaleSha256, stubScale } from "./support/scale.mjs"

/** Runs a test with stubs and an engine of them; both are ended whatever happens. */
async function withEngine(stubOptions, engineOptions, use) {
  const stubs = await Promise.all(stubOptions.map(options => startStub({ models: [stubScale()], ...options })))
  const engine = new DistributedInferenceEngine({ model: scaleBytes, modelName: "scale", local: false, ...engineOptions(stubs) })
  try {
    await use(engine, ...stubs)
  } finally {
    await engine.stop()
    await Promise.all(stubs.map(stub => stub.end()))
  }
}

const overWebSocket = stubs => ({ workers: stubs.map(stub => stub.url("ws")) })

async function assertRuns(engine, count, from = 0) {
  const answers = Array.from({ length: count }, async (_, at) => assertScaled(await engine.run(scaleInputs(Tensor, from + at)), from + at))
  await Promise.all(answers)
}

test("requests_spread_over_websockets_and_every_answer_is_its_own", () =>
  withEngine([{}, {}], overWebSocket, async (engine, first, second) => {
    await engine.start()
    await assertRuns(engine, 200)
    assert.equal(first.requests.websocket + second.requests.websocket, 200)
    assert.ok(first.requests.websocket > 0 && second.requests.websocket > 0)
    assert.equal(engine.getStats().remoteInputs, 200)
  }))

test("requests_go_over_plain_http_to_any_server_of_the_open_inference_protocol", () =>
  withEngine([{}], ([stub]) => ({ workers: [stub.url("http")] }), async (engine, stub) => {
    await engine.start()
    await assertRuns(engine, 50)
    assert.equal(stub.requests.http, 50)
  }))

test("no_more_requests_than_credits_are_with_a_worker", () => {
  let inside = 0
  let most = 0
  const before = async () => {
    most = Math.max(most, ++inside)
    await new Promise(resolve => setImmediate(resolve))
    inside -= 1
  }
  return withEngine([{ credits: 3, models: [stubScale({ before })] }], overWebSocket, async engine => {
    await engine.start()
    await assertRuns(engine, 60)
    assert.equal(most, 3)
    assert.equal(engine.getStats().totalErrors, 0)
  })
})

test("a_worker_with_another_file_under_the_name_is_refused", () =>
  withEngine([{ models: [stubScale({ sha256: "0".repeat(64) })] }], overWebSocket, engine => assertCode(engine.start(), "NOT_FOUND", /SHA-256/)))

test("a_token_opens_the_door_and_a_wrong_one_is_told_at_once", async () => {
  const token = "like no other"
  await withEngine([{ token }], ([stub]) => ({ workers: [{ url: stub.url("ws"), token }] }), async engine => {
    await engine.start()
    await assertRuns(engine, 3)
  })
  await withEngine([{ token }], ([stub]) => ({ workers: [{ url: stub.url("ws"), token: "wrong" }] }), engine => assertCode(engine.start(), "UNAUTHORIZED", /token/))
})

test("the_model_is_uploaded_where_it_is_missing", () =>
  withEngine([{ models: [], loadUpload: () => stubScale() }], stubs => ({ ...overWebSocket(stubs), uploadModel: true }), async (engine, stub) => {
    await engine.start()
    await assertRuns(engine, 5)
    assert.deepEqual(stub.models.map(model => model.sha256), [scaleSha256])
  }))

test("a_draining_worker_finishes_and_gets_no_more", () =>
  withEngine([{}, {}], overWebSocket, async (engine, first, second) => {
    await engine.start()
    const running = assertRuns(engine, 100)
    first.drain()
    await running
    const before = first.requests.websocket
    await assertRuns(engine, 50, 100)
    assert.equal(first.requests.websocket, before)
    assert.ok(second.requests.websocket >= 50)
  }))

test("requests_of_a_worker_that_dies_go_to_another", () => {
  const held = []
  const before = () => new Promise(resolve => held.push(resolve))
  return withEngine([{ models: [stubScale({ before })] }, {}], overWebSocket, async (engine, silent) => {
    await engine.start()
    const running = assertRuns(engine, 60)
    while (held.length === 0) await new Promise(resolve => setImmediate(resolve))
    await silent.end()
    await running
    assert.equal(engine.getStats().totalErrors, 0)
  })
})

test("a_request_that_is_wrong_everywhere_is_answered_with_its_error_and_sent_once", () =>
  withEngine([{}, {}], overWebSocket, async (engine, first, second) => {
    await engine.start()
    const wrong = { ...scaleInputs(Tensor, 1), x: new Tensor("float32", Float32Array.of(1, 2, 3), [1, 3]) }
    await assertCode(engine.run(wrong), "SHAPE_MISMATCH", /x/)
    assert.equal(first.requests.websocket + second.requests.websocket, 1)
  }))
