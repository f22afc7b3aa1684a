import { Handle } from "../instance.js"
import { loadScheduler, type Scheduler } from "../wasm.js"
import type { BatchPolicy } from "./options.js"

/** The queue that decides which inputs run together. */
export async function openScheduler(policy: BatchPolicy): Promise<Handle<Scheduler>> {
  const instance = await loadScheduler()
  const { batchSize, maxBatchSize, maxDelayMs, maxQueueSize, targetLatencyMs } = policy
  const scheduler = instance.use(({ Scheduler }) =>
    batchSize === "auto"
      ? Scheduler.adaptive(maxBatchSize, targetLatencyMs, maxQueueSize, MAX_ATTEMPTS)
      : new Scheduler(batchSize, maxDelayMs, maxQueueSize, MAX_ATTEMPTS))
  return new Handle(instance, scheduler)
}

/** An input under which so many lanes were lost is given up. */
const MAX_ATTEMPTS = 2
