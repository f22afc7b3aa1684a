// Where NATS is not used, none of this is loaded.
export { connect, createInbox, wsconnect } from "@nats-io/transport-node"
