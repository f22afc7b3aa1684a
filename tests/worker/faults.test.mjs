// Workers die, stop, come back and stand behind broken connections, and every request gets its one right answer.
import assert from "node:assert/strict"
import { test } from "node:test"
import { Tensor } from "../../pkg/dist/index.mjs"
import { sendMany } from "./support/many.mjs"
import { startProxy } from "./support/proxy.mjs"
import { seedOfRun } from "./support/random.mjs"
import { assertAllAnswered, startEngine, startWorkers, within } from "./support/scope.mjs"
import { withoutWorker } from "./support/workers.mjs"

const seed = seedOfRun()

const successesOf = async worker => {
  const { model_stats: [stats] } = await (await fetch(`${worker.url("http")}/v2/models/scale/stats`)).json()
  return stats.inference_stats.success.count
}

test("ten_thousand_requests_survive_kills_stops_restarts_and_a_broken_connection", { skip: withoutWorker }, t => within(async scope => {
  t.diagnostic(`SENTINEL_SEED=${seed}`)
  const [killed, stopped, steady, proxied] = await startWorkers(scope, 4)
  const proxy = await startProxy({ port: proxied.port, seed })
  scope.ending(() => proxy.close())
  const [killedUrl, stoppedUrl, steadyUrl] = [killed, stopped, steady].map(worker => worker.url("ws"))
  const proxyUrl = `ws://127.0.0.1:${proxy.port}`
  const { engine, until } = await startEngine(scope, [killedUrl, stoppedUrl, steadyUrl, proxyUrl])
  /** Breaks the connection in one way until the engine has noticed, and heals it until the engine has come back. */
  const breakConnection = async fault => {
    await until(proxyUrl, "aside", () => {
      proxy.fault = fault
      if (fault.kind === "refuse") proxy.cut()
    })
    await until(proxyUrl, "reopened", () => proxy.heal())
  }
  const steps = [
    [500, async () => {
      proxy.fault = { kind: "delay", delayMs: 5 }
      while (proxy.struck.delay < 20) await new Promise(resolve => setImmediate(resolve))
      for (let round = 0; round < 4; round++) {
        for (const kind of ["drop", "corrupt", "truncate", "corrupt"]) await breakConnection({ kind, probability: 0.1 })
      }
      await breakConnection({ kind: "refuse" })
      await breakConnection({ kind: "stall" })
    }],
    [1000, async () => {
      await until(killedUrl, "aside", () => killed.kill("SIGKILL"))
      await until(killedUrl, "reopened", () => killed.restart())
    }],
    [2000, async () => {
      await until(stoppedUrl, "aside", () => stopped.kill("SIGSTOP"))
      await until(stoppedUrl, "reopened", () => stopped.kill("SIGCONT"))
    }],
  ]
  const answers = await sendMany({ engine, Tensor, atLeast: 10_000, steps })
  const { workers } = engine.getStats()
  t.diagnostic(`${answers.length} answers, of each worker: ${workers.map(worker => worker.done)}; what the proxy did: ${JSON.stringify(proxy.struck)}`)
  const steadyDone = workers.find(worker => worker.url === steadyUrl).done
  assert.ok(await successesOf(steady) >= steadyDone, "a worker counts at least what the client got")
  await assertAllAnswered(engine, answers)
}))

test("requests_wait_while_no_worker_lives_and_are_answered_when_they_come_back", { skip: withoutWorker }, () => within(async scope => {
  const workers = await startWorkers(scope, 3)
  const { engine, until } = await startEngine(scope, workers.map(worker => worker.url("ws")))
  const all = (state, act) => Promise.all(workers.map(worker => until(worker.url("ws"), state, () => act(worker))))
  const steps = [[1000, async () => {
    await all("aside", worker => worker.kill("SIGKILL"))
    await all("reopened", worker => worker.restart())
    await all("aside", worker => worker.kill("SIGSTOP"))
    await all("reopened", worker => worker.kill("SIGCONT"))
  }]]
  const answers = await sendMany({ engine, Tensor, atLeast: 3000, steps })
  await assertAllAnswered(engine, answers)
}))

test("a_worker_that_is_asked_to_end_under_load_costs_no_request_and_ends_with_zero", { skip: withoutWorker }, () => within(async scope => {
  const [leaving, staying] = await startWorkers(scope, 2)
  const { engine } = await startEngine(scope, [leaving.url("ws"), staying.url("ws")], { retries: 2 })
  const steps = [[1000, async () => {
    leaving.kill("SIGTERM")
    assert.deepEqual(await leaving.exited, { code: 0, signal: null }, leaving.log.join("\n"))
  }]]
  const answers = await sendMany({ engine, Tensor, atLeast: 4000, steps })
  await assertAllAnswered(engine, answers)
}))
