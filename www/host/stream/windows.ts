import { SentinelError } from "../errors.js"

/** A stretch of samples; `atSample` counts from the first sample of the source. */
export interface SampleWindow {
  samples: Float32Array<ArrayBuffer>
  atSample: number
}

export interface WindowShape {
  windowSamples: number
  /** From the start of one window to the start of the next: less than a window overlaps, more leaves out. */
  hopSamples?: number | undefined
}

/**
 * Cuts a run of samples into windows: window `i` starts at sample `i * hopSamples`. The returned function takes the next
 * samples and gives the windows that they complete. Where `atSample` leaves a gap, what came before is forgotten and
 * windows start again behind it.
 */
export function createWindows({ windowSamples, hopSamples = windowSamples }: WindowShape): (samples: Float32Array, atSample: number) => SampleWindow[] {
  const held = new Float32Array(windowSamples)
  let filled = 0
  let toSkip = 0
  let nextSample = 0
  return (samples, atSample) => {
    if (atSample !== nextSample) filled = toSkip = 0
    nextSample = atSample + samples.length
    const windows: SampleWindow[] = []
    let at = 0
    while (at < samples.length) {
      const skipped = Math.min(toSkip, samples.length - at)
      toSkip -= skipped
      at += skipped
      const part = samples.subarray(at, at + windowSamples - filled)
      held.set(part, filled)
      filled += part.length
      at += part.length
      if (filled < windowSamples) continue
      windows.push({ samples: held.slice(), atSample: atSample + at - windowSamples })
      const kept = Math.max(0, windowSamples - hopSamples)
      held.copyWithin(0, windowSamples - kept)
      filled = kept
      toSkip = Math.max(0, hopSamples - windowSamples)
    }
    return windows
  }
}

/** More samples or bytes than that at once are a mistake: they would be a gibibyte and more. */
const MOST = 2 ** 28

/** A number of samples or bytes, or an error that names it. */
export function wholeNumber(place: string, name: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MOST) return value as number
  throw new SentinelError("INVALID_INPUT", `${place}: ${name}, expected a whole number from 1 to ${MOST}, given ${String(value)}`)
}
