// A page in Chromium and a real worker: from a page of its own, from one that is allowed, and from one that is not.
import assert from "node:assert/strict"
import { copyFile, cp, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "../browser/support.mjs"
import { inRepository } from "../node/support.mjs"
import { scaleBytes } from "./support/scale.mjs"
import { freePort, makeRepository, startWorker, withoutWorker } from "./support/workers.mjs"

const skip = withoutWorker || (chromiumPath() === undefined ? "no Chromium is installed" : false)

let browser
let repository
let website
before(async () => {
  if (skip) return
  browser = await startBrowser({ webgpu: false })
  repository = await makeRepository({ scale: scaleBytes })
  website = await mkdtemp(join(tmpdir(), "sentinel-website-"))
  await cp(inRepository("pkg"), join(website, "pkg"), { recursive: true })
  await copyFile(inRepository("tests/browser/blank.html"), join(website, "index.html"))
})
after(async () => {
  await browser?.close()
  await repository?.remove()
  if (website !== undefined) await rm(website, { recursive: true, force: true })
})

async function withWorker(options, use) {
  const worker = await startWorker({ repository: repository.folder, options })
  try {
    await use(worker)
  } finally {
    await worker.end()
  }
}

/** What a page gets from a worker: right answers, or the code and message of why not. */
const tryWorker = (page, workerUrl) => page.evaluate(async workerUrl => {
  const { DistributedInferenceEngine, Tensor } = await import("/pkg/dist/browser.mjs")
  const engine = new DistributedInferenceEngine({ model: { name: "scale" }, workers: [workerUrl], local: false })
  try {
    await engine.start()
    const outputs = await Promise.all(Array.from({ length: 20 }, (_, at) =>
      engine.run({ x: new Tensor("float32", Float32Array.of(at, 1), [1, 2]), scale: new Tensor("float32", Float32Array.of(3), []) })))
    return { answers: outputs.map(({ y }) => [...y.data]) }
  } catch (error) {
    return { code: error.code, message: error.message }
  } finally {
    await engine.stop()
  }
}, workerUrl)

const answers = Array.from({ length: 20 }, (_, at) => [at * 3, 3])

test("a_page_of_an_allowed_origin_gets_its_answers", { skip }, () =>
  withWorker(["--allow-origin", new URL(browser.url).origin], async worker => {
    const page = await browser.open("/tests/browser/blank.html")
    assert.deepEqual(await tryWorker(page, worker.url("ws")), { answers })
    assert.deepEqual(await tryWorker(page, worker.url("http")), { answers })
    await page.close()
  }))

test("a_page_of_another_origin_is_told_which_setting_lets_it_in", { skip }, () =>
  withWorker([], async worker => {
    const page = await browser.open("/tests/browser/blank.html")
    const { code, message } = await tryWorker(page, worker.url("ws"))
    assert.equal(code, "UNAUTHORIZED", message)
    assert.ok(message.includes(`--allow-origin ${new URL(browser.url).origin}`), message)
    await page.close()
  }))

test("a_page_that_the_worker_serves_itself_needs_no_setting", { skip }, () =>
  withWorker(["--www", website], async worker => {
    const page = await browser.open(worker.url("http"))
    assert.deepEqual(await tryWorker(page, worker.url("ws")), { answers })
    assert.deepEqual(await tryWorker(page, worker.url("http")), { answers })
    await page.close()
  }))

test("a_page_is_told_that_no_worker_listens", { skip }, async () => {
  const page = await browser.open("/tests/browser/blank.html")
  const { code, message } = await tryWorker(page, `ws://127.0.0.1:${await freePort()}`)
  assert.equal(code, "WORKER_UNAVAILABLE")
  assert.match(message, /running|listen|reach/i)
  await page.close()
})
