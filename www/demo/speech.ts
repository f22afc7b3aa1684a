import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { setTimeout as wait } from "node:timers/promises"
import { bar } from "../cli/terminal.js"
import { SentinelError, Tensor, type AudioSpec, type StreamOptions } from "../host/index.js"
import { onlyOutput } from "./measure.js"
import type { Feeds } from "./subject.js"

/** What a stream of a model that the demo knows is made of. */
export interface Live {
  about: string
  constants: Feeds
  options: Pick<StreamOptions<Int16Array>, "state"> & { preprocess: AudioSpec }
  source(): AsyncIterable<Int16Array>
  /** Told the outputs of each step. */
  hear(outputs: Feeds): void
  /** What the latest outputs say, in a few characters. */
  sign(): string
  /** What all of them said. */
  finding(): string
}

const RATE = 16_000
/** The model wants the end of the window before in front of each window. */
const [HOP, CONTEXT] = [512, 64]
const BAR_WIDTH = 10
const SPEECH = 0.5

/** Silero VAD hears a file again and again, as fast as it was spoken. */
export function speech(path: string): Live | undefined {
  if (!existsSync(path)) return undefined
  let [probability, nSpoken, nHeard] = [0, 0, 0]
  return {
    about: "speech.wav again and again, in windows of 32 ms",
    constants: { sr: new Tensor("int64", [BigInt(RATE)], []) },
    options: {
      state: { state: "stateN" },
      preprocess: { sampleRate: RATE, windowSamples: CONTEXT + HOP, hopSamples: HOP, input: "input" },
    },
    async *source() {
      const samples = samplesOf(path, await readFile(path))
      const startedMs = performance.now()
      let atSample = 0
      yield new Int16Array(CONTEXT)
      for (;;) {
        for (let from = 0; from < samples.length; from += HOP) {
          await wait(Math.max(0, startedMs + (atSample / RATE) * 1000 - performance.now()))
          const part = samples.subarray(from, from + HOP)
          atSample += part.length
          yield part
        }
      }
    },
    hear(outputs) {
      probability = Number(onlyOutput(outputs).data[0])
      nHeard += 1
      if (probability >= SPEECH) nSpoken += 1
    },
    sign: () => `speech ${bar(probability, BAR_WIDTH)}`,
    finding: () => `speech in ${nSpoken} of ${nHeard} windows`,
  }
}

/** The samples of a WAV file of one channel of 16 bits. */
function samplesOf(path: string, file: Buffer): Int16Array {
  const isWave = file.toString("latin1", 0, 4) === "RIFF" && file.toString("latin1", 8, 12) === "WAVE"
  for (let at = 12; isWave && at + 8 <= file.length; at += 8 + file.readUInt32LE(at + 4)) {
    if (file.toString("latin1", at, at + 4) !== "data") continue
    const samples = Uint8Array.from(file.subarray(at + 8, at + 8 + file.readUInt32LE(at + 4)))
    return new Int16Array(samples.buffer, 0, samples.length >> 1)
  }
  throw new SentinelError("IO", `${path}: expected a WAV file with samples`)
}
