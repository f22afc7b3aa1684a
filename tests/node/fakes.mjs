// The host with its engine, its wonnx module and its platform replaced: for what the host decides by itself.
// A fake model is JSON: { inputs, outputs, external?, wonnx?, refuse? }. Each output is the input of the same place;
// `wonnx` is true when wonnx takes it, or the first sizes for which it does. A fake GPU buffer is what it holds.
import { rmSync } from "node:fs"
import { mkdtemp, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { glueFactory } from "../../www/host/glue.mjs"

const www = fileURLToPath(new URL("../../www/", import.meta.url))
const esbuild = createRequire(join(www, "package.json"))("esbuild")

const ENGINE = `
async function init() { globalThis.sentinelFake.loads.push("engine") }
export { init as default };
const parse = bytes => JSON.parse(new TextDecoder().decode(bytes))
const refuse = ([code, message]) => { throw Object.assign(new Error(message), { code }) }
export const externalDataLocations = bytes => parse(bytes).external ?? []
export const inspect = parse
export const setDebug = switches => { globalThis.sentinelFake.debug = switches }
export const EngineGpu = { open(device, facts) {
  globalThis.sentinelFake.opens.push({ device, facts })
  return { device, memory: () => ({ buffers: 0, bytes: 0 }), free() {} }
} }
export const EngineSession = { create(bytes, external, options) {
  const fake = globalThis.sentinelFake
  const model = parse(bytes)
  if (model.refuse) refuse(model.refuse)
  fake.creates.push({ options, external })
  const mayUseWonnx = options.executionProviders?.[0] === "wonnx"
  const auto = options.adapter?.present && !options.adapter.software ? "webgpu" : "cpu"
  const preferred = options.executionProviders?.[0] ?? auto
  let backend = model.wonnx === true && mayUseWonnx ? "wonnx" : "cpu"
  return {
    inputs: model.inputs, outputs: model.outputs, preferred,
    async openGpu(gpu) {
      if (fake.failGpu) refuse(fake.failGpu)
      backend = "webgpu"
      fake.openedOn = gpu.device
    },
    checkOnGpu(names) { if (fake.refuseOnGpu) refuse(fake.refuseOnGpu) },
    async runGpu(feeds, names, onGpu) {
      fake.runs.push("webgpu")
      await new Promise(resolve => setImmediate(resolve))
      if (fake.failRun) { const failure = fake.failRun; fake.failRun = undefined; refuse(failure) }
      const values = Object.values(feeds)
      return Object.fromEntries(names.map((name, at) => {
        const { type, dims, data, gpuBuffer } = values[at]
        const held = data ?? gpuBuffer.held
        if (!onGpu.includes(name)) return [name, { type, dims, data: held }]
        return [name, { type, dims, gpuTensor: {
          buffer: { held, usage: 12 },
          read: async () => held,
          copyTo(buffer) { buffer.held = held },
          free() { fake.freed.push("tensor") },
        } }]
      }))
    },
    memory: () => ({ weights: 1, activations: 2, staging: 3 }),
    planText: () => "a plan",
    timings: () => [{ node: "n", op: "Identity", kernel: "copy", ms: 1 }],
    checkFeeds(feeds) { if (fake.refuseFeeds) refuse(fake.refuseFeeds); return feeds },
    plan(dims) {
      fake.plans.push(dims)
      const takes = model.wonnx === true || model.wonnx?.includes(Object.values(dims)[0][0])
      backend = takes && mayUseWonnx ? "wonnx" : "cpu"
      return backend === "wonnx" ? { backend, model: bytes } : { backend }
    },
    placement: () => [{ node: "n", op: "Identity", backend, kernel: "", reason: "", bytes: 8 }],
    run(feeds, names) {
      fake.runs.push("cpu")
      if (fake.trap) throw new WebAssembly.RuntimeError("unreachable")
      const values = Object.values(feeds)
      return Object.fromEntries(model.outputs.map(({ name }, at) => [name, values[at]]).filter(([name]) => names.includes(name)))
    },
    free() { fake.freed.push("engine") },
  }
} }`

const WONNX = `
async function init() { globalThis.sentinelFake.loads.push("wonnx") }
export { init as default };
export const WonnxSession = { async create(bytes) {
  const fake = globalThis.sentinelFake
  if (fake.failWonnx) throw Object.assign(new Error(fake.failWonnx), { code: "DEVICE_LOST" })
  const model = JSON.parse(new TextDecoder().decode(bytes))
  let running = 0
  return {
    async run(feeds) {
      fake.runs.push("wonnx")
      running += 1
      fake.mostAtOnce = Math.max(fake.mostAtOnce, running)
      await new Promise(resolve => setImmediate(resolve))
      running -= 1
      // A trap in one of the module's own callbacks: nobody settles the promise.
      if (fake.trapWonnx) return new Promise(() => queueMicrotask(() => { throw new WebAssembly.RuntimeError("unreachable") }))
      if (fake.failRun) { fake.failRun = false; throw Object.assign(new Error("gone"), { code: "DEVICE_LOST" }) }
      const values = Object.values(feeds)
      return Object.fromEntries(model.outputs.map(({ name }, at) => [name, values[at]]))
    },
    free() { fake.freed.push("wonnx") },
  }
} }`

const TOOLS = `async function init() {}
export { init as default };`

const PLATFORM = `
const fake = () => globalThis.sentinelFake
export default {
  debug: undefined,
  wasm: async () => new Uint8Array(),
  gpu: async () => fake().adapter ? { requestAdapter: async options => { fake().asked.push(options); return fake().adapter } } : { missing: "none here: npm install webgpu" },
  exposeGpu: async () => {},
  read: async source => fake().files.get(source),
  readBeside: async (model, location) => fake().files.get(location),
}`

const GLUE = { engine: ENGINE, scheduler: TOOLS, wonnx: WONNX, tools: TOOLS }

/**
 * The host's module, and the record of what its fakes saw; each call gives a fresh pair.
 * With `nodePlatform` only the WebAssembly modules are fakes.
 */
export async function hostWithFakes({ adapter, nodePlatform = false } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "sentinel-host-"))
  process.once("exit", () => rmSync(folder, { recursive: true }))
  await Promise.all(["engine", "wonnx", "tools"].map(name => writeFile(join(folder, `${name}.wasm`), "")))
  const outfile = join(folder, "host.mjs")
  await esbuild.build({
    entryPoints: [join(www, "host/index.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "warning",
    plugins: [{
      name: "fakes",
      setup(build) {
        const fakeName = path => ({ path, namespace: "fake" })
        if (!nodePlatform) build.onResolve({ filter: /^#platform$/ }, () => fakeName("platform"))
        build.onResolve({ filter: /generated\// }, ({ path }) => fakeName(/(\w+)\.js$/.exec(path)[1]))
        build.onLoad({ filter: /.*/, namespace: "fake" }, ({ path }) => ({
          contents: path === "platform" ? PLATFORM : glueFactory(GLUE[path]),
        }))
      },
    }],
  })
  const fake = { adapter, loads: [], creates: [], asked: [], opens: [], plans: [], runs: [], freed: [], files: new Map(), mostAtOnce: 0 }
  globalThis.sentinelFake = fake
  return { host: await import(pathToFileURL(outfile).href), fake }
}

/** The bytes of a fake model. */
export function fakeModel(model) {
  const value = name => ({ name, type: "float32", shape: model.shape ?? [2] })
  return new TextEncoder().encode(JSON.stringify({ inputs: [value("x")], outputs: [value("y")], ...model }))
}

/** A device that can be lost. */
export function fakeDevice(limits = {}) {
  let lose
  const lost = new Promise(resolve => { lose = resolve })
  return { features: new Set(["shader-f16"]), limits, lost, destroy() { lose({ reason: "destroyed", message: "" }) } }
}

const fakeAdapter = info => ({
  info,
  features: new Set(["shader-f16", "texture-compression-bc"]),
  limits: { maxBufferSize: 2 ** 30, maxTextureDimension2D: 8192 },
  requestDevice: async ({ requiredLimits }) => fakeDevice(requiredLimits),
})

export const HARDWARE = fakeAdapter({ vendor: "acme", architecture: "fast", device: "", description: "Acme 9000" })
export const SWIFTSHADER = fakeAdapter({ vendor: "google", architecture: "swiftshader", device: "", description: "SwiftShader Device" })
