// The ways to workers from a page in Chromium: what is not told to pages is explained to people.
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { startWorker } from "../node/links/fake-worker.mjs"
import { echoed, frame, HELLO } from "../node/links/frames.mjs"
import { linksForPages } from "../node/links/host.mjs"
import { missingNats, startNats, startNatsWorker } from "../node/links/nats.mjs"
import { startServer } from "../node/links/oip-server.mjs"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined }
const withNats = { skip: options.skip ?? missingNats() }

let browser
let page
const started = []
before(async () => {
  if (options.skip) return
  browser = await startBrowser({ webgpu: false })
  page = await openPage(browser)
})
after(async () => {
  await Promise.all(started.map(each => each.close()))
  await browser?.close()
})

/** A page with `links` and `ask(url, token)`, which opens a link, sends three numbers and gives what came of it. */
async function openPage(browser, path = "/tests/browser/blank.html") {
  const page = await browser.open(path)
  await page.evaluate(async code => {
    globalThis.links = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })))
    const never = () => new AbortController().signal
    const told = error => ({ name: error.name, blame: error.blame, code: error.code, message: error.message })
    globalThis.ask = async (url, token) => {
      let link
      try {
        link = await links.openLink({ url, token }, { name: "echo" }, never())
        const x = new links.Tensor("float32", [1, 2, 3], [3])
        const { y } = await link.run({ inputs: { x }, timeoutMs: Infinity, priority: 0, signal: never() })
        return { data: [...y.data], facts: link.facts }
      } catch (error) {
        return told(error)
      } finally {
        await link?.close()
      }
    }
  }, await linksForPages())
  return page
}

async function keep(starting) {
  const each = await starting
  started.push(each)
  return each
}

const ask = (url, token) => page.evaluate(([url, token]) => ask(url, token), [url, token])

test("a_page_asks_a_worker", options, async () => {
  const worker = await keep(startWorker())
  const { data, facts } = await ask(worker.url, "geheim?ü")
  assert.deepEqual(data, [1, 2, 3])
  assert.equal(facts.workerId, "fake-1")
  const { headers } = worker.peers[0].request
  const [, token] = headers["sec-websocket-protocol"].split(", ")
  assert.equal(Buffer.from(token.replace("sentinel.token.", ""), "base64url").toString(), "geheim?ü")
  assert.equal(headers.origin, new URL(browser.url).origin)
})

test("a_page_is_told_why_it_is_turned_away", options, async () => {
  const { origin } = new URL(browser.url)
  for (const [code, expected, message] of [
    [4401, "UNAUTHORIZED", /it wants a token/],
    [4403, "UNAUTHORIZED", new RegExp(`does not allow pages of ${origin}: start it with --allow-origin ${origin}`)],
    [1013, "WORKER_UNAVAILABLE", /--max-connections/],
  ]) {
    const worker = await keep(startWorker({ greet: peer => peer.close(code) }))
    const told = await ask(worker.url)
    assert.deepEqual([told.name, told.code], ["SentinelError", expected], told.message)
    assert.match(told.message, message)
  }
})

test("an_answer_that_makes_no_sense_ends_in_an_error", options, async () => {
  for (const answer of [() => Buffer.from("garbage"), () => frame(HELLO), message => echoed(message, { outputs: [] }), message => echoed(message).fill(7, 20)]) {
    const worker = await keep(startWorker({ handlers: { infer: (message, peer) => peer.sendBytes(answer(message)) } }))
    const told = await ask(worker.url)
    assert.match(told.message, /breaks the protocol/)
    assert.equal(told.blame, "worker")
  }
})

test("a_page_is_told_what_it_can_be_that_a_worker_is_not_reached", options, async () => {
  const worker = await startWorker()
  await worker.close()
  const told = await ask(worker.url)
  assert.deepEqual([told.blame, told.code], ["worker", "WORKER_UNAVAILABLE"])
  assert.match(told.message, /a page is not told why. It may be that the worker is not running; a Content-Security-Policy does not name ws:/)
  const secure = await ask(worker.url.replace("ws:", "wss:"))
  assert.match(secure.message, /its certificate is not trusted \(open https:.*\/v2 once to see\)/)
})

test("a_content_security_policy_is_named", options, async () => {
  const worker = await keep(startWorker())
  const guarded = await openPage(browser)
  await guarded.evaluate(() => {
    const meta = document.createElement("meta")
    Object.assign(meta, { httpEquiv: "Content-Security-Policy", content: "connect-src 'self'" })
    document.head.append(meta)
  })
  const told = await guarded.evaluate(url => ask(url), worker.url)
  assert.deepEqual([told.blame, told.code], ["setting", "WORKER_UNAVAILABLE"], told.message)
  assert.match(told.message, new RegExp(`Content-Security-Policy does not allow it: add ${worker.url} to connect-src`))
  await guarded.close()
})

test("a_page_asks_a_server_of_the_protocol_where_that_allows_it", options, async () => {
  const { origin } = new URL(browser.url)
  const cors = allowed => ({ headers }, response) => {
    if (allowed) response.setHeader("access-control-allow-origin", origin)
    response.setHeader("access-control-allow-headers", "content-type, inference-header-content-length")
    response.setHeader("access-control-expose-headers", allowed === "all" ? "inference-header-content-length" : "")
    if (headers["access-control-request-method"] === undefined) return false
    response.writeHead(204).end()
    return true
  }
  const open = await keep(startServer({ answer: cors("all") }))
  assert.deepEqual((await ask(open.url)).data, [1, 2, 3])
  const hiding = await keep(startServer({ answer: cors("some") }))
  assert.match((await ask(hiding.url)).message, /Access-Control-Expose-Headers/)
  const closed = await keep(startServer({ answer: cors(false) }))
  assert.match((await ask(closed.url)).message, new RegExp(`does not allow pages of ${origin} \\(CORS; a sentinel-worker does with --allow-origin ${origin}\\)`))
})

test("a_page_reaches_nats_by_its_websocket", withNats, async () => {
  const nats = await keep(startNats())
  const worker = await keep(startNatsWorker(nats))
  const { data, facts } = await ask(nats.socketUrl)
  assert.deepEqual(data, [1, 2, 3])
  assert.deepEqual(facts.members, [worker.id])
  const plain = await ask(nats.url)
  assert.deepEqual([plain.blame, plain.code], ["setting", "INVALID_INPUT"])
  assert.match(plain.message, /give nats-server a websocket listener, and name it with nats\+wss:/)
})
