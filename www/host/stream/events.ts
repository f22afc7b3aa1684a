import type { SentinelError } from "../errors.js"
import type { SourceEvent } from "./media.js"

/**
 * What happens to a stream. "error": one input, or one call of the handler, failed; the stream goes on. "failed": it ended
 * with this error. The others than the first seven are told by cameras, screens and microphones.
 */
export interface StreamEvent {
  stream: string
  type: "started" | "paused" | "resumed" | "ended" | "stopped" | "failed" | "error" | SourceEvent["type"]
  message: string
  error?: SentinelError
  /** The number of the input that it is about. */
  id?: number
  /** What a "stalled" source that waits for the person has called from a click. */
  resume?: () => Promise<void>
}

export type StreamListener = (event: StreamEvent) => void
