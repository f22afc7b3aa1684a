// Where models and their external data may come from in Node: paths, URLs, neighbours; over a fake engine.
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { pathToFileURL } from "node:url"
import { fakeModel, hostWithFakes } from "./fakes.mjs"

let host, fake, folder
before(async () => {
  ({ host, fake } = await hostWithFakes({ nodePlatform: true }))
  const outer = mkdtempSync(join(tmpdir(), "sentinel-files-"))
  folder = join(outer, "models")
  mkdirSync(join(folder, "weights"), { recursive: true })
  writeFileSync(join(outer, "secret.bin"), "secret")
  writeFileSync(join(folder, "weights", "a.bin"), Uint8Array.of(1, 2, 3))
  symlinkSync(join(folder, "weights", "a.bin"), join(folder, "inside.bin"))
  symlinkSync(join(outer, "secret.bin"), join(folder, "outside.bin"))
  symlinkSync(outer, join(folder, "up"))
  execFileSync("mkfifo", [join(folder, "pipe.bin")])
})
after(() => rmSync(join(folder, ".."), { recursive: true }))

function writeModel(...external) {
  const path = join(folder, "model.onnx")
  writeFileSync(path, fakeModel({ external }))
  return path
}

const create = (source, options) => host.InferenceSession.create(source, { executionProviders: ["cpu"], ...options })

async function refuses(creating, code, message) {
  await assert.rejects(creating, error => {
    assert.equal(error.code, code, error.message)
    assert.match(error.message, message)
    return true
  })
}

test("a_model_is_read_from_a_path_a_file_url_and_bytes", async () => {
  const path = writeModel()
  const bytes = fakeModel({})
  for (const source of [path, pathToFileURL(path).href, bytes, bytes.buffer]) {
    assert.deepEqual((await create(source)).inputNames, ["x"])
  }
})

test("a_file_that_cannot_be_read_is_named", async () => {
  await refuses(create(join(folder, "none.onnx")), "IO", /none\.onnx: no such file/)
  await refuses(create(folder), "IO", /not a regular file/)
  await refuses(create(join(folder, "pipe.bin")), "IO", /not a regular file/)
  await refuses(create("nul\0.onnx"), "IO", /cannot be read/)
  await refuses(create(join(folder, "model.onnx"), { maxModelBytes: 10 }), "TOO_LARGE", /the limit is 10/)
})

test("external_data_is_read_beside_the_model", async () => {
  const locations = ["weights/a.bin", "./weights/../weights/a.bin", "inside.bin"]
  await create(writeModel(...locations))
  const { external } = fake.creates.at(-1)
  for (const location of locations) assert.deepEqual([...external.get(location)], [1, 2, 3])
})

test("external_data_outside_the_models_folder_is_refused", async () => {
  const outside = ["../secret.bin", "weights/../../secret.bin", join(folder, "..", "secret.bin"), "outside.bin", "up/secret.bin", ".."]
  for (const location of outside) await refuses(create(writeModel(location)), "INVALID_INPUT", /outside the model's folder/)
})

test("external_data_that_is_no_file_is_refused", async () => {
  await refuses(create(writeModel("none.bin")), "IO", /none\.bin: no such external data/)
  await refuses(create(writeModel("weights")), "IO", /not a regular file/)
  await refuses(create(writeModel("pipe.bin")), "IO", /not a regular file/)
})

test("a_folder_reached_through_a_link_is_the_models_own_folder", async () => {
  writeModel("weights/a.bin")
  await create(join(folder, "up", "models", "model.onnx"))
  assert.deepEqual([...fake.creates.at(-1).external.get("weights/a.bin")], [1, 2, 3])
})

test("downloads_report_progress_and_are_bounded_and_cancelled", async t => {
  const model = fakeModel({ padding: "-".repeat(200_000) })
  const server = createServer((request, response) => {
    if (request.url === "/none.onnx") return void response.writeHead(404).end()
    if (request.url === "/stalls.onnx") return void response.write("{")
    const isSizeHidden = request.url === "/chunked.onnx"
    response.writeHead(200, isSizeHidden ? {} : { "content-length": model.byteLength })
    response.end(model)
  })
  await new Promise(resolve => server.listen(0, "127.0.0.1", resolve))
  t.after(() => { server.closeAllConnections(); server.close() })
  const url = `http://127.0.0.1:${server.address().port}`

  const seen = []
  await create(`${url}/model.onnx`, { onProgress: progress => seen.push(progress) })
  assert.equal(seen[0].loadedBytes, 0)
  assert.equal(seen.at(-1).loadedBytes, model.byteLength)
  assert.ok(seen.every(({ totalBytes }) => totalBytes === model.byteLength))

  await refuses(create(`${url}/none.onnx`), "IO", /404/)
  await refuses(create(`${url}/model.onnx`, { maxModelBytes: 1000 }), "TOO_LARGE", /the limit is 1000/)
  await refuses(create(`${url}/chunked.onnx`, { maxModelBytes: 1000 }), "TOO_LARGE", /the limit is 1000/)
  const stop = new AbortController()
  const stalled = create(`${url}/stalls.onnx`, { signal: stop.signal, onProgress: () => stop.abort() })
  await refuses(stalled, "CANCELLED", /stalls\.onnx/)
  await refuses(create("http://127.0.0.1:1/model.onnx"), "IO", /127\.0\.0\.1:1/)
})

test("a_model_of_a_url_does_not_read_files_of_this_machine", async t => {
  const server = createServer((_, response) => response.end(fakeModel({ external: ["weights/a.bin"] })))
  await new Promise(resolve => server.listen(0, "127.0.0.1", resolve))
  t.after(() => { server.closeAllConnections(); server.close() })
  await refuses(create(`http://127.0.0.1:${server.address().port}/model.onnx`), "IO", /weights\/a\.bin/)
})
