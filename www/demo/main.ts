#!/usr/bin/env node
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { paintFor } from "../cli/terminal.js"
import { SentinelError } from "../host/index.js"
import { digits } from "./digits.js"
import { fileType } from "./filetype.js"
import { findGpu } from "./gpu.js"
import type { DemoOptions, Files, Part, Result } from "./part.js"
import { showPart } from "./print.js"
import { text } from "./text.js"

const PARTS: readonly Part[] = [text, digits, fileType]
const PROVIDERS = ["auto", "webgpu", "wonnx", "cpu"]

const HELP = `Runs real models on real input.

Usage: demo [options]
  --model name      ${PARTS.map(({ name }) => name).join(", ")}: only this; may be repeated
  --image file      a picture to read text in; may be repeated
  --file file       a file to tell the type of; may be repeated
  --provider name   ${PROVIDERS.join(", ")}
  --repeat n        how often each model runs again for its median (5)
  --json            print everything as JSON
`

/** The checkout, seen from the built program in `pkg/bin`. */
const checkout = fileURLToPath(new URL("../../", import.meta.url))

const files: Files = {
  model: name => existing(`${checkout}target/models/${name}`, "pkg-scripts/fetch-models brings it"),
  fixture: name => existing(`${checkout}tests/fixtures/${name}`, "it is part of the checkout"),
  samples: [
    fileURLToPath(import.meta.url),
    ...["images/rendered_text.png", "digits/digits.onnx", "digits/digits.npz", "digits/train.py"].map(name => `${checkout}tests/fixtures/${name}`),
    `${checkout}Cargo.toml`,
  ],
}

function existing(path: string, hint: string): string {
  if (!existsSync(path)) throw new SentinelError("IO", `${path}: no such file; ${hint}`)
  return path
}

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        model: { type: "string", multiple: true, default: [] },
        image: { type: "string", multiple: true, default: [] },
        file: { type: "string", multiple: true, default: [] },
        provider: { type: "string", default: "auto" },
        repeat: { type: "string", default: "5" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    })
    const unknown = values.model.filter(name => !PARTS.some(part => part.name === name))
    if (unknown.length > 0) throw new Error(`--model ${unknown[0]}: there are ${PARTS.map(({ name }) => name).join(", ")}`)
    if (!PROVIDERS.includes(values.provider)) throw new Error(`--provider ${values.provider}: there are ${PROVIDERS.join(", ")}`)
    if (!/^\d{1,4}$/.test(values.repeat)) throw new Error(`--repeat ${values.repeat}: expected a number`)
    return values
  } catch (thrown) {
    throw new SentinelError("INVALID_INPUT", (thrown as Error).message, { cause: thrown })
  }
}

async function run(): Promise<void> {
  const values = readArguments()
  if (values.help) return print(HELP)
  const gpu = await findGpu(`${checkout}www/package.json`)
  const options: DemoOptions = {
    files,
    images: values.image,
    inspected: values.file,
    repeat: Number(values.repeat),
    gpu,
    providers(preferred) {
      const name = values.provider === "auto" ? preferred : values.provider
      return name === undefined ? {} : { executionProviders: [name] }
    },
  }
  const paint = paintFor(process.stdout)
  if (!values.json) print(`\n${paint.dim(`GPU: ${gpu.description}`)}\n\n`)
  const results: (Result & { name: string })[] = []
  for (const part of PARTS.filter(({ name }) => values.model.length === 0 || values.model.includes(name))) {
    const result = await part.run(options)
    results.push({ name: part.name, ...result })
    if (!values.json) print(`${showPart(part, result, paint)}\n`)
  }
  if (values.json) print(`${JSON.stringify({ gpu, results }, null, 2)}\n`)
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
