// Workers behind NATS die and nats-server starts again, and every request gets its one right answer.
import { test } from "node:test"
import { Tensor } from "../../pkg/dist/index.mjs"
import { sendMany } from "./support/many.mjs"
import { assertAllAnswered, startEngine, startWorkers, within } from "./support/scope.mjs"
import { startNats, withoutNats, withoutWorker } from "./support/workers.mjs"

for (const [kind, urlOf] of [["nats", nats => nats.url], ["nats+ws", nats => nats.websocketUrl]]) {
  test(`ten_thousand_requests_over_${kind}_survive_killed_workers_and_a_restart_of_nats_server`, { skip: withoutWorker || withoutNats }, t => within(async scope => {
    const nats = await startNats()
    scope.ending(() => nats.end())
    const [killed, restarted] = await startWorkers(scope, 3, ["--nats", nats.url])
    const { engine } = await startEngine(scope, [urlOf(nats)])
    const steps = [
      [2000, () => killed.kill("SIGKILL")],
      [3000, () => restarted.restart()],
      [5000, () => nats.restart()],
      [7000, () => killed.restart()],
    ]
    const answers = await sendMany({ engine, Tensor, atLeast: 10_000, steps })
    t.diagnostic(`${answers.length} answers; failures that cost none: ${engine.getStats().workers.map(worker => worker.failed)}`)
    await assertAllAnswered(engine, answers)
  }))
}
