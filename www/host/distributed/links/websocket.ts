import connections from "#connections"
import { realWorld } from "../../batch/world.js"
import { cancelled } from "../../download.js"
import { currentSettings } from "../../settings.js"
import { LinkError, type Link, type WantedModel, type WorkerTarget } from "../link.js"
import { Channel } from "./channel.js"
import { type Ending, type Socket } from "./connections.js"
import { explainEnding, explainRefusal } from "./explain.js"

const PROTOCOL_NAME = "sentinel.v1"
const PATH = "/v2/ws"
/** From the start until the worker has greeted. */
const GREETING_MS = 10_000
/** How long a worker may take to close in order. */
const CLOSING_MS = 1000

/** Opens a WebSocket to a worker, and waits until it has the model. */
export async function openWebSocketLink(target: WorkerTarget, wanted: WantedModel, signal: AbortSignal): Promise<Link> {
  const url = new URL(target.url)
  const place = `${url.protocol}//${url.host}${url.pathname === "/" ? "" : url.pathname}`
  if (!url.pathname.endsWith(PATH)) url.pathname = url.pathname.replace(/\/*$/, PATH)
  const { page } = connections
  let socket: Socket | undefined
  let wasOpen = false
  let isOver = false
  let stopClosing = () => {}
  const channel = new Channel({
    place,
    wanted,
    world: realWorld,
    onProgress: currentSettings().onProgress,
    socket: {
      send: message => { socket?.send(message) },
      get bufferedBytes() {
        return socket?.bufferedBytes ?? 0
      },
      close(code, reason) {
        if (isOver || socket === undefined) return
        socket.close(code, reason)
        // A worker that is stopped answers nothing, and its socket would stay.
        stopClosing = realWorld.after(CLOSING_MS, () => socket?.destroy())
      },
    },
  })
  const closed = (ending: Ending) => {
    isOver = true
    stopClosing()
    channel.closed(explainEnding(ending, { url, place, page, wasOpen, hasToken: target.token !== undefined }))
  }
  const giveUp = () => channel.lose(new LinkError("worker", "CANCELLED", cancelled(place).message))
  const stopWaiting = realWorld.after(GREETING_MS, () => {
    if (!channel.hasGreeted) channel.lose(new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it says nothing for ${GREETING_MS} ms`))
  })
  signal.addEventListener("abort", giveUp)
  try {
    if (signal.aborted) giveUp()
    else {
      socket = await connections.openSocket({ url: url.href, protocol: PROTOCOL_NAME, token: target.token }, {
        opened() { wasOpen = true },
        message(bytes) {
          if (bytes === undefined) channel.lose(new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it breaks the protocol: a message of text`))
          else channel.receive(bytes)
        },
        closed,
      }).catch(thrown => { throw explainRefusal(thrown, { url, place, page }) })
      // Given up while the socket was on its way.
      if (channel.isOver) socket.destroy()
    }
    await channel.opened
    return channel
  } finally {
    stopWaiting()
    signal.removeEventListener("abort", giveUp)
  }
}
