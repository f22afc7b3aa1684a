// Requests, workers and a clock in one loop of events, around the dispatcher as it is shipped.
import { Dispatcher, Heap, POLICY, randomFrom, SentinelError } from "./dispatcher.mjs"

/** What the world is like. Times in milliseconds. */
export const WORLD = {
  /** Work of one request on a worker of speed 1: lognormal, and now and then ten times as much. */
  meanWorkMs: 10,
  sigma: 0.5,
  heavyShare: 0.01,
  heavyFactor: 10,
  /** From one machine to another. */
  networkMs: 0.5,
  capacity: 16,
  /** Share of what all workers could do together. */
  load: 0.6,
  /** A worker is ten times slower for a while, from time to time. */
  slowEveryMs: 30_000,
  slowForMs: 1000,
  slowFactor: 10,
  /** A worker dies with what it has, and is back later; nobody hears of it at once. */
  dieEveryMs: 30_000,
  deadForMs: 2000,
  detectMs: 50,
}

const SPEEDS = [1, 0.5, 1, 2]

/**
 * `nRequests` requests on `nWorkers` workers of three speeds. Gives latencies in milliseconds, how uneven the work was, and what it cost.
 */
export function simulate({ balancing, hedgeMs = Infinity, nWorkers, nRequests, seed, world: changed = {} }) {
  const world = { ...WORLD, ...changed }
  const random = randomFrom(seed)
  const exponential = meanMs => -Math.log(1 - random()) * meanMs
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  const policy = { ...POLICY, balancing, hedgeMs, maxQueueSize: Infinity }
  const dispatcher = new Dispatcher(policy, randomFrom(seed + 1))

  const events = new Heap((a, b) => (a.atMs === b.atMs ? a.number < b.number : a.atMs < b.atMs))
  let nEvents = 0
  let nowMs = 0
  const at = (delayMs, happen) => {
    nEvents += 1
    events.put({ atMs: nowMs + delayMs, number: nEvents, happen })
  }

  const workers = Array.from({ length: nWorkers }, (_, index) => {
    const speed = SPEEDS[index % SPEEDS.length]
    dispatcher.addWorker(`ws://${index}`, balancing === "weighted" ? speed : 1)
    return { index, speed, isUp: true, isOpen: false, life: 0, slow: 1, queue: [], running: undefined, busyMs: 0 }
  })
  const attempts = new Map()
  const arrivals = new Float64Array(nRequests)
  const latencies = []
  const works = new Float64Array(nRequests)
  const counts = { errors: 0, twice: 0, sent: 0, deaths: 0 }
  const isAnswered = new Uint8Array(nRequests)

  const settle = () => {
    for (let step = dispatcher.poll(nowMs); step !== undefined; step = dispatcher.poll(nowMs)) act(step)
    wakeLater()
  }
  let wakesAtMs = Infinity
  const wakeLater = () => {
    const wakeMs = dispatcher.wake() ?? Infinity
    if (wakeMs >= wakesAtMs || wakeMs === Infinity) return
    wakesAtMs = wakeMs
    at(Math.max(0, wakeMs - nowMs), () => { wakesAtMs = Infinity })
  }
  const end = (request, isError) => {
    if (isAnswered[request] === 1) counts.twice += 1
    isAnswered[request] = 1
    if (isError) counts.errors += 1
    latencies.push(nowMs - arrivals[request])
  }

  const act = step => {
    switch (step.do) {
      case "open":
        return at(2 * world.networkMs, () => {
          const worker = workers[step.worker]
          if (worker.isUp) {
            worker.isOpen = true
            dispatcher.opened(nowMs, step.worker, world.capacity)
          } else {
            dispatcher.failedToOpen(nowMs, step.worker, gone())
          }
        })
      case "close":
        workers[step.worker].isOpen = false
        return undefined
      case "send": {
        const worker = workers[step.worker]
        const { life } = worker
        counts.sent += 1
        attempts.set(step.attempt, step)
        return at(world.networkMs, () => { if (worker.isUp && worker.life === life) arrive(worker, step) })
      }
      case "revoke": {
        const { worker } = attempts.get(step.attempt)
        attempts.delete(step.attempt)
        return at(world.networkMs, () => {
          const place = workers[worker].queue.findIndex(({ attempt }) => attempt === step.attempt)
          if (place >= 0) workers[worker].queue.splice(place, 1)
        })
      }
      case "answer":
        return end(step.request, true)
    }
  }

  const arrive = (worker, attempt) => {
    worker.queue.push(attempt)
    if (worker.running === undefined) work(worker)
  }
  const work = worker => {
    const attempt = worker.queue.shift()
    worker.running = attempt
    if (attempt === undefined) return
    const { life } = worker
    at((works[attempt.request] / worker.speed) * worker.slow, () => {
      if (worker.life !== life) return
      worker.busyMs += works[attempt.request] / worker.speed
      at(world.networkMs, () => {
        if (!attempts.delete(attempt.attempt)) return
        const answer = dispatcher.answered(nowMs, attempt.attempt)
        if (answer !== undefined) end(answer.request, false)
      })
      work(worker)
    })
  }

  const gone = () => ({ blame: "worker", error: new SentinelError("WORKER_UNAVAILABLE", "it died") })
  const live = worker => {
    at(exponential(world.slowEveryMs), function slow() {
      worker.slow = world.slowFactor
      at(world.slowForMs, () => { worker.slow = 1 })
      at(world.slowForMs + exponential(world.slowEveryMs), slow)
    })
    at(exponential(world.dieEveryMs), function die() {
      worker.life += 1
      Object.assign(worker, { isUp: false, queue: [], running: undefined })
      counts.deaths += 1
      at(world.detectMs, () => {
        if (!worker.isOpen) return
        for (const [id, { worker: index }] of attempts) if (index === worker.index) attempts.delete(id)
        worker.isOpen = false
        dispatcher.lost(nowMs, worker.index, gone())
      })
      at(world.deadForMs, () => { worker.isUp = true })
      at(world.deadForMs + exponential(world.dieEveryMs), die)
    })
  }

  const speed = workers.reduce((sum, worker) => sum + worker.speed, 0)
  const everyMs = world.meanWorkMs / (speed * world.load)
  let nArrived = 0
  const comes = () => {
    const request = nArrived
    nArrived += 1
    arrivals[request] = nowMs
    works[request] = world.meanWorkMs * Math.exp(world.sigma * normal() - world.sigma ** 2 / 2) * (random() < world.heavyShare ? world.heavyFactor : 1)
    dispatcher.submit(nowMs, request, 0, Infinity)
    if (nArrived < nRequests) at(exponential(everyMs), comes)
  }

  workers.forEach(live)
  settle()
  at(10, comes)
  while (latencies.length < nRequests) {
    const event = events.takeFirst()
    nowMs = event.atMs
    event.happen()
    settle()
  }
  return {
    balancing, hedgeMs, nWorkers, nRequests, seed,
    ...quantiles(latencies),
    imbalance: Math.max(...workers.map(({ busyMs }) => busyMs)) / (workers.reduce((sum, { busyMs }) => sum + busyMs, 0) / nWorkers),
    extra: counts.sent / nRequests - 1,
    retried: dispatcher.workers().reduce((sum, { retried }) => sum + retried, 0),
    hedged: dispatcher.workers().reduce((sum, { hedged }) => sum + hedged, 0),
    deaths: counts.deaths,
    errors: counts.errors,
    twice: counts.twice,
    lost: isAnswered.reduce((sum, each) => sum - each, nRequests),
    elapsedMs: nowMs,
  }
}

function quantiles(latencies) {
  const sorted = Float64Array.from(latencies).sort()
  const part = share => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]
  return { p50: part(0.5), p95: part(0.95), p99: part(0.99), p999: part(0.999) }
}
