import { bar, milliseconds, printable, table, type Paint } from "../cli/terminal.js"
import type { Answer, Line, Part, Result, Step } from "./part.js"

const BAR_WIDTH = 20

/** One part for people: what was found, then which backend took how long. */
export function showPart(part: Part, { answers, steps }: Result, paint: Paint): string {
  const blocks = answers.every(({ lines }) => lines.length === 1) ? [oneEach(answers, paint)] : answers.map(answer => several(answer, paint))
  return [`${paint.bold(part.title)}  ${paint.dim(part.models)}`, ...blocks, "", showSteps(steps, paint), ""].join("\n")
}

/** Files with one answer each: a row per file. */
function oneEach(answers: readonly Answer[], paint: Paint): string {
  const rows = answers.map(({ about, lines: [line] }) => [printable(about), printable(line?.text ?? ""), share(line), printable(line?.note ?? "")])
  return table(rows, [{}, { style: paint.good }, { align: "right" }, { style: paint.dim }])
}

/** One picture with several answers. */
function several({ about, lines }: Answer, paint: Paint): string {
  const heading = `  ${paint.dim(printable(about))}`
  if (lines.length === 0) return `${heading}\n  nothing found`
  if (lines.every(({ expected }) => expected !== undefined)) return `${heading}\n${checked(lines, paint)}`
  const rows = lines.map(line => [printable(line.text), share(line), bar(line.probability ?? 0, BAR_WIDTH)])
  return `${heading}\n${table(rows, [{ style: paint.good }, { align: "right" }, { style: paint.accent }])}`
}

/** Answers that are known to be right or wrong. */
function checked(lines: readonly Line[], paint: Paint): string {
  const marks = lines.map(({ text, expected }) => (text === expected ? paint.good(printable(text)) : paint.bad(printable(`${text}(${expected})`))))
  const right = lines.filter(({ text, expected }) => text === expected).length
  const least = Math.min(...lines.map(({ probability }) => probability ?? 0))
  return `  ${marks.join(" ")}   ${right} of ${lines.length} right, the least certain at ${percent(least)}`
}

function showSteps(steps: readonly Step[], paint: Paint): string {
  const rows = steps.map(step => [
    step.name,
    step.backend,
    `load ${milliseconds(step.loadMs)}`,
    `first ${milliseconds(step.firstMs)}`,
    `median ${milliseconds(step.medianMs)} of ${step.runs}`,
  ])
  const reasons = new Set(steps.filter(({ reason }) => reason !== "").map(({ backend, reason }) => `  ${backend}: ${printable(reason)}`))
  return [table(rows, [{}, { style: paint.accent }, {}, {}, {}]), ...[...reasons].map(paint.dim)].join("\n")
}

function share(line: Line | undefined): string {
  return line?.probability === undefined ? "" : percent(line.probability)
}

function percent(probability: number): string {
  return `${(probability * 100).toFixed(1)} %`
}
