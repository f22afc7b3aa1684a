import { SentinelError, toSentinelError } from "./errors.js"

/** Bytes read so far; `totalBytes` is undefined when the server does not say. */
export interface Progress {
  url: string
  loadedBytes: number
  totalBytes: number | undefined
}

export type ProgressListener = (progress: Progress) => void

/** What bounds one read. */
export interface ReadLimits {
  maxBytes: number
  signal?: AbortSignal | undefined
  onProgress?: ProgressListener | undefined
}

/**
 * Reads `url` whole.
 *
 * @throws `IO` when the server refuses, `TOO_LARGE` past `maxBytes`, `CANCELLED` when the signal fires.
 */
export async function download(url: string, limits: ReadLimits): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const response = await fetch(url, { signal: limits.signal ?? null })
    if (!response.ok) throw new SentinelError("IO", `${url}: the server answered ${response.status} ${response.statusText}`)
    const declared = Number(response.headers.get("content-length"))
    // A compressed body is longer than the header says.
    const isPlain = response.headers.get("content-encoding") === null
    const totalBytes = isPlain && declared > 0 ? declared : undefined
    if (declared > limits.maxBytes) throw tooLarge(url, declared, limits.maxBytes)
    if (response.body === null) return new Uint8Array(0)
    return await collect(response.body, url, totalBytes, limits)
  } catch (thrown) {
    if (thrown instanceof SentinelError) throw thrown
    if (limits.signal?.aborted === true) throw cancelled(url, thrown)
    if (thrown instanceof TypeError) throw new SentinelError("IO", `${url}: ${reason(thrown)}`, { cause: thrown })
    throw toSentinelError(thrown, url)
  }
}

/** The error for something that is larger than its limit. */
export function tooLarge(place: string, sizeBytes: number, maxBytes: number): SentinelError {
  return new SentinelError("TOO_LARGE", `${place}: ${sizeBytes} bytes, the limit is ${maxBytes} (init({ maxModelBytes }) raises it)`)
}

/** The error for work that its signal stopped. */
export function cancelled(place: string, cause?: unknown): SentinelError {
  return new SentinelError("CANCELLED", `${place}: cancelled by its signal`, { cause })
}

async function collect(
  body: ReadableStream<Uint8Array>,
  url: string,
  totalBytes: number | undefined,
  { maxBytes, onProgress }: ReadLimits,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let loadedBytes = 0
  const reader = body.getReader()
  try {
    onProgress?.({ url, loadedBytes, totalBytes })
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      chunks.push(next.value)
      loadedBytes += next.value.byteLength
      if (loadedBytes > maxBytes) throw tooLarge(url, loadedBytes, maxBytes)
      // Behind a server of another origin a compressed body cannot be told from its length.
      onProgress?.({ url, loadedBytes, totalBytes: totalBytes !== undefined && loadedBytes <= totalBytes ? totalBytes : undefined })
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
  const bytes = new Uint8Array(loadedBytes)
  let offsetBytes = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offsetBytes)
    offsetBytes += chunk.byteLength
  }
  return bytes
}

function reason(error: TypeError): string {
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message
}
