import { SentinelError } from "../errors.js"

/** The page's own type where there is a DOM; elsewhere the part of it that is used here. */
type Dom<Name extends string, Part> = typeof globalThis extends { [name in Name]: { prototype: infer Whole } } ? Whole : Part

/** The part of `MediaStreamTrack` that is used here. */
export interface MediaTrack extends EventTargetPart {
  readonly kind: string
  readonly label: string
  readonly muted: boolean
  readonly readyState: string
  getSettings(): { deviceId?: string; displaySurface?: string }
}

/** The part of `MediaStream` that is used here. */
export interface MediaTracks {
  getVideoTracks(): readonly MediaTrack[]
  getAudioTracks(): readonly MediaTrack[]
}

/** The part of `HTMLVideoElement` that is used here. */
export interface VideoElement extends EventTargetPart {
  readonly ended: boolean
  readonly videoWidth: number
  requestVideoFrameCallback(callback: (nowMs: number, metadata: { captureTime?: number }) => void): number
  cancelVideoFrameCallback(request: number): void
}

/** The part of `EventTarget` that is used here. */
export interface EventTargetPart {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

/** A video element of our own. */
export interface OwnVideoElement extends VideoElement {
  muted: boolean
  playsInline: boolean
  srcObject: MediaTracks | null
  play(): Promise<void>
}

/** What a source has to tell while it runs. `error` is there when something went wrong. */
export interface SourceEvent {
  type: "ended" | "muted" | "unmuted" | "hidden" | "visible" | "device-lost" | "denied" | "stalled"
  message: string
  error?: SentinelError
  /** What a "stalled" source that waits for the person has called from a click. */
  resume?: () => Promise<void>
}

/** The part of the browser's media that is used here; each may be missing. */
export interface MediaWorld {
  now(): number
  setTimeout(callback: () => void, delayMs: number): unknown
  clearTimeout(timer: unknown): void
  readonly isSecureContext: boolean | undefined
  readonly document: (EventTargetPart & { readonly visibilityState: string; createElement?(name: "video"): unknown }) | undefined
  readonly mediaDevices: MediaDevicesPart | undefined
  readonly MediaStream: (new (tracks: readonly MediaTrack[]) => MediaTracks) | undefined
  readonly MediaStreamTrackProcessor: (new (init: { track: MediaTrack; maxBufferSize: number }) => { readable: ReadableStream<VideoFrame> }) | undefined
  readonly VideoFrame: (new (source: VideoElement) => VideoFrame) | undefined
  readonly AudioContext: (new (options: { sampleRate: number }) => AudioContextPart) | undefined
  readonly AudioWorkletNode: (new (context: AudioContextPart, name: string, options: object) => AudioWorkletNodePart) | undefined
}

/** The part of `AudioContext` that is used here. */
export interface AudioContextPart extends EventTargetPart {
  readonly state: string
  readonly currentTime: number
  readonly destination: unknown
  readonly audioWorklet: { addModule(url: string): Promise<void> } | undefined
  createMediaStreamSource(stream: MediaTracks): AudioNodePart
  resume(): Promise<void>
  close(): Promise<void>
}

export interface AudioNodePart {
  connect(target: unknown): unknown
  disconnect(): void
}

export interface AudioWorkletNodePart extends AudioNodePart, EventTargetPart {
  readonly port: MessagePort
}

interface MediaDevicesPart {
  getUserMedia(constraints: { video?: boolean | object; audio?: boolean | object }): Promise<MediaTracks>
  getDisplayMedia?(options?: object): Promise<MediaTracks>
}

type OpenedStream = Dom<"MediaStream", MediaTracks>
type Devices = Dom<"MediaDevices", Required<MediaDevicesPart>>
type DeviceConstraints = NonNullable<Parameters<Devices["getUserMedia"]>[0]>
type ScreenOptions = Parameters<Devices["getDisplayMedia"]>[0]

/** The world of the page or worker that this runs in. */
export function mediaWorld(): MediaWorld {
  const world = globalThis as unknown as MediaWorld & { navigator?: { mediaDevices?: MediaDevicesPart } }
  return {
    now: () => performance.now(),
    setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
    clearTimeout: timer => clearTimeout(timer as number),
    isSecureContext: world.isSecureContext,
    document: world.document,
    mediaDevices: world.navigator?.mediaDevices,
    MediaStream: world.MediaStream,
    MediaStreamTrackProcessor: world.MediaStreamTrackProcessor,
    VideoFrame: world.VideoFrame,
    AudioContext: world.AudioContext,
    AudioWorkletNode: world.AudioWorkletNode,
  }
}

/** A camera's stream, for which the browser may ask the person. */
export function openCamera(constraints: DeviceConstraints["video"] = true): Promise<OpenedStream> {
  return openDevice("camera", devices => devices.getUserMedia({ video: constraints ?? true }))
}

/** A microphone's stream, for which the browser may ask the person. */
export function openMicrophone(constraints: DeviceConstraints["audio"] = true): Promise<OpenedStream> {
  return openDevice("microphone", devices => devices.getUserMedia({ audio: constraints ?? true }))
}

/** The stream of a screen, window or tab that the person chooses; browsers want it called from a click. */
export function openScreen(options?: ScreenOptions): Promise<OpenedStream> {
  return openDevice("screen", devices => {
    if (devices.getDisplayMedia === undefined) throw new SentinelError("IO", "screen: this browser cannot share screens (it has no getDisplayMedia)")
    return devices.getDisplayMedia(options)
  })
}

type Device = "camera" | "microphone" | "screen"

/** @internal */
export async function openDevice(
  device: Device,
  open: (devices: MediaDevicesPart) => Promise<MediaTracks>,
  world = mediaWorld(),
): Promise<OpenedStream> {
  const { mediaDevices, isSecureContext } = world
  if (mediaDevices === undefined) {
    const missing = isSecureContext === false
      ? "this page has no secure context; serve it over https or from localhost"
      : "there is no navigator.mediaDevices here; open it in a page and pass its frames on"
    throw new SentinelError("IO", `${device}: ${missing}`)
  }
  try {
    return await open(mediaDevices) as OpenedStream
  } catch (thrown) {
    throw refusal(device, thrown)
  }
}

/** A browser's refusal to open a device, with what can be done about it. */
function refusal(device: Device, thrown: unknown): SentinelError {
  if (thrown instanceof SentinelError) return thrown
  const { name = "", message = String(thrown), constraint = "" } = thrown as { name?: string; message?: string; constraint?: string }
  const refused = (code: "UNAUTHORIZED" | "IO" | "INVALID_INPUT", why: string) =>
    new SentinelError(code, `${device}: ${why} (${name}: ${message})`, { cause: thrown })
  switch (name) {
    case "NotAllowedError":
      return device === "screen"
        ? refused("UNAUTHORIZED", "the page may not use it: the person did not choose one, or the browser or system forbids it; ask again from a click")
        : refused("UNAUTHORIZED", "the page may not use it: allow it in the browser's settings for this site, and in the system's; in a frame, by its allow attribute")
    case "SecurityError":
      return refused("UNAUTHORIZED", "the page may not use it: its security policy forbids it")
    case "InvalidStateError":
      return refused("UNAUTHORIZED", "the page may not use it now: ask from a click, in a page that is in front")
    case "NotFoundError":
      return refused("IO", "none was found: connect one, or choose it in the system's settings")
    case "NotReadableError":
    case "AbortError":
      return refused("IO", "it could not be started: it may be in use by another program")
    case "OverconstrainedError":
      return refused("INVALID_INPUT", `no device meets the constraint ${constraint}: expected one that a device has`)
    case "TypeError":
      return refused("INVALID_INPUT", "the constraints were not understood")
    default:
      return refused("IO", "it could not be opened")
  }
}

/** The first track of `kind`, or an error that says what was given instead. */
export function firstTrack(place: string, source: unknown, kind: "video" | "audio"): MediaTrack {
  const given = source as Partial<MediaTrack & MediaTracks> | null | undefined
  if (given?.kind === kind) return given as MediaTrack
  const tracks = kind === "video" ? given?.getVideoTracks?.() : given?.getAudioTracks?.()
  if (tracks?.[0] !== undefined) return tracks[0]
  const what = tracks === undefined ? `given ${given?.kind === undefined ? String(source) : `a track of ${given.kind}`}` : "given one without"
  throw new SentinelError("INVALID_INPUT", `${place}: source, expected a MediaStream with a track of ${kind}, ${what}`)
}

/** Tells an event apart from what is going on: a listener that throws is the page's error, and ends nothing here. */
export type Teller = (event: SourceEvent) => void

export function teller(onEvent: ((event: SourceEvent) => void) | undefined): Teller {
  return event => { if (onEvent !== undefined) queueMicrotask(() => onEvent(event)) }
}

/** What a watched track belongs to. */
interface Watcher {
  end(): void
  defer(release: () => void): void
}

/** Listens to what becomes of a track, and ends with it. A track that its owner stops fires nothing: `endOf` is for that. */
export function watchTrack(place: string, track: MediaTrack, watcher: Watcher, tell: Teller): void {
  const on = (type: string, listener: () => void) => listen(track, type, listener, watcher)
  on("mute", () => tell({ type: "muted", message: `${place}: the track "${track.label}" gives nothing for now` }))
  on("unmute", () => tell({ type: "unmuted", message: `${place}: the track "${track.label}" goes on` }))
  on("ended", () => {
    const { deviceId, displaySurface } = track.getSettings()
    // A shared screen ends when the person says so; a remote or drawn track has no device to lose.
    if (!deviceId || displaySurface !== undefined) return endTrack(place, track, watcher, tell)
    const message = `${place}: the device "${track.label}" was unplugged, or its permission was withdrawn; open it again`
    tell({ type: "device-lost", message, error: new SentinelError("IO", message) })
    watcher.end()
  })
  if (track.muted) tell({ type: "muted", message: `${place}: the track "${track.label}" gives nothing yet` })
}

/** Ends because the track is over. */
export function endTrack(place: string, track: MediaTrack, watcher: Watcher, tell: Teller): void {
  tell({ type: "ended", message: `${place}: the track "${track.label}" has ended` })
  watcher.end()
}

export function listen(target: EventTargetPart, type: string, listener: () => void, watcher: Pick<Watcher, "defer">): void {
  target.addEventListener(type, listener)
  watcher.defer(() => target.removeEventListener(type, listener))
}
