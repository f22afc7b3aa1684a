import type { ReadLimits } from "../download.js"
import type { ModuleName } from "../wasm.js"

/** The part of WebGPU's `GPU` that is asked here. */
export interface Gpu {
  requestAdapter(): Promise<GpuAdapter | null>
}

/** The part of WebGPU's `GPUAdapter` that is asked here. */
export interface GpuAdapter {
  readonly isFallbackAdapter?: boolean
  readonly info?: {
    readonly vendor: string
    readonly architecture: string
    readonly device: string
    readonly description: string
    readonly isFallbackAdapter?: boolean
  }
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
