import { parentPort } from "node:worker_threads"
import { SentinelError } from "../errors.js"
import { serve } from "../batch/worker.js"

const port = parentPort
if (port === null) throw new SentinelError("INVALID_INPUT", "worker.node.mjs: it is started by a batch engine, in a worker thread")

serve({
  post: (message, transfer) => { port.postMessage(message, transfer) },
  listen(receive) {
    port.on("message", receive)
  },
  // Node tells by itself when a thread ends.
  holdLock: async () => undefined,
})
