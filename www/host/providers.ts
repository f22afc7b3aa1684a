import type { InferenceSession } from "onnxruntime-common"
import { SentinelError } from "./errors.js"

export type BackendName = "webgpu" | "wonnx" | "cpu"

/** Names of execution providers and the backend that each stands for. */
export const PROVIDERS: ReadonlyMap<string, BackendName> = new Map([
  ["webgpu", "webgpu"],
  ["wonnx", "wonnx"],
  ["cpu", "cpu"],
  ["wasm", "cpu"], // onnxruntime-web's name for it
])

const KNOWN = "'webgpu', 'wonnx' (another engine on WebGPU) and 'cpu' ('wasm' is another name of it)"

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
  const unknown = names.map(name => `there is no provider '${name}'`).join("; ")
  throw new SentinelError("INVALID_INPUT", `executionProviders: ${unknown}; there are ${KNOWN}`)
}

/** True where these backends use WebGPU; `auto` looks for it. */
export function useWebGpu(backends: readonly BackendName[] | undefined): boolean {
  return backends === undefined || backends.some(backend => backend !== "cpu")
}
