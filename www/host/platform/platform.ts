import type { ReadLimits } from "../download.js"
import type { ModuleName } from "../wasm.js"

/** The part of WebGPU's `GPU` that is asked here. */
export interface Gpu {
  requestAdapter(options?: AdapterOptions): Promise<GpuAdapter | null>
}

/** Which adapter to take, where there are several. */
export interface AdapterOptions {
  powerPreference?: "low-power" | "high-performance"
  forceFallbackAdapter?: boolean
}

/** The part of WebGPU's `GPUAdapterInfo` that is asked here. */
export interface AdapterInfo {
  readonly vendor: string
  readonly architecture: string
  readonly device: string
  readonly description: string
  readonly isFallbackAdapter?: boolean
}

/** The part of WebGPU's `GPUAdapter` that is asked here. */
export interface GpuAdapter {
  readonly isFallbackAdapter?: boolean
  readonly info?: AdapterInfo
  readonly features: ReadonlySet<string>
  readonly limits: object
  requestDevice(descriptor: { requiredFeatures: string[]; requiredLimits: Record<string, number> }): Promise<GpuDevice>
}

/** The part of WebGPU's `GPUDevice` that is asked here; the engine asks for more. */
export interface GpuDevice {
  readonly adapterInfo?: AdapterInfo
  readonly features: ReadonlySet<string>
  readonly limits: object
  readonly lost: Promise<unknown>
  destroy(): void
}

/** What differs between a page and Node. */
export interface Platform {
  /** Debug switches from the environment. */
  readonly debug: string | undefined
  /** The bytes of `<name>.wasm`. */
  wasm(name: ModuleName): Promise<BufferSource | Response>
  /** WebGPU's entry point, or why there is none and how to get it. */
  gpu(): Promise<Gpu | { missing: string }>
  /** Makes the global names exist that the wonnx module looks for. */
  exposeGpu(): Promise<void>
  /** Reads a model or another file by path or URL. */
  read(source: string, limits: ReadLimits): Promise<Uint8Array>
  /**
   * Reads a file that the model at `model` names: from the model's own folder only.
   * Undefined where a path says nothing about neighbours, as in a page.
   */
  readBeside(model: string, location: string, limits: ReadLimits): Promise<Uint8Array | undefined>
}
