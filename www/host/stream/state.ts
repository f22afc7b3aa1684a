import { Tensor } from "onnxruntime-common"
import type { Outputs } from "../batch/engine.js"
import type { Tensors } from "../batch/join.js"
import type { ModelFacts } from "../batch/lane.js"
import { own } from "../batch/own.js"
import { SentinelError } from "../errors.js"
import { zeros } from "../tensors.js"

/** The recurrent state of one stream: outputs of one step that are inputs of the next. */
export class RecurrentState {
  readonly #links: readonly (readonly [input: string, output: string])[]
  readonly #initial: Tensors
  #current: Tensors
  #isStepping = false

  constructor(links: Readonly<Record<string, string>>, initial: Tensors, facts: ModelFacts) {
    this.#links = Object.entries(links)
    for (const [input, output] of this.#links) {
      checkName("state", "input", input, facts.inputNames)
      checkName("state", "output", output, facts.outputNames)
    }
    const unlinked = Object.keys(initial).find(name => own(links, name) === undefined)
    if (unlinked !== undefined) throw new SentinelError("INVALID_INPUT", `initialState: "${unlinked}" is not an input that state names`)
    this.#initial = Object.fromEntries(this.#links.map(([input]) => [input, own(initial, input) ?? zerosOf(input, facts)]))
    this.#current = this.#initial
  }

  get inputNames(): readonly string[] {
    return this.#links.map(([input]) => input)
  }

  /** Runs one step and keeps its state for the next, unless it fails; the outputs that are not state. */
  async step(run: (before: Tensors) => Promise<Outputs>): Promise<Outputs> {
    const before = this.#current
    this.#isStepping = true
    try {
      const outputs = await run(before)
      const rest = { ...outputs }
      const after: Record<string, Tensor> = {}
      for (const [input, output] of this.#links) {
        after[input] = outputs[output] as Tensor
        delete rest[output]
      }
      // Whoever started afresh in the meantime wants nothing of what was before.
      if (this.#current === before) this.#current = after
      else this.#discard(after)
      return rest
    } finally {
      this.#isStepping = false
      if (this.#current !== before) this.#discard(before)
    }
  }

  /** The next step starts afresh. */
  reset(): void {
    const before = this.#current
    this.#current = { ...this.#initial }
    // A step that runs from it gives it back itself.
    if (!this.#isStepping) this.#discard(before)
  }

  /** States on a GPU, which would stay there until they are found to be garbage. */
  #discard(tensors: Tensors): void {
    for (const [name, tensor] of Object.entries(tensors)) {
      if (tensor.location === "gpu-buffer" && tensor !== this.#initial[name]) tensor.dispose()
    }
  }
}

export function checkName(place: string, what: "input" | "output", name: string, known: readonly string[]): void {
  if (known.includes(name)) return
  throw new SentinelError("INVALID_INPUT", `${place}: ${what} "${name}" is not in the model; its ${what}s are "${known.join('", "')}"`)
}

function zerosOf(name: string, { inputMetadata }: ModelFacts): Tensor {
  const declared = inputMetadata.find(each => each.name === name)
  if (declared?.isTensor !== true) throw new SentinelError("INVALID_INPUT", `state: input "${name}" is not a tensor; give it in initialState`)
  return zeros(name, declared.type, declared.shape.map(dim => (typeof dim === "number" ? dim : 1)))
}
