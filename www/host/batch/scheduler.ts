import { Handle } from "../instance.js"
import { loadScheduler, type Scheduler } from "../wasm.js"
import type { Joining } from "./join.js"
import type { BatchPolicy } from "./options.js"

/** The queue that decides which inputs run together. A model whose batch has a fixed size is given whole batches. */
export async function openScheduler(policy: BatchPolicy, joining: Joining): Promise<Handle<Scheduler>> {
  const instance = await loadScheduler()
  const { maxBatchSize, maxDelayMs, maxQueueSize, targetLatencyMs } = policy
  const batchSize = joining.mode === "pad" ? joining.size : policy.batchSize
  const scheduler = instance.use(({ Scheduler }) =>
    batchSize === "auto"
      ? Scheduler.adaptive(maxBatchSize, targetLatencyMs, maxQueueSize, MAX_ATTEMPTS)
      : new Scheduler(batchSize, maxDelayMs, maxQueueSize, MAX_ATTEMPTS))
  return new Handle(instance, scheduler)
}

/** An input under which so many lanes were lost is given up. */
const MAX_ATTEMPTS = 2
