import type { WriteStream } from "node:tty"

/** Text in colours, or plain where nobody can see them. */
export interface Paint {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  warn(text: string): string
  bad(text: string): string
  accent(text: string): string
}

/** Colours for a terminal that has them; NO_COLOR and FORCE_COLOR are heeded. */
export function paintFor(stream: NodeJS.WriteStream | WriteStream, environment: NodeJS.ProcessEnv = process.env): Paint {
  const { NO_COLOR, FORCE_COLOR, TERM } = environment
  const isForced = FORCE_COLOR !== undefined && FORCE_COLOR !== "0" && FORCE_COLOR !== ""
  const hasColours = !NO_COLOR && (isForced || (stream.isTTY === true && TERM !== "dumb"))
  const style = (open: number, close: number) => (text: string) => (hasColours ? `\x1b[${open}m${text}\x1b[${close}m` : text)
  return {
    bold: style(1, 22),
    dim: style(2, 22),
    good: style(32, 39),
    warn: style(33, 39),
    bad: style(31, 39),
    accent: style(36, 39),
  }
}

export interface Column {
  align?: "left" | "right"
  style?: (text: string) => string
}

/** Rows with their columns under each other, two spaces in front. */
export function table(rows: readonly (readonly string[])[], columns: readonly Column[]): string {
  const widths = columns.map((_, index) => Math.max(0, ...rows.map(row => row[index]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    columns
      .map(({ align = "left", style = plain }, index) => {
        const text = row[index] ?? ""
        const gap = " ".repeat((widths[index] ?? 0) - text.length)
        return align === "right" ? gap + style(text) : style(text) + gap
      })
      .join("  ")
      .trimEnd()
  return rows.map(row => `  ${line(row)}`).join("\n")
}

/** A line on a terminal that the next one replaces and an empty one takes away; nothing where it is no terminal. */
export function statusLine(stream: NodeJS.WriteStream): (text: string) => void {
  return text => {
    if (stream.isTTY === true) stream.write(`\r\x1b[2K${text}`)
  }
}

/** A bar of `width` characters, filled to `share` of 1. */
export function bar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width)
  return "█".repeat(filled) + "·".repeat(width - filled)
}

/** Text from outside without the control characters that would steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`)
}

/** A type with its shape: `float32[1,3,h,w]`. */
export function typeAndShape(type: string, shape: readonly (number | string)[]): string {
  return printable(`${type}[${shape.join(",")}]`)
}

/** Milliseconds with about three figures. */
export function milliseconds(ms: number): string {
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`
}

/** A number in few characters. */
export function short(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value)
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 ? value.toFixed(4) : value.toExponential(3)
}

function plain(text: string): string {
  return text
}
