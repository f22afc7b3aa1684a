import { wrongOption } from "../batch/options.js"
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

/** Those who want to be told. */
export class Listeners {
  readonly #listeners = new Set<StreamListener>()

  add(kind: "stream", listener: StreamListener): () => void {
    if (kind !== "stream") throw wrongOption("on", '"stream"', kind)
    if (typeof listener !== "function") throw wrongOption("on", "a function", listener)
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  // In a turn of its own: a listener may call the engine back, and one that throws ends nothing here.
  tell(event: StreamEvent): void {
    for (const listener of this.#listeners) queueMicrotask(() => { listener(event) })
  }
}
