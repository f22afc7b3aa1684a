// pkg-scripts/bench --batching: what batching costs for each input, and what it brings; in Node and in Chromium.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, type } from "node:os"
import { serve } from "../../../pkg-scripts/serve.mjs"
import { chromiumPath, QUIET, SWIFTSHADER } from "../../browser/support.mjs"
import { findWebGpu, inRepository } from "../../node/support.mjs"
import { describe } from "../measure.mjs"
import { between } from "../readme.mjs"
import { short } from "../report.mjs"
import { report } from "./report.mjs"
import { engineCost, schedulerCost, throughput } from "./measure.mjs"

/** Small enough for software, and of several kinds: from one whose many rows cost little more than one to those that take as long as so many. */
const MODELS = [
  { name: "mlp_dyn_batch", file: "tests/fixtures/models/mlp_dyn_batch.onnx", inputs: [{ name: "x", dims: [1, 16] }], n: 2048 },
  { name: "digits", file: "tests/fixtures/digits/digits.onnx", inputs: [{ name: "image", dims: [1, 1, 28, 28] }], n: 1024 },
  { name: "mobilenet_v2_w025", file: "tests/fixtures/models/mobilenet_v2_w025.onnx", inputs: [{ name: "input", dims: [1, 3, 96, 96] }], n: 64, options: { rebatch: true } },
  { name: "unet_gn", file: "tests/fixtures/models/unet_gn.onnx", inputs: [{ name: "x", dims: [1, 3, 48, 48] }], n: 64, options: { rebatch: true } },
]
const WAYS = [
  { way: "one by one", options: { batchSize: 1 } },
  { way: "batches of 8", options: { batchSize: 8 } },
  { way: "batches of 8, one worker", options: { batchSize: 8, workers: 1 }, isPool: true },
  { way: "batches of 8, two workers", options: { batchSize: 8, workers: 2 }, isPool: true },
]
// On a software adapter each batch takes long.
const ON_GPU = 16

const say = text => process.stderr.write(`${text}\n`)

function inputsOf(model) {
  return model.inputs.map(({ name, dims }) => {
    const size = dims.reduce((product, dim) => product * dim, 1)
    return { name, type: "float32", dims, values: Array.from({ length: size }, (_, at) => Math.round(Math.sin(at) * 100) / 100) }
  })
}

async function openNode(host) {
  const { webgpu } = await findWebGpu()
  if (webgpu !== undefined) host.init({ webgpu })
  return {
    where: "node",
    async costs() {
      const { default: init, Scheduler } = await import(inRepository("www/generated/scheduler.js"))
      await init({ module_or_path: readFileSync(inRepository("pkg/dist/scheduler.wasm")) })
      return { scheduler: await schedulerCost(Scheduler), engine: await engineCost(host) }
    },
    measure({ file, inputs, ...job }) {
      const tensors = inputs.map(({ values, ...rest }) => ({ ...rest, data: Float32Array.from(values) }))
      return throughput(host, { ...job, model: new Uint8Array(readFileSync(inRepository(file))), inputs: tensors })
    },
    close: async () => {},
  }
}

async function openChromium() {
  const { chromium } = createRequire(inRepository("www/package.json"))("playwright-core")
  const server = await serve({ root: inRepository(".") })
  const browser = await chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", ...QUIET, ...SWIFTSHADER], timeout: 60_000 })
  const call = async (name, job) => {
    const page = await browser.newPage()
    try {
      await page.goto(`${server.url}/tests/browser/blank.html`)
      return await page.evaluate(async ([name, job]) => (await import("/tests/bench/batching/page.mjs"))[name](job), [name, job])
    } finally {
      await page.close()
    }
  }
  return {
    where: "chromium",
    costs: () => call("costs", {}),
    measure: ({ file, ...job }) => call("measure", { ...job, url: `/${file}` }),
    async close() {
      await browser.close()
      await server.close()
    },
  }
}

async function measurePlace(place) {
  const { where } = place
  const costs = { where, ...(await place.costs()) }
  say(`${where}: scheduling ${short(costs.scheduler.median)} µs, engine ${short(costs.engine.median)} µs for each input`)
  const rows = []
  for (const model of MODELS) {
    for (const backend of ["cpu", "webgpu"]) {
      // Workers share one GPU.
      const ways = WAYS.filter(({ isPool = false }) => !isPool || backend === "cpu")
      const job = {
        file: model.file,
        inputs: inputsOf(model),
        n: backend === "cpu" ? model.n : ON_GPU,
        ways: ways.map(({ options }) => ({ executionProviders: [backend], ...model.options, ...options })),
      }
      const results = await place.measure(job).catch(thrown => ways.map(() => ({ error: describe(thrown) })))
      for (const [at, { way }] of ways.entries()) {
        const row = { where, model: model.name, backend, way, ...results[at] }
        say(`${where} ${backend} ${model.name} ${way}: ${row.error ?? `${short(row.rate.median)}/s, longest task ${short(row.longestTaskMs)} ms, ${row.mode} ${row.reason}`}`)
        rows.push(row)
      }
    }
  }
  return { costs, rows }
}

export async function benchBatching({ where, readme }, args) {
  const host = await import(inRepository("pkg/dist/index.mjs"))
  const run = {
    date: new Date().toISOString(),
    command: ["pkg-scripts/bench", ...args].join(" "),
    device: { cpu: cpus()[0].model, cores: cpus().length, system: type() },
    costs: [],
    rows: [],
  }
  for (const open of [openNode, openChromium].filter((_, at) => where.includes(["node", "chromium"][at]))) {
    const place = await open(host)
    try {
      const { costs, rows } = await measurePlace(place)
      run.costs.push(costs)
      run.rows.push(...rows)
    } finally {
      await place.close()
    }
  }
  const text = report(run)
  mkdirSync(inRepository("target/bench"), { recursive: true })
  writeFileSync(inRepository(`target/bench/batching-${run.date.slice(0, 19).replaceAll(":", "-")}.json`), `${JSON.stringify(run, undefined, 1)}\n`)
  console.log(text)
  if (!readme) return
  const path = inRepository("README.md")
  writeFileSync(path, between(readFileSync(path, "utf8"), "batching", text))
}
