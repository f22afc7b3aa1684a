import { wrongOption } from "../batch/options.js"
import { SentinelError } from "../errors.js"
import { readModelFile } from "../source.js"
import type { WantedModel } from "./link.js"
import type { DistributedEngineOptions } from "./options.js"

/** What workers are asked for. A file is read once, when the first of them is asked, and again where it is to be sent. */
export class ModelOnWorkers {
  readonly #options: DistributedEngineOptions
  readonly #name: string | undefined
  #sha256: Promise<string> | undefined

  /** @throws `INVALID_INPUT` where it has no name and needs one. */
  constructor(options: DistributedEngineOptions) {
    const { model, modelName, workers = [], uploadModel = false } = options
    const isNamed = typeof model === "object" && model !== null && !(model instanceof Uint8Array)
    const name = isNamed ? model.name : (modelName ?? (typeof model === "string" ? stemOf(model) : undefined))
    if (name !== undefined && (typeof name !== "string" || name === "")) throw wrongOption("modelName", "a name", name)
    if (name === undefined && workers.length > 0) throw wrongOption("modelName", "what workers call the model that is given as bytes", name)
    if (isNamed && uploadModel) throw wrongOption("uploadModel", "false where the model is only named: there is no file to send", uploadModel)
    this.#options = options
    this.#name = name
  }

  async wanted(): Promise<WantedModel> {
    const { model, modelVersion, uploadModel = false } = this.#options
    const name = this.#name
    if (name === undefined) throw wrongOption("modelName", "what workers call the model that is given as bytes", name)
    if (typeof model === "object" && !(model instanceof Uint8Array)) return { name, version: model.version ?? modelVersion, sha256: undefined, upload: undefined }
    this.#sha256 ??= sha256Of(model)
    // Where it cannot be read, the next worker asks again.
    this.#sha256.catch(() => { this.#sha256 = undefined })
    return { name, version: modelVersion, sha256: await this.#sha256, upload: uploadModel ? () => readModelFile(model) : undefined }
  }
}

/** "models/digits.onnx", "https://host/digits.onnx?x": "digits". */
function stemOf(model: string): string | undefined {
  const [path = ""] = model.split(/[?#]/, 1)
  const file = path.split(/[\\/]/).at(-1) ?? ""
  const stem = file.replace(/(?<=.)\.[^.]*$/, "")
  return stem === "" ? undefined : stem
}

async function sha256Of(model: string | Uint8Array): Promise<string> {
  const { subtle } = globalThis.crypto as { subtle?: SubtleCrypto }
  if (subtle === undefined) {
    throw new SentinelError("INVALID_INPUT", "model: pages without https cannot tell whether workers have the same file; serve the page over https or from localhost, or give model: { name }")
  }
  // A view on shared memory cannot be digested.
  const digest = await subtle.digest("SHA-256", new Uint8Array(await readModelFile(model)))
  return Array.from(new Uint8Array(digest), byte => byte.toString(16).padStart(2, "0")).join("")
}
