// Programs that run natively, each in a process of its own: how each is started, and how the bench talks to it.
//
// A program loads the model, runs it once, and prints a line of JSON: `{}`, `{ "wrong": why }` or `{ "error": why }`.
// Then it runs once for each line that it reads, and prints `{ "ms": number }`.
import { spawn, spawnSync } from "node:child_process"
import { existsSync, readFileSync, statSync } from "node:fs"
import { createInterface } from "node:readline"
import { gzipSync } from "node:zlib"
import { difference } from "../../models/difference.mjs"
import { inRepository } from "../../node/support.mjs"

const WORKER = inRepository("target/release/sentinel-worker")
const ORT_NODE = inRepository("target/bench/node_modules/onnxruntime-node/bin/napi-v6")
const python = process.env.PYTHON ?? "python3"

const worker = provider => ({
  missing: () => (existsSync(WORKER) ? undefined : "target/release/sentinel-worker is not built"),
  command: ({ folder, threads }) => ({
    program: WORKER,
    args: ["time", `${folder}/model.onnx`, "--inputs", `${folder}/io.npz`, "--output", `${folder}/${provider}.npz`, "--provider", provider],
    environment: threads === undefined ? {} : { RTEN_NUM_THREADS: String(threads) },
    outputs: `${folder}/${provider}.npz`,
  }),
  files: () => [WORKER],
})

/** Contenders of the native place by name. */
export const NATIVE = {
  webgpu: worker("webgpu"),
  cpu: worker("cpu"),
  wonnx: worker("wonnx"),
  "ort-node": {
    missing: () => undefined,
    command: ({ folder, threads }) => ({ program: process.execPath, args: [inRepository("tests/bench/contenders/ort-node.mjs"), folder, String(threads ?? 0)] }),
    files: () => ["onnxruntime_binding.node", "libonnxruntime.so.1"].map(file => `${ORT_NODE}/${process.platform}/${process.arch}/${file}`),
  },
  "ort-python": {
    missing() {
      const asked = "import onnxruntime; print('WebGpuExecutionProvider' in onnxruntime.get_available_providers())"
      const { stdout } = spawnSync(python, ["-c", asked], { encoding: "utf8", timeout: 30_000 })
      return stdout?.trim().endsWith("True") ? undefined : "python has no onnxruntime-webgpu"
    },
    command: ({ folder }) => ({ program: python, args: [inRepository("tests/bench/contenders/ort_webgpu.py"), folder] }),
    files: () => [],
  },
}

/** Bytes of the program's own files, as they lie and gzipped. */
export function programBytes(name) {
  const files = NATIVE[name].files().filter(file => existsSync(file))
  if (files.length === 0) return undefined
  return {
    rawBytes: files.reduce((sum, file) => sum + statSync(file).size, 0),
    gzipBytes: files.reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0),
  }
}

/** The most memory that a process has held, where the system tells. */
export function peakBytes(pid) {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024
  } catch {
    return undefined
  }
}

/** Starts a program on a case. `started` hears of the process, so that it can be ended when it hangs. */
export async function openNative(name, benchCase, { threads, host, started }) {
  const { program, args, environment, outputs } = NATIVE[name].command({ folder: benchCase.folder, threads })
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...environment } })
  started?.(child)
  let complaint = ""
  child.stderr.setEncoding("utf8").on("data", text => { complaint = (complaint + text).slice(-2000) })
  child.stdin.on("error", () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const gone = new Promise((_, reject) => child.once("error", reject))
  gone.catch(() => {})
  const reply = async () => {
    const { done, value } = await Promise.race([lines.next(), gone])
    if (done) throw new Error(complaint.trim().split("\n").at(-1) || `${name} ended without an answer`)
    const answer = JSON.parse(value)
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer
  }
  let wrong
  let isFirst = true
  return {
    /** The first run is the one that the program makes by itself; the time is none of a warm run. */
    async run() {
      if (!isFirst) child.stdin.write("run\n")
      const answer = await reply()
      if (isFirst) wrong = answer.wrong
      isFirst = false
      return answer.ms ?? 0
    },
    async check() {
      if (outputs === undefined || wrong !== undefined) return wrong
      const arrays = await host.tools.readNpz(readFileSync(outputs))
      for (const want of benchCase.outputs) {
        const got = arrays.get(want.name)
        const why = got === undefined ? "it is missing" : difference(got, want, want.tolerance)
        if (why !== undefined) return `${want.name}: ${why}`
      }
      return undefined
    },
    memory: () => ({ processBytes: peakBytes(child.pid) }),
    async release() {
      child.kill("SIGKILL")
    },
  }
}
