import platform from "#platform"
import type { GpuAdapter } from "./platform/platform.js"
import { currentSettings } from "./settings.js"
import type { AdapterFacts } from "./wasm.js"

// Names under which graphics stacks offer an adapter that computes on the CPU.
const SOFTWARE_ADAPTER = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i

let known: { facts: Promise<AdapterFacts>; webgpu: unknown; adapter: unknown } | undefined

/** What WebGPU offers here, asked once for each choice of adapter. */
export function adapterFacts(): Promise<AdapterFacts> {
  const { adapter, webgpu } = currentSettings()
  if (known === undefined || known.webgpu !== webgpu || known.adapter !== adapter) known = { facts: ask(), webgpu, adapter }
  return known.facts
}

async function ask(): Promise<AdapterFacts> {
  const gpu = await platform.gpu()
  if ("missing" in gpu) return { present: false, software: false, description: gpu.missing }
  try {
    const adapter = await gpu.requestAdapter()
    if (adapter === null) return { present: false, software: false, description: "no GPU found on this machine" }
    return describeAdapter(adapter)
  } catch (thrown) {
    return { present: false, software: false, description: `WebGPU cannot give an adapter: ${String(thrown)}` }
  }
}

/** The facts about one adapter. */
export function describeAdapter(adapter: GpuAdapter): AdapterFacts {
  const { info } = adapter
  const words = [info?.vendor, info?.architecture, info?.device, info?.description]
  const description = [...new Set(words.filter(Boolean))].join(" ") || "an adapter without a name"
  const software = adapter.isFallbackAdapter === true || info?.isFallbackAdapter === true || SOFTWARE_ADAPTER.test(description)
  return { present: true, software, description }
}
