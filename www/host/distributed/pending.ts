import type { SentinelError } from "../errors.js"
import type { Station } from "./roster.js"

/** A request without an answer. */
export interface Pending {
  readonly key: number
  /** In the order in which they came. */
  readonly number: number
  readonly priority: number
  readonly deadlineMs: number
  /** Since when it waits to be sent. */
  waitingSinceMs: number
  /** When it was sent first. */
  sentMs: number | undefined
  /** When it is sent a second time if there is no answer. */
  hedgeAtMs: number
  /** Where it is. */
  readonly attempts: Set<Attempt>
  /** Where it failed. */
  readonly avoided: Set<Station>
  failures: number
  isHedged: boolean
  /** The worker that it waits for, where only one will do. */
  reservedAt: Station | undefined
  lastError: SentinelError | undefined
}

/** A request that was sent to a worker. */
export interface Attempt {
  readonly id: number
  readonly request: Pending
  readonly station: Station
  readonly sentMs: number
}
