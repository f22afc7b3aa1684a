// Real processes for tests: workers and nats-server, on loopback, on ports that were free.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { createInterface } from "node:readline"
import { inRepository } from "../../node/support.mjs"

/** The binary that tests start: `SENTINEL_WORKER`, or what pkg-scripts/build makes. */
export const workerBinary = process.env.SENTINEL_WORKER ?? join(process.env.CARGO_TARGET_DIR ?? inRepository("target"), "release/sentinel-worker")

/** nats-server, or undefined where there is none; Debian puts it where only root's PATH looks. */
export const natsBinary = [...process.env.PATH.split(delimiter), "/usr/sbin"].map(folder => join(folder, "nats-server")).find(existsSync)

/** For node:test's `skip`: why tests of the binary cannot run here, or false. */
export const withoutWorker = existsSync(workerBinary) ? false : "no worker binary: run pkg-scripts/build native"
export const withoutNats = natsBinary === undefined ? "no nats-server: run pkg-scripts/setup --test" : false

const LOG_LINES = 400

/** What a test that fails half-way or takes too long leaves behind. */
const children = new Set()
process.once("exit", () => { for (const child of children) child.kill("SIGKILL") })
process.once("SIGTERM", () => process.exit(143))

/**
 * A folder of models in the worker's layout, for as long as a test runs. `models` holds, by name, the bytes of a model or the path of
 * one, and the same by version where there are several: `{ scale: bytes, digits: { 1: path, 2: path } }`.
 */
export async function makeRepository(models) {
  const folder = await mkdtemp(join(tmpdir(), "sentinel-models-"))
  for (const [name, content] of Object.entries(models)) {
    const versions = typeof content === "string" || content instanceof Uint8Array ? { 1: content } : content
    for (const [version, file] of Object.entries(versions)) await addModel(folder, name, version, file)
  }
  return { folder, add: (name, version, file) => addModel(folder, name, version, file), remove: () => rm(folder, { recursive: true, force: true }) }
}

async function addModel(repository, name, version, file) {
  const folder = join(repository, name, version)
  await mkdir(folder, { recursive: true })
  const path = join(folder, "model.onnx")
  await (typeof file === "string" ? copyFile(file, path) : writeFile(path, file))
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address()
  server.close()
  await once(server, "close")
  return port
}

/**
 * Starts a worker and waits until it listens. `kill("SIGKILL")`, `kill("SIGSTOP")` and the like send signals; `restart()` starts it again
 * on the same port; `end()` ends it, whatever state it is in. `log` has its last lines.
 */
export async function startWorker({ repository, port = 0, provider = "cpu", options = [], environment = {} }) {
  const worker = new Process(workerBinary, listening => [
    "--model-repository", repository, "--host", "127.0.0.1", "--port", String(listening ?? port), "--provider", provider, ...options,
  ], environment, line => /listening on (https?:\/\/\S+:(\d+))/.exec(line)?.[2])
  await worker.start()
  return worker
}

/** Starts nats-server with a WebSocket listener beside its own. */
export async function startNats({ maxPayloadBytes = 1 << 20 } = {}) {
  const [port, websocketPort, folder] = [await freePort(), await freePort(), await mkdtemp(join(tmpdir(), "sentinel-nats-"))]
  const path = join(folder, "nats.conf")
  await writeFile(path, `listen: "127.0.0.1:${port}"\nmax_payload: ${maxPayloadBytes}\nwebsocket { listen: "127.0.0.1:${websocketPort}", no_tls: true }\n`)
  const nats = new Process(natsBinary, () => ["-c", path], {}, line => /Server is ready/.test(line) ? String(port) : undefined)
  await nats.start()
  const end = () => nats.end().then(() => rm(folder, { recursive: true, force: true }))
  return { nats, url: `nats://127.0.0.1:${port}`, websocketUrl: `nats+ws://127.0.0.1:${websocketPort}`, restart: () => nats.restart(), kill: signal => nats.kill(signal), end }
}

/** A child process that says in a line on which port it listens, and that can be started again there. */
class Process {
  #binary
  #argumentsOf
  #environment
  #portOf
  #child
  log = []
  port
  /** How it ended: `{ code, signal }`. */
  exited

  constructor(binary, argumentsOf, environment, portOf) {
    this.#binary = binary
    this.#argumentsOf = argumentsOf
    this.#environment = environment
    this.#portOf = portOf
  }

  get pid() {
    return this.#child.pid
  }

  /** Where it listens, for a scheme such as `http` or `ws`. */
  url(scheme) {
    return `${scheme}://127.0.0.1:${this.port}`
  }

  async start() {
    const child = spawn(this.#binary, this.#argumentsOf(this.port), { env: { ...process.env, ...this.#environment }, stdio: ["ignore", "pipe", "pipe"] })
    this.#child = child
    children.add(child)
    this.exited = new Promise(resolve => {
      const ended = (code, signal) => {
        children.delete(child)
        resolve({ code, signal })
      }
      child.on("error", error => ended(error.code, null))
      child.on("close", ended)
    })
    const listening = new Promise(resolve => {
      for (const stream of [child.stdout, child.stderr]) {
        createInterface({ input: stream }).on("line", line => {
          this.log.push(line)
          if (this.log.length > LOG_LINES) this.log.shift()
          const port = this.#portOf(line)
          if (port !== undefined) resolve(Number(port))
        })
      }
    })
    const ended = this.exited.then(({ code, signal }) => { throw new Error(`${this.#binary} ended with ${code ?? signal}:\n${this.log.join("\n")}`) })
    this.port = await Promise.race([listening, ended])
  }

  kill(signal) {
    this.#child.kill(signal)
  }

  async restart() {
    await this.end()
    await this.start()
  }

  async end() {
    // A stopped process takes no other signal than this one.
    this.kill("SIGKILL")
    return this.exited
  }
}
