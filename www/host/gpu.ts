import platform from "#platform"
import type { InferenceSession } from "onnxruntime-common"
import { env } from "onnxruntime-common"
import { SentinelError, toSentinelError } from "./errors.js"
import type { AdapterInfo, AdapterOptions, GpuAdapter, GpuDevice } from "./platform/platform.js"
import { currentSettings } from "./settings.js"
import type { AdapterFacts } from "./wasm.js"

/** Which device to compute on: one that the caller made, or one of ours on an adapter of this choice. */
export interface GpuChoice extends AdapterOptions {
  device?: GpuDevice
}

/** A device with what is known of its adapter. */
export interface KnownDevice {
  device: GpuDevice
  facts: AdapterFacts
  /** It was made here, so it may be given up here. */
  isOurs: boolean
}

// Names under which graphics stacks offer an adapter that computes on the CPU.
const SOFTWARE_ADAPTER = /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i

/** Features that kernels are chosen by, or that tell times. */
const WANTED_FEATURES = ["shader-f16", "subgroups", "timestamp-query"]

/** Limits that decide what fits; a device has the least of each unless it is asked for more. */
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupsPerDimension",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupStorageSize",
]

/** What is known for one choice of module, adapter and preference. */
interface Known {
  webgpu: unknown
  key: string
  facts?: Promise<AdapterFacts>
  device?: Promise<KnownDevice>
}

const known: Known[] = []

let givenDevice: GpuDevice | undefined

// As in onnxruntime-web: the device of sessions that name none, to read after the first one, or to set before.
Object.defineProperty(env.webgpu, "device", {
  configurable: true,
  enumerable: true,
  get: () => openDevice({}).then(({ device }) => device),
  set: (device: GpuDevice | undefined) => { givenDevice = device },
})

/** What the session options ask for, and where they say nothing, onnxruntime's `env.webgpu`. */
export function gpuChoice(options: InferenceSession.SessionOptions): GpuChoice {
  const providers = (options.executionProviders ?? []).filter(provider => typeof provider !== "string")
  const named = (providers.find(({ name }) => name === "webgpu") ?? {}) as GpuChoice
  const { powerPreference, forceFallbackAdapter, device } = named
  if (device !== undefined && !isDevice(device)) throw new SentinelError("INVALID_INPUT", "executionProviders: device: expected a GPUDevice")
  return {
    ...(powerPreference === undefined ? {} : { powerPreference }),
    ...(forceFallbackAdapter === undefined ? {} : { forceFallbackAdapter }),
    ...(device === undefined ? {} : { device }),
  }
}

/** What WebGPU offers here, asked once for each choice. */
export function adapterFacts(choice: GpuChoice = {}): Promise<AdapterFacts> {
  const { device, ...options } = completed(choice)
  if (device !== undefined) return Promise.resolve(describe(device.adapterInfo, device))
  const entry = knownFor(options)
  return (entry.facts ??= askFacts(options))
}

/** The device for a choice: the caller's own, or the one that all sessions of this choice share while it lives. */
export async function openDevice(choice: GpuChoice): Promise<KnownDevice> {
  const { device, ...options } = completed(choice)
  if (device !== undefined) return { device, facts: describe(device.adapterInfo, device), isOurs: false }
  const entry = knownFor(options)
  if (entry.device === undefined) {
    const opening = requestDevice(options)
    const forget = () => {
      if (entry.device === opening) delete entry.device
    }
    entry.device = opening
    opening.then(({ device }) => device.lost.then(forget, forget), forget)
  }
  return entry.device
}

/** Gives up a device that was made here: whoever asks next gets another one. */
export function dropDevice({ device, isOurs }: KnownDevice): void {
  if (isOurs) device.destroy()
}

function completed(choice: GpuChoice): GpuChoice {
  const { powerPreference, forceFallbackAdapter } = env.webgpu
  const settings: GpuChoice = {
    ...(powerPreference === undefined ? {} : { powerPreference }),
    ...(forceFallbackAdapter === undefined ? {} : { forceFallbackAdapter }),
  }
  const asksForAdapter = choice.powerPreference !== undefined || choice.forceFallbackAdapter !== undefined
  const device = choice.device ?? (asksForAdapter ? undefined : givenDevice)
  return { ...settings, ...choice, ...(device === undefined ? {} : { device }) }
}

function knownFor(options: AdapterOptions): Known {
  const { adapter, webgpu } = currentSettings()
  const key = JSON.stringify([adapter, options.powerPreference, options.forceFallbackAdapter])
  let entry = known.find(each => each.webgpu === webgpu && each.key === key)
  if (entry === undefined) known.push((entry = { webgpu, key }))
  return entry
}

async function requestAdapter(options: AdapterOptions): Promise<GpuAdapter | { missing: string }> {
  const gpu = await platform.gpu()
  if ("missing" in gpu) return gpu
  try {
    return (await gpu.requestAdapter(options)) ?? { missing: "no GPU found on this machine" }
  } catch (thrown) {
    return { missing: `WebGPU cannot give an adapter: ${String(thrown)}` }
  }
}

async function askFacts(options: AdapterOptions): Promise<AdapterFacts> {
  const adapter = await requestAdapter(options)
  return "missing" in adapter ? { present: false, software: false, description: adapter.missing } : describeAdapter(adapter)
}

async function requestDevice(options: AdapterOptions): Promise<KnownDevice> {
  const adapter = await requestAdapter(options)
  if ("missing" in adapter) throw new SentinelError("DEVICE_LOST", `webgpu: ${adapter.missing}`)
  const requiredFeatures = WANTED_FEATURES.filter(feature => adapter.features.has(feature))
  try {
    const device = await adapter.requestDevice({ requiredFeatures, requiredLimits: limitsOf(adapter) })
    return { device, facts: describeAdapter(adapter), isOurs: true }
  } catch (thrown) {
    throw new SentinelError("DEVICE_LOST", `webgpu: the adapter gives no device: ${toSentinelError(thrown).message}`, { cause: thrown })
  }
}

/** The facts about one adapter. */
export function describeAdapter(adapter: GpuAdapter): AdapterFacts {
  const facts = describe(adapter.info, adapter)
  return { ...facts, software: facts.software || adapter.isFallbackAdapter === true }
}

function describe(info: AdapterInfo | undefined, of: { features: ReadonlySet<string>; limits: object }): AdapterFacts {
  const words = [info?.vendor, info?.architecture, info?.device, info?.description]
  const description = [...new Set(words.filter(Boolean))].join(" ") || "an adapter without a name"
  const software = info?.isFallbackAdapter === true || SOFTWARE_ADAPTER.test(description)
  const features = WANTED_FEATURES.filter(feature => of.features.has(feature))
  return { present: true, software, description, features, limits: limitsOf(of) }
}

// The names are getters of a prototype, so there is nothing to enumerate.
function limitsOf({ limits }: { limits: object }): Record<string, number> {
  const all = limits as Record<string, number | undefined>
  return Object.fromEntries(WANTED_LIMITS.flatMap(name => (all[name] === undefined ? [] : [[name, all[name]]])))
}

function isDevice(value: unknown): value is GpuDevice {
  return typeof value === "object" && value !== null && "limits" in value && "features" in value && "lost" in value
}
