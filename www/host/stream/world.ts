import { realWorld, type World } from "../batch/world.js"
import { audioWindows } from "./audio.js"
import { Preprocessor, type PreprocessorOptions } from "./preprocess.js"
import { videoFrames } from "./video.js"

/** What streams know of time, media and pictures; tests have their own. */
export interface StreamWorld extends World {
  videoFrames: typeof videoFrames
  audioWindows: typeof audioWindows
  /** Makes pictures into tensors. */
  openPictures(options: PreprocessorOptions): Pick<Preprocessor, "toTensor" | "dispose">
}

export const realStreamWorld: StreamWorld = {
  ...realWorld,
  videoFrames,
  audioWindows,
  openPictures: options => new Preprocessor(options),
}
