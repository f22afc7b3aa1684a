// The ways to workers as they are built, with their inner parts for tests.
import { mkdtempSync, rmSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { inRepository } from "../support.mjs"

const www = inRepository("www")
export const fromWww = createRequire(join(www, "package.json"))
const esbuild = fromWww("esbuild")

const CONTENTS = `export { Tensor } from "onnxruntime-common"
  export { setSettings } from "./settings.js"
  export { openLink } from "./distributed/links/index.js"
  export { Channel } from "./distributed/links/channel.js"
  export { openHttpLinkIn } from "./distributed/links/http.js"
  export { openNatsLinkOver } from "./distributed/links/nats.js"
  export { inferSubject } from "./distributed/links/nats-requests.js"
  export { LinkError } from "./distributed/link.js"
  export { crc32, crc32InScript } from "./distributed/links/checksum.js"
  export { readFrame, writeFrame } from "./distributed/links/frame.js"
  export { readTensors, writeTensors, writeTensorsAsJson } from "./distributed/links/oip.js"
  export { explainEnding, explainFetch, explainRefusal } from "./distributed/links/explain.js"`

/** The host for Node, in a folder of its own that goes with the process. */
export async function linksHost() {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-links-"))
  process.once("exit", () => rmSync(folder, { recursive: true }))
  await esbuild.build({
    stdin: { contents: CONTENTS, resolveDir: join(www, "host") },
    outfile: join(folder, "host.mjs"),
    bundle: true,
    format: "esm",
    platform: "node",
    external: ["bufferutil", "utf-8-validate"],
    logLevel: "warning",
    banner: { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` },
  })
  return import(pathToFileURL(join(folder, "host.mjs")).href)
}

/** The same for a page, as text. */
export async function linksForPages() {
  const { outputFiles } = await esbuild.build({
    stdin: { contents: CONTENTS, resolveDir: join(www, "host") },
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    logLevel: "warning",
  })
  return outputFiles[0].text
}
