import { realWorld, type World } from "../batch/world.js"
import { audioWindows } from "./audio.js"
import { Preprocessor, type PreprocessorOptions } from "./preprocess.js"
import { videoFrames } from "./video.js"

/** What streams know of time, media and pictures; tests have their own. */
export interface StreamWorld extends World {
  /** Lets what else waits for this thread have its turn. */
  nextTurn(): Promise<void>
  videoFrames: typeof videoFrames
  audioWindows: typeof audioWindows
  /** Makes pictures into tensors. */
  openPictures(options: PreprocessorOptions): Pick<Preprocessor, "toTensor" | "dispose">
}

export const realStreamWorld: StreamWorld = {
  ...realWorld,
  nextTurn,
  videoFrames,
  audioWindows,
  openPictures: options => new Preprocessor(options),
}

// A timer of no time waits for milliseconds in pages; a message does not.
function nextTurn(): Promise<void> {
  return new Promise(resolve => {
    if (typeof setImmediate === "function") return void setImmediate(resolve)
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(undefined)
  })
}
