// The built demo's distributed mode, as pkg-scripts/demo starts it.
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { test } from "node:test"
import { inRepository } from "../node/support.mjs"
import { makeRepository, startWorker, withoutWorker, workerBinary } from "./support/workers.mjs"

const options = { skip: withoutWorker, timeout: 120_000 }

function demo(...args) {
  const environment = { ...process.env, NO_COLOR: "1", SENTINEL_WORKER: workerBinary }
  return new Promise(resolve => {
    execFile(process.execPath, [inRepository("pkg/bin/demo.mjs"), "--mode", "distributed", ...args], { env: environment }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : error.code, stdout, stderr })
    })
  })
}

async function report(...args) {
  const { exitCode, stdout, stderr } = await demo("--json", "--num-inputs", "100", ...args)
  assert.equal(exitCode, 0, stderr)
  return JSON.parse(stdout).results[0]
}

test("alone_it_starts_two_workers_and_ends_them", options, async () => {
  const { isOwn, right, statistics } = await report()
  assert.equal(isOwn, true)
  assert.equal(right, 100)
  assert.equal(statistics.workers.length, 2)
  assert.equal(statistics.remoteInputs, 100)
  assert.equal(statistics.workers[0].done + statistics.workers[1].done, 100)
  for (const { url } of statistics.workers) await assert.rejects(fetch(url.replace("ws", "http")), "the worker has ended")
})

test("it_sends_its_model_to_workers_that_are_named", options, async () => {
  const repository = await makeRepository({})
  const workers = [await startWorker({ repository: repository.folder, options: ["--allow-upload"] })]
  try {
    const [ws, http] = [workers[0].url("ws"), workers[0].url("http")]
    const { isOwn, right, statistics } = await report("--local", "--worker-urls", ws)
    assert.equal(isOwn, false)
    assert.equal(right, 100)
    assert.equal(statistics.localInputs + statistics.remoteInputs, 100)
    const { stdout } = await demo("--worker-urls", ws, http, "--num-inputs", "50", "--balancing", "least-loaded")
    assert.match(stdout, /50 of 50 right/)
    for (const url of [ws, http]) assert.match(stdout, new RegExp(`${url} +open +cpu +[1-9]\\d* done`))
  } finally {
    for (const worker of workers) await worker.end()
    await repository.remove()
  }
})

test("a_worker_that_is_not_there_is_named", options, async () => {
  const { exitCode, stdout, stderr } = await demo("--worker-urls", "ws://127.0.0.1:9")
  assert.equal(exitCode, 1)
  assert.equal(stdout.includes("right"), false)
  assert.match(stderr, /^demo: WORKER_UNAVAILABLE: .*127\.0\.0\.1:9/)
})
