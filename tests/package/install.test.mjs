// The tarball that pkg-scripts/pack made, used as people use it: installed into an empty project.
import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { after, before, test } from "node:test"
import { fileURLToPath } from "node:url"

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..")
const digits = join(root, "tests", "fixtures", "digits")
const { version } = JSON.parse(readFileSync(join(root, "pkg", "package.json"), "utf8"))

let project
let installed

const run = (command, args) => execFileSync(command, args, { cwd: project, encoding: "utf8" })
const write = (name, text) => writeFileSync(join(project, name), text)

before(() => {
  project = mkdtempSync(join(tmpdir(), "sentinel-package-"))
  installed = join(project, "node_modules", "sentinel-inference")
  write("package.json", JSON.stringify({ name: "empty-project", private: true }))
  const tarball = join(root, "target", `sentinel-inference-${version}.tgz`)
  run("npm", ["install", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", tarball])
})

after(() => rmSync(project, { recursive: true, force: true }))

const recognise = `
  const directory = ${JSON.stringify(digits)}
  const { in_0, out_0 } = Object.fromEntries(await tools.readNpz(readFileSync(directory + "/digits.npz")))
  const session = await InferenceSession.create(directory + "/digits.onnx", { executionProviders: ["cpu"] })
  const { logits } = await session.run({ image: new Tensor("float32", in_0.data, in_0.dims) })
  const difference = Math.max(...logits.data.map((value, index) => Math.abs(value - out_0.data[index])))
  console.log(JSON.stringify({ dims: logits.dims, isClose: difference < 1e-3, backend: session.placement()[0].backend, version }))
`
const recognised = { dims: [10, 10], isClose: true, backend: "cpu", version }

test("an_es_module_runs_a_model", () => {
  write("use.mjs", `import { readFileSync } from "node:fs"
    import { InferenceSession, Tensor, tools, version } from "sentinel-inference"
    ${recognise}`)
  assert.deepEqual(JSON.parse(run("node", ["use.mjs"])), recognised)
})

test("a_commonjs_module_runs_a_model", () => {
  write("use.cjs", `const { readFileSync } = require("node:fs")
    const { InferenceSession, Tensor, tools, version } = require("sentinel-inference")
    async function main() {${recognise}}
    main().catch(error => { console.error(error); process.exitCode = 1 })`)
  assert.deepEqual(JSON.parse(run("node", ["use.cjs"])), recognised)
})

test("npx_sentinel_recognises_a_digit", () => {
  const picture = join(digits, "digit_7.png")
  const output = run("npx", ["--no-install", "sentinel", "run", join(digits, "digits.onnx"), "--input", `image=${picture}`,
    "--provider", "cpu", "--json"])
  const { data } = JSON.parse(output).outputs.logits
  assert.equal(data.indexOf(Math.max(...data)), 7)
})

test("npx_sentinel_inspects_a_model", () => {
  const output = run("npx", ["--no-install", "sentinel", "inspect", join(digits, "digits.onnx"), "--json"])
  assert.equal(JSON.parse(output).inputs[0].name, "image")
})

const typed = `
  export async function classify(pixels: Float32Array): Promise<readonly number[]> {
    const session: InferenceSession = await InferenceSession.create("model.onnx", { executionProviders: ["cpu"] })
    const outputs = await session.run({ image: new Tensor("float32", pixels, [1, 1, 28, 28]) })
    const backends: string[] = session.placement().map(entry => entry.backend)
    return backends.length > 0 ? outputs["logits"]!.dims : []
  }
  // @ts-expect-error a session needs a model
  InferenceSession.create()
`

function typeCheck(file, module, moduleResolution) {
  const options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--skipLibCheck", "false"]
  const tsc = join(root, "www", "node_modules", ".bin", "tsc")
  run(tsc, [...options, "--module", module, "--moduleResolution", moduleResolution, file])
}

test("types_hold_for_es_modules", () => {
  write("typed.mts", `import { InferenceSession, Tensor } from "sentinel-inference"${typed}`)
  typeCheck("typed.mts", "nodenext", "nodenext")
})

test("types_hold_for_commonjs", () => {
  write("typed.cts", `import { InferenceSession, Tensor } from "sentinel-inference"${typed}`)
  typeCheck("typed.cts", "nodenext", "nodenext")
})

test("types_hold_for_bundlers", () => {
  write("bundled.ts", `import { InferenceSession, Tensor } from "sentinel-inference"${typed}`)
  typeCheck("bundled.ts", "esnext", "bundler")
})

test("a_browser_bundle_has_no_node_modules", () => {
  write("page.js", `import { InferenceSession } from "sentinel-inference"\nconsole.log(InferenceSession)`)
  const esbuild = join(root, "www", "node_modules", ".bin", "esbuild")
  const bundle = run(esbuild, ["page.js", "--bundle", "--format=esm", "--platform=browser", "--log-level=error"])
  assert.doesNotMatch(bundle, /["']node:|\brequire\(/)
})

test("files_named_by_the_bundles_are_shipped", () => {
  const dist = join(installed, "dist")
  const bundles = readdirSync(dist).filter(name => /\.[mc]js$/.test(name)).map(name => readFileSync(join(dist, name), "utf8"))
  const named = bundles.flatMap(text => [...text.matchAll(/(?:new URL\(|from |import )["'](\.\/[^"']+)["']/g)].map(match => match[1]))
  for (const name of ["./engine.wasm", "./worker.mjs"]) assert.ok(named.includes(name), `${name} is in none of ${named}`)
  for (const name of named) assert.ok(existsSync(join(dist, name)), name)
})

const batches = `
  const engine = new BatchInferenceEngine({ model: ${JSON.stringify(join(digits, "digits.onnx"))}, executionProviders: ["cpu"], workers: 2 })
  await engine.start()
  const { logits } = await engine.run({ image: new Tensor("float32", new Float32Array(784), [1, 1, 28, 28]) })
  console.log(JSON.stringify({ dims: logits.dims, workers: engine.getStats().workers.length }))
  await engine.stop()
`
const batched = { dims: [1, 10], workers: 2 }

test("an_es_module_runs_batches_on_workers", () => {
  write("batch.mjs", `import { BatchInferenceEngine, Tensor } from "sentinel-inference"\n${batches}`)
  assert.deepEqual(JSON.parse(run("node", ["batch.mjs"])), batched)
})

test("a_commonjs_module_runs_batches_on_workers", () => {
  write("batch.cjs", `const { BatchInferenceEngine, Tensor } = require("sentinel-inference")
    async function main() {${batches}}
    main().catch(error => { console.error(error); process.exitCode = 1 })`)
  assert.deepEqual(JSON.parse(run("node", ["batch.cjs"])), batched)
})

test("a_bundled_program_runs_batches_on_workers_when_told_where_they_are", () => {
  write("bundled.mjs", `import { BatchInferenceEngine, init, Tensor } from "sentinel-inference"
    const dist = ${JSON.stringify(join(installed, "dist"))}
    await init({ wasmBase: dist, workerUrl: dist + "/worker.node.mjs" })
    ${batches}`)
  const esbuild = join(root, "www", "node_modules", ".bin", "esbuild")
  const options = ["--bundle", "--format=esm", "--platform=node", "--outfile=out/bundle.mjs", "--log-level=error"]
  run(esbuild, ["bundled.mjs", ...options])
  assert.deepEqual(JSON.parse(run("node", ["out/bundle.mjs"])), batched)
})

test("licences_and_notices_are_shipped", () => {
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE", "THIRD_PARTY_NOTICES.txt", "README.md"]) {
    assert.ok(statSync(join(installed, name)).size > 500, name)
  }
  const notices = readFileSync(join(installed, "THIRD_PARTY_NOTICES.txt"), "utf8")
  for (const name of ["rten 0.27", "wonnx 0.5", "onnxruntime-common"]) assert.ok(notices.includes(name), name)
})

test("nothing_tells_where_it_was_built", () => {
  const files = readdirSync(installed, { recursive: true }).filter(name => statSync(join(installed, name)).isFile())
  assert.ok(files.length > 10)
  const places = [root, join(homedir(), ".cargo"), join(homedir(), ".rustup")]
  for (const name of files) {
    const bytes = readFileSync(join(installed, name))
    for (const place of places) assert.ok(!bytes.includes(place), `${name} contains ${place}`)
  }
})
