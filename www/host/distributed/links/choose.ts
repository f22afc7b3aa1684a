import { LinkError, type LinkFacts, type LinkRequest, type WantedModel } from "../link.js"
import type { Hello, Model } from "./messages.js"

/** What a worker has of the wanted model. */
export type Choice =
  | { is: "ready"; model: Model }
  | { is: "loading"; model: Model }
  /** The worker would be given it under this version. */
  | { is: "missing"; version: string; error: LinkError }
  | { is: "refused"; error: LinkError }

/** The model that requests go to, among those that a worker has. */
export function chooseModel(place: string, models: readonly Model[], wanted: WantedModel): Choice {
  const named = models.filter(({ name }) => name === wanted.name).sort((a, b) => Number(b.version) - Number(a.version))
  const versions = wanted.version === undefined ? named : named.filter(({ version }) => version === wanted.version)
  const sha256 = wanted.sha256?.toLowerCase()
  const same = sha256 === undefined ? versions : versions.filter(model => model.sha256 === sha256)
  const model = same.find(({ state }) => state === "READY") ?? same.find(({ state }) => state === "LOADING") ?? same[0]
  if (model?.state === "READY") return { is: "ready", model }
  if (model?.state === "LOADING") return { is: "loading", model }
  const label = describe(wanted)
  if (model !== undefined) {
    const why = model.reason === "" ? model.state : `${model.state}, ${model.reason}`
    return { is: "refused", error: new LinkError("worker", "WORKER_UNAVAILABLE", `${place}: ${label} is not ready there: ${why}`) }
  }
  const isTaken = versions.length > 0 && wanted.version !== undefined
  const error = new LinkError("setting", "NOT_FOUND", versions.length === 0
    ? `${place}: it has no ${label}; it has ${list(models)}`
    : `${place}: its ${label} is another file: expected SHA-256 ${sha256}, given ${versions.map(each => each.sha256).join(", ").slice(0, 200)}`)
  if (isTaken) return { is: "refused", error }
  const latest = named.reduce((most, { version }) => Math.max(most, Number(version) || 0), 0)
  return { is: "missing", version: wanted.version ?? String(latest + 1), error }
}

/** What is known of a worker by its greeting and the model. */
export function factsOf({ workerId, server }: Hello, model: Model, members: readonly string[] = []): LinkFacts {
  return {
    workerId,
    server,
    provider: model.provider,
    modelVersion: model.version,
    inputNames: model.inputs.map(({ name }) => name),
    outputNames: model.outputs.map(({ name }) => name),
    members,
  }
}

/** The version that requests name: none where the worker may take its latest. */
export function namedVersion(wanted: WantedModel, model: Model): { model_version?: string } {
  if (wanted.version === undefined && wanted.sha256 === undefined) return {}
  return { model_version: model.version }
}

/** What a request says beside its tensors; to other servers than ours these parameters mean something else. */
export function ownParameters(wanted: WantedModel, request: LinkRequest): Record<string, string | number> {
  return {
    ...(wanted.sha256 === undefined ? {} : { sha256: wanted.sha256 }),
    ...(request.priority === 0 ? {} : { priority: request.priority }),
  }
}

function describe({ name, version }: WantedModel): string {
  return version === undefined ? `model "${name}"` : `model "${name}" version ${version}`
}

function list(models: readonly Model[]): string {
  const names = [...new Set(models.map(({ name }) => `"${name}"`))]
  if (names.length === 0) return "none"
  return names.length <= 5 ? names.join(", ") : `${names.slice(0, 5).join(", ")} and ${names.length - 5} more`
}
