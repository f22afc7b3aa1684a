// Batches on Web Workers of the built package in Chromium.
import assert from "node:assert/strict"
import { createServer } from "node:http"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined }

let browser
before(async () => { if (!options.skip) browser = await startBrowser() })
after(() => browser?.close())

/** A page with the package in `sentinel`, and what the tests do with an engine in `startEngine` and `runDigits`. */
async function openPage({ host = "/pkg/dist/browser.mjs" } = {}) {
  const page = await browser.open("/tests/browser/blank.html")
  const requested = []
  page.on("request", request => requested.push(new URL(request.url()).pathname))
  await page.evaluate(async host => {
    globalThis.sentinel = await import(host)
    const response = await fetch("/tests/fixtures/digits/digits.npz")
    const arrays = await sentinel.tools.readNpz(new Uint8Array(await response.arrayBuffer()))
    const [images, logits] = [arrays.get("in_0"), arrays.get("out_0")]
    globalThis.cases = Array.from({ length: 10 }, (_, at) => ({
      image: new sentinel.Tensor("float32", images.data.slice(at * 784, (at + 1) * 784), [1, 1, 28, 28]),
      logits: logits.data.slice(at * 10, (at + 1) * 10),
    }))
    globalThis.startEngine = async options => {
      const model = "/tests/fixtures/digits/digits.onnx"
      globalThis.engine = new sentinel.BatchInferenceEngine({ model, workers: 2, batchSize: 4, executionProviders: ["cpu"], ...options })
      await engine.start()
    }
    /** The largest difference between what comes out and what should. */
    globalThis.runDigits = async times => {
      const inputs = Array.from({ length: times }, () => cases).flat()
      const outputs = await Promise.all(inputs.map(({ image }) => engine.run({ image })))
      return Math.max(...outputs.flatMap(({ logits }, at) => [...logits.data].map((value, k) => Math.abs(value - inputs[at].logits[k]))))
    }
    globalThis.codeOf = promise => promise.then(() => "no error", error => `${error.code} ${error.message}`)
  }, host)
  return { page, requested }
}

/** Stops the engine, and waits for its workers to be gone. */
async function stopEngine(page) {
  const gone = page.workers().map(worker => new Promise(resolve => { worker.once("close", resolve) }))
  await page.evaluate(() => engine.stop())
  await Promise.all(gone)
}

for (const backend of ["cpu", "webgpu"]) {
  test(`two_workers_share_the_work_on_${backend}`, options, async () => {
    const { page, requested } = await openPage()
    const { difference, workers, placed } = await page.evaluate(async backend => {
      await startEngine({ executionProviders: [backend] })
      return { difference: await runDigits(6), workers: engine.getStats().workers, placed: engine.placement()[0].backend }
    }, backend)
    assert.equal(placed, backend)
    assert.ok(difference < 1e-3, `${difference}`)
    assert.equal(page.workers().length, 2)
    assert.equal(workers.reduce((sum, { inputs }) => sum + inputs, 0), 60)
    assert.ok(workers.every(({ inputs, batches }) => batches > 0 && inputs > batches), JSON.stringify(workers))
    for (const name of ["engine.wasm", "digits.onnx"]) assert.equal(requested.filter(path => path.endsWith(name)).length, 1, name)
    await stopEngine(page)
    await page.close()
  })
}

test("a_worker_that_closes_itself_at_work_is_replaced_and_nothing_is_lost", options, async () => {
  const { page } = await openPage()
  await page.evaluate(async () => {
    await startEngine()
    globalThis.answered = []
    globalThis.done = Promise.all(Array.from({ length: 200 }, (_, at) => new Promise(resolve => {
      engine.addInput(`${at}`, { image: cases[at % 10].image }, (id, outputs, error) => {
        answered.push({ id, error: error?.message, best: outputs && outputs.logits.data.indexOf(Math.max(...outputs.logits.data)) })
        resolve()
      })
    })))
  })
  await page.workers()[0].evaluate(() => self.close())
  const { answers, expected, stats } = await page.evaluate(async () => {
    // Whatever was under way when it closed, there is more to do for the one that comes after it.
    await done
    while (engine.getStats().workers.every(({ restarts }) => restarts === 0)) await runDigits(1)
    const expected = cases.map(({ logits }) => logits.indexOf(Math.max(...logits)))
    return { answers: answered, expected, stats: engine.getStats() }
  })
  assert.equal(new Set(answers.map(({ id }) => id)).size, 200)
  assert.equal(answers.length, 200)
  for (const { id, error, best } of answers) assert.equal(best, expected[Number(id) % 10], error)
  assert.equal(stats.totalErrors, 0)
  assert.match(stats.workers.find(({ restarts }) => restarts === 1).lastError?.message ?? "", /lost/)
  await stopEngine(page)
  await page.close()
})

test("an_uncaught_error_costs_its_worker", options, async () => {
  const { page } = await openPage()
  await page.evaluate(() => startEngine({ workers: 1 }))
  await page.workers()[0].evaluate(() => { setTimeout(() => { throw new Error("thrown by a test") }) })
  const { difference, worker } = await page.evaluate(async () => {
    while (engine.getStats().workers[0].restarts === 0) await new Promise(resolve => setTimeout(resolve))
    const difference = await runDigits(2)
    const [worker] = engine.getStats().workers
    await engine.stop()
    return { difference, worker: { ...worker, lastError: `${worker.lastError.code} ${worker.lastError.message}` } }
  })
  assert.ok(difference < 1e-3)
  assert.match(worker.lastError, /^WORKER_UNAVAILABLE a worker was lost: .*thrown by a test/)
  await page.close()
})

test("a_page_that_forbids_workers_is_told_what_to_allow", options, async () => {
  const { page } = await openPage()
  const error = await page.evaluate(() => {
    const meta = document.createElement("meta")
    meta.httpEquiv = "Content-Security-Policy"
    meta.content = "worker-src 'none'"
    document.head.append(meta)
    return codeOf(startEngine())
  })
  assert.match(error, /^WORKER_UNAVAILABLE a worker cannot be started: .*worker-src 'self'/)
  assert.ok(browser.complaints.splice(0).every(complaint => /Content Security Policy/.test(complaint)))
  await page.close()
})

/** A server of the same files that lets pages of any origin use them, as those of packages do. */
async function startMirror() {
  const headers = { "access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin" }
  const server = createServer(async (request, response) => {
    const file = await fetch(new URL(request.url, browser.url))
    response.writeHead(file.status, { ...headers, "content-type": file.headers.get("content-type") })
    response.end(Buffer.from(await file.arrayBuffer()))
  })
  await new Promise(resolve => server.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => new Promise(resolve => server.close(resolve)) }
}

test("a_package_of_another_origin_has_workers", options, async () => {
  const mirror = await startMirror()
  const { page } = await openPage({ host: `${mirror.url}/pkg/dist/browser.mjs` })
  const difference = await page.evaluate(async () => {
    await startEngine()
    return runDigits(2)
  })
  assert.ok(difference < 1e-3)
  assert.equal(page.workers().length, 2)
  assert.match(page.workers()[0].url(), /^blob:/)
  await stopEngine(page)
  await page.close()
  await mirror.close()
})

test("no_page_complained", options, () => {
  assert.deepEqual(browser.complaints, [])
})
