import { SentinelError } from "../../errors.js"
import { MAX_ANSWER_BYTES } from "./connections.js"

const MAX_PARTS = 2 ** 18

/** A frame that comes in parts, because one message of NATS may not hold it. */
export class Parts {
  readonly #parts: (Uint8Array | undefined)[] = []
  #count: number | undefined
  #nReceived = 0
  #sizeBytes = 0

  /** The whole, once the last of its parts is here. */
  add({ index, count, payload }: { index: number; count: number; payload: Uint8Array }): Uint8Array | undefined {
    this.#count ??= count
    if (count !== this.#count || count > MAX_PARTS || index >= count || this.#parts[index] !== undefined) {
      throw new SentinelError("INVALID_INPUT", `part ${index} of ${count}, of ${this.#count} before`)
    }
    this.#parts[index] = payload
    this.#nReceived += 1
    this.#sizeBytes += payload.byteLength
    if (this.#sizeBytes > MAX_ANSWER_BYTES) throw new SentinelError("INVALID_INPUT", `parts of more than ${MAX_ANSWER_BYTES} bytes`)
    if (this.#nReceived < count) return undefined
    const whole = new Uint8Array(this.#sizeBytes)
    let at = 0
    for (const part of this.#parts as Uint8Array[]) {
      whole.set(part, at)
      at += part.byteLength
    }
    return whole
  }
}
