// The glue that wasm-bindgen writes during the build; `wasm.ts` says what is in it.
declare module "*/generated/engine.js"
declare module "*/generated/scheduler.js"
declare module "*/generated/wonnx.js"
declare module "*/generated/tools.js"
