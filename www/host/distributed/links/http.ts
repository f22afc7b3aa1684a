import connections from "#connections"
import type { Outputs } from "../../batch/engine.js"
import { realWorld, type World } from "../../batch/world.js"
import { cancelled } from "../../download.js"
import { SentinelError, toSentinelError } from "../../errors.js"
import { LinkError, type Link, type LinkFacts, type LinkRequest, type OpenLink, type WantedModel, type WorkerTarget } from "../link.js"
import { ownParameters } from "./choose.js"
import { explainFetch, explainStatus } from "./explain.js"
import { ask, type Answer, type Fetch } from "./fetching.js"
import { readObject } from "./frame.js"
import { readPorts } from "./messages.js"
import { readTensors, toCpu, writeTensors, writeTensorsAsJson, type Port } from "./oip.js"

const BINARY_EXTENSION = "binary_tensor_data"
const HEADER_LENGTH = "Inference-Header-Content-Length"
/** These servers do not tell what they take: enough that they batch, not so much that they queue. */
const DEFAULT_CAPACITY = 8
const POLL_MS = 5000
/** A server that is stopped takes a connection, and never answers. */
const OPENING_MS = 10_000
/** One check may fail while a server is busy; the second is believed. */
const MAX_FAILED_POLLS = 2

export interface HttpWorld extends Pick<World, "now" | "after"> {
  fetch: Fetch
}

const realHttpWorld: HttpWorld = { ...realWorld, fetch: (url, options) => fetch(url, options) }

/** Any server of the Open Inference Protocol over HTTP: Triton, KServe, OpenVINO Model Server, or a sentinel-worker. */
export const openHttpLink: OpenLink = (target, wanted, signal) => openHttpLinkIn(realHttpWorld, target, wanted, signal)

/** The same, in a world of the caller's. */
export async function openHttpLinkIn(world: HttpWorld, target: WorkerTarget, wanted: WantedModel, signal: AbortSignal): Promise<Link> {
  const link = new HttpLink(world, target, wanted)
  try {
    await link.open(signal)
  } catch (thrown) {
    await link.close()
    throw thrown instanceof LinkError ? thrown : new LinkError("worker", toSentinelError(thrown).code, toSentinelError(thrown).message, { cause: thrown })
  }
  return link
}

interface Server {
  facts: LinkFacts
  outputs: Port[]
  takesBytes: boolean
  /** Other servers give the parameters `timeout` and `priority` another meaning. */
  isSentinel: boolean
}

class HttpLink implements Link {
  readonly capacity: number
  readonly lost: Promise<SentinelError>
  readonly #world: HttpWorld
  readonly #wanted: WantedModel
  readonly #url: URL
  readonly #modelUrl: string
  readonly #place: string
  readonly #headers: Record<string, string>
  readonly #under = new Set<AbortController>()
  readonly #draining = new AbortController()
  #nRunning = 0
  /** Why nothing is left to do once the last answer is here. */
  #leaving: LinkError | undefined
  #server: Server | undefined
  #fault: SentinelError | undefined
  #nFailedPolls = 0
  #stopPoll = () => {}
  #setLost: (error: SentinelError) => void = () => {}

  constructor(world: HttpWorld, target: WorkerTarget, wanted: WantedModel) {
    this.#world = world
    this.#wanted = wanted
    this.#url = new URL(target.url)
    this.#place = `${this.#url.protocol}//${this.#url.host}${this.#url.pathname}`.replace(/\/+(v2\/*)?$/, "")
    const version = wanted.version === undefined ? "" : `/versions/${encodeURIComponent(wanted.version)}`
    this.#modelUrl = `${this.#place}/v2/models/${encodeURIComponent(wanted.name)}${version}`
    this.#headers = target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }
    this.capacity = target.maxInFlight ?? DEFAULT_CAPACITY
    this.lost = new Promise(resolve => { this.#setLost = resolve })
  }

  get facts(): LinkFacts {
    if (this.#server === undefined) throw new SentinelError("INTERNAL", `${this.#place}: it is not open`)
    return this.#server.facts
  }

  get draining(): AbortSignal {
    return this.#draining.signal
  }

  async open(signal: AbortSignal): Promise<void> {
    const late = () => { this.#lose(new LinkError("worker", "WORKER_UNAVAILABLE", `${this.#place}: it does not answer within ${OPENING_MS} ms`)) }
    const callOff = this.#world.after(OPENING_MS, late)
    try {
      await this.#meet(signal)
    } finally {
      callOff()
    }
    this.#pollLater()
  }

  /** Learns who it is, and that it has the model. */
  async #meet(signal: AbortSignal): Promise<void> {
    const metadata = await this.#get(this.#modelUrl, signal)
    const about = await this.#get(`${this.#place}/v2`, signal).catch(thrown => {
      // Not every server tells about itself.
      if (thrown instanceof LinkError && thrown.code === "NOT_FOUND") return {}
      throw thrown
    })
    this.#server = this.#read(metadata, about)
    const { status, text, retryAfterMs } = await this.#ask(`${this.#modelUrl}/ready`, {}, signal)
    if (status >= 400) throw explainStatus(this.#place, status, text || `model "${this.#wanted.name}" is not ready there`, retryAfterMs)
  }

  async run(request: LinkRequest): Promise<Outputs> {
    await toCpu(request.inputs)
    const place = this.#place
    if (request.signal.aborted) throw cancelled(place)
    if (this.#fault !== undefined) throw this.#fault
    const server = this.#server
    if (server === undefined) throw new SentinelError("INTERNAL", `${place}: it is not open`)
    if (this.#leaving !== undefined) throw this.#leaving
    if (this.#nRunning >= this.capacity) {
      throw new LinkError("busy", "QUEUE_FULL", `${place}: ${this.#nRunning} requests are without an answer, it is given ${this.capacity}`)
    }
    const answer = await this.#infer(writeRequest(server, this.#wanted, request), request.signal)
    const { status, text, retryAfterMs } = answer
    if (status >= 400) throw explainStatus(place, status, text, retryAfterMs)
    try {
      return readAnswer(answer, server, request)
    } catch (thrown) {
      const error = toSentinelError(thrown, place)
      if (error.code === "MODEL_UNSUPPORTED") throw error
      throw this.#lose(new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it breaks the protocol: ${error.message}`, { cause: error }))
    }
  }

  async #infer({ headers, body }: Body, signal: AbortSignal): Promise<Answer> {
    this.#nRunning += 1
    try {
      return await this.#ask(`${this.#modelUrl}/infer`, { method: "POST", headers, body }, signal)
    } finally {
      this.#nRunning -= 1
      this.#leaveWhenDone()
    }
  }

  async close(): Promise<void> {
    this.#end(new LinkError("worker", "RELEASED", `${this.#place}: the link was closed`))
  }

  #lose<Lost extends SentinelError>(error: Lost): Lost {
    if (this.#fault === undefined) {
      this.#end(error)
      this.#setLost(error)
    }
    return error
  }

  #end(error: SentinelError): void {
    this.#fault ??= error
    this.#stopPoll()
    for (const controller of this.#under) controller.abort()
  }

  #read(metadata: Record<string, unknown>, about: Record<string, unknown>): Server {
    const [inputs, outputs] = [readPorts(metadata["inputs"], "inputs"), readPorts(metadata["outputs"], "outputs")]
    const { sha256, provider } = (metadata["parameters"] ?? {}) as Record<string, unknown>
    const wanted = this.#wanted.sha256?.toLowerCase()
    if (wanted !== undefined && typeof sha256 === "string" && sha256.toLowerCase() !== wanted) {
      throw new LinkError("setting", "NOT_FOUND", `${this.#place}: its model "${this.#wanted.name}" is another file: expected SHA-256 ${wanted}, given ${sha256.slice(0, 64)}`)
    }
    const versions = Array.isArray(metadata["versions"]) ? metadata["versions"].map(String) : []
    const extensions = Array.isArray(about["extensions"]) ? (about["extensions"] as unknown[]) : []
    const name = String(about["name"] ?? "").slice(0, 100)
    return {
      facts: {
        workerId: this.#place,
        server: `${name} ${String(about["version"] ?? "").slice(0, 100)}`.trim(),
        provider: typeof provider === "string" ? provider.slice(0, 100) : String(metadata["platform"] ?? "").slice(0, 100),
        modelVersion: this.#wanted.version ?? versions.at(-1)?.slice(0, 100) ?? "",
        inputNames: inputs.map(port => port.name),
        outputNames: outputs.map(port => port.name),
        members: [],
      },
      outputs,
      takesBytes: extensions.includes(BINARY_EXTENSION),
      isSentinel: name === "sentinel-worker",
    }
  }

  async #get(url: string, signal: AbortSignal): Promise<Record<string, unknown>> {
    const { status, text, bytes, retryAfterMs } = await this.#ask(url, {}, signal)
    if (status >= 400) throw explainStatus(this.#place, status, text, retryAfterMs)
    try {
      return readObject(bytes)
    } catch (cause) {
      throw new LinkError("setting", "WORKER_UNAVAILABLE", `${this.#place}: it does not speak the Open Inference Protocol: ${url} is no JSON`, { cause })
    }
  }

  /** Asks, until the signal fires or the link ends. */
  async #ask(url: string, options: Parameters<Fetch>[1], signal: AbortSignal): Promise<Answer> {
    const controller = new AbortController()
    const cancel = () => controller.abort()
    if (signal.aborted) cancel()
    signal.addEventListener("abort", cancel)
    this.#under.add(controller)
    try {
      return await ask(this.#world.fetch, url, { ...options, headers: { ...this.#headers, ...options.headers }, signal: controller.signal })
    } catch (thrown) {
      if (signal.aborted) throw cancelled(this.#place, thrown)
      if (this.#fault !== undefined) throw this.#fault
      if (thrown instanceof SentinelError) throw thrown
      throw explainFetch(thrown, { url: this.#url, place: this.#place, page: connections.page })
    } finally {
      this.#under.delete(controller)
      signal.removeEventListener("abort", cancel)
    }
  }

  #pollLater(): void {
    if (this.#fault === undefined) this.#stopPoll = this.#world.after(POLL_MS, () => void this.#poll())
  }

  /** Asks whether the model is still ready: nobody says when it is not. */
  async #poll(): Promise<void> {
    const late = new AbortController()
    const callOff = this.#world.after(POLL_MS, () => late.abort())
    let answers = true
    let why = ""
    try {
      const { status } = await this.#ask(`${this.#modelUrl}/ready`, {}, late.signal)
      if (status >= 400) why = `${this.#place}: it answered ${status} when it was asked whether the model is ready`
    } catch (thrown) {
      answers = false
      why = late.signal.aborted ? `${this.#place}: it does not say within ${POLL_MS} ms whether the model is ready` : toSentinelError(thrown).message
    } finally {
      callOff()
    }
    this.#nFailedPolls = why === "" ? 0 : this.#nFailedPolls + 1
    if (this.#nFailedPolls < MAX_FAILED_POLLS) return this.#pollLater()
    const error = new LinkError("worker", "WORKER_UNAVAILABLE", why)
    if (!answers) return void this.#lose(error)
    // It may be about to stop, and answer what it has.
    this.#leaving = error
    this.#draining.abort()
    this.#pollLater()
    this.#leaveWhenDone()
  }

  #leaveWhenDone(): void {
    if (this.#leaving !== undefined && this.#nRunning === 0) this.#lose(this.#leaving)
  }
}

interface Body {
  headers: Record<string, string>
  body: Uint8Array<ArrayBuffer>
}

function writeRequest({ takesBytes, isSentinel }: Server, wanted: WantedModel, request: LinkRequest): Body {
  const { wired, parts } = takesBytes ? writeTensors(request.inputs) : { wired: writeTensorsAsJson(request.inputs), parts: [] }
  const parameters = {
    ...(takesBytes ? { binary_data_output: true } : {}),
    ...(isSentinel && Number.isFinite(request.timeoutMs) ? { timeout: Math.max(1, Math.round(request.timeoutMs * 1000)) } : {}),
    ...(isSentinel ? ownParameters(wanted, request) : {}),
  }
  const json = new TextEncoder().encode(JSON.stringify({
    inputs: wired,
    ...(request.outputNames === undefined ? {} : { outputs: request.outputNames.map(name => ({ name, ...(takesBytes ? { parameters: { binary_data: true } } : {}) })) }),
    ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
  }))
  if (!takesBytes) return { headers: { "content-type": "application/json" }, body: json }
  const body = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, json.byteLength))
  body.set(json)
  let at = json.byteLength
  for (const part of parts) {
    body.set(part, at)
    at += part.byteLength
  }
  return { headers: { "content-type": "application/octet-stream", [HEADER_LENGTH]: String(json.byteLength) }, body }
}

function readAnswer({ bytes, header }: Answer, server: Server, { outputNames }: LinkRequest): Outputs {
  const length = header(HEADER_LENGTH)
  const jsonBytes = length === null ? bytes.byteLength : Number(length)
  if (!Number.isSafeInteger(jsonBytes) || jsonBytes < 0 || jsonBytes > bytes.byteLength) {
    throw new SentinelError("INVALID_INPUT", `${HEADER_LENGTH}: ${String(length).slice(0, 40)} of ${bytes.byteLength} bytes`)
  }
  // A page sees this header of another origin only where that allows it.
  if (length === null && connections.page !== undefined && !(header("content-type") ?? "").includes("json")) {
    throw new SentinelError("INVALID_INPUT", `its bytes cannot be cut without the header ${HEADER_LENGTH}: it has to be in Access-Control-Expose-Headers`)
  }
  const answer = readObject(bytes.subarray(0, jsonBytes))
  return readTensors(answer["outputs"], bytes.subarray(jsonBytes), outputNames ?? server.outputs.map(({ name }) => name), server.outputs)
}
