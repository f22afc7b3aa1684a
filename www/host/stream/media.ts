import type { SentinelError } from "../errors.js"

/** What a source has to tell while it runs. `error` is there when something went wrong. */
export interface SourceEvent {
  type: "ended" | "muted" | "unmuted" | "hidden" | "visible" | "device-lost" | "denied" | "stalled"
  message: string
  error?: SentinelError
  /** What a "stalled" source that waits for the person has called from a click. */
  resume?: () => Promise<void>
}

// What is used of the browser's media: the host is compiled without the DOM's types, and tests bring a world of their own.

/** The part of `MediaStreamTrack` that is used here. */
export interface MediaTrack extends EventTargetPart {
  readonly kind: string
  readonly label: string
  readonly muted: boolean
  readonly readyState: string
  getSettings(): { groupId?: string; displaySurface?: string }
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
  readonly srcObject: object | null
  requestVideoFrameCallback(callback: (nowMs: number, metadata: { captureTime?: number }) => void): number
  cancelVideoFrameCallback(request: number): void
}

/** The part of `EventTarget` that is used here. */
export interface EventTargetPart {
  addEventListener(type: string, listener: () => void): void
  removeEventListener(type: string, listener: () => void): void
}

/** A video element of our own. */
export interface OwnVideoElement extends Omit<VideoElement, "srcObject"> {
  muted: boolean
  playsInline: boolean
  srcObject: object | null
  play(): Promise<void>
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

export interface MediaDevicesPart {
  getUserMedia(constraints: { video?: boolean | object; audio?: boolean | object }): Promise<MediaTracks>
  getDisplayMedia?(options?: object): Promise<MediaTracks>
}

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
