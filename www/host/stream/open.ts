import { SentinelError } from "../errors.js"
import { type MediaDevicesPart, type MediaTracks, mediaWorld } from "./media.js"

/** The page's own type where there is a DOM; elsewhere the part of it that is used here. */
type Dom<Name extends string, Part> = typeof globalThis extends { [name in Name]: { prototype: infer Whole } } ? Whole : Part

type OpenedStream = Dom<"MediaStream", MediaTracks>
type Devices = Dom<"MediaDevices", Required<MediaDevicesPart>>
type DeviceConstraints = NonNullable<Parameters<Devices["getUserMedia"]>[0]>
type ScreenOptions = Parameters<Devices["getDisplayMedia"]>[0]

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
