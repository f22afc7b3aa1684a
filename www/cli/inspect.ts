import { InferenceSession, SentinelError, tools, type Inspection, type Placement, type ValueInfo } from "../host/index.js"
import { MODEL_OPTIONS, modelPath, parse, sessionOptions, wordOption } from "./options.js"
import { countBackends } from "./run.js"
import { bar, paintFor, printable, table, typeAndShape, type Paint } from "./terminal.js"

export const INSPECT_HELP = `Shows what is in a model and what would run it.

Usage: sentinel inspect <model.onnx> [options]

  --stage name        print the model as text: model (as read), graph (with facts), passes (as prepared),
                      plan (what runs where; with --provider webgpu)
  --provider names    webgpu, wonnx, cpu, or auto (the default)
  --free-dim name=n   the size of a free dimension
  --json              print everything as JSON
`

const OPTIONS = { ...MODEL_OPTIONS, stage: { type: "string" } } as const

/** `sentinel inspect`. */
export async function inspect(args: string[]): Promise<string> {
  const { values, positionals } = parse(args, OPTIONS, "inspect")
  if (values.help === true) return INSPECT_HELP
  const path = modelPath(positionals, "inspect")
  const stage = wordOption("stage", values.stage, ["model", "graph", "passes", "plan"])
  const options = await sessionOptions(values)
  if (stage !== undefined) {
    const text = stage === "plan" ? await planText(path, options) : await tools.text(path, stage, options)
    return values.json === true ? `${JSON.stringify({ model: path, stage, text })}\n` : text.replace(/\n?$/, "\n")
  }
  const inspection = await tools.inspect(path)
  const placed = await place(path, options)
  if (values.json === true) return `${JSON.stringify({ model: path, ...inspection, ...placed }, withBigInts)}\n`
  return show(path, inspection, placed, paintFor(process.stdout))
}

async function planText(path: string, options: InferenceSession.SessionOptions): Promise<string> {
  const session = await InferenceSession.create(path, options)
  try {
    const text = session.planText()
    if (text !== "") return text
    const why = session.placement().length > 0 ? "it runs on one backend as a whole" : "it depends on sizes that are open: --free-dim name=n"
    throw new SentinelError("INVALID_INPUT", `${path}: there is no plan: ${why}`)
  } finally {
    await session.release()
  }
}

type Placed = { placement: Placement[] } | { refused: { code: string; message: string } }

/** Where the model would run; a model that cannot be run can still be looked into. */
async function place(path: string, options: InferenceSession.SessionOptions): Promise<Placed> {
  try {
    const session = await InferenceSession.create(path, options)
    try {
      return { placement: session.placement() }
    } finally {
      await session.release()
    }
  } catch (thrown) {
    const { code, message } = thrown as { code: string; message: string }
    return { refused: { code, message } }
  }
}

function show(path: string, inspection: Inspection, placed: Placed, paint: Paint): string {
  const { irVersion, producer, opsets, inputs, outputs, ops, parameters } = inspection
  const nodeCount = Object.values(ops).reduce((sum, count) => sum + count, 0)
  const domains = Object.entries(opsets).map(([domain, version]) => `${domain === "" ? "ai.onnx" : printable(domain)} ${version}`)
  const facts = [`IR ${irVersion}`, domains.join(", "), printable(producer), `${nodeCount} nodes`, `${parameters.toLocaleString("en")} parameters`]
  const section = (title: string) => `\n${paint.bold(title)}`
  return [
    `${paint.bold(path)}  ${paint.dim(facts.filter(Boolean).join(" · "))}`,
    section("Inputs"),
    showValues(inputs, paint),
    section("Outputs"),
    showValues(outputs, paint),
    section("Operators"),
    showOperators(ops, paint),
    section("Placement"),
    "refused" in placed ? `  ${paint.bad(placed.refused.code)}: ${printable(placed.refused.message)}` : showPlacement(placed.placement, paint),
    "",
  ].join("\n")
}

function showValues(values: readonly ValueInfo[], paint: Paint): string {
  const rows = values.map(({ name, type, shape }) => [printable(name), typeAndShape(type, shape)])
  return table(rows, [{}, { style: paint.accent }])
}

function showOperators(ops: Readonly<Record<string, number>>, paint: Paint): string {
  const sorted = Object.entries(ops).sort(([a, countA], [b, countB]) => countB - countA || (a < b ? -1 : 1))
  const most = sorted[0]?.[1] ?? 1
  const rows = sorted.map(([name, count]) => [printable(name), String(count), bar(count / most, 20).replaceAll("·", "")])
  return table(rows, [{}, { align: "right" }, { style: paint.accent }])
}

function showPlacement(placement: readonly Placement[], paint: Paint): string {
  const counts = [...countBackends(placement)].map(([backend, count]) => [backend, `${count} node${count === 1 ? "" : "s"}`])
  const reasons = new Map<string, Set<string>>()
  for (const { backend, reason, op } of placement) {
    const key = `${backend}: ${reason}`
    reasons.set(key, (reasons.get(key) ?? new Set()).add(op))
  }
  const why = [...reasons].filter(([key]) => !key.endsWith(": ")).map(([key, ops]) => paint.dim(`  ${printable(key)} (${printable(listed(ops))})`))
  return [table(counts, [{ style: paint.good }, { align: "right" }]), ...why].join("\n")
}

function listed(names: ReadonlySet<string>): string {
  const all = [...names]
  return all.length > 6 ? `${all.slice(0, 6).join(", ")} and ${all.length - 6} more` : all.join(", ")
}

function withBigInts(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value
}
