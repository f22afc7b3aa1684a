import type { LanePlan } from "./lanes.js"
import { LocalLane } from "./local.js"
import type { BatchEngineOptions, BatchPolicy } from "./options.js"

/** Where the batches of an engine run. */
export function openLanes(options: BatchEngineOptions, _policy: BatchPolicy): LanePlan {
  return { count: 1, open: () => LocalLane.open(options) }
}
