import { env } from "onnxruntime-common"
import type { ProgressListener } from "./download.js"
import { toSentinelError } from "./errors.js"
import { applyDebug } from "./trace.js"
import { loadEngine } from "./wasm.js"

/** The part of npm `webgpu` that is used. */
export interface WebGpuModule {
  create(options: string[]): unknown
  globals: object
}

/** Options for the whole package; each is optional and stays as it was when it is not named. */
export interface InitOptions {
  /** Where the `.wasm` files are, when not beside this module. A folder's URL, or in Node a folder. */
  wasmBase?: string | URL
  /** Where `worker.mjs` is, or in Node `worker.node.mjs`, when not beside this module: a file's URL, or in Node its path. */
  workerUrl?: string | URL
  /** Debug switches, as in `SENTINEL_DEBUG`: any of `graph,passes,plan,wgsl,time`. */
  debug?: string
  /** Node only: part of the name of the GPU adapter to use, where there are several. */
  adapter?: string
  /**
   * Node only: the npm package `webgpu`, for when it is not installed where this package can find it. Workers cannot be given
   * a module: for them, its name, its URL or its path.
   */
  webgpu?: WebGpuModule | string
  /** The largest model, or set of external data, that is read: 2 GiB unless said otherwise. */
  maxModelBytes?: number
  /** Called while models are downloaded, for sessions without an `onProgress` of their own. */
  onProgress?: ProgressListener
}

const settings: InitOptions = {}

/** The options in force. */
export function currentSettings(): Readonly<InitOptions> {
  return settings
}

/** Puts the options in force that are named. */
export function setSettings(options: InitOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) Object.assign(settings, { [name]: value })
  }
}

/** Where the `.wasm` files are; onnxruntime's own option for it is understood too. */
export function wasmBase(): string | undefined {
  const prefix = settings.wasmBase ?? env.wasm.wasmPaths
  if (typeof prefix !== "string" && !(prefix instanceof URL)) return undefined
  return String(prefix).replace(/\/?$/, "/")
}

/**
 * Sets options for the whole package and loads the engine, so that the first session starts quickly.
 * Calling it is optional; call it before the first session when `wasmBase` is needed.
 */
export async function init(options: InitOptions = {}): Promise<void> {
  const { debug } = settings
  setSettings(options)
  const engine = await loadEngine()
  try {
    applyDebug(engine)
  } catch (thrown) {
    settings.debug = debug
    throw toSentinelError(thrown, "init")
  }
}
