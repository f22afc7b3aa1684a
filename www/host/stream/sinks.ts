import type { Outputs } from "../batch/engine.js"
import { wrongOption } from "../batch/options.js"
import { SentinelError } from "../errors.js"
import type { StreamResult, StreamResultInfo } from "./options.js"

/** Is told each result; the next one waits until its promise is settled. */
export type StreamHandler<Result = Outputs> = (outputs: Result, info: StreamResultInfo) => unknown

/** The part of Node's `Writable` that is used here; it takes objects. */
export interface ObjectWritable {
  readonly writableObjectMode?: boolean
  write(chunk: unknown, whenWritten: (error?: Error | null) => void): boolean
  on(event: "error", listener: (error: Error) => void): unknown
  off(event: "error", listener: (error: Error) => void): unknown
}

export type StreamTarget<Result = Outputs> = StreamHandler<Result> | WritableStream<StreamResult<Result>> | ObjectWritable

/** Where the results of one stream go. */
export interface Sink<Result> {
  give(result: StreamResult<Result>): unknown
  /** Whether nothing more can be given after a failure. */
  readonly isSpoilt: boolean
  release(): void
}

export function sinkOf<Result>(target: StreamTarget<Result>): Sink<Result> {
  if (typeof target === "function") {
    return { give: ({ outputs, ...info }) => target(outputs, info), isSpoilt: false, release() {} }
  }
  if (typeof target === "object" && target !== null && "getWriter" in target) {
    if (target.locked) throw new SentinelError("INVALID_INPUT", "handler: expected a WritableStream that nobody writes to, got one that is locked")
    return new WriterSink(target.getWriter())
  }
  if (typeof target?.write === "function" && typeof target.on === "function") {
    if (target.writableObjectMode === false) throw new SentinelError("INVALID_INPUT", "handler: expected a Writable in object mode, got one that takes bytes")
    return new NodeSink(target)
  }
  throw wrongOption("handler", "a function, a WritableStream or a Writable in object mode", target)
}

class WriterSink<Result> implements Sink<Result> {
  readonly #writer: WritableStreamDefaultWriter<StreamResult<Result>>
  isSpoilt = false

  constructor(writer: WritableStreamDefaultWriter<StreamResult<Result>>) {
    this.#writer = writer
    writer.closed.catch(() => { this.isSpoilt = true })
  }

  async give(result: StreamResult<Result>): Promise<void> {
    try {
      await this.#writer.write(result)
    } catch (thrown) {
      this.isSpoilt = true
      throw thrown
    }
  }

  release(): void {
    this.#writer.releaseLock()
  }
}

class NodeSink<Result> implements Sink<Result> {
  readonly #writable: ObjectWritable
  isSpoilt = false
  readonly #spoil = () => { this.isSpoilt = true }

  constructor(writable: ObjectWritable) {
    this.#writable = writable
    writable.on("error", this.#spoil)
  }

  give(result: StreamResult<Result>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#writable.write(result, error => {
        if (error === undefined || error === null) return resolve()
        this.#spoil()
        reject(error)
      })
    })
  }

  release(): void {
    // A writable that fails says so again in a later turn, when nobody else may listen.
    if (!this.isSpoilt) this.#writable.off("error", this.#spoil)
  }
}
