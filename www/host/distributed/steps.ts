import type { SentinelError } from "../errors.js"

/** What happens to a worker: it can be used, it is not used for a while, it takes nothing new, or it is gone for good. */
export type WorkerState = "opened" | "aside" | "reopened" | "draining" | "removed"

/** What the dispatcher wants done. */
export type Step =
  | { do: "open"; worker: number }
  | { do: "close"; worker: number }
  | { do: "send"; worker: number; attempt: number; request: number }
  /** Nobody waits for it any more. */
  | { do: "revoke"; attempt: number }
  | { do: "answer"; request: number; error: SentinelError }
  | { do: "tell"; worker: number; url: string; state: WorkerState; reason: string; error: SentinelError | undefined }
