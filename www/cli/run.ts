import { extname } from "node:path"
import { InferenceSession, SentinelError, type Placement, type Tensor } from "../host/index.js"
import { INPUT_HELP, INPUT_OPTIONS, makeFeeds, readInputOptions } from "./inputs.js"
import { countOption, MODEL_OPTIONS, modelPath, parse, readNamed, sessionOptions } from "./options.js"
import { checkOutputPath, hasScores, jsonOutputs, showScores, showSummary, writeNamed, writeOutputs } from "./outputs.js"
import { milliseconds, paintFor, printable, type Paint } from "./terminal.js"

export const RUN_HELP = `Runs a model.

Usage: sentinel run <model.onnx> --input <name>=<value> [options]

${INPUT_HELP}
Outputs
  --top K             the K best classes     --labels file    their names, one a line, or a JSON array
  --output file       write all outputs: .npz, .npy or .json
  --json              print everything as JSON

Running
  --provider names    webgpu, wonnx, cpu, or auto (the default); several in order of preference
  --strict            fail rather than run on the CPU what the named providers do not take
  --free-dim name=n   the size of a free dimension
  --repeat N          run N times and print the timing
  --seed n            for random inputs
  --adapter name      part of the name of the GPU adapter to use
  --debug switches    graph,passes,plan,wgsl,time (as SENTINEL_DEBUG)
  --trace file        write what took how long, for chrome://tracing
`

const OPTIONS = {
  ...MODEL_OPTIONS,
  ...INPUT_OPTIONS,
  output: { type: "string", short: "o" },
  top: { type: "string" },
  labels: { type: "string" },
  repeat: { type: "string" },
  trace: { type: "string" },
} as const

/** `sentinel run`. */
export async function run(args: string[]): Promise<string> {
  const { values, positionals } = parse(args, OPTIONS, "run")
  if (values.help === true) return RUN_HELP
  const path = modelPath(positionals, "run")
  const repeat = countOption("repeat", values.repeat, 1) ?? 1
  const top = countOption("top", values.top, 1)
  const labels = values.labels === undefined ? [] : await readLabels(values.labels)
  const options = await sessionOptions(values)
  if (values.trace !== undefined) options.enableProfiling = true
  const notes: string[] = []
  const inputOptions = readInputOptions(values, options, text => notes.push(text))

  const loadStartedMs = performance.now()
  const session = await InferenceSession.create(path, options)
  const loadMs = performance.now() - loadStartedMs
  try {
    if (values.output !== undefined) checkOutputPath(values.output, session.outputNames.length)
    const feeds = await makeFeeds(values.input ?? [], session.inputMetadata, inputOptions)
    const { outputs, runMs } = await runRepeatedly(session, feeds, repeat)
    if (values.output !== undefined) await writeOutputs(values.output, outputs)
    if (values.trace !== undefined) await writeNamed(values.trace, JSON.stringify(session.endProfiling()))
    const placement = session.placement()
    if (values.json === true) {
      const backends = Object.fromEntries(countBackends(placement))
      return `${JSON.stringify({ model: path, backends, loadMs, runMs, outputs: jsonOutputs(outputs) })}\n`
    }
    const paint = paintFor(process.stdout)
    const parts = [
      `${paint.bold(path)}  ${showBackends(placement, paint)}  ${paint.dim(showTiming(loadMs, runMs))}`,
      ...(options.executionProviders === undefined ? showReasons(placement).map(paint.dim) : []),
      ...notes.map(note => paint.warn(`note: ${printable(note)}`)),
      "",
      ...(await Promise.all(Object.entries(outputs).map(([name, tensor]) => showOutput(name, tensor, top, labels, paint)))),
    ]
    if (values.output !== undefined) parts.push("", paint.dim(`outputs are in ${values.output}`))
    return `${parts.join("\n")}\n`
  } finally {
    await session.release()
  }
}

/** How many nodes each backend has. */
export function countBackends(placement: readonly Placement[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { backend } of placement) counts.set(backend, (counts.get(backend) ?? 0) + 1)
  return counts
}

/** `wonnx (12 nodes)`. */
export function showBackends(placement: readonly Placement[], paint: Paint): string {
  return [...countBackends(placement)].map(([backend, count]) => `${paint.good(backend)} ${paint.dim(`(${count} node${count === 1 ? "" : "s"})`)}`).join(" + ")
}

/** Why the nodes are where they are, when there is one reason for all of them. */
function showReasons(placement: readonly Placement[]): string[] {
  const reasons = new Set(placement.map(({ reason }) => reason))
  return reasons.size === 1 ? [...reasons].filter(reason => reason !== "").map(printable) : []
}

async function runRepeatedly(session: InferenceSession, feeds: Record<string, Tensor>, repeat: number) {
  const runMs: number[] = []
  let outputs: Record<string, Tensor> = {}
  for (let count = 0; count < repeat; count += 1) {
    const startedMs = performance.now()
    outputs = (await session.run(feeds)) as Record<string, Tensor>
    runMs.push(performance.now() - startedMs)
  }
  return { outputs, runMs }
}

async function showOutput(name: string, tensor: Tensor, top: number | undefined, labels: readonly string[], paint: Paint): Promise<string> {
  return top !== undefined && hasScores(tensor) ? showScores(name, tensor, top, labels, paint) : showSummary(name, tensor, paint)
}

function showTiming(loadMs: number, runMs: readonly number[]): string {
  const sorted = [...runMs].sort((a, b) => a - b)
  const at = (share: number) => milliseconds(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0)
  const load = `load ${milliseconds(loadMs)}`
  if (sorted.length === 1) return `${load}, run ${at(0)}`
  return `${load}, ${sorted.length} runs: median ${at(0.5)}, min ${at(0)}, p95 ${at(0.95)}`
}

async function readLabels(path: string): Promise<string[]> {
  const text = new TextDecoder().decode(await readNamed(path))
  if (extname(path).toLowerCase() !== ".json") return text.replace(/\r?\n$/, "").split(/\r?\n/)
  try {
    const labels: unknown = JSON.parse(text)
    if (Array.isArray(labels)) return labels.map(String)
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${path}: not JSON (${(cause as Error).message})`, { cause })
  }
  throw new SentinelError("INVALID_INPUT", `${path}: expected a JSON array of labels`)
}
