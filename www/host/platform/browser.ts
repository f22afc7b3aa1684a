import { download } from "../download.js"
import { SentinelError } from "../errors.js"
import { wasmBase } from "../settings.js"
import type { ModuleName } from "../wasm.js"
import type { Gpu, Platform } from "./platform.js"

/** Pages and web workers; nothing here needs a document. */
const platform: Platform = {
  debug: undefined,

  async wasm(name) {
    const base = wasmBase()
    const url = base === undefined ? shippedUrl(name) : new URL(`${name}.wasm`, new URL(base, globalThis.location?.href))
    let response: Response
    try {
      response = await fetch(url)
    } catch (cause) {
      throw new SentinelError("IO", `${url.href}: cannot be fetched; init({ wasmBase }) says where the .wasm files are`, { cause })
    }
    if (!response.ok) {
      throw new SentinelError("IO", `${url.href}: the server answered ${response.status}; init({ wasmBase }) says where the .wasm files are`)
    }
    return response
  },

  async gpu() {
    const gpu = (globalThis.navigator as { gpu?: Gpu } | undefined)?.gpu
    return gpu ?? { missing: "this browser has no WebGPU here (it needs a recent browser and a secure context)" }
  },

  async exposeGpu() {},

  read: download,

  async readBeside() {
    return undefined
  },
}

// Literal names: bundlers find the files by this pattern and copy them.
function shippedUrl(name: ModuleName): URL {
  switch (name) {
    case "engine":
      return new URL("./engine.wasm", import.meta.url)
    case "scheduler":
      return new URL("./scheduler.wasm", import.meta.url)
    case "wonnx":
      return new URL("./wonnx.wasm", import.meta.url)
    case "tools":
      return new URL("./tools.wasm", import.meta.url)
  }
}

export default platform
