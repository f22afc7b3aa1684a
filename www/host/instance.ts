import { isTrap, SentinelError, toSentinelError } from "./errors.js"

/** The two ways in which a module calls itself back; both are watched for traps. */
export interface GlueHooks {
  queueMicrotask: (task: () => void) => void
  FinalizationRegistry: typeof FinalizationRegistry
}

/** The glue of one instance: what its module exports, and `init`, which fetches and compiles it. */
export type Glue<Module> = Module & { init(options: { module_or_path: BufferSource | Response | WebAssembly.Module }): Promise<unknown> }

/**
 * One instance of a WebAssembly module.
 *
 * A trap leaves its memory in an unknown state, so after one it is never entered again: every later call fails with
 * the first one's `fault`, and so do the calls that were waiting.
 */
export class Instance<Module> {
  readonly glue: Glue<Module>
  readonly #name: string
  readonly #whenSpoilt: () => void
  readonly #waiting = new Set<(fault: SentinelError) => void>()
  #fault: SentinelError | undefined

  constructor(name: string, makeGlue: (hooks: GlueHooks) => Glue<Module>, whenSpoilt: () => void) {
    this.#name = name
    this.#whenSpoilt = whenSpoilt
    const watched = <Args extends unknown[]>(task: (...args: Args) => void) => (...args: Args): void => {
      if (this.#fault !== undefined) return
      try {
        task(...args)
      } catch (thrown) {
        // Nobody called: what unwinds the module here has left its work half done, trap or not.
        this.#spoil(thrown)
      }
    }
    class WatchedRegistry<Value> extends FinalizationRegistry<Value> {
      constructor(cleanup: (held: Value) => void) {
        super(watched(cleanup))
      }
    }
    this.glue = makeGlue({
      queueMicrotask: task => queueMicrotask(watched(task)),
      FinalizationRegistry: WatchedRegistry as typeof FinalizationRegistry,
    })
  }

  /** What the trap said; undefined while the instance may be used. */
  get fault(): SentinelError | undefined {
    return this.#fault
  }

  /** Enters the module. */
  use<Result>(work: (module: Module) => Result): Result {
    if (this.#fault !== undefined) throw this.#fault
    try {
      return work(this.glue)
    } catch (thrown) {
      throw isTrap(thrown) ? this.#spoil(thrown) : thrown
    }
  }

  /** Enters the module and waits for what it promises. */
  wait<Result>(work: (module: Module) => Promise<Result>): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      // A trap in a callback settles nothing inside the module.
      this.#waiting.add(reject)
      this.use(work)
        .catch((thrown: unknown) => {
          throw isTrap(thrown) ? this.#spoil(thrown) : thrown
        })
        .finally(() => this.#waiting.delete(reject))
        .then(resolve, reject)
    })
  }

  #spoil(thrown: unknown): SentinelError {
    if (this.#fault === undefined) {
      const { message } = toSentinelError(thrown)
      const why = `${this.#name}.wasm stopped after a fault (${message}) and cannot be used any more; a new session gets a new one`
      this.#fault = new SentinelError("INTERNAL", why, { cause: thrown })
      this.#whenSpoilt()
      for (const reject of this.#waiting) reject(this.#fault)
      this.#waiting.clear()
    }
    return this.#fault
  }
}

/** An object that lives in an instance. It has one owner, who frees it. */
export class Handle<Value extends { free(): void }> {
  readonly #instance: Instance<unknown>
  readonly #value: Value

  constructor(instance: Instance<unknown>, value: Value) {
    this.#instance = instance
    this.#value = value
  }

  /** What happened to its instance; undefined while the object may be used. */
  get fault(): SentinelError | undefined {
    return this.#instance.fault
  }

  use<Result>(work: (value: Value) => Result): Result {
    return this.#instance.use(() => work(this.#value))
  }

  wait<Result>(work: (value: Value) => Promise<Result>): Promise<Result> {
    return this.#instance.wait(() => work(this.#value))
  }

  /** The memory of a spoilt instance goes as a whole, when nobody holds it any more. */
  free(): void {
    if (this.fault === undefined) this.use(value => value.free())
  }
}
