import { SentinelError } from "../errors.js"
import type { AudioContextPart } from "./media.js"

export const WORKLET_NAME = "sentinel-samples"

/** What the worklet posts: samples, their place in the run, and the context's time at their end. */
export interface SampleChunk {
  samples: Float32Array<ArrayBuffer>
  atSample: number
  endSeconds: number
}

export interface WorkletOptions {
  /** How many samples are posted at once. */
  chunkSamples: number
  /** How many chunks may be without an answer; while there are as many, samples are left out. */
  maxUnanswered: number
}

/**
 * It runs on the audio thread, so it does nothing but copy. Every chunk wants an answer (any message): when the page is
 * busy, the port would otherwise collect samples without end.
 * @internal
 */
export const WORKLET_SOURCE = `
registerProcessor("${WORKLET_NAME}", class extends AudioWorkletProcessor {
  constructor({ processorOptions: { chunkSamples, maxUnanswered } }) {
    super()
    this.chunkSamples = chunkSamples
    this.maxUnanswered = maxUnanswered
    this.unanswered = 0
    this.chunk = new Float32Array(chunkSamples)
    this.filled = 0
    this.nextSample = 0
    this.port.onmessage = () => { this.unanswered -= 1 }
  }

  process([[block]]) {
    if (block === undefined) return true
    for (let at = 0; at < block.length;) {
      const part = block.subarray(at, at + this.chunkSamples - this.filled)
      this.chunk.set(part, this.filled)
      this.filled += part.length
      at += part.length
      if (this.filled === this.chunkSamples) this.post((currentFrame + at) / sampleRate)
    }
    return true
  }

  post(endSeconds) {
    const atSample = this.nextSample
    this.nextSample += this.chunkSamples
    this.filled = 0
    if (this.unanswered >= this.maxUnanswered) return
    const samples = this.chunk
    this.unanswered += 1
    this.port.postMessage({ samples, atSample, endSeconds }, [samples.buffer])
    this.chunk = new Float32Array(this.chunkSamples)
  }
})
`

/** Loads the worklet into a context. A strict content security policy can forbid it. */
export async function addWorklet(place: string, context: AudioContextPart): Promise<void> {
  if (context.audioWorklet === undefined) {
    throw new SentinelError("IO", `${place}: there is no AudioWorklet here; it needs a secure context (https or localhost) and a recent browser`)
  }
  const url = URL.createObjectURL(new Blob([WORKLET_SOURCE], { type: "text/javascript" }))
  try {
    await context.audioWorklet.addModule(url)
  } catch (cause) {
    const why = "the browser refused the audio worklet; a content security policy has to allow blob: in script-src (or worker-src)"
    throw new SentinelError("IO", `${place}: ${why}`, { cause })
  } finally {
    URL.revokeObjectURL(url)
  }
}
