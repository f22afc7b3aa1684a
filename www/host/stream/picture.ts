import { SentinelError } from "../errors.js"
import type { DecodedImage } from "../wasm.js"

/** The part of a `VideoFrame` that is used. */
export interface FrameLike {
  /** Null where the page may not see it. */
  readonly format: string | null
  readonly displayWidth: number
  readonly displayHeight: number
}

/** The part of an `HTMLVideoElement` that is used. */
export interface VideoLike {
  readonly videoWidth: number
  readonly videoHeight: number
}

/** An `ImageBitmap`, an `OffscreenCanvas` or an `HTMLCanvasElement`. */
export interface BitmapLike {
  readonly width: number
  readonly height: number
}

/** The part of an `ImageData` that is used. */
export interface ImageDataLike extends BitmapLike {
  readonly data: Uint8ClampedArray
}

/** What can be shown to a model: a picture of a page, decoded pixels, or the bytes of a PNG, JPEG, BMP, GIF or WebP file. */
export type PictureSource = FrameLike | VideoLike | BitmapLike | ImageDataLike | DecodedImage | Uint8Array

/** The part of an `OffscreenCanvas` that is used. */
export interface CanvasLike extends BitmapLike {
  width: number
  height: number
  getContext(kind: "2d"): CanvasContextLike | null
}

export interface CanvasContextLike {
  globalCompositeOperation: string
  drawImage(source: never, x: number, y: number, width: number, height: number): void
  getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray }
}

export type MakeCanvas = (width: number, height: number) => CanvasLike

/** What a page shows, with its size. */
export interface PagePicture {
  source: FrameLike | VideoLike | BitmapLike
  width: number
  height: number
  /** A device can copy its pixels as they are: they are red, green and blue already. */
  isRgb: boolean
}

/** The pixels of `source` where it has them at hand, or else what kind of picture of a page it is. */
export function readPicture(source: PictureSource): DecodedImage | PagePicture {
  if (typeof source !== "object" || source === null) throw invalid(`expected a picture, got ${source === null ? "null" : typeof source}`)
  if ("rgba" in source) return source
  if ("data" in source && source.data instanceof Uint8ClampedArray) {
    const { width, height, data } = source
    return { width, height, rgba: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
  }
  if ("displayWidth" in source) {
    // A closed frame has no size.
    const { displayWidth: width, displayHeight: height, format } = source
    if (width === 0 || height === 0) throw invalid("expected an open VideoFrame, got one that is closed")
    return { source, width, height, isRgb: format !== null && /^(RGB|BGR)/.test(format) }
  }
  if ("videoWidth" in source) {
    const { videoWidth: width, videoHeight: height } = source
    if (width === 0 || height === 0) throw invalid("expected a video that shows something, got one without a picture yet")
    return { source, width, height, isRgb: false }
  }
  if ("width" in source && "height" in source) return { source, width: source.width, height: source.height, isRgb: true }
  throw invalid("expected a VideoFrame, a video, a canvas, an ImageBitmap, an ImageData, { width, height, rgba } or a file's bytes")
}

/**
 * Turns pictures of a page into red, green and blue, always in the same way: browsers have several conversions from a
 * camera's colours, and they differ in what they make of the borders between colours and of the camera's primaries.
 */
export class Easel {
  readonly #makeCanvas: MakeCanvas
  #canvas: CanvasLike | undefined

  constructor(makeCanvas: MakeCanvas = offscreenCanvas) {
    this.#makeCanvas = makeCanvas
  }

  /** A canvas with the picture, until the next one. */
  draw(picture: PagePicture): CanvasLike {
    this.#paint(picture)
    return this.#canvas as CanvasLike
  }

  pixels(picture: PagePicture): DecodedImage {
    const { width, height } = picture
    const { data } = this.#paint(picture).getImageData(0, 0, width, height)
    return { width, height, rgba: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
  }

  #paint({ source, width, height }: PagePicture): CanvasContextLike {
    const canvas = (this.#canvas ??= this.#makeCanvas(width, height))
    if (canvas.width !== width) canvas.width = width
    if (canvas.height !== height) canvas.height = height
    const context = canvas.getContext("2d")
    if (context === null) throw new SentinelError("OUT_OF_MEMORY", `frame: the browser gives no canvas of ${width} x ${height} pixels`)
    // Nothing of the picture before shines through.
    context.globalCompositeOperation = "copy"
    context.drawImage(source as never, 0, 0, width, height)
    return context
  }
}

function offscreenCanvas(width: number, height: number): CanvasLike {
  const { OffscreenCanvas } = globalThis as { OffscreenCanvas?: new (width: number, height: number) => CanvasLike }
  if (OffscreenCanvas !== undefined) return new OffscreenCanvas(width, height)
  throw invalid("expected { width, height, rgba } or a file's bytes, as there is no OffscreenCanvas here to read another picture")
}

export function invalid(why: string, cause?: unknown): SentinelError {
  return new SentinelError("INVALID_INPUT", `frame: ${why}`, { cause })
}
