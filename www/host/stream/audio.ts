import { SentinelError } from "../errors.js"
import { type Capture, Intake } from "./intake.js"
import { type AudioContextPart, type MediaTrack, type MediaTracks, type MediaWorld, mediaWorld, type SourceEvent } from "./media.js"
import { endTrack, firstTrack, listen, type Teller, teller, watchTrack } from "./track.js"
import { createWindows, type SampleWindow, wholeNumber, type WindowShape } from "./windows.js"
import { addWorklet, type SampleChunk, WORKLET_NAME, type WorkletOptions } from "./worklet.js"

const PLACE = "audioWindows"

/** How much waits for a slow reader, and as much again for a busy page. */
const KEPT_SECONDS = 10
const CHUNK_SECONDS = 0.02
/** After this long without a sample the browser is taken to hold the audio back. */
const STALL_MS = 1000

export interface AudioOptions extends WindowShape {
  /** What the model wants; the browser resamples to it. */
  sampleRate: number
  signal?: AbortSignal | undefined
  onEvent?: ((event: SourceEvent) => void) | undefined
}

export interface AudioWindow extends SampleWindow {
  /** When its last sample was captured, on the clock of `performance.now()`. */
  capturedMs: number
}

/**
 * Windows of mono samples of the first audio track. For a reader that is slow, ten seconds of windows wait; then the
 * oldest are dropped, and `atSample` shows the gap. The track stays the caller's: it is not stopped.
 */
export function audioWindows(source: MediaTracks | MediaTrack, options: AudioOptions): Capture<AudioWindow> {
  return captureAudio(source, options, mediaWorld())
}

/** @internal */
export function captureAudio(source: MediaTracks | MediaTrack, options: AudioOptions, world: MediaWorld): Capture<AudioWindow> {
  const sampleRate = wholeNumber(PLACE, "sampleRate", options.sampleRate)
  const windowSamples = wholeNumber(PLACE, "windowSamples", options.windowSamples)
  const hopSamples = wholeNumber(PLACE, "hopSamples", options.hopSamples ?? windowSamples)
  const track = firstTrack(PLACE, source, "audio")
  const tell = teller(options.onEvent)
  return new Intake<AudioWindow>({
    capacity: Math.max(1, Math.floor(KEPT_SECONDS * sampleRate / windowSamples)),
    signal: options.signal,
    open: async intake => {
      if (track.readyState === "ended") return endTrack(PLACE, track, intake, tell)
      watchTrack(PLACE, track, intake, tell)
      const context = openContext(sampleRate, world, intake)
      const seesSamples = watchContext(context, world, intake, tell)
      await addWorklet(PLACE, context)
      if (intake.isEnded) return
      const cut = createWindows({ windowSamples, hopSamples })
      let nextSample = 0
      openWorklet(context, track, sampleRate, world, intake, ({ samples, atSample, endSeconds }) => {
        seesSamples()
        // A track that its owner stops fires nothing, and is silent from then on.
        if (track.readyState === "ended") return endTrack(PLACE, track, intake, tell)
        if (atSample > nextSample) intake.lose(Math.ceil((atSample - nextSample) / hopSamples))
        nextSample = atSample + samples.length
        const endMs = world.now() - 1000 * Math.max(0, context.currentTime - endSeconds)
        for (const window of cut(samples, atSample)) {
          const laterSamples = nextSample - (window.atSample + windowSamples)
          intake.put({ ...window, capturedMs: endMs - 1000 * laterSamples / sampleRate })
        }
      })
    },
  })
}

function openContext(sampleRate: number, world: MediaWorld, intake: Intake<AudioWindow>): AudioContextPart {
  if (world.AudioContext === undefined) {
    throw new SentinelError("IO", `${PLACE}: there is no AudioContext here; call it in a page, as workers have none, and pass the windows on`)
  }
  try {
    const context = new world.AudioContext({ sampleRate })
    intake.defer(() => { context.close().catch(() => undefined) })
    return context
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${PLACE}: sampleRate, expected one that the browser can resample to, given ${sampleRate}`, { cause })
  }
}

/** Tells when the browser holds the audio back. The returned function is to be called when samples come. */
function watchContext(context: AudioContextPart, world: MediaWorld, intake: Intake<AudioWindow>, tell: Teller): () => void {
  const resume = () => context.resume()
  const stall = () => {
    const why = `the browser holds the audio back (${context.state}) until the person acts; start from a click, or call the event's resume() from one`
    tell({ type: "stalled", message: `${PLACE}: ${why}`, resume })
  }
  listen(context, "statechange", () => {
    if (context.state === "suspended" || context.state === "interrupted") stall()
  }, intake)
  // Where it is allowed to, a context starts by itself; where not, this is refused or waits for a click.
  resume().catch(() => undefined)
  const timer = world.setTimeout(stall, STALL_MS)
  const stopWaiting = () => world.clearTimeout(timer)
  intake.defer(stopWaiting)
  return stopWaiting
}

function openWorklet(
  context: AudioContextPart,
  track: MediaTrack,
  sampleRate: number,
  world: MediaWorld,
  intake: Intake<AudioWindow>,
  onChunk: (chunk: SampleChunk) => void,
): void {
  const { MediaStream, AudioWorkletNode } = world
  if (MediaStream === undefined || AudioWorkletNode === undefined) {
    throw new SentinelError("IO", `${PLACE}: there is no AudioWorkletNode here; it needs a secure context and a recent browser`)
  }
  const processorOptions: WorkletOptions = {
    chunkSamples: Math.ceil(sampleRate * CHUNK_SECONDS),
    maxUnanswered: Math.ceil(KEPT_SECONDS / CHUNK_SECONDS),
  }
  // The node mixes to mono by the rules of the specification.
  const node = new AudioWorkletNode(context, WORKLET_NAME, { channelCount: 1, channelCountMode: "explicit", processorOptions })
  intake.defer(() => {
    node.port.close()
    node.disconnect()
  })
  listen(node, "processorerror", () => intake.fail(new SentinelError("INTERNAL", `${PLACE}: the audio worklet failed`)), intake)
  node.port.onmessage = ({ data }: MessageEvent<SampleChunk>) => {
    node.port.postMessage(undefined)
    onChunk(data)
  }
  const microphone = openSource(context, new MediaStream([track]), sampleRate)
  intake.defer(() => microphone.disconnect())
  microphone.connect(node)
  // Only what leads to the destination is computed; the node's output is silent.
  node.connect(context.destination)
}

function openSource(context: AudioContextPart, stream: MediaTracks, sampleRate: number) {
  try {
    return context.createMediaStreamSource(stream)
  } catch (cause) {
    throw new SentinelError("IO", `${PLACE}: this browser does not resample this track to ${sampleRate}; ask for its own rate`, { cause })
  }
}
