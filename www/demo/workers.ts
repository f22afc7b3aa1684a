import { spawn, type ChildProcess } from "node:child_process"
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { SentinelError } from "../host/index.js"

/** Worker processes on this machine, with one model. */
export interface LocalWorkers {
  urls: string[]
  /** Asks them to end, and waits until they have. */
  stop(): Promise<void>
}

/** How long a worker may take to load its model. */
const START_MS = 60_000
const END_MS = 10_000

/** Starts `count` workers with the model at `path` under this name. */
export async function startWorkers(binary: string, count: number, name: string, path: string): Promise<LocalWorkers> {
  const repository = await mkdtemp(join(tmpdir(), "sentinel-demo-"))
  const processes: ChildProcess[] = []
  const stop = async () => {
    await Promise.all(processes.map(end))
    await rm(repository, { recursive: true, force: true })
  }
  try {
    await mkdir(join(repository, name, "1"), { recursive: true })
    await copyFile(path, join(repository, name, "1", "model.onnx"))
    const urls = Array.from({ length: count }, () => {
      const child = spawn(binary, ["--model-repository", repository, "--port", "0"], { stdio: ["ignore", "pipe", "pipe"] })
      processes.push(child)
      return listening(child, binary)
    })
    return { urls: await Promise.all(urls), stop }
  } catch (thrown) {
    await stop()
    throw thrown
  }
}

/** The URL that a worker says it listens at. */
function listening(child: ChildProcess, binary: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let complaints = ""
    const fail = (why: string) => {
      clearTimeout(timer)
      reject(new SentinelError("WORKER_UNAVAILABLE", `${binary}: ${why}${complaints === "" ? "" : `:\n${complaints}`}`))
    }
    const timer = setTimeout(() => fail(`did not listen within ${START_MS / 1000} s`), START_MS)
    child.on("error", error => fail(`${error.message}; pkg-scripts/build native makes it`))
    child.on("exit", code => fail(`ended with ${code}`))
    child.stderr?.on("data", (chunk: Buffer) => { complaints = (complaints + chunk.toString()).slice(-2000) })
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", line => {
      const [, host] = /^sentinel-worker listening on http:\/\/(\S+)$/.exec(line) ?? []
      if (host === undefined) return
      clearTimeout(timer)
      resolve(`ws://${host}`)
    })
  })
}

function end(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resolve()
    const timer = setTimeout(() => child.kill("SIGKILL"), END_MS)
    child.once("exit", () => {
      clearTimeout(timer)
      resolve()
    })
    child.kill("SIGTERM")
  })
}
