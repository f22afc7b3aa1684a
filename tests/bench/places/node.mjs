// Node.js as a place: every job in a process of its own.
import { fork } from "node:child_process"
import { existsSync } from "node:fs"
import { inRepository } from "../../node/support.mjs"

const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
const ENTRY = inRepository("tests/bench/places/process.mjs")

export async function openNode() {
  let environment = { ...process.env }
  const start = job => startProcess(job, environment)
  const ask = async () => {
    const { done, kill } = start({ mode: "adapter" })
    return done.catch(() => undefined).finally(kill)
  }
  let adapter = await ask()
  if (adapter === undefined && environment.VK_ICD_FILENAMES === undefined && existsSync(SWIFTSHADER)) {
    environment = { ...environment, VK_ICD_FILENAMES: SWIFTSHADER }
    adapter = await ask()
  }
  return { name: "node", adapter, version: process.version, start, close: async () => {} }
}

function startProcess(job, environment, report = job.report ?? (() => {})) {
  const child = fork(ENTRY, [JSON.stringify({ ...job, report: undefined })], { env: environment, stdio: ["ignore", "ignore", "pipe", "ipc"] })
  let complaint = ""
  child.stderr.setEncoding("utf8").on("data", text => { complaint = (complaint + text).slice(-2000) })
  const done = new Promise((resolve, reject) => {
    child.on("message", ({ progress, done }) => {
      if (progress !== undefined) report(progress)
      else if (done.error !== undefined) reject(new Error(done.error))
      else resolve(done.result)
    })
    child.once("error", reject)
    child.once("exit", (code, signal) => reject(new Error(`the process ended: ${signal ?? code} ${complaint.trim().split("\n").at(-1)}`.trim())))
  })
  return { done, kill: async () => void child.kill("SIGKILL") }
}
