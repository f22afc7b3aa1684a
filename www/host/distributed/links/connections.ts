import type { NatsLibrary } from "./nats-client.js"

/** A WebSocket to open. */
export interface SocketRequest {
  url: string
  protocol: string
  token: string | undefined
}

/** How a WebSocket ended, as far as the platform tells. */
export interface Ending {
  /** 1006 where it was not closed in order. */
  code: number
  reason: string
  /** What the server answered instead of opening it. */
  status?: number | undefined
  /** What the system says. */
  cause?: string | undefined
  /** The page's Content-Security-Policy did not allow it. */
  isBlocked?: boolean | undefined
}

export interface SocketEvents {
  opened(): void
  /** Undefined for a message of text. */
  message(bytes: Uint8Array | undefined): void
  /** Comes once, also where it was never open. */
  closed(ending: Ending): void
}

export interface Socket {
  send(message: Uint8Array<ArrayBuffer>): void
  readonly bufferedBytes: number
  close(code: number, reason: string): void
  /** Ends it at once, without the other side. */
  destroy(): void
}

/** Where this code runs, where that is a page. */
export interface PageFacts {
  origin: string
  isSecure: boolean
}

/** What differs between a page and Node in reaching workers. */
export interface Connections {
  /** Undefined where the platform has none of its own. */
  readonly crc32: ((bytes: Uint8Array) => number) | undefined
  readonly page: PageFacts | undefined
  /** Throws where the URL may not be opened from here. */
  openSocket(request: SocketRequest, events: SocketEvents): Promise<Socket>
  /** The library of NATS, for a URL of this scheme. Throws where there is no way to it from here. */
  nats(url: URL): Promise<NatsLibrary>
}

/** No answer is larger, whatever a worker says. */
export const MAX_ANSWER_BYTES = 2 ** 30
