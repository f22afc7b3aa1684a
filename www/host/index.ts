/**
 * ONNX inference on WebGPU and on the CPU, in browsers, Node.js and Deno.
 *
 * `InferenceSession` and `Tensor` are onnxruntime-common's, so code written for onnxruntime-web runs with its
 * import changed. On top of them: `session.placement()`, `session.memory()`, `devices()`, `tools` and errors with stable
 * codes.
 */
export { env, Tensor } from "onnxruntime-common"
export type { OnnxValue, TypedTensor } from "onnxruntime-common"
export { gpuMemory } from "./device.js"
export { devices, type Device } from "./devices.js"
export { DIFF_TOLERANCES, type Diff, type DiffFeeds, type DiffOptions, type DiffSide, type DiffStep, type DiffValue } from "./diff.js"
export type { Progress, ProgressListener } from "./download.js"
export { ERROR_CODES, SentinelError, type ErrorCode } from "./errors.js"
export { InferenceSession } from "./session.js"
export { init, type InitOptions, type WebGpuModule } from "./settings.js"
export { audioWindows, type AudioOptions, type AudioWindow } from "./stream/audio.js"
export type { Capture, CaptureCounters } from "./stream/intake.js"
export { openCamera, openMicrophone, openScreen } from "./stream/open.js"
export type { SourceEvent } from "./stream/track.js"
export { videoFrames, type CapturedFrame, type VideoOptions } from "./stream/video.js"
export type { MediaTrack, MediaTracks, VideoElement } from "./stream/media.js"
export { tools, type ModelInput } from "./tools.js"
export type { Trace, TraceEvent } from "./trace.js"
export { version } from "./version.js"
export type {
  DecodedImage,
  GpuBytes,
  ImageSpec,
  Inspection,
  Placement,
  RankedClass,
  Reading,
  Region,
  Stage,
  TextBox,
  TextBoxOptions,
  ValueInfo,
} from "./wasm.js"
