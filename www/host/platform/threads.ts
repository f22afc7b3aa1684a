/** A worker, as the thread that started it sees it. */
export interface Thread {
  post(message: unknown, transfer: ArrayBuffer[]): void
  /** Whether a Node process waits for it. */
  hold(isHeld: boolean): void
  /** Reports the worker's end when this lock, which it holds for life, is free. */
  watch(lock: string): void
  terminate(): Promise<void>
}

/** What a worker reports. */
export interface ThreadEvents {
  message(message: unknown): void
  /** It threw, could not be started, or ended by itself. */
  ended(why: string): void
}

/** How workers are started, which differs between a page and Node. */
export interface Threads {
  /** @throws `WORKER_UNAVAILABLE` where it is known at once that there can be none. */
  start(events: ThreadEvents): Thread
  /** What to look at when a worker cannot be started. */
  readonly advice: string
  /** Threads that this machine runs at once. */
  parallelism(): number
}

/** The thread that started this worker, as the worker sees it. */
export interface Parent {
  post(message: unknown, transfer: ArrayBuffer[]): void
  listen(receive: (message: unknown) => void): void
  /** Takes a lock for life and tells its name, where there are locks. */
  holdLock(): Promise<string | undefined>
}
