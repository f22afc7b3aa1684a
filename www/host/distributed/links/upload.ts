import type { ProgressListener } from "../../download.js"
import { SentinelError } from "../../errors.js"
import { LinkError, type WantedModel } from "../link.js"
import type { FromWorker, Model } from "./messages.js"

export type UploadReply = Extract<FromWorker, { type: "upload_state" | "uploaded" }>

export interface UploadOptions {
  place: string
  id: string
  wanted: WantedModel
  version: string
  maxMessageBytes: number
  onProgress: ProgressListener | undefined
  /** Sends a message and waits for its answer. */
  ask(header: object, parts: Uint8Array[]): Promise<UploadReply>
}

const CHUNK_BYTES = 2 ** 20
/** More than a chunk's header needs. */
const HEADER_BYTES = 512

/** Gives a worker the model; it goes on where the last time stopped. */
export async function uploadModel({ place, id, wanted, version, maxMessageBytes, onProgress, ask }: UploadOptions): Promise<Model> {
  if (wanted.upload === undefined) throw new SentinelError("INTERNAL", `${place}: there is no model to upload`)
  const bytes = await wanted.upload()
  const sha256 = wanted.sha256?.toLowerCase() ?? (await digest(bytes))
  const totalBytes = bytes.byteLength
  const chunkBytes = Math.max(1, Math.min(CHUNK_BYTES, maxMessageBytes - HEADER_BYTES))
  const url = `${place} ${wanted.name}`
  // A worker may lose what it had once; one that always asks for the same bytes gets no third copy.
  let leftBytes = 2 * totalBytes + chunkBytes
  const announcement = { type: "upload", id, model_name: wanted.name, model_version: version, sha256, size_bytes: totalBytes }
  let reply = await ask(announcement, [])
  while (reply.type === "upload_state") {
    const { offset } = reply
    if (offset >= totalBytes) throw new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it asks for byte ${offset} of a model of ${totalBytes}`)
    onProgress?.({ url, loadedBytes: offset, totalBytes })
    const chunk = bytes.subarray(offset, offset + chunkBytes)
    leftBytes -= chunk.byteLength
    if (leftBytes < 0) throw new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it asks for the same bytes of the model again and again`)
    reply = await ask({ type: "upload_chunk", id, offset }, [chunk])
  }
  const { model } = reply
  if (model.name !== wanted.name || model.version !== version || model.sha256 !== sha256) {
    const has = `"${model.name}" version ${model.version} of SHA-256 ${model.sha256}`
    throw new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: it was given "${wanted.name}" version ${version} of SHA-256 ${sha256}, and says that it has ${has}`)
  }
  onProgress?.({ url, loadedBytes: totalBytes, totalBytes })
  return model
}

async function digest(bytes: Uint8Array): Promise<string> {
  // Pages have it in secure contexts only.
  const { subtle } = globalThis.crypto ?? {}
  if (subtle === undefined) throw new SentinelError("INVALID_INPUT", "upload: a page over http cannot make the model's SHA-256: give it, or use https")
  const hash = new Uint8Array(await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>))
  return Array.from(hash, byte => byte.toString(16).padStart(2, "0")).join("")
}
