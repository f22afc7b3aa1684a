// Preloaded into the `sentinel` command: npm `webgpu` is in www/, where the command in pkg/ would not find it.
import { createRequire, register } from "node:module"
import { pathToFileURL } from "node:url"

const url = pathToFileURL(createRequire(new URL("../../www/package.json", import.meta.url)).resolve("webgpu")).href
const hook = `export const resolve = (name, context, next) => name === "webgpu" ? { url: ${JSON.stringify(url)}, shortCircuit: true } : next(name, context)`
register(`data:text/javascript,${encodeURIComponent(hook)}`)
