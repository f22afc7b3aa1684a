import type { InferenceSession, Tensor } from "onnxruntime-common"
import { cancelled } from "./download.js"
import { SentinelError } from "./errors.js"
import { SessionHandler } from "./handler.js"
import type { Instance } from "./instance.js"
import { PROVIDERS } from "./providers.js"
import { randomTensor } from "./random.js"
import type { ModelSource } from "./source.js"
import type { EngineModule, Observed } from "./wasm.js"

type Provider = InferenceSession.ExecutionProviderConfig
type Metadata = InferenceSession.TensorValueMetadata

/**
 * What a model is compared on: tensors by name, `random` (open dimensions are 1), or what a function makes of what the
 * model declares.
 */
export type DiffFeeds =
  | Readonly<Record<string, Tensor>>
  | "random"
  | ((inputs: readonly InferenceSession.ValueMetadata[]) => Promise<Readonly<Record<string, Tensor>>>)

/** What is compared with what, besides the options of the sessions. */
export interface DiffOptions extends Omit<InferenceSession.SessionOptions, "executionProviders"> {
  /** `webgpu` unless said otherwise; its order of values is the order of the result. */
  left?: Provider
  /** `cpu` unless said otherwise; tolerances are relative to its values. */
  right?: Provider
  rtol?: number
  atol?: number
  /** For `random` feeds. */
  seed?: number
  onStep?: (step: DiffStep) => void
}

/** How far a comparison is. */
export interface DiffStep {
  /** What is at work: a side that loads and runs the model, or the comparison of values. */
  step: "left" | "right" | "compare"
  /** Values compared so far, and in all; 0 of 0 before that. */
  done: number
  total: number
}

/** A value as one side computed it. */
export interface DiffSide {
  backend: string
  /** The shaders that computed it on `webgpu`; empty elsewhere. */
  kernel: string
  type: string
  dims: number[]
  /** The element that `maxAbs` is about. */
  element: number
}

/** A value inside the model that both sides have. */
export interface DiffValue {
  value: string
  /** The node of the left side that computed it, which may stand for several of the model's. */
  node: string
  op: string
  left: DiffSide
  right: DiffSide
  /**
   * The largest `|left - right|` among the elements that are off, or among all where none is; infinite where only one of
   * them is a finite number, or types or shapes differ.
   */
  maxAbs: number
  /** Elements with `|left - right| > atol + rtol * |right|`. */
  nOff: number
  nElems: number
  /** The index of `element`, in row-major order. */
  at: number
}

export interface Diff {
  /** In the order in which the left side computed them. */
  values: DiffValue[]
  /** The first value with elements that are off: what it was computed from is not. */
  first: DiffValue | undefined
}

export const DIFF_TOLERANCES = { rtol: 1e-3, atol: 1e-4 }

/** Where a model is compared. */
export interface Sides {
  left: Provider
  right: Provider
}

/** @throws `INVALID_INPUT` for a provider that does not show what it computes. */
export function diffSides({ left = "webgpu", right = "cpu" }: DiffOptions): Sides {
  for (const [side, provider] of Object.entries({ left, right })) {
    const name = typeof provider === "string" ? provider : provider.name
    const backend = PROVIDERS.get(name)
    if (backend === undefined) throw new SentinelError("INVALID_INPUT", `${side}: there is no provider '${name}'; there are 'webgpu' and 'cpu'`)
    if (backend === "wonnx") throw new SentinelError("INVALID_INPUT", `${side}: '${name}' shows no values inside a model; 'webgpu' and 'cpu' do`)
  }
  return { left, right }
}

/** Runs the model on one side after the other, and compares every value that both compute. */
export async function diff(engine: Instance<EngineModule>, model: ModelSource, feeds: DiffFeeds, sides: Sides, options: DiffOptions): Promise<Diff> {
  const { rtol = DIFF_TOLERANCES.rtol, atol = DIFF_TOLERANCES.atol, onStep } = options
  let tensors: Readonly<Record<string, Tensor>> | undefined
  const makeFeeds = async (inputs: readonly InferenceSession.ValueMetadata[]) => (tensors ??= await feedsFor(inputs, feeds, options.seed ?? 0))
  onStep?.({ step: "left", done: 0, total: 0 })
  const lefts = await observe(sides.left, model, makeFeeds, options)
  onStep?.({ step: "right", done: 0, total: 0 })
  const rights = new Map((await observe(sides.right, model, makeFeeds, options)).map(observed => [observed.value, observed]))

  const shared = lefts.filter(({ value }) => rights.has(value))
  // Each pair of tensors goes when it is compared: nothing else may hold them.
  lefts.length = 0
  const total = shared.length
  const values: DiffValue[] = []
  for (let left = shared.shift(); left !== undefined; left = shared.shift()) {
    checkSignal(options)
    onStep?.({ step: "compare", done: values.length, total })
    const right = rights.get(left.value) as Observed
    rights.delete(left.value)
    values.push(compare(engine, left, right, rtol, atol))
  }
  onStep?.({ step: "compare", done: total, total })
  return { values, first: values.find(({ nOff }) => nOff > 0) }
}

async function observe(
  provider: Provider,
  { bytes, external }: ModelSource,
  makeFeeds: (inputs: readonly InferenceSession.ValueMetadata[]) => Promise<Readonly<Record<string, Tensor>>>,
  options: DiffOptions,
): Promise<Observed[]> {
  checkSignal(options)
  const externalData = [...external].map(([path, data]) => ({ path, data }))
  const session = await SessionHandler.create(bytes, { ...options, executionProviders: [provider], externalData }, true)
  try {
    return await session.observe(await makeFeeds(session.inputMetadata))
  } finally {
    await session.dispose()
  }
}

async function feedsFor(inputs: readonly InferenceSession.ValueMetadata[], feeds: DiffFeeds, seed: number) {
  if (typeof feeds === "function") return feeds(inputs)
  if (feeds !== "random") return feeds
  const size = (dim: number | string) => (typeof dim === "number" ? dim : 1)
  return Object.fromEntries((inputs as readonly Metadata[]).map(input => [input.name, randomTensor(input, input.shape.map(size), seed)]))
}

function compare(engine: Instance<EngineModule>, left: Observed, right: Observed, rtol: number, atol: number): DiffValue {
  const found = engine.use(module => module.difference(left.tensor, right.tensor, rtol, atol))
  const side = ({ backend, kernel, tensor: { type, dims } }: Observed, element: number): DiffSide => ({ backend, kernel, type, dims, element })
  const { value, node, op } = left
  const { maxAbs, nOff, nElems, at } = found
  return { value, node, op, left: side(left, found.left), right: side(right, found.right), maxAbs, nOff, nElems, at }
}

function checkSignal({ signal }: DiffOptions): void {
  if (signal?.aborted === true) throw cancelled("diff")
}
