/**
 * ONNX inference on WebGPU and on the CPU, in browsers, Node.js and Deno.
 *
 * `InferenceSession` and `Tensor` are onnxruntime-common's, so code written for onnxruntime-web runs with its
 * import changed. On top of them: `session.placement()`, `session.memory()`, `devices()`, `tools` and errors with stable
 * codes.
 */
export {
  BatchInferenceEngine,
  type BatchStatistics,
  type Outputs,
  type ResultCallback,
} from "./batch/engine.js"
export type { LaneState } from "./batch/lanes.js"
export type { MapItem, MapOptions, SettledItem } from "./batch/map.js"
export type { BatchEngineOptions, InputOptions, Padding } from "./batch/options.js"
export { env, Tensor } from "onnxruntime-common"
export type { OnnxValue, TypedTensor } from "onnxruntime-common"
export { gpuMemory } from "./device.js"
export { devices, type Device } from "./devices.js"
export { DIFF_TOLERANCES, type Diff, type DiffFeeds, type DiffOptions, type DiffSide, type DiffStep, type DiffValue } from "./diff.js"
export type { Progress, ProgressListener } from "./download.js"
export { ERROR_CODES, SentinelError, type ErrorCode } from "./errors.js"
export { InferenceSession } from "./session.js"
export { init, type InitOptions, type WebGpuModule } from "./settings.js"
export type { PictureSource } from "./stream/picture.js"
export { createPreprocessor, type Preprocessor, type PreprocessSpec } from "./stream/preprocess.js"
export { tools, type ModelInput } from "./tools.js"
export type { Trace, TraceEvent } from "./trace.js"
export { version } from "./version.js"
export type {
  DecodedImage,
  GpuBytes,
  ImageSpec,
  Inspection,
  LatencyHistogram,
  Placement,
  RankedClass,
  Reading,
  Region,
  Stage,
  Statistics,
  TextBox,
  TextBoxOptions,
  ValueInfo,
} from "./wasm.js"
