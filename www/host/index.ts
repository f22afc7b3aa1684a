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
export {
  DistributedInferenceEngine,
  type DistributedStatistics,
  type WorkerEvent,
  type WorkerListener,
  type WorkerStatistics,
} from "./distributed/engine.js"
export type { WorkerView } from "./distributed/balance.js"
export type { WorkerTarget } from "./distributed/link.js"
export type { ChooseWorker, DistributedEngineOptions, LocalOptions, RequestView } from "./distributed/options.js"
export { DIFF_TOLERANCES, type Diff, type DiffFeeds, type DiffOptions, type DiffSide, type DiffStep, type DiffValue } from "./diff.js"
export type { Progress, ProgressListener } from "./download.js"
export { ERROR_CODES, SentinelError, type ErrorCode } from "./errors.js"
export { InferenceSession } from "./session.js"
export { init, type InitOptions, type WebGpuModule } from "./settings.js"
export { audioWindows, type AudioOptions, type AudioWindow } from "./stream/audio.js"
export type { Capture, CaptureCounters } from "./stream/intake.js"
export { chunksOf } from "./stream/chunks.js"
export { StreamingInferenceEngine, type StreamingEngineOptions, type StreamingStatistics } from "./stream/engine.js"
export type { StreamEvent, StreamListener } from "./stream/events.js"
export type { MediaTrack, MediaTracks, SourceEvent, VideoElement } from "./stream/media.js"
export { openCamera, openMicrophone, openScreen } from "./stream/open.js"
export type { AudioSpec, PictureSpec, Preprocess, StreamInputInfo, StreamOptions, StreamResult, StreamResultInfo } from "./stream/options.js"
export type { StreamPolicy } from "./stream/pacer.js"
export type { PictureSource } from "./stream/picture.js"
export { createPreprocessor, type Preprocessor, type PreprocessSpec } from "./stream/preprocess.js"
export type { ObjectWritable, StreamHandler, StreamTarget } from "./stream/sinks.js"
export type { StreamSource } from "./stream/sources.js"
export type { StreamStatistics } from "./stream/stream.js"
export { videoFrames, type CapturedFrame, type VideoOptions } from "./stream/video.js"
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
