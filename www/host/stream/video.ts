import { SentinelError } from "../errors.js"
import { type Capture, Intake } from "./intake.js"
import { type MediaTrack, type MediaTracks, type MediaWorld, mediaWorld, type OwnVideoElement, type SourceEvent, type VideoElement } from "./media.js"
import { createPace } from "./pace.js"
import { endTrack, firstTrack, isDevice, listen, type Teller, teller, watchTrack } from "./track.js"

const PLACE = "videoFrames"

/** Browsers lend a camera few frames at a time; who keeps this many has forgotten to close them. */
const MAX_OPEN_FRAMES = 64
/** A camera's frame that waited longer is given up for the next one, unless `maxFps` puts that one off for longer still. */
const STALE_MS = 100

export interface VideoOptions {
  /** Frames that come faster are skipped. */
  maxFps?: number | undefined
  signal?: AbortSignal | undefined
  onEvent?: ((event: SourceEvent) => void) | undefined
}

/** A frame, which whoever takes it closes. */
export interface CapturedFrame {
  readonly frame: VideoFrame
  /** When it was captured, on the clock of `performance.now()`. */
  readonly capturedMs: number
  close(): void
}

/**
 * The newest frames of the first video track, or of a video element. A reader that is slow misses frames: one waits
 * for it at most. Frames that it took and left open are closed when it leaves the iteration, or when the signal is aborted.
 * The track stays the caller's: it is neither cloned nor stopped.
 */
export function videoFrames(source: MediaTracks | MediaTrack | VideoElement, options: VideoOptions = {}): Capture<CapturedFrame> {
  return captureVideo(source, options, mediaWorld())
}

/** @internal */
export function captureVideo(source: MediaTracks | MediaTrack | VideoElement, options: VideoOptions, world: MediaWorld): Capture<CapturedFrame> {
  const { maxFps = Infinity, signal, onEvent } = options
  if (!(maxFps > 0)) throw new SentinelError("INVALID_INPUT", `${PLACE}: maxFps, expected a positive number, given ${String(maxFps)}`)
  const tell = teller(onEvent)
  const given = isVideoElement(source) ? source : firstTrack(PLACE, source, "video")
  const staleMs = Math.max(STALE_MS, 1000 / maxFps)
  const openFrames = new Set<CapturedFrame>()
  return new Intake<CapturedFrame>({
    capacity: 1,
    signal,
    // A browser lends few frames of a camera, two at times: while a reader holds one, the one that waits grows old. What
    // is drawn or shared may stand still, and then an old frame is the newest there is.
    isStale: ({ capturedMs }) => !isVideoElement(given) && isDevice(given) && world.now() - capturedMs > staleMs,
    release: captured => captured.close(),
    abandon: () => openFrames.forEach(captured => captured.close()),
    open: intake => {
      const sink = { intake, tell, world, ...createGate(intake, openFrames, maxFps, tell) }
      if (isVideoElement(given)) readElement(given, sink)
      else readTrack(given, sink)
    },
  })
}

/** Where frames go, and what is told of them. */
interface Sink {
  intake: Intake<CapturedFrame>
  tell: Teller
  world: MediaWorld
  /** Whether a frame of that time is wanted. */
  admits(capturedMs: number): boolean
  put(frame: VideoFrame, capturedMs: number): void
}

function createGate(intake: Intake<CapturedFrame>, openFrames: Set<CapturedFrame>, maxFps: number, tell: Teller): Pick<Sink, "admits" | "put"> {
  const mayPass = createPace(maxFps)
  let isTold = false
  const isFull = () => {
    if (openFrames.size < MAX_OPEN_FRAMES) return false
    // A frame that was closed without our knowledge has no size left.
    for (const captured of openFrames) if (captured.frame.codedWidth === 0) openFrames.delete(captured)
    return openFrames.size >= MAX_OPEN_FRAMES
  }
  return {
    admits(capturedMs) {
      if (!mayPass(capturedMs)) {
        intake.counters.skipped += 1
        return false
      }
      if (!isFull()) {
        isTold = false
        return true
      }
      if (!isTold) tell({ type: "stalled", message: `${PLACE}: ${MAX_OPEN_FRAMES} frames are open; close() those that are done with` })
      isTold = true
      intake.lose(1)
      return false
    },
    put(frame, capturedMs) {
      const captured: CapturedFrame = {
        frame,
        capturedMs,
        close() {
          openFrames.delete(captured)
          frame.close()
        },
      }
      openFrames.add(captured)
      intake.put(captured)
    },
  }
}

function readTrack(track: MediaTrack, sink: Sink): void {
  const { intake, tell, world } = sink
  if (track.readyState === "ended") return endTrack(PLACE, track, intake, tell)
  watchTrack(PLACE, track, intake, tell)
  if (world.MediaStreamTrackProcessor !== undefined) return readProcessor(new world.MediaStreamTrackProcessor({ track, maxBufferSize: 1 }), track, sink)
  if (world.document?.createElement === undefined || world.MediaStream === undefined) {
    throw new SentinelError("IO", `${PLACE}: this browser reads a track only in a page, where there is a document; take the frames there and pass them on`)
  }
  const video = world.document.createElement("video") as OwnVideoElement
  video.muted = true
  video.playsInline = true
  video.srcObject = new world.MediaStream([track])
  intake.defer(() => { video.srcObject = null })
  readElement(video, sink)
  const resume = () => video.play()
  const play = () => resume().catch((error: unknown) => {
    if (intake.isEnded) return
    const message = `${PLACE}: the browser does not play the track (${String(error)}); call the event's resume() from a click`
    tell({ type: "stalled", message, resume })
  })
  // A browser may stop an element while nobody sees the page, and leave it so.
  listen(world.document, "visibilitychange", () => { if (world.document?.visibilityState === "visible") void play() }, intake)
  void play()
}

function readProcessor(processor: { readable: ReadableStream<VideoFrame> }, track: MediaTrack, sink: Sink): void {
  const { intake, tell, world } = sink
  const reader = processor.readable.getReader()
  intake.defer(() => { reader.cancel().catch(() => undefined) })
  const pump = async () => {
    for (;;) {
      const { done, value: frame } = await reader.read()
      // A track that its owner stops fires nothing: its last frame is what tells.
      if (done) return intake.isEnded ? undefined : endTrack(PLACE, track, intake, tell)
      const capturedMs = captureTime((frame as { metadata?(): { captureTime?: number } }).metadata?.(), world.now())
      if (sink.admits(capturedMs)) sink.put(frame, capturedMs)
      else frame.close()
    }
  }
  pump().catch((cause: unknown) => endWith("ended", "IO", `the track "${track.label}" cannot be read any more (${String(cause)})`, cause, sink))
}

function readElement(video: VideoElement, sink: Sink): void {
  const { intake, tell, world } = sink
  const { VideoFrame, document } = world
  if (VideoFrame === undefined) throw new SentinelError("IO", `${PLACE}: there is no VideoFrame here; it needs a browser with WebCodecs`)
  if (typeof video.requestVideoFrameCallback !== "function") {
    throw new SentinelError("IO", `${PLACE}: video elements have no requestVideoFrameCallback here; it needs a recent browser`)
  }
  const endIfOver = () => {
    if (!video.ended && (video.srcObject as { active?: boolean } | null)?.active !== false) return
    tell({ type: "ended", message: `${PLACE}: the video has ended` })
    intake.end()
  }
  // Where a track that its owner stops is not an end to an element, it suspends it.
  for (const type of ["ended", "suspend"]) listen(video, type, endIfOver, intake)
  endIfOver()
  if (intake.isEnded) return
  listen(video, "error", () => endWith("ended", "IO", "the video cannot be played", undefined, sink), intake)
  if (document !== undefined) watchVisibility(document, sink)
  let request = 0
  const onFrame = (nowMs: number, metadata: { captureTime?: number }) => {
    request = video.requestVideoFrameCallback(onFrame)
    const capturedMs = captureTime(metadata, nowMs)
    if (!sink.admits(capturedMs)) return
    try {
      sink.put(new VideoFrame(video), capturedMs)
    } catch (cause) {
      const why = "the page may not read this video: it comes from another origin; serve it with CORS headers and set crossOrigin"
      if ((cause as { name?: string }).name === "SecurityError") endWith("denied", "UNAUTHORIZED", why, cause, sink)
      // Otherwise there was no picture to take, as while the source changes.
      else intake.lose(1)
    }
  }
  request = video.requestVideoFrameCallback(onFrame)
  intake.defer(() => video.cancelVideoFrameCallback(request))
}

/** Elements show nothing, and so give nothing, in a page that nobody sees. */
function watchVisibility(document: NonNullable<MediaWorld["document"]>, { intake, tell }: Sink): void {
  const isHidden = () => document.visibilityState === "hidden"
  const tellIt = () => tell(isHidden()
    ? { type: "hidden", message: `${PLACE}: the page is hidden; the frames go on when it is visible again` }
    : { type: "visible", message: `${PLACE}: the page is visible again` })
  listen(document, "visibilitychange", tellIt, intake)
  if (isHidden()) tellIt()
}

function endWith(type: SourceEvent["type"], code: "IO" | "UNAUTHORIZED", why: string, cause: unknown, { intake, tell }: Sink): void {
  if (intake.isEnded) return
  const message = `${PLACE}: ${why}`
  tell({ type, message, error: new SentinelError(code, message, { cause }) })
  intake.end()
}

/** The time that a camera tells, where it tells one that can be; otherwise that of arrival. */
function captureTime(metadata: { captureTime?: number } | undefined, arrivedMs: number): number {
  const toldMs = metadata?.captureTime
  return toldMs !== undefined && toldMs >= 0 && toldMs <= arrivedMs ? toldMs : arrivedMs
}

function isVideoElement(source: object): source is VideoElement {
  return typeof source === "object" && source !== null && "videoWidth" in source
}
