import { SentinelError } from "../../errors.js"
import { MAX_ANSWER_BYTES } from "./connections.js"

/** As much of `fetch` as is needed. */
export type Fetch = (url: string, options: { method?: string; headers?: Record<string, string>; body?: Uint8Array<ArrayBuffer>; signal?: AbortSignal }) => Promise<Response>

/** What a server answered, whole. */
export interface Answer {
  status: number
  bytes: Uint8Array
  /** What it says about an error. */
  text: string
  retryAfterMs: number | undefined
  header(name: string): string | null
}

const MAX_ERROR_BYTES = 2 ** 16
const MAX_RETRY_AFTER_MS = 600_000

/** Asks a server; throws what `fetch` throws, or `TOO_LARGE`. */
export async function ask(fetch: Fetch, url: string, options: Parameters<Fetch>[1]): Promise<Answer> {
  // A redirection could carry the token to another host.
  const response = await fetch(url, { ...options, redirect: "error", cache: "no-store" } as Parameters<Fetch>[1])
  const isError = response.status >= 400
  const bytes = await (isError ? readStart(response, MAX_ERROR_BYTES) : readWhole(url, response, MAX_ANSWER_BYTES))
  return {
    status: response.status,
    bytes,
    text: isError ? new TextDecoder().decode(bytes) : "",
    retryAfterMs: retryAfterMs(response.headers.get("retry-after")),
    header: name => response.headers.get(name),
  }
}

async function readWhole(url: string, response: Response, maxBytes: number): Promise<Uint8Array> {
  if (response.body === null) return new Uint8Array(0)
  const { headers } = response
  const declared = Number(headers.get("content-length"))
  if (declared > maxBytes) {
    await response.body.cancel().catch(() => undefined)
    throw new SentinelError("TOO_LARGE", `${url}: an answer of ${declared} bytes, beyond ${maxBytes}`)
  }
  // A body is no longer than is declared, unless it is compressed.
  if (declared > 0 && headers.get("content-encoding") === null) return new Uint8Array(await response.arrayBuffer())
  const chunks = await readChunks(response.body, maxBytes)
  if (chunks.sizeBytes > maxBytes) throw new SentinelError("TOO_LARGE", `${url}: an answer beyond ${maxBytes} bytes`)
  return joined(chunks)
}

/** What is said of an error is no error of its own, however long it is. */
async function readStart({ body }: Response, maxBytes: number): Promise<Uint8Array> {
  if (body === null) return new Uint8Array(0)
  return joined(await readChunks(body, maxBytes)).subarray(0, maxBytes)
}

interface Chunks {
  chunks: Uint8Array[]
  sizeBytes: number
}

/** Reads to the end, or until there is more than this. */
async function readChunks(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Chunks> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      chunks.push(next.value)
      sizeBytes += next.value.byteLength
      if (sizeBytes > maxBytes) break
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
  return { chunks, sizeBytes }
}

function joined({ chunks, sizeBytes }: Chunks): Uint8Array {
  const [only] = chunks
  if (chunks.length === 1 && only !== undefined) return only
  const bytes = new Uint8Array(sizeBytes)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.byteLength
  }
  return bytes
}

/** Seconds, or a date. */
function retryAfterMs(value: string | null): number | undefined {
  if (value === null) return undefined
  const delayMs = /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(delayMs) ? Math.min(Math.max(delayMs, 0), MAX_RETRY_AFTER_MS) : undefined
}
