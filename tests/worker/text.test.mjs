// docs/PROTOCOL.md says enough: a client and a worker that were written from that text alone understand each other and ours.
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { scaleModel } from "../node/made.mjs"
import { inRepository } from "../node/support.mjs"
import { runChecks } from "./support/checks.mjs"
import { scaleBytes, stubScale } from "./support/scale.mjs"
import { makeRepository, startNats, startWorker, withoutNats, withoutWorker } from "./support/workers.mjs"
import { joinNats } from "./stub/nats.mjs"
import { startStub } from "./stub/worker.mjs"

const TOKEN = "a-token-of-this-test"
const ORIGIN = "https://page.example"

let folder
let upload
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "sentinel-text-"))
  upload = join(folder, "uploaded.onnx")
  // Another file than `scale`, and the same model.
  await writeFile(upload, scaleModel("rows"))
})
after(() => rm(folder, { recursive: true, force: true }))

const checkText = (t, door, options) => runChecks(t, "python3", inRepository("tests/worker/stub/checks.py"), door, JSON.stringify(options))

suite("the client of the text and the worker of the text", () => {
  const withStub = async (options, use) => {
    const stub = await startStub({ models: [stubScale()], ...options })
    try {
      await use(stub)
    } finally {
      await stub.end()
    }
  }

  test("http", t => withStub({}, stub => checkText(t, "http", { url: stub.url("http") })))
  test("websocket", t => withStub({}, stub => checkText(t, "websocket", { url: stub.url("ws") + "/v2/ws" })))
  test("uploads", t => withStub({ loadUpload: () => stubScale() }, stub => checkText(t, "uploads", { url: stub.url("ws") + "/v2/ws", upload })))
  test("nats", { skip: withoutNats }, t => withStub({}, first => withStub({}, async second => {
    const nats = await startNats({ maxPayloadBytes: 64 << 10 })
    const doors = [await joinNats(first, nats.url), await joinNats(second, nats.url)]
    try {
      await checkText(t, "nats", { url: nats.url, workers: 2 })
    } finally {
      await Promise.all(doors.map(door => door.end()))
      await nats.end()
    }
  })))
  test("access", t => withStub({ token: TOKEN, allowedOrigins: [ORIGIN] }, stub =>
    checkText(t, "access", { url: stub.url("ws") + "/v2/ws", token: TOKEN, origin: ORIGIN })))
})

suite("the client of the text and our worker", { skip: withoutWorker }, () => {
  const withWorker = async (options, use) => {
    const repository = await makeRepository({ scale: scaleBytes })
    const worker = await startWorker({ repository: repository.folder, options })
    try {
      await use(worker)
    } finally {
      await worker.end()
      await repository.remove()
    }
  }

  test("http", t => withWorker([], worker => checkText(t, "http", { url: worker.url("http") })))
  test("repository", t => withWorker([], worker => checkText(t, "repository", { url: worker.url("http") })))
  test("websocket", t => withWorker([], worker => checkText(t, "websocket", { url: worker.url("ws") + "/v2/ws" })))
  test("uploads", t => withWorker(["--allow-upload"], worker => checkText(t, "uploads", { url: worker.url("ws") + "/v2/ws", upload })))
  test("access", async t => {
    const path = join(folder, "token")
    await writeFile(path, TOKEN)
    await withWorker(["--token-file", path, "--allow-origin", ORIGIN], worker =>
      checkText(t, "access", { url: worker.url("ws") + "/v2/ws", token: TOKEN, origin: ORIGIN }))
  })
  test("nats", { skip: withoutNats }, async t => {
    const nats = await startNats({ maxPayloadBytes: 64 << 10 })
    try {
      await withWorker(["--nats", nats.url], async () => checkText(t, "nats", { url: nats.url, workers: 1 }))
    } finally {
      await nats.end()
    }
  })
})
