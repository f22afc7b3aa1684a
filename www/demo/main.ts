#!/usr/bin/env node
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { paintFor } from "../cli/terminal.js"
import { InferenceSession, SentinelError } from "../host/index.js"
import { runBatches, showBatches, type BatchReport } from "./batch.js"
import { digits } from "./digits.js"
import { runDistributed, showDistributed, type DistributedReport } from "./distributed.js"
import { fileType } from "./filetype.js"
import { findGpu, type Gpu } from "./gpu.js"
import { once } from "./once.js"
import { HELP, readArguments, type DemoArguments } from "./options.js"
import type { DemoOptions, Files, Part, Result } from "./part.js"
import { showPart } from "./print.js"
import { ProgressBar } from "./progress.js"
import { runStream, showStream, type StreamReport } from "./stream.js"
import { subjectOf, type Subject } from "./subject.js"
import { text } from "./text.js"

const PARTS: readonly Part[] = [text, digits, fileType]

/** The checkout, seen from the built program in `pkg/bin`. */
const checkout = fileURLToPath(new URL("../../", import.meta.url))

const files: Files = {
  model: name => existing(`${checkout}target/models/${name}`, "pkg-scripts/fetch-models brings it"),
  fixture: name => existing(`${checkout}tests/fixtures/${name}`, "it is part of the checkout"),
  modelFolders: [`${checkout}target/models/`, `${checkout}tests/fixtures/models/`],
  speech: `${checkout}tests/fixtures/speech/speech.wav`,
  samples: [
    fileURLToPath(import.meta.url),
    ...["images/rendered_text.png", "digits/digits.onnx", "digits/digits.npz", "digits/train.py"].map(name => `${checkout}tests/fixtures/${name}`),
    `${checkout}Cargo.toml`,
  ],
}

const paint = paintFor(process.stdout)

function existing(path: string, hint: string): string {
  if (!existsSync(path)) throw new SentinelError("IO", `${path}: no such file; ${hint}`)
  return path
}

async function run(): Promise<void> {
  const args = readArguments(process.argv.slice(2))
  if (args.help) return print(HELP)
  const work = prepared(args)
  const gpu = await findGpu(`${checkout}www/package.json`)
  if (!args.json) print(`\n${paint.dim(`GPU: ${gpu.description}`)}\n\n`)
  const results = await work(gpu)
  if (args.json) print(`${JSON.stringify({ gpu, results }, plain, 2)}\n`)
}

/** What the arguments ask for; what is wrong with them is known before anything runs. */
function prepared(args: DemoArguments): (gpu: Gpu) => Promise<unknown[]> {
  switch (args.mode) {
    case "basic": {
      const chosen = args.models.map(name => PARTS.find(part => part.name === name) ?? once(subjectOf(name, files, args.seed)))
      return gpu => runParts(chosen.length === 0 ? PARTS : chosen, args, gpu)
    }
    case "batch":
    case "async":
    case "stream":
    case "distributed": {
      const { mode } = args
      const [name = "digits", ...others] = args.models
      if (others.length > 0) throw new SentinelError("INVALID_INPUT", `--model: --mode ${mode} takes one, got ${args.models.join(", ")}`)
      const subject = subjectOf(name, files, args.seed)
      return async () => [await (mode === "distributed" ? spread(subject, args) : runEngine(subject, mode, args))]
    }
  }
}

async function runParts(parts: readonly Part[], args: DemoArguments, gpu: Gpu): Promise<unknown[]> {
  const options: DemoOptions = {
    files,
    images: args.images,
    inspected: args.inspected,
    repeat: args.repeat,
    gpu,
    providers: preferred => sessionOptions(args.provider === "auto" ? preferred : args.provider),
  }
  const results: (Result & { name: string })[] = []
  for (const part of parts) {
    const result = await part.run(options)
    results.push({ name: part.name, ...result })
    if (!args.json) print(`${showPart(part, result, paint)}\n`)
  }
  return results
}

async function spread(subject: Subject, args: DemoArguments): Promise<DistributedReport> {
  const bar = new ProgressBar(process.stderr, paintFor(process.stderr))
  const { workerUrls, token, nInputs, balancing } = args
  try {
    const report = await runDistributed(subject, {
      workerUrls,
      token,
      binary: process.env["SENTINEL_WORKER"] ?? `${checkout}target/release/sentinel-worker`,
      nInputs,
      engine: { balancing, local: args.local ? sessionOptions(args.provider) : false },
      metadata: await inputsOf(subject),
      progress: (share, text) => bar.update(share, text),
    })
    bar.clear()
    if (!args.json) print(showDistributed(report, paint))
    return report
  } finally {
    bar.clear()
  }
}

/** What the model takes, to make inputs for it up. */
async function inputsOf({ path }: Subject): Promise<InferenceSession["inputMetadata"]> {
  const session = await InferenceSession.create(path, { executionProviders: ["cpu"] })
  try {
    return session.inputMetadata
  } finally {
    await session.release()
  }
}

async function runEngine(subject: Subject, mode: "batch" | "async" | "stream", args: DemoArguments): Promise<BatchReport | StreamReport> {
  const bar = new ProgressBar(process.stderr, paintFor(process.stderr))
  const { batchSize, workers, rebatch, nInputs, durationS, fps, policy } = args
  const engine = { ...sessionOptions(args.provider), batchSize, workers, rebatch }
  const progress = (share: number, text: string) => bar.update(share, text)
  try {
    const report = mode === "stream"
      ? await runStream(subject, { durationS, fps, policy, engine, progress })
      : await runBatches(subject, { mode, nInputs, engine, progress })
    bar.clear()
    if (!args.json) print(report.mode === "stream" ? showStream(report, paint) : showBatches(report, paint))
    return report
  } finally {
    bar.clear()
  }
}

function sessionOptions(provider: string | undefined) {
  return provider === undefined || provider === "auto" ? {} : { executionProviders: [provider] }
}

/** Typed arrays as lists. */
function plain(_: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value
}

function print(text: string): void {
  process.stdout.write(text)
}

try {
  await run()
} catch (thrown) {
  const { code = "", message = String(thrown) } = thrown as { code?: string; message?: string }
  // Node's own errors about files have codes like ENOENT.
  const stable = thrown instanceof SentinelError ? code : /^E[A-Z]+$/.test(code) ? "IO" : "INTERNAL"
  process.stderr.write(`demo: ${stable}: ${message}\n`)
  process.exitCode = 1
}
