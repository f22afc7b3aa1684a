// A distributed engine without sockets, models or time: workers that do what a test tells them, and a clock that it moves.
import { DistributedInferenceEngine, SentinelError } from "../../pkg/dist/index.mjs"
import { Clock, settled } from "./lanes.mjs"

const refused = url => new SentinelError("IO", `${url}: connection refused`)

/** Workers by URL. `down` ones refuse; requests wait until a test answers them, unless `isPrompt`. The outputs are `{ y: x }`. */
export class FakeWorkers {
  /** Requests without an answer: `{ url, request, resolve, reject }`. */
  running = []
  asked = []
  nOpen = 0
  revoked = 0
  isPrompt = false
  /** By URL: why it cannot be opened, or a function that gives that. */
  down = new Map()
  links = new Map()

  constructor({ capacity = 4, inputNames = ["x"] } = {}) {
    Object.assign(this, { capacity, inputNames })
  }

  openLink = async (target, model, signal) => {
    this.asked.push({ target, model, signal })
    const down = this.down.get(target.url)
    if (down instanceof Promise) await down
    if (down !== undefined) throw down === true ? refused(target.url) : down
    return this.#open(target.url)
  }

  openLocal = async (options, signal) => this.openLink({ url: "local", options }, undefined, signal)

  #open(url) {
    let lose
    const draining = new AbortController()
    const link = {
      facts: { workerId: url, server: "fake 1", provider: "cpu", modelVersion: "1", inputNames: this.inputNames, outputNames: ["y"], members: [] },
      capacity: this.capacity,
      lost: new Promise(resolve => { lose = resolve }),
      draining: draining.signal,
      run: request => new Promise((resolve, reject) => {
        if (this.isPrompt) return resolve({ y: request.inputs.x })
        const each = { url, link, request, resolve, reject }
        this.running.push(each)
        request.signal.addEventListener("abort", () => {
          this.revoked += 1
          this.#end(each)
          reject(new SentinelError("CANCELLED", "taken back"))
        }, { once: true })
      }),
      close: async () => {
        if (this.links.get(url) === link) this.links.delete(url)
        this.nOpen -= 1
        this.#failAll(link, new SentinelError("RELEASED", "closed"))
      },
      drain: () => draining.abort(),
      lose: (error = new SentinelError("WORKER_UNAVAILABLE", `${url}: the connection ended`)) => {
        this.#failAll(link, error)
        lose(error)
      },
    }
    this.links.set(url, link)
    this.nOpen += 1
    return link
  }

  at(url) {
    return this.running.filter(each => each.url === url).map(({ request }) => Number(request.inputs.x.data[0]))
  }

  answer(at = 0) {
    const each = this.running[at % Math.max(1, this.running.length)]
    if (each === undefined) return
    this.#end(each)
    each.resolve({ y: each.request.inputs.x })
  }

  fail(at = 0, error = new SentinelError("INTERNAL", "it failed")) {
    const each = this.running[at % Math.max(1, this.running.length)]
    if (each === undefined) return
    this.#end(each)
    each.reject(error)
  }

  #end(each) {
    this.running = this.running.filter(other => other !== each)
  }

  #failAll(link, error) {
    for (const each of this.running.filter(other => other.link === link)) {
      this.#end(each)
      each.reject(error)
    }
  }
}

/** An engine on such workers, started unless said otherwise. */
export async function fakeFleet({ workers = {}, urls = ["ws://a", "ws://b"], start = true, down = {}, ...options } = {}) {
  const clock = new Clock()
  const fakes = new FakeWorkers(workers)
  for (const [url, why] of Object.entries(down)) fakes.down.set(url, why)
  const world = { time: clock, openLink: fakes.openLink, openLocal: fakes.openLocal, random: () => 0.5 }
  const engine = new DistributedInferenceEngine({ model: { name: "fake" }, workers: urls, ...options }, world)
  const events = []
  const missing = new Set([...urls, ...(options.local ? ["local"] : [])])
  const everyone = new Promise(resolve => {
    engine.on("worker", ({ url, state }) => {
      events.push(`${url} ${state}`)
      missing.delete(url)
      if (missing.size === 0) resolve()
    })
  })
  if (start) {
    await engine.start()
    await everyone
  }
  return { engine, clock, workers: fakes, events }
}
