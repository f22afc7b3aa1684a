// Used by the build: what wasm-bindgen writes is an ES module over one WebAssembly instance for good. Each call of the
// function made from it has an instance of its own, so that one whose memory was spoilt can be replaced.
import { readFileSync } from "node:fs"

/**
 * The source of a module whose default export takes `{ queueMicrotask, FinalizationRegistry }`, through which the
 * instance calls itself back, and gives what `source` exports, with its default as `init`.
 */
export function glueFactory(source) {
  const names = Array.from(source.matchAll(/^export (?:async )?(?:function|class|const) (\w+)/gm), match => match[1])
  const init = /^export \{.*\b(\w+) as default\b.*\};?$/m
  const [whole, initName] = init.exec(source) ?? []
  if (whole === undefined) throw new Error("the glue has no default export")
  const body = source.replace(whole, "").replaceAll(/^export (?=(?:async )?(?:function|class|const) )/gm, "")
  const left = /^(?:import|export)\b.*$/m.exec(body)
  if (left !== null) throw new Error(`not understood in the glue: ${left[0]}`)
  return `export default ({ queueMicrotask, FinalizationRegistry }) => {\n${body}\nreturn { init: ${initName}, ${names.join(", ")} }\n}\n`
}

/** Does so to every glue module of a bundle. */
export const glueFactories = {
  name: "glue-factories",
  setup(build) {
    build.onLoad({ filter: /[\\/]generated[\\/]\w+\.js$/ }, ({ path }) => ({ contents: glueFactory(readFileSync(path, "utf8")) }))
  },
}
