import { wrongOption } from "../batch/options.js"
import { SentinelError } from "../errors.js"
import { wholeNumber } from "./windows.js"

/**
 * Cuts bytes that come in pieces of any length, as from a file or from standard input, into chunks of `sizeBytes` each, as frames of
 * raw pixels are.
 *
 * @throws `INVALID_INPUT` where the last chunk is not whole.
 */
export async function* chunksOf(bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, sizeBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  let chunk = new Uint8Array(wholeNumber("chunksOf", "sizeBytes", sizeBytes))
  let filled = 0
  for await (const piece of bytes) {
    if (!(piece instanceof Uint8Array)) throw wrongOption("chunksOf: bytes", "pieces as Uint8Array (a Readable without an encoding)", typeof piece)
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + sizeBytes - filled)
      chunk.set(part, filled)
      filled += part.length
      at += part.length
      if (filled < sizeBytes) continue
      yield chunk
      chunk = new Uint8Array(sizeBytes)
      filled = 0
    }
  }
  if (filled > 0) throw new SentinelError("INVALID_INPUT", `chunksOf: the last chunk, expected ${sizeBytes} bytes, given ${filled}`)
}
