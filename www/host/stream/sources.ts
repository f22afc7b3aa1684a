import { SentinelError } from "../errors.js"
import type { Capture } from "./intake.js"
import type { MediaTrack, MediaTracks, SourceEvent, VideoElement } from "./media.js"
import { isAudioSpec, type AudioSpec, type StreamOptions } from "./options.js"
import type { StreamPolicy } from "./pacer.js"
import { createWindows, type SampleWindow } from "./windows.js"
import type { StreamWorld } from "./world.js"

/** What inputs come from. A function is called again and again; it gives `undefined` where there is nothing this time. */
export type StreamSource<Value> =
  | MediaTracks
  | MediaTrack
  | VideoElement
  | ReadableStream<Value>
  | AsyncIterable<Value>
  | Iterable<Value>
  | ((signal: AbortSignal) => Value | undefined | Promise<Value | undefined>)

/** One input as it came. It is closed exactly once. */
export interface Arrival {
  value: unknown
  capturedMs: number
  close(): void
}

/** What a stream asks for its inputs, one at a time. */
export interface Source {
  next(): Promise<Arrival | "nothing" | "end">
  /** Gives back what the source holds; nothing is asked afterwards. */
  close(): Promise<void>
  /** Inputs that were lost before they could be taken. */
  readonly nMissed: number
}

export interface SourceContext {
  options: StreamOptions<never, unknown>
  world: StreamWorld
  signal: AbortSignal
  tell(event: SourceEvent): void
}

/** How to open a source, and what suits it. */
export interface SourcePlan {
  policy: StreamPolicy
  /** It keeps to an interval by itself. */
  isPaced: boolean
  open(): Source
}

interface Kind {
  is(given: unknown): boolean
  plan(given: never, context: SourceContext): SourcePlan
}

/** The first that takes it opens it. */
const KINDS: readonly Kind[] = [
  { is: given => typeof given === "function", plan: functionPlan },
  { is: isMedia, plan: mediaPlan },
  // Before iterables: where it is one too, only its reader gives up waiting.
  { is: given => has(given, "getReader"), plan: pulledPlan(openReadableStream) },
  { is: given => has(given, Symbol.asyncIterator) || has(given, Symbol.iterator), plan: pulledPlan(openIterable) },
]

export function sourceOf(given: unknown, context: SourceContext): SourcePlan {
  const kind = KINDS.find(({ is }) => is(given))
  if (kind === undefined) {
    throw new SentinelError("INVALID_INPUT", `source: expected a MediaStream, a ReadableStream, something iterable or a function, got ${String(given)}`)
  }
  return kind.plan(given as never, context)
}

function functionPlan(ask: (signal: AbortSignal) => unknown, { options, world, signal }: SourceContext): SourcePlan {
  const source: Source = {
    nMissed: 0,
    async next() {
      const value = await ask(signal)
      return value === undefined ? "nothing" : arrivalOf(value, world)
    },
    async close() {},
  }
  const isClocked = options.intervalMs !== undefined || options.maxFps !== undefined
  return { policy: isClocked ? "latest" : "queue", isPaced: false, open: () => source }
}

function mediaPlan(media: MediaTracks | MediaTrack | VideoElement, { options, world, signal, tell }: SourceContext): SourcePlan {
  const { preprocess, intervalMs = 0, maxFps = intervalMs > 0 ? 1000 / intervalMs : undefined } = options
  if (isAudioSpec(preprocess)) {
    const { sampleRate, windowSamples, hopSamples } = preprocess
    const audio = { sampleRate, windowSamples, hopSamples, signal, onEvent: tell }
    // A window that is left out is a gap in what is said.
    return { policy: "queue", isPaced: true, open: () => captured(world.audioWindows(media as MediaTracks, audio), value => ({ value, capturedMs: value.capturedMs, close() {} })) }
  }
  const video = { maxFps, signal, onEvent: tell }
  return {
    policy: "latest",
    isPaced: true,
    open: () => captured(world.videoFrames(media, video), item => ({ value: item.frame, capturedMs: item.capturedMs, close: () => { item.close() } })),
  }
}

function captured<Item>(capture: Capture<Item>, toArrival: (item: Item) => Arrival): Source {
  const iterator = capture[Symbol.asyncIterator]()
  return {
    get nMissed() {
      return capture.counters.dropped
    },
    async next() {
      const { done, value } = await iterator.next()
      return done === true ? "end" : toArrival(value)
    },
    async close() {
      await iterator.return?.()
    },
  }
}

function pulledPlan<Given>(open: (given: Given) => Pulled) {
  return (given: Given, context: SourceContext): SourcePlan => ({
    policy: "queue",
    isPaced: false,
    open: () => windowed(new PulledSource(open(given), context.world), context),
  })
}

/** What gives values when it is asked. */
interface Pulled {
  next(): Promise<{ done?: boolean | undefined; value?: unknown }>
  /** Ends it before its end. */
  leave(isAsked: boolean): Promise<unknown>
  release(): void
}

class PulledSource implements Source {
  readonly nMissed = 0
  readonly #pulled: Pulled
  readonly #world: StreamWorld
  #state: "idle" | "asked" | "ended" = "idle"

  constructor(pulled: Pulled, world: StreamWorld) {
    this.#pulled = pulled
    this.#world = world
  }

  async next(): Promise<Arrival | "end"> {
    this.#state = "asked"
    let isLast = true
    try {
      const { done, value } = await this.#pulled.next()
      isLast = done === true
      return isLast ? "end" : arrivalOf(value, this.#world)
    } finally {
      this.#state = isLast ? "ended" : "idle"
    }
  }

  async close(): Promise<void> {
    try {
      if (this.#state !== "ended") await this.#pulled.leave(this.#state === "asked")
    } finally {
      this.#pulled.release()
    }
  }
}

function openReadableStream(stream: ReadableStream<unknown>): Pulled {
  if (stream.locked) throw new SentinelError("INVALID_INPUT", "source: expected a ReadableStream that nobody reads, got one that is locked")
  const reader = stream.getReader()
  return { next: () => reader.read(), leave: () => reader.cancel(), release: () => { reader.releaseLock() } }
}

function openIterable(given: AsyncIterable<unknown> | Iterable<unknown>): Pulled {
  const iterator = Symbol.asyncIterator in given ? given[Symbol.asyncIterator]() : given[Symbol.iterator]()
  return {
    next: async () => iterator.next(),
    async leave(isAsked) {
      // A Readable of Node ends at once; a generator that waits for something ends when that comes, which nobody waits for.
      if (isReadable(given)) given.destroy()
      const left = Promise.resolve(iterator.return?.())
      if (isAsked) left.catch(() => undefined)
      else await left
    },
    release() {},
  }
}

function isReadable(given: unknown): given is { destroy(): void } {
  return has(given, "pipe") && has(given, "destroy")
}

/** For audio, windows of the samples that the source gives in pieces of any length. */
function windowed(source: Source, { options: { preprocess } }: SourceContext): Source {
  return isAudioSpec(preprocess) ? new WindowedSource(source, preprocess) : source
}

class WindowedSource implements Source {
  readonly #source: Source
  readonly #cut: ReturnType<typeof createWindows>
  readonly #hopSamples: number
  readonly #windows: SampleWindow[] = []
  #rest = new Float32Array()
  #atSample = 0
  #capturedMs = 0

  constructor(source: Source, { windowSamples, hopSamples = windowSamples }: AudioSpec) {
    this.#source = source
    this.#hopSamples = hopSamples
    this.#cut = createWindows({ windowSamples, hopSamples })
  }

  get nMissed(): number {
    return this.#source.nMissed
  }

  async next(): Promise<Arrival | "nothing" | "end"> {
    for (;;) {
      const value = this.#windows.shift()
      if (value !== undefined) return { value, capturedMs: this.#capturedMs, close() {} }
      if (this.#rest.length > 0) {
        this.#take()
        continue
      }
      const arrival = await this.#source.next()
      if (typeof arrival === "string") return arrival
      this.#rest = samplesOf(arrival.value)
      this.#capturedMs = arrival.capturedMs
    }
  }

  close(): Promise<void> {
    return this.#source.close()
  }

  // A piece may be a whole file: its windows, which overlap, are not all made at once.
  #take(): void {
    const part = this.#rest.subarray(0, this.#hopSamples)
    this.#rest = this.#rest.subarray(part.length)
    this.#windows.push(...this.#cut(part, this.#atSample))
    this.#atSample += part.length
  }
}

function samplesOf(value: unknown): Float32Array<ArrayBuffer> {
  if (value instanceof Float32Array) return value as Float32Array<ArrayBuffer>
  if (value instanceof Int16Array) return Float32Array.from(value, sample => sample / 2 ** 15)
  throw new SentinelError("INVALID_INPUT", `source: expected samples as Float32Array or Int16Array, got ${Object.prototype.toString.call(value)}`)
}

/** A value that knows when it was captured says so by `capturedMs`, and one that holds something has `close()`. */
function arrivalOf(value: unknown, world: StreamWorld): Arrival {
  const { capturedMs } = (typeof value === "object" && value !== null ? value : {}) as { capturedMs?: unknown }
  return {
    value,
    capturedMs: typeof capturedMs === "number" && capturedMs <= world.now() ? capturedMs : world.now(),
    close: () => { if (has(value, "close")) (value as { close(): void }).close() },
  }
}

function isMedia(given: unknown): boolean {
  return has(given, "getVideoTracks") || has(given, "getSettings") || has(given, "requestVideoFrameCallback")
}

function has(value: unknown, method: string | symbol): boolean {
  return typeof value === "object" && value !== null && typeof (value as Record<string | symbol, unknown>)[method] === "function"
}
