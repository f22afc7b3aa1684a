// Where no worker is reached by a WebSocket, none of this is loaded.
export { WebSocket } from "ws"
