import { adapterFacts } from "./gpu.js"
import type { BackendName } from "./providers.js"

/** One backend on this machine. */
export interface Device {
  backend: BackendName
  available: boolean
  /** It is WebGPU that computes on the CPU: used only when it is named. */
  software: boolean
  /** `auto` considers it. */
  auto: boolean
  /** The device's name, or why it is not available and how to get it. */
  description: string
  /** Those of WebGPU's optional features that make the backend faster, where it uses WebGPU. */
  features?: string[]
  /** Those of WebGPU's limits that decide how large a model may be. */
  limits?: Record<string, number>
}

/** The backends of this package and what they run on here. */
export async function devices(): Promise<Device[]> {
  const { present: available, software, description, features = [], limits = {} } = await adapterFacts()
  const details = available ? { features, limits } : {}
  return [
    { backend: "webgpu", available, software, auto: available && !software, description, ...details },
    { backend: "wonnx", available, software, auto: false, description },
    { backend: "cpu", available: true, software: false, auto: true, description: "WebAssembly with SIMD, one thread" },
  ]
}
