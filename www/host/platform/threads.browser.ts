import { SentinelError } from "../errors.js"
import { currentSettings } from "../settings.js"
import type { Threads } from "./threads.js"

const threads: Threads = {
  advice: "worker.mjs has to be beside this module, or where init({ workerUrl }) says, and the page's Content-Security-Policy "
    + "has to allow it (worker-src 'self', and blob: for a module of another origin)",

  start({ message, ended }) {
    const worker = startWorker()
    const watching = new AbortController()
    worker.onmessage = event => { message(event.data) }
    worker.onmessageerror = () => { ended("a message of it cannot be read") }
    worker.onerror = event => {
      event.preventDefault()
      ended(event.message ?? "")
    }
    return {
      post: (message, transfer) => { worker.postMessage(message, transfer) },
      hold() {},
      watch(lock) {
        const free = () => { ended("it ended by itself, or the browser stopped it") }
        navigator.locks.request(lock, { signal: watching.signal }, free).catch(() => undefined)
      },
      async terminate() {
        watching.abort()
        worker.terminate()
      },
    }
  },

  parallelism: () => globalThis.navigator?.hardwareConcurrency ?? 1,
}

function startWorker(): Worker {
  if (typeof Worker === "undefined") throw new SentinelError("WORKER_UNAVAILABLE", "workers: there are none here; workers: 0 needs none")
  const { workerUrl } = currentSettings()
  if (workerUrl !== undefined) return workerAt(new URL(workerUrl, globalThis.location?.href))
  try {
    // Literally so: bundlers find the file by this pattern.
    return new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" })
  } catch (thrown) {
    if (!isRefused(thrown)) throw thrown
    // Not so literally: no bundler is meant, for the module is of another origin.
    const name = "./worker.mjs"
    return workerAt(new URL(name, import.meta.url))
  }
}

/** A page may start workers of its own origin only; one of them may import a module of any other. */
function workerAt(url: URL): Worker {
  try {
    return new Worker(url, { type: "module" })
  } catch (thrown) {
    if (!isRefused(thrown)) throw thrown
    return new Worker(bridgeTo(url.href), { type: "module" })
  }
}

// Kept, for a browser may look for it after the worker was made; there is one for each address.
const bridges = new Map<string, string>()

function bridgeTo(href: string): string {
  const known = bridges.get(href)
  if (known !== undefined) return known
  const bridge = URL.createObjectURL(new Blob([`import ${JSON.stringify(href)}`], { type: "text/javascript" }))
  bridges.set(href, bridge)
  return bridge
}

function isRefused(thrown: unknown): boolean {
  return (thrown as { name?: unknown } | null)?.name === "SecurityError"
}

export default threads
