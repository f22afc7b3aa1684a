// This machine without a runtime between: the bench itself asks one process for each contender.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { inRepository } from "../../node/support.mjs"
import { NATIVE, openNative, programBytes } from "../contenders/native.mjs"
import { warm } from "../measure.mjs"

export async function openNativePlace({ host, threads }) {
  const worker = inRepository("target/release/sentinel-worker")
  const devices = existsSync(worker) ? spawnSync(worker, ["devices"], { encoding: "utf8", timeout: 60_000 }).stdout : ""
  const adapter = /^(?:webgpu|wonnx)\s+(.*)$/m.exec(devices)?.[1]
  const missing = new Map(Object.keys(NATIVE).map(name => [name, NATIVE[name].missing()]))
  const bytes = new Map()

  const start = ({ mode, contenders, limits, benchCase, report = () => {} }) => {
    const children = new Set()
    const started = child => {
      children.add(child)
      child.once("exit", () => children.delete(child))
    }
    const open = async name => {
      const why = missing.get(name)
      if (why !== undefined) throw new Error(why)
      return openNative(name, benchCase, { threads, host, started })
    }
    const cold = async name => {
      const begin = performance.now()
      const session = await open(name)
      await session.run()
      const firstMs = performance.now() - begin
      if (!bytes.has(name)) bytes.set(name, programBytes(name))
      return { firstMs, memory: session.memory(), download: bytes.get(name) }
    }
    const kill = async () => { for (const child of children) child.kill("SIGKILL") }
    return { done: mode === "cold" ? cold(contenders[0]) : warm({ contenders, limits, report, open }), kill }
  }
  return { name: "native", adapter: adapter === undefined ? undefined : { description: adapter }, version: "", start, lacks: name => name === "ort-python" && missing.get(name) !== undefined, close: async () => {} }
}
