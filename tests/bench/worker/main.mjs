// pkg-scripts/bench --worker: what the worker answers per second and how fast, over WebSockets and HTTP, against calling the same model
// directly; a thousand idle connections; and, where asked for, memory under full load for long.
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { cpus, type } from "node:os"
import { join } from "node:path"
import { inRepository } from "../../node/support.mjs"
import { makeRepository, startWorker, workerBinary } from "../../worker/support/workers.mjs"
import { writeModel } from "../onnx.mjs"
import { UsageError } from "../options.mjs"
import { between } from "../readme.mjs"
import { report } from "./report.mjs"

const N_IDLE = 1000
const SIZE = 16
/** A model that computes next to nothing, so that what is measured is the worker. */
const noop = () => writeModel({
  opset: 13,
  nodes: [{ op: "Add", inputs: ["x", "one"], outputs: ["y"] }],
  inputs: [{ name: "x", dims: ["rows", SIZE] }],
  outputs: [{ name: "y", dims: ["rows", SIZE] }],
  constants: [{ name: "one", dims: [SIZE], data: new Float32Array(SIZE).fill(1) }],
})

/** What `sentinel-worker bench` prints with these arguments. */
async function bench(args) {
  const child = spawn(workerBinary, ["bench", "--json", ...args], { stdio: ["ignore", "pipe", "inherit"] })
  const chunks = await child.stdout.toArray()
  const code = child.exitCode ?? await new Promise(resolve => child.on("close", resolve))
  if (code !== 0) throw new Error(`sentinel-worker bench ${args.join(" ")} ended with ${code}`)
  return JSON.parse(Buffer.concat(chunks))
}

export async function benchWorker({ quick, soakS = 0, readme }, args) {
  if (!existsSync(workerBinary)) throw new UsageError("there is no worker binary: run pkg-scripts/build native")
  const run = {
    date: new Date().toISOString(),
    command: ["pkg-scripts/bench", ...args].join(" "),
    device: { cpu: cpus()[0].model, cores: cpus().length, system: type() },
    reports: [],
  }
  const repository = await makeRepository({ noop: noop() })
  try {
    const worker = await startWorker({ repository: repository.folder, options: ["--max-connections", String(N_IDLE + 100)] })
    try {
      const common = ["--model", "noop", "--duration-s", quick ? "1" : "5", "--direct", join(repository.folder, "noop/1/model.onnx"), "--provider", "cpu"]
      run.reports.push(await bench(["--url", worker.url("ws"), "--idle", String(N_IDLE), ...common]))
      run.reports.push(await bench(["--url", worker.url("http"), ...common]))
      if (soakS > 0) run.soak = (await bench(["--url", worker.url("ws"), "--model", "noop", "--concurrency", "16", "--duration-s", "1", "--soak-s", String(soakS)])).soak
    } finally {
      await worker.end()
    }
  } finally {
    await repository.remove()
  }
  const text = report(run)
  mkdirSync(inRepository("target/bench"), { recursive: true })
  writeFileSync(inRepository(`target/bench/worker-${run.date.slice(0, 19).replaceAll(":", "-")}.json`), `${JSON.stringify(run, undefined, 1)}\n`)
  console.log(text)
  if (!readme) return
  const path = inRepository("README.md")
  writeFileSync(path, between(readFileSync(path, "utf8"), "worker", text))
}
