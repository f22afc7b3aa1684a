// The dispatcher of the package by itself: it has no sockets, no timers and no clock.
import { createRequire } from "node:module"
import { join } from "node:path"
import { inRepository } from "../node/support.mjs"

const www = inRepository("www/")
const esbuild = createRequire(join(www, "package.json"))("esbuild")

const contents = ["distributed/dispatcher", "distributed/heap", "distributed/pace", "errors"].map(name => `export * from "./host/${name}.ts"`).join("\n")
const { outputFiles } = await esbuild.build({
  stdin: { contents, resolveDir: www, loader: "ts" }, bundle: true, write: false, platform: "node", format: "esm", logLevel: "warning",
})

export const { Dispatcher, Heap, Pace, Recent, SentinelError } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString("base64")}`)

/** Numbers from 0 to below 1, the same for the same seed: Marsaglia's xorshift. */
export function randomFrom(seed) {
  let state = (seed >>> 0) || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

export const POLICY = { balancing: "least-loaded", maxQueueSize: 1000, retries: 2, hedgeMs: Infinity, unavailableMs: 30_000 }
