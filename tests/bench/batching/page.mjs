// The same in a page: a job comes as an argument of `measure`, its numbers go back as they are.
import * as host from "../../../pkg/dist/browser.mjs"
import init, { Scheduler } from "../../../www/generated/scheduler.js"
import { engineCost, schedulerCost, throughput } from "./measure.mjs"

export async function costs() {
  await init({ module_or_path: fetch("/pkg/dist/scheduler.wasm") })
  return { scheduler: await schedulerCost(Scheduler), engine: await engineCost(host) }
}

export async function measure({ url, inputs, ...job }) {
  const arrays = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array }
  const tensors = inputs.map(({ type, values, ...rest }) => ({ type, ...rest, data: arrays[type].from(values, type === "int64" ? BigInt : Number) }))
  const model = new Uint8Array(await (await fetch(url)).arrayBuffer())
  return throughput(host, { ...job, model, inputs: tensors })
}
