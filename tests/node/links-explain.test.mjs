// Why a worker was not reached, as far as that can be known.
import assert from "node:assert/strict"
import { test } from "node:test"
import { linksHost } from "./links/host.mjs"

const { explainEnding, explainFetch, explainRefusal } = await linksHost()

const HTTPS = { origin: "https://app.example", isSecure: true }
const LOCAL = { origin: "http://localhost:5173", isSecure: false }
const at = (url, page, more = {}) => ({ url: new URL(url), place: url, page, hasToken: false, wasOpen: false, ...more })
const unopened = (url, page, ending = {}) => explainEnding({ code: 1006, reason: "", ...ending }, at(url, page))

test("mixed_content_is_a_setting_except_on_loopback", () => {
  for (const url of ["ws://worker.example:8070", "ws://10.0.0.7:8070"]) {
    for (const error of [unopened(url, HTTPS), explainRefusal(new Error("SecurityError"), at(url, HTTPS)), explainFetch(new TypeError("Failed to fetch"), at(url.replace("ws", "http"), HTTPS))]) {
      assert.equal(error.blame, "setting")
      assert.match(error.message, /over https reaches workers over TLS only \(mixed content\).*--tls-cert and --tls-key/)
    }
  }
  for (const url of ["ws://localhost:8070", "ws://127.0.0.1:8070", "ws://[::1]:8070"]) {
    const error = unopened(url, HTTPS)
    assert.equal(error.blame, "worker")
    assert.match(error.message, /not running; the browser keeps pages from this machine's own network until that is permitted/)
  }
  assert.doesNotMatch(unopened("ws://10.0.0.7:8070", LOCAL).message, /mixed|certificate/)
})

test("a_certificate_can_be_the_cause_over_tls_only", () => {
  assert.match(unopened("wss://worker.example", LOCAL).message, /its certificate is not trusted \(open https:\/\/worker.example\/v2 once to see\)/)
  const node = cause => unopened("wss://worker.example", undefined, { cause })
  assert.deepEqual([node("self-signed certificate").blame, node("connect ECONNREFUSED 10.0.0.7").blame], ["setting", "worker"])
  assert.match(node("self-signed certificate").message, /NODE_EXTRA_CA_CERTS/)
  assert.match(node("getaddrinfo ENOTFOUND worker.example").message, /there is no such host/)
})

test("a_blocked_page_is_told_what_to_add", () => {
  const error = unopened("wss://worker.example/v2/ws", HTTPS, { isBlocked: true })
  assert.deepEqual([error.blame, error.code], ["setting", "WORKER_UNAVAILABLE"])
  assert.match(error.message, /add wss:\/\/worker.example to connect-src/)
})

test("an_origin_is_named_with_the_option_that_allows_it", () => {
  for (const ending of [{ code: 4403, reason: "" }, { code: 1006, reason: "", status: 403 }]) {
    const error = explainEnding(ending, at("wss://worker.example", HTTPS))
    assert.deepEqual([error.blame, error.code], ["setting", "UNAUTHORIZED"])
    assert.match(error.message, /does not allow pages of https:\/\/app.example: start it with --allow-origin https:\/\/app.example/)
  }
})

test("a_page_of_the_same_origin_is_not_told_of_cors", () => {
  const told = page => explainFetch(new TypeError("Failed to fetch"), at("http://localhost:5173", page)).message
  assert.doesNotMatch(told(LOCAL), /CORS/)
  assert.match(told({ origin: "http://localhost:8000", isSecure: false }), /CORS.*--allow-origin http:\/\/localhost:8000/)
})

test("every_cause_of_node_is_told", () => {
  const refused = address => Object.assign(new Error(`connect ECONNREFUSED ${address}`), { code: "ECONNREFUSED" })
  const both = new TypeError("fetch failed", { cause: new AggregateError([refused("::1"), refused("127.0.0.1")], "") })
  assert.match(explainFetch(both, at("http://localhost:8070", undefined)).message, /connect ECONNREFUSED ::1, connect ECONNREFUSED 127.0.0.1/)
  assert.equal(explainFetch(undefined, at("http://localhost:8070", undefined)).code, "WORKER_UNAVAILABLE")
})
