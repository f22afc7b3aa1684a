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
}

/** The backends of this package and what they run on here. */
export async function devices(): Promise<Device[]> {
  const { present, software, description } = await adapterFacts()
  return [
    { backend: "wonnx", available: present, software, auto: present && !software, description },
    { backend: "cpu", available: true, software: false, auto: true, description: "WebAssembly with SIMD, one thread" },
  ]
}
