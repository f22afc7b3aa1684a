import { LinkError, shownUrl, type Link, type OpenLink } from "../link.js"
import { openHttpLink } from "./http.js"
import { openNatsLink } from "./nats.js"
import { openWebSocketLink } from "./websocket.js"

/** Opens the way to a worker that its URL asks for. */
export const openLink: OpenLink = async (target, model, signal): Promise<Link> => {
  const protocol = URL.canParse(target.url) ? new URL(target.url).protocol : ""
  switch (protocol) {
    case "ws:":
    case "wss:":
      return openWebSocketLink(target, model, signal)
    case "http:":
    case "https:":
      return openHttpLink(target, model, signal)
    case "nats:":
    case "nats+ws:":
    case "nats+wss:":
      return openNatsLink(target, model, signal)
    default:
      throw new LinkError("setting", "INVALID_INPUT", `worker "${shownUrl(target.url)}": expected a URL with ws:, wss:, http:, https:, nats:, nats+ws: or nats+wss:`)
  }
}
