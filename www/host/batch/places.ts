import type { LanePlan } from "./lanes.js"
import { LocalLane } from "./local.js"
import type { BatchEngineOptions, BatchPolicy } from "./options.js"
import { Pool } from "./pool.js"

/** Where the batches of an engine run: on the calling thread, or on workers. */
export function openLanes(options: BatchEngineOptions, policy: BatchPolicy): LanePlan {
  if (policy.workers === 0) return { count: 1, open: () => LocalLane.open(options) }
  const pool = new Pool(options, policy)
  return { count: facts => pool.count(facts), open: signal => pool.open(signal) }
}
