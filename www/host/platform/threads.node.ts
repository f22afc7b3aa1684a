import { availableParallelism } from "node:os"
import { isAbsolute } from "node:path"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import { currentSettings } from "../settings.js"
import type { Threads } from "./threads.js"

const threads: Threads = {
  advice: "worker.node.mjs has to be beside this module, or where init({ workerUrl }) says",

  start({ message, ended }) {
    // Flags such as --input-type are about the program, and are refused here.
    const worker = new Worker(workerUrl(), { name: "sentinel", execArgv: [] })
    worker.on("message", message)
    worker.on("messageerror", ({ message }) => { ended(message) })
    worker.on("error", thrown => { ended(thrown instanceof Error ? thrown.message : String(thrown)) })
    worker.on("exit", code => { ended(`it ended by itself with exit code ${code}`) })
    return {
      post: (message, transfer) => { worker.postMessage(message, transfer) },
      hold(isHeld) {
        if (isHeld) worker.ref()
        else worker.unref()
      },
      watch() {},
      async terminate() {
        await worker.terminate()
      },
    }
  },

  parallelism: availableParallelism,
}

function workerUrl(): URL {
  const { workerUrl = "./worker.node.mjs" } = currentSettings()
  const isPath = typeof workerUrl === "string" && isAbsolute(workerUrl)
  return isPath ? pathToFileURL(workerUrl) : new URL(workerUrl, import.meta.url)
}

export default threads
