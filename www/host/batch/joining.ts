import type { BatchRows } from "../wasm.js"
import type { Joining } from "./join.js"
import type { Padding } from "./options.js"

/** How inputs are joined of a model that does this with rows. Outputs that stay on the GPU are not split. */
export function joiningOf(rows: BatchRows, padding: Padding, wantsOutputsOnGpu: boolean): Joining {
  const { inputs, outputs, size = 0 } = rows
  const reason = whyAlone(rows, wantsOutputsOnGpu)
  const mode = reason !== "" ? "alone" : rows.batch === "symbol" ? "join" : "pad"
  return { mode, size, inputs: rowsOnly(inputs), outputs: rowsOnly(outputs), padding, reason }
}

function whyAlone({ batch, size = 0, joinable, reason }: BatchRows, wantsOutputsOnGpu: boolean): string {
  if (!joinable) return reason
  if (wantsOutputsOnGpu) return "preferredOutputLocation leaves outputs on the GPU, where a batch is not split"
  if (batch === "fixed" && size <= 1) return "the model was made for a batch of one; rebatch: true makes it one for any"
  return ""
}

function rowsOnly(axes: Record<string, number | null>): Record<string, number> {
  return Object.fromEntries(Object.entries(axes).flatMap(([name, axis]) => (axis === null ? [] : [[name, axis]])))
}
