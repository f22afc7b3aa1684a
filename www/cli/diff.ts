import { DIFF_TOLERANCES, tools, type Diff, type DiffOptions, type DiffSide, type DiffStep, type DiffValue } from "../host/index.js"
import { INPUT_HELP, INPUT_OPTIONS, makeFeeds, readInputOptions } from "./inputs.js"
import { MODEL_OPTIONS, modelPath, parse, sessionOptions, toleranceOption } from "./options.js"
import { paintFor, printable, short, statusLine, table, typeAndShape, type Paint } from "./terminal.js"

const SHOWN_VALUES = 10

export const DIFF_HELP = `Runs a model on two backends and names the first node whose values differ.

Usage: sentinel diff <model.onnx> [--left webgpu] [--right cpu] [options]

An element differs where |left - right| > atol + rtol * |right|. Exit codes: 0 when no value differs, 1 when one does,
2 when they cannot be compared. Inputs are random unless they are given.

Comparing
  --left provider     webgpu (the default) or cpu
  --right provider    webgpu or cpu (the default)
  --rtol r  --atol a  ${DIFF_TOLERANCES.rtol} and ${DIFF_TOLERANCES.atol} unless given
  --all               show all values in the order in which they are computed, not the ${SHOWN_VALUES} worst
  --json              print everything as JSON

${INPUT_HELP}
Running
  --free-dim name=n   the size of a free dimension
  --seed n            for random inputs
  --adapter name      part of the name of the GPU adapter to use
  --debug switches    graph,passes,plan,wgsl,time (as SENTINEL_DEBUG)
`

const { "free-dim": freeDim, adapter, debug, json, help } = MODEL_OPTIONS
const OPTIONS = {
  ...INPUT_OPTIONS,
  "free-dim": freeDim,
  adapter,
  debug,
  json,
  help,
  left: { type: "string" },
  right: { type: "string" },
  rtol: { type: "string" },
  atol: { type: "string" },
  all: { type: "boolean" },
} as const

/** `sentinel diff`. */
export async function diff(args: string[]): Promise<string | { text: string; exitCode: number }> {
  const { values, positionals } = parse(args, OPTIONS, "diff")
  if (values.help === true) return DIFF_HELP
  const path = modelPath(positionals, "diff")
  const { left = "webgpu", right = "cpu" } = values
  const rtol = toleranceOption("rtol", values.rtol) ?? DIFF_TOLERANCES.rtol
  const atol = toleranceOption("atol", values.atol) ?? DIFF_TOLERANCES.atol
  const session = await sessionOptions(values)
  const notes: string[] = []
  const inputs = readInputOptions(values, session, text => notes.push(text))
  const status = statusLine(process.stderr)
  const options: DiffOptions = { ...session, left, right, rtol, atol, onStep: step => status(showStep(step, { left, right })) }

  let found: Diff
  try {
    found = await tools.diff(path, metadata => makeFeeds(values.input ?? ["random"], metadata, inputs), options)
  } finally {
    status("")
  }
  const exitCode = found.first === undefined ? 0 : 1
  if (values.json === true) {
    const { first = null, values } = found
    return { text: `${JSON.stringify({ model: path, left, right, rtol, atol, first, values }, readable)}\n`, exitCode }
  }
  const paint = paintFor(process.stdout)
  const counted = `${found.values.length} value${found.values.length === 1 ? "" : "s"}, rtol ${rtol}, atol ${atol}`
  const parts = [
    `${paint.bold(path)}  ${paint.good(left)} against ${paint.good(right)}  ${paint.dim(counted)}`,
    ...notes.map(note => paint.warn(`note: ${printable(note)}`)),
    "",
    showFirst(found.first, { left, right }, paint),
    "",
    values.all === true ? paint.bold("Values as they are computed") : paint.bold("Values, the worst first"),
    showValues(values.all === true ? found.values : worst(found.values), paint),
    "",
  ]
  return { text: parts.join("\n"), exitCode }
}

type Names = { left: string; right: string }

function showStep({ step, done, total }: DiffStep, names: Names): string {
  return step === "compare" ? `comparing values: ${done} of ${total}` : `running on ${names[step]}`
}

function showFirst(first: DiffValue | undefined, names: Names, paint: Paint): string {
  if (first === undefined) return paint.good("no value differs")
  const { value, node, op, left, right, maxAbs, nOff, nElems, at } = first
  const isAlike = left.type === right.type && left.dims.join() === right.dims.join()
  const side = (name: string, { backend, kernel, type, dims, element }: DiffSide) => [
    // A node without a kernel is on the CPU on either side.
    name === backend ? name : `${name} (on ${backend})`,
    isAlike ? precise(element, type) : typeAndShape(type, dims),
    printable(kernel),
  ]
  const off = `${nOff} of ${nElems} elements are off`
  const where = isAlike ? `element [${position(at, left.dims)}], ${short(maxAbs)} apart; ${off}` : "another type or shape"
  return [
    `${paint.bad("first that differs")}  ${paint.bold(printable(value))}  ${paint.accent(typeAndShape(left.type, left.dims))}`,
    `  ${printable(op)}${node === "" ? "" : ` ${printable(node)}`}: ${where}`,
    table([side(names.left, left), side(names.right, right)], [{ style: paint.good }, { align: "right" }, { style: paint.dim }]),
  ].join("\n")
}

function showValues(values: readonly DiffValue[], paint: Paint): string {
  const head = ["value", "node", "kernel", "apart", "off"]
  const rows = values.map(({ value, node, op, left, right, maxAbs, nOff, nElems }) => [
    printable(value),
    printable(node === "" ? op : `${op} ${node}`),
    printable(left.kernel || right.kernel || left.backend),
    short(maxAbs),
    `${nOff} / ${nElems}`,
  ])
  const off = (text: string) => (/^[1-9]/.test(text) ? paint.bad(text) : paint.dim(text))
  return table([head, ...rows], [{ style: paint.bold }, {}, { style: paint.dim }, { align: "right" }, { align: "right", style: off }])
}

/** Values with elements that are off before the others, and of each kind those that are furthest apart. */
function worst(values: readonly DiffValue[]): DiffValue[] {
  const apart = (a: DiffValue, b: DiffValue) => (a.maxAbs === b.maxAbs ? 0 : b.maxAbs - a.maxAbs)
  const sorted = [...values].sort((a, b) => Number(b.nOff > 0) - Number(a.nOff > 0) || apart(a, b))
  return sorted.slice(0, SHOWN_VALUES)
}

/** The index along each axis of an element that is counted in row-major order. */
function position(at: number, dims: readonly number[]): number[] {
  let left = at
  return [...dims].reverse().map(size => {
    const index = left % size
    left = Math.floor(left / size)
    return index
  }).reverse()
}

/** With as many figures as the type has. */
function precise(value: number, type: string): string {
  return Number.isInteger(value) || type === "float64" ? String(value) : String(Number(value.toPrecision(9)))
}

/** JSON has no numbers for these. */
function readable(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value
}
