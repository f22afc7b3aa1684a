import { constants } from "node:fs"
import { open, readFile, realpath } from "node:fs/promises"
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { cancelled, download, tooLarge, type ReadLimits } from "../download.js"
import { SentinelError, toSentinelError } from "../errors.js"
import { currentSettings, wasmBase, type WebGpuModule } from "../settings.js"
import type { Gpu, Platform } from "./platform.js"

const HOW_TO_GET_WEBGPU = "WebGPU in Node comes with an optional package: npm install webgpu"

/** Node.js, and Deno, which has Node's modules and a `navigator.gpu` of its own. */
const platform: Platform = {
  get debug() {
    try {
      return process.env["SENTINEL_DEBUG"]
    } catch {
      // Deno without the permission to read the environment.
      return undefined
    }
  },

  async wasm(name) {
    const base = wasmBase()
    const folder = base === undefined ? new URL("./", import.meta.url) : folderUrl(base)
    const path = fileURLToPath(new URL(`${name}.wasm`, folder))
    try {
      return await readFile(path)
    } catch (cause) {
      throw new SentinelError("IO", `${path}: cannot be read; init({ wasmBase }) says where the .wasm files are`, { cause })
    }
  },

  async gpu() {
    const own = navigatorObject()?.gpu
    if (own !== undefined) return own
    const { webgpu, adapter } = currentSettings()
    let instance = instances.find(each => each.webgpu === webgpu && each.adapter === adapter)
    if (instance === undefined) instances.push((instance = { webgpu, adapter, gpu: createInstance() }))
    return instance.gpu
  },

  async exposeGpu() {
    // wgpu takes its web path only where there is a `Window` or a worker's scope, and reads `navigator.gpu`.
    define("Window", function Window() {})
    if (navigatorObject()?.gpu !== undefined) return
    const gpu = await platform.gpu()
    if ("missing" in gpu) throw new SentinelError("DEVICE_LOST", gpu.missing)
    const { globals } = await webGpuModule()
    for (const [name, value] of Object.entries(Object.getOwnPropertyDescriptors(globals))) {
      if (!(name in globalThis)) Object.defineProperty(globalThis, name, { ...value, configurable: true })
    }
    const navigator = navigatorObject()
    if (navigator === undefined) define("navigator", { gpu })
    else Object.defineProperty(navigator, "gpu", { value: gpu, configurable: true })
  },

  async read(source, limits) {
    if (/^(https?|data|blob):/i.test(source)) return download(source, limits)
    return readFileWhole(localPath(source), source, limits)
  },

  async readBeside(model, location, limits) {
    if (/^(https?|data|blob):/i.test(model)) return undefined
    const folder = await realpath(dirname(resolve(localPath(model))))
    if (isAbsolute(location) || !isInside(folder, join(folder, location))) throw outside(location)
    let path: string
    try {
      path = await realpath(join(folder, location))
    } catch (thrown) {
      throw fileError(location, thrown, "external data beside the model")
    }
    // The name stays inside, so a symbolic link leads out.
    if (!isInside(folder, path)) throw outside(location)
    return readFileWhole(path, location, limits)
  },
}

// One for each choice of module and adapter. Dawn's instance has to outlive every adapter and device that came from it.
const instances: { webgpu: WebGpuModule | string | undefined; adapter: string | undefined; gpu: Promise<Gpu | { missing: string }> }[] = []

async function createInstance(): Promise<Gpu | { missing: string }> {
  const { adapter } = currentSettings()
  try {
    const webgpu = await webGpuModule()
    return webgpu.create(adapter === undefined ? [] : [`adapter=${adapter}`]) as Gpu
  } catch (thrown) {
    const code = (thrown as { code?: unknown } | null)?.code
    const isAbsent = code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND"
    return { missing: isAbsent ? HOW_TO_GET_WEBGPU : `npm webgpu cannot start: ${toSentinelError(thrown).message}` }
  }
}

async function webGpuModule(): Promise<WebGpuModule> {
  // A name in a variable keeps bundlers from wanting the optional package.
  const { webgpu = "webgpu" } = currentSettings()
  if (typeof webgpu !== "string") return webgpu
  return (await import(isAbsolute(webgpu) ? pathToFileURL(webgpu).href : webgpu)) as WebGpuModule
}

function navigatorObject(): { gpu?: Gpu } | undefined {
  return (globalThis as { navigator?: { gpu?: Gpu } }).navigator
}

function define(name: string, value: unknown): void {
  if (name in globalThis) return
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
}

function folderUrl(base: string): URL {
  return /^file:/i.test(base) ? new URL(base) : pathToFileURL(`${resolve(base)}${sep}`)
}

function localPath(source: string): string {
  return /^file:/i.test(source) ? fileURLToPath(source) : source
}

function isInside(folder: string, path: string): boolean {
  const inside = relative(folder, path)
  return inside !== ".." && !inside.startsWith(`..${sep}`) && !isAbsolute(inside)
}

function outside(location: string): SentinelError {
  return new SentinelError("INVALID_INPUT", `external data "${location}": outside the model's folder`)
}

async function readFileWhole(path: string, place: string, { maxBytes, signal, onProgress }: ReadLimits): Promise<Uint8Array> {
  let file
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    const stats = await file.stat()
    if (!stats.isFile()) throw new SentinelError("IO", `${place}: not a regular file`)
    if (stats.size > maxBytes) throw tooLarge(place, stats.size, maxBytes)
    const bytes = await file.readFile({ signal })
    onProgress?.({ url: place, loadedBytes: bytes.byteLength, totalBytes: bytes.byteLength })
    return bytes
  } catch (thrown) {
    if (signal?.aborted === true) throw cancelled(place, thrown)
    throw fileError(place, thrown)
  } finally {
    await file?.close()
  }
}

function fileError(place: string, thrown: unknown, what = "file"): SentinelError {
  if (thrown instanceof SentinelError) return thrown
  const code = (thrown as { code?: unknown } | null)?.code
  if (code === "ENOENT") return new SentinelError("IO", `${place}: no such ${what}`, { cause: thrown })
  return new SentinelError("IO", `${place}: cannot be read (${String(code ?? thrown)})`, { cause: thrown })
}

export default platform
