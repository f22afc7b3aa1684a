import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { request } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { serve } from "../../pkg-scripts/serve.mjs"

let folder
let server

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-serve-"))
  mkdirSync(join(folder, "site", "page"), { recursive: true })
  writeFileSync(join(folder, "secret.txt"), "secret")
  writeFileSync(join(folder, "site", "page", "index.html"), "<p>page")
  writeFileSync(join(folder, "site", "a b.wasm"), "wasm")
  symlinkSync(join(folder, "secret.txt"), join(folder, "site", "link.txt"))
  server = await serve({ root: join(folder, "site"), home: "/page/" })
})

after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

/** A request whose path is sent as it stands: `fetch` would resolve the dots first. */
function get(path, method = "GET") {
  return new Promise((resolve, reject) => {
    const { port } = new URL(server.url)
    const sent = request({ host: "127.0.0.1", port, path, method }, response => {
      let text = ""
      response.on("data", chunk => (text += chunk))
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, text }))
    })
    sent.on("error", reject).end()
  })
}

test("the_root_leads_to_the_page", async () => {
  const { status, headers } = await get("/")
  assert.deepEqual([status, headers.location], [302, "/page/"])
  assert.equal((await get("/page/")).text, "<p>page")
})

test("files_have_their_type_and_the_isolation_headers", async () => {
  const { headers, text } = await get("/a%20b.wasm?v=1")
  assert.equal(headers["content-type"], "application/wasm")
  assert.equal(headers["cross-origin-opener-policy"], "same-origin")
  assert.equal(headers["cross-origin-embedder-policy"], "require-corp")
  assert.equal(text, "wasm")
})

test("nothing_outside_the_root_is_served", async () => {
  const paths = ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/page/../../secret.txt", "/link.txt", "/%00", "/%", "/page"]
  for (const path of paths) {
    const { status, text } = await get(path)
    assert.equal(status, 404, path)
    assert.doesNotMatch(text, /secret/)
  }
})

test("only_reading_is_allowed", async () => {
  assert.equal((await get("/a%20b.wasm", "POST")).status, 405)
  assert.deepEqual([(await get("/a%20b.wasm", "HEAD")).status, (await get("/a%20b.wasm", "HEAD")).text], [200, ""])
})
