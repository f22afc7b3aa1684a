// Of a page that reaches no NATS, none of this is loaded.
export { createInbox, wsconnect } from "@nats-io/nats-core"
