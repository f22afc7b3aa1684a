import platform from "#platform"
import type { InferenceSession } from "onnxruntime-common"
import { cancelled, tooLarge, type ReadLimits } from "./download.js"
import { SentinelError } from "./errors.js"
import type { Instance } from "./instance.js"
import { currentSettings } from "./settings.js"
import type { EngineModule } from "./wasm.js"

const DEFAULT_MAX_MODEL_BYTES = 2 ** 31

/** A model with everything that belongs to it. */
export interface ModelSource {
  bytes: Uint8Array
  /** The files that the model names, by the name it gives them. */
  external: Map<string, Uint8Array>
}

/** Reads a model and its external data, as the session options say. */
export async function readModel(
  engine: Instance<EngineModule>,
  uriOrBytes: string | Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<ModelSource> {
  const bytes = await readModelFile(uriOrBytes, readLimits(options))
  const locations = engine.use(module => module.externalDataLocations(bytes))
  return { bytes, external: await readExternalData(uriOrBytes, locations, options) }
}

/** Reads the files that a model names, from where the session options say. */
export async function readExternalData(
  uriOrBytes: string | Uint8Array,
  locations: readonly string[],
  options: InferenceSession.SessionOptions,
): Promise<Map<string, Uint8Array>> {
  const limits = readLimits(options)
  const uri = typeof uriOrBytes === "string" ? uriOrBytes : undefined
  const given = givenFiles(options.externalData ?? [])
  const external = new Map<string, Uint8Array>()
  let leftBytes = limits.maxBytes
  for (const location of locations) {
    const file = given.get(normalised(location))
    const within = { ...limits, maxBytes: leftBytes }
    const data = file === undefined ? await readBeside(uri, location, within) : await readGiven(file, location, within)
    leftBytes -= data.byteLength
    external.set(location, data)
  }
  return external
}

/** Reads a model without what it names. */
export async function readModelFile(uriOrBytes: string | Uint8Array, limits: ReadLimits = readLimits({})): Promise<Uint8Array> {
  const place = typeof uriOrBytes === "string" ? uriOrBytes : "model"
  if (limits.signal?.aborted === true) throw cancelled(place)
  const bytes = typeof uriOrBytes === "string" ? await platform.read(uriOrBytes, limits) : uriOrBytes
  if (bytes.byteLength > limits.maxBytes) throw tooLarge(place, bytes.byteLength, limits.maxBytes)
  return bytes
}

/** What bounds the reading of a model with these session options. */
export function readLimits({ maxModelBytes, signal, onProgress }: InferenceSession.SessionOptions): ReadLimits {
  return {
    maxBytes: maxModelBytes ?? currentSettings().maxModelBytes ?? DEFAULT_MAX_MODEL_BYTES,
    signal,
    onProgress: onProgress ?? currentSettings().onProgress,
  }
}

type GivenFile = string | Blob | Uint8Array | ArrayBufferLike

function givenFiles(files: NonNullable<InferenceSession.SessionOptions["externalData"]>): Map<string, GivenFile> {
  return new Map(files.map(file => (typeof file === "string" ? [normalised(file), file] : [normalised(file.path), file.data])))
}

async function readGiven(file: GivenFile, location: string, limits: ReadLimits): Promise<Uint8Array> {
  if (typeof file === "string") return platform.read(file, limits)
  const size = file instanceof Blob ? file.size : file.byteLength
  if (size > limits.maxBytes) throw tooLarge(`external data "${location}"`, size, limits.maxBytes)
  if (file instanceof Blob) return new Uint8Array(await file.arrayBuffer())
  return file instanceof Uint8Array ? file : new Uint8Array(file)
}

async function readBeside(uri: string | undefined, location: string, limits: ReadLimits): Promise<Uint8Array> {
  const data = uri === undefined ? undefined : await platform.readBeside(uri, location, limits)
  if (data !== undefined) return data
  throw new SentinelError("IO", `external data "${location}": the model needs it; pass it in the session option externalData: [{ path: "${location}", data }]`)
}

function normalised(path: string): string {
  return path.replaceAll("\\", "/").replace(/^(\.\/)+/, "")
}
