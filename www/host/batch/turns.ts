import type { World } from "./world.js"

/** For so long batches may keep a thread from its other work. */
const LONGEST_TURN_MS = 8

/** Lets a thread that runs batches do other things too: without it, all that waits would run in one turn. */
export class Turns {
  readonly #world: World
  /** The turn that batches have begun, and its end. */
  #turn: { sinceMs: number; over: Promise<void> } | undefined

  constructor(world: World) {
    this.#world = world
  }

  /** What to wait for before the next batch; undefined where it may start. */
  get due(): Promise<void> | undefined {
    const nowMs = this.#world.now()
    if (this.#turn !== undefined) return nowMs - this.#turn.sinceMs >= LONGEST_TURN_MS ? this.#turn.over : undefined
    const over = this.#world.nextTurn().then(() => { this.#turn = undefined })
    this.#turn = { sinceMs: nowMs, over }
    return undefined
  }
}
