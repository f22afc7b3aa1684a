import type { InferenceSession } from "../host/index.js"
import type { Gpu } from "./gpu.js"
import type { Timing } from "./measure.js"

/** Where the demo's files are. */
export interface Files {
  model(name: string): string
  fixture(name: string): string
  /** Where models are looked for by name. */
  modelFolders: string[]
  /** Somebody says something; it need not be there. */
  speech: string
  /** What the type of is told when no file is named. */
  samples: string[]
}

/** What every part of the demo is given. */
export interface DemoOptions {
  files: Files
  images: string[]
  inspected: string[]
  repeat: number
  gpu: Gpu
  /** Session options: the provider that the user named, else the preferred one, else the engine's choice. */
  providers(preferred?: string): InferenceSession.SessionOptions
}

/** One line of an answer. */
export interface Line {
  text: string
  probability?: number
  /** What is right, where the demo knows. */
  expected?: string
  note?: string
}

/** What was found in one picture or file. */
export interface Answer {
  about: string
  lines: Line[]
}

/** One model's share of a part. */
export interface Step extends Timing {
  name: string
  backend: string
  reason: string
}

export interface Result {
  answers: Answer[]
  steps: Step[]
}

/** One thing that the demo shows. */
export interface Part {
  name: string
  title: string
  models: string
  run(options: DemoOptions): Promise<Result>
}
