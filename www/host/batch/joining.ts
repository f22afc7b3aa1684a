import type { SessionHandler } from "../handler.js"
import type { Joining } from "./join.js"
import type { Padding } from "./options.js"

/** How the inputs of this model may be joined. */
export function joiningOf(session: SessionHandler, axis: number, padding: Padding): Joining {
  const inputs: Record<string, number> = {}
  const outputs: Record<string, number> = {}
  for (const port of session.inputMetadata) {
    if (port.isTensor && typeof port.shape[axis] === "string") inputs[port.name] = axis
  }
  for (const port of session.outputMetadata) {
    if (port.isTensor && typeof port.shape[axis] === "string") outputs[port.name] = axis
  }
  const mode = Object.keys(inputs).length > 0 && Object.keys(outputs).length === session.outputNames.length ? "join" : "alone"
  return { mode, size: 0, inputs, outputs, padding, reason: mode === "join" ? "" : "the model has no free batch dimension" }
}
