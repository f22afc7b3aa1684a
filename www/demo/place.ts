import type { Placement } from "../host/index.js"

/** The backends of a whole model, and the reason where it is the same for all of it. */
export function placeOf(placement: readonly Placement[]): { backend: string; reason: string } {
  const unique = (field: "backend" | "reason") => [...new Set(placement.map(node => node[field]))]
  const reasons = unique("reason")
  return { backend: unique("backend").join(" + "), reason: reasons.length === 1 ? reasons.join() : "" }
}

/** Where batches run. */
export function placeName(nWorkers: number): string {
  if (nWorkers === 0) return "this thread"
  return nWorkers === 1 ? "1 worker" : `${nWorkers} workers`
}
