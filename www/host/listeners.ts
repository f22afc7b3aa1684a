import { wrongOption } from "./batch/options.js"

/** Those who want to be told of one kind of event. */
export class Listeners<Event> {
  readonly #kind: string
  readonly #listeners = new Set<(event: Event) => void>()

  constructor(kind: string) {
    this.#kind = kind
  }

  /** Gives what ends it. */
  add(kind: string, listener: (event: Event) => void): () => void {
    if (kind !== this.#kind) throw wrongOption("on", `"${this.#kind}"`, kind)
    if (typeof listener !== "function") throw wrongOption("on", "a function", listener)
    this.#listeners.add(listener)
    return () => { this.#listeners.delete(listener) }
  }

  // In a turn of its own: a listener may call the engine back, and one that throws ends nothing here.
  tell(event: Event): void {
    for (const listener of this.#listeners) queueMicrotask(() => { if (this.#listeners.has(listener)) listener(event) })
  }
}
