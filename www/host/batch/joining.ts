import type { BatchRows } from "../wasm.js"
import type { Joining } from "./join.js"
import type { Padding } from "./options.js"

/** How inputs are joined of a model that does this with rows. */
export function joiningOf({ inputs, outputs, batch, size = 0, joinable, reason }: BatchRows, padding: Padding): Joining {
  const mode = !joinable ? "alone" : batch === "symbol" ? "join" : size > 1 ? "pad" : "alone"
  return {
    mode,
    size,
    inputs: rowsOnly(inputs),
    outputs: rowsOnly(outputs),
    padding,
    reason: joinable && mode === "alone" ? "the model was made for a batch of one; rebatch: true makes it one for any" : reason,
  }
}

function rowsOnly(axes: Record<string, number | null>): Record<string, number> {
  return Object.fromEntries(Object.entries(axes).flatMap(([name, axis]) => (axis === null ? [] : [[name, axis]])))
}
