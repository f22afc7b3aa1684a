import type { InferenceSession } from "onnxruntime-common"
import { SentinelError } from "./errors.js"

export type BackendName = "wonnx" | "cpu"

/** Names of execution providers and the backend that each stands for. */
export const PROVIDERS: ReadonlyMap<string, BackendName> = new Map([
  ["wonnx", "wonnx"],
  ["cpu", "cpu"],
  ["wasm", "cpu"], // onnxruntime-web's name for it
])

const KNOWN = "'wonnx' (WebGPU) and 'cpu' ('wasm' is another name of it)"

/** Why a provider's name is not one of ours; undefined when it is. */
export function refusal(name: string): string | undefined {
  if (PROVIDERS.has(name)) return undefined
  if (name === "webgpu") return `the provider 'webgpu' is not in this version; there are ${KNOWN}`
  return `there is no provider '${name}'; there are ${KNOWN}`
}

/**
 * The backends that the options name, in order; undefined means that the engine chooses.
 *
 * @throws `INVALID_INPUT` when providers are named and none of them is here.
 */
export function namedBackends(options: InferenceSession.SessionOptions): BackendName[] | undefined {
  const names = (options.executionProviders ?? []).map(provider => (typeof provider === "string" ? provider : provider.name))
  if (names.length === 0) return undefined
  const backends = names.flatMap(name => PROVIDERS.get(name) ?? [])
  if (backends.length > 0) return [...new Set(backends)]
  throw new SentinelError("INVALID_INPUT", `executionProviders: ${names.map(name => refusal(name)).join("; ")}`)
}
