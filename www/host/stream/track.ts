import { SentinelError } from "../errors.js"
import type { EventTargetPart, MediaTrack, MediaTracks, SourceEvent } from "./media.js"

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

/** Listens to what becomes of a track, and ends with it. A track that its owner stops fires nothing. */
export function watchTrack(place: string, track: MediaTrack, watcher: Watcher, tell: Teller): void {
  const on = (type: string, listener: () => void) => listen(track, type, listener, watcher)
  on("mute", () => tell({ type: "muted", message: `${place}: the track "${track.label}" gives nothing for now` }))
  on("unmute", () => tell({ type: "unmuted", message: `${place}: the track "${track.label}" goes on` }))
  on("ended", () => {
    if (!isDevice(track)) return endTrack(place, track, watcher, tell)
    const message = `${place}: the device "${track.label}" was unplugged, or its permission was withdrawn; open it again`
    tell({ type: "device-lost", message, error: new SentinelError("IO", message) })
    watcher.end()
  })
  if (track.muted) tell({ type: "muted", message: `${place}: the track "${track.label}" gives nothing yet` })
}

/** Whether a track is a camera's or a microphone's: a shared screen ends when the person says so, others have no device to lose. */
export function isDevice(track: MediaTrack): boolean {
  // Canvases and calls have a deviceId too; what devices share by their groupId is a piece of hardware.
  const { groupId, displaySurface } = track.getSettings()
  return Boolean(groupId) && displaySurface === undefined
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
