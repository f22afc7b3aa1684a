import { writeFile } from "node:fs/promises"
import { extname } from "node:path"
import { SentinelError, Tensor, tools } from "../host/index.js"
import { bar, printable, short, table, typeAndShape, type Column, type Paint } from "./terminal.js"

const SHOWN_VALUES = 8
const SHOWN_ROWS = 32

/** The values of a tensor as JSON can hold them: integers beyond 2^53 become strings. */
export function jsonValues(tensor: Tensor): (number | string | boolean)[] {
  if (tensor.type === "string") return tensor.data as string[]
  const values = Array.from(numericData(tensor) as ArrayLike<number | bigint>, jsonValue)
  return tensor.type === "bool" ? values.map(Boolean) : values
}

/** Whether an output can be read as rows of scores for classes. */
export function hasScores(tensor: Tensor): boolean {
  const classes = tensor.dims.at(-1) ?? 1
  return tensor.type.startsWith("float") && classes > 1 && tensor.size > 0 && tensor.size / classes <= SHOWN_ROWS
}

/** An output for people: the best classes of each row. */
export async function showScores(name: string, tensor: Tensor, top: number, labels: readonly string[], paint: Paint): Promise<string> {
  const { dim, bold, accent } = paint
  const classes = tensor.dims.at(-1) as number
  const isOneRow = tensor.size === classes
  const lines: string[][] = []
  for (let row = 0; row < tensor.size / classes; row += 1) {
    const values = tensor.data.slice(row * classes, (row + 1) * classes) as Tensor.DataType
    const best = await tools.topClasses(new Tensor(tensor.type, values, [1, classes]), top)
    for (const [rank, { index, value, probability }] of best.entries()) {
      const label = printable(labels[index] ?? `#${index}`)
      const line = [String(rank + 1), label, percent(probability), short(value), bar(probability, 24)]
      lines.push(isOneRow ? line : [rank === 0 ? `row ${row}` : "", ...line])
    }
  }
  const columns: Column[] = [{ align: "right", style: dim }, { style: bold }, { align: "right" }, { align: "right", style: dim }, { style: accent }]
  return `${heading(name, tensor, paint)}\n${table(lines, isOneRow ? columns : [{ style: dim }, ...columns])}`
}

/** An output for people: its range and its first values. */
export function showSummary(name: string, tensor: Tensor, paint: Paint): string {
  const shown = jsonValues(head(tensor)).map(value => (typeof value === "number" ? short(value) : typeof value === "string" ? JSON.stringify(value) : String(value)))
  const values = `  ${shown.join("  ")}${tensor.size > SHOWN_VALUES ? "  …" : ""}`
  return `${heading(name, tensor, paint)}${paint.dim(range(tensor))}${tensor.size === 0 ? "" : `\n${values}`}`
}

/** Writes all outputs to a `.npz`, `.npy` or `.json` file. */
export async function writeOutputs(path: string, outputs: Readonly<Record<string, Tensor>>): Promise<void> {
  await writeNamed(path, await encode(path, outputs))
}

/** Writes a file that the command line names. */
export async function writeNamed(path: string, content: string | Uint8Array): Promise<void> {
  try {
    await writeFile(path, content)
  } catch (cause) {
    throw new SentinelError("IO", `${path}: cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
}

/** The outputs in the shape that `--json` prints. */
export function jsonOutputs(outputs: Readonly<Record<string, Tensor>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, { type: tensor.type, dims: tensor.dims, data: jsonValues(tensor) }]))
}

/** Refuses, before anything is computed, a file name that no writer is for. */
export function checkOutputPath(path: string, outputCount: number): void {
  const extension = extname(path).toLowerCase()
  if (extension === ".npy" && outputCount !== 1) {
    throw new SentinelError("INVALID_INPUT", `--output ${path}: .npy holds one array and the model has ${outputCount} outputs; use .npz`)
  }
  if (![".npz", ".npy", ".json"].includes(extension)) {
    throw new SentinelError("INVALID_INPUT", `--output ${path}: expected a .npz, .npy or .json file`)
  }
}

async function encode(path: string, outputs: Readonly<Record<string, Tensor>>): Promise<Uint8Array | string> {
  switch (extname(path).toLowerCase()) {
    case ".json":
      return `${JSON.stringify(jsonOutputs(outputs))}\n`
    case ".npy":
      return tools.writeNpy(Object.values(outputs)[0] as Tensor)
    default:
      return tools.writeNpz(new Map(Object.entries(outputs)))
  }
}

function heading(name: string, tensor: Tensor, paint: Paint): string {
  return `${paint.bold(printable(name))}  ${paint.accent(typeAndShape(tensor.type, tensor.dims))}`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

function range(tensor: Tensor): string {
  if (tensor.type === "string" || tensor.type === "bool" || tensor.size === 0) return ""
  let [least, most, sum] = [Infinity, -Infinity, 0]
  for (const value of numericData(tensor)) {
    const number = Number(value)
    least = Math.min(least, number)
    most = Math.max(most, number)
    sum += number
  }
  return `  min ${short(least)}  max ${short(most)}  mean ${short(sum / tensor.size)}`
}

type NumericData = Exclude<Tensor.DataType, string[]> | Float32Array

/** The numbers of a tensor; float16 bits are widened where the runtime has no Float16Array. */
function numericData(tensor: Tensor): NumericData {
  const data = tensor.data as NumericData
  return tensor.type === "float16" && data instanceof Uint16Array ? Float32Array.from(data, halfToNumber) : data
}

function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const mantissa = bits & 0x3ff
  if (exponent === 0x1f) return mantissa === 0 ? sign * Infinity : NaN
  if (exponent === 0) return sign * mantissa * 2 ** -24
  return sign * (1024 + mantissa) * 2 ** (exponent - 25)
}

function head(tensor: Tensor): Tensor {
  const count = Math.min(tensor.size, SHOWN_VALUES)
  return new Tensor(tensor.type, tensor.data.slice(0, count) as Tensor.DataType, [count])
}

function jsonValue(value: number | bigint): number | string {
  if (typeof value === "number") return value
  return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()
}
