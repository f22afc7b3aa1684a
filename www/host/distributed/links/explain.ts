import { ERROR_CODES, type ErrorCode } from "../../errors.js"
import { blameOf, LinkError, type Blame } from "../link.js"
import type { Ending, PageFacts } from "./connections.js"

/** What is known where a connection ended. */
export interface Circumstances {
  url: URL
  place: string
  hasToken: boolean
  /** Whether it was open before. */
  wasOpen: boolean
  page: PageFacts | undefined
}

/** Why a WebSocket ended, and what to do about it. */
export function explainEnding(ending: Ending, circumstances: Circumstances): LinkError {
  const { place, hasToken, page, wasOpen } = circumstances
  const error = (blame: Blame, code: ErrorCode, why: string) => new LinkError(blame, code, `${place}: ${why}`)
  const unavailable = (why: string) => error("worker", "WORKER_UNAVAILABLE", why)
  switch (ending.status ?? ending.code) {
    case 401:
    case 4401:
      return error("setting", "UNAUTHORIZED", hasToken
        ? "it refuses the token: expected the one in its --token-file"
        : `it wants a token: name it as { url: "${place}", token }`)
    case 403:
    case 4403:
      return error("setting", "UNAUTHORIZED", page === undefined
        ? "it refuses to be reached from here"
        : `it does not allow pages of ${page.origin}: start it with --allow-origin ${page.origin}`)
    case 404:
      return error("setting", "NOT_FOUND", "there is a server, but no sentinel-worker at this path")
    case 503:
    case 1013:
      return unavailable("it has as many connections as it takes (--max-connections), or is about to stop")
    case 1000:
      return unavailable("it closed the connection, which was without a request or a ping for long (--idle-timeout-s)")
    case 1001:
      return unavailable("it went away")
    case 1002:
      return unavailable("it says that a message of ours was none of the protocol")
    case 1008:
      return unavailable("it says that its answers were not taken fast enough")
    case 1009:
      return unavailable("it says that a message was too large (--max-message-mib)")
  }
  if (ending.status !== undefined) return unavailable(`it answered ${ending.status} instead of opening a WebSocket`)
  if (wasOpen) return unavailable(`the connection broke${because(ending)}`)
  return explainUnopened(ending, circumstances)
}

// No input is late because a gateway is impatient: where its own time is over, a worker of ours says so by the code.
const STATUS_CODES: Readonly<Record<number, ErrorCode>> = {
  400: "INVALID_INPUT",
  401: "UNAUTHORIZED",
  403: "UNAUTHORIZED",
  404: "NOT_FOUND",
  408: "WORKER_UNAVAILABLE",
  413: "TOO_LARGE",
  422: "INVALID_INPUT",
  429: "QUEUE_FULL",
  503: "WORKER_UNAVAILABLE",
  504: "WORKER_UNAVAILABLE",
  507: "OUT_OF_MEMORY",
}

/** Why a server of the Open Inference Protocol answered with this status. */
export function explainStatus(place: string, status: number, text: string, retryAfterMs: number | undefined): LinkError {
  const { code: named, error } = readError(text)
  const code = (ERROR_CODES as readonly unknown[]).includes(named) ? (named as ErrorCode) : codeOf(status, error, retryAfterMs)
  const why = error === "" ? `it answered ${status}` : error
  return new LinkError(status === 408 ? "worker" : blameOf(code), code, `${place}: ${why}`, { retryAfterMs })
}

/** Servers that are not ours tell what is wrong by their text, under a status that says less. */
function codeOf(status: number, error: string, retryAfterMs: number | undefined): ErrorCode {
  if (status === 400 && /unknown model|model.*not found/i.test(error)) return "NOT_FOUND"
  if (status === 503 && (retryAfterMs !== undefined || /queue/i.test(error))) return "QUEUE_FULL"
  return STATUS_CODES[status] ?? (status < 500 ? "INVALID_INPUT" : "INTERNAL")
}

function readError(text: string): { code?: unknown; error: string } {
  try {
    const { code, error, detail } = JSON.parse(text) as Record<string, unknown>
    const why = error ?? detail
    return { code, error: (typeof why === "string" ? why : JSON.stringify(why) ?? "").slice(0, 1000) }
  } catch {
    return { error: /<html/i.test(text) ? "" : text.trim().slice(0, 1000) }
  }
}

/** Why a server could not be asked. */
export function explainFetch(thrown: unknown, { url, place, page }: Pick<Circumstances, "url" | "place" | "page">): LinkError {
  if (page === undefined) return explainUnopened({ code: 0, reason: "", cause: causesOf(thrown) }, { url, place, page, hasToken: false, wasOpen: false })
  if (isMixed(url, page)) return new LinkError("setting", "WORKER_UNAVAILABLE", mixedContent(place))
  const isSame = url.origin === page.origin
  const why = isSame ? "" : `; it does not allow pages of ${page.origin} (CORS; a sentinel-worker does with --allow-origin ${page.origin}); a Content-Security-Policy does not name ${url.origin} in connect-src`
  return new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it cannot be reached, and a page is not told why. It may be that the server is not running${why}`, { cause: thrown })
}

/** Why NATS could not be reached. */
export function explainNats(thrown: unknown, place: string, hasToken: boolean): LinkError {
  const why = causesOf(thrown) || "it is not told why"
  if (/authori[sz]ation|authentication/i.test(`${(thrown as Error | undefined)?.name} ${why}`)) {
    return new LinkError("setting", "UNAUTHORIZED", hasToken ? `${place}: it refuses the token (${why})` : `${place}: it wants a token: name it as { url: "${place}", token } (${why})`)
  }
  return new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: NATS cannot be reached: is nats-server running there? (${why.slice(0, 200)})`, { cause: thrown })
}

/** Node puts the reason of the system into the cause of the error, and for several addresses into several. */
function causesOf(thrown: unknown): string {
  const { message, cause, errors, code } = (thrown ?? {}) as { message?: unknown; cause?: unknown; errors?: unknown[]; code?: unknown }
  if (cause !== undefined) return causesOf(cause)
  return [message || code, ...(errors ?? []).map(causesOf)].filter(text => text !== undefined && text !== "").join(", ")
}

/** A page is not told why a WebSocket was not opened: says what it can be, as far as that is known. */
function explainUnopened(ending: Ending, { url, place, page }: Circumstances): LinkError {
  if (page === undefined) {
    const isName = /ENOTFOUND|EAI_AGAIN/.test(ending.cause ?? "")
    const isCertificate = /certificate|self[- ]signed|altname/i.test(ending.cause ?? "")
    const advice = isCertificate ? "its certificate is not trusted here (NODE_EXTRA_CA_CERTS names others)" : isName ? "there is no such host" : "is a worker running there?"
    return new LinkError(isCertificate ? "setting" : "worker", "WORKER_UNAVAILABLE", `${place}: it cannot be reached, ${advice}${because(ending)}`)
  }
  if (ending.isBlocked === true) return new LinkError("setting", "WORKER_UNAVAILABLE", `${place}: the page's Content-Security-Policy does not allow it: add ${url.origin} to connect-src`)
  if (isMixed(url, page)) return new LinkError("setting", "WORKER_UNAVAILABLE", mixedContent(place))
  const causes = ["the worker is not running"]
  if (url.protocol === "wss:") causes.push(`its certificate is not trusted (open https://${url.host}/v2 once to see)`)
  if (isLoopback(url.hostname) && !isLoopback(new URL(page.origin).hostname)) causes.push("the browser keeps pages from this machine's own network until that is permitted")
  causes.push(`a Content-Security-Policy does not name ${url.origin} in connect-src`)
  return new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it cannot be reached, and a page is not told why. It may be that ${causes.join("; ")}`)
}

/** Why a WebSocket could not even be tried. */
export function explainRefusal(thrown: unknown, { url, place, page }: Pick<Circumstances, "url" | "place" | "page">): LinkError {
  const why = page !== undefined && isMixed(url, page) ? mixedContent(place) : `${place}: it cannot be opened: ${thrown instanceof Error ? thrown.message : String(thrown)}`
  return new LinkError("setting", "WORKER_UNAVAILABLE", why, { cause: thrown })
}

function isMixed(url: URL, page: PageFacts): boolean {
  return page.isSecure && /^(ws|http):$/.test(url.protocol) && !isLoopback(url.hostname)
}

function mixedContent(place: string): string {
  return `${place}: a page over https reaches workers over TLS only (mixed content): start the worker with --tls-cert and --tls-key, and name it with wss://`
}

export function isLoopback(hostname: string): boolean {
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}

function because({ cause, reason }: Ending): string {
  const known = cause ?? reason
  return known === "" ? "" : ` (${known.slice(0, 200)})`
}
