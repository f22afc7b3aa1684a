interface Watch {
  callbacks: Set<() => void>
  listener: () => void
}

/** Who wants to know when a signal fires: many may share one, which is listened to once. */
export class Aborts {
  readonly #watches = new Map<AbortSignal, Watch>()

  /** Calls back once when `signal` fires; gives what calls that off. */
  on(signal: AbortSignal | undefined, callback: () => void): () => void {
    if (signal === undefined) return () => {}
    const { callbacks } = this.#watches.get(signal) ?? this.#watch(signal)
    callbacks.add(callback)
    return () => {
      callbacks.delete(callback)
      if (callbacks.size === 0) this.#forget(signal)
    }
  }

  #watch(signal: AbortSignal): Watch {
    const callbacks = new Set<() => void>()
    const watch: Watch = { callbacks, listener: () => { for (const callback of [...callbacks]) callback() } }
    signal.addEventListener("abort", watch.listener, { once: true })
    this.#watches.set(signal, watch)
    return watch
  }

  #forget(signal: AbortSignal): void {
    const watch = this.#watches.get(signal)
    if (watch === undefined) return
    signal.removeEventListener("abort", watch.listener)
    this.#watches.delete(signal)
  }
}
