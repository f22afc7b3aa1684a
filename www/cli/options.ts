import { readFile } from "node:fs/promises"
import { parseArgs, type ParseArgsConfig } from "node:util"
import { InferenceSession, init, SentinelError } from "../host/index.js"

/** Options that every command with a model has. */
export const MODEL_OPTIONS = {
  provider: { type: "string", multiple: true },
  strict: { type: "boolean" },
  "free-dim": { type: "string", multiple: true },
  adapter: { type: "string" },
  debug: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const satisfies ParseArgsConfig["options"]

/** `parseArgs`, with a coded error that says where the help is. */
export function parse<const Options extends NonNullable<ParseArgsConfig["options"]>>(args: string[], options: Options, command: string) {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (cause) {
    const [why = ""] = (cause as Error).message.split(". ")
    throw new SentinelError("INVALID_INPUT", `${why} (see: sentinel ${command} --help)`, { cause })
  }
}

/** The one model that the command names. */
export function modelPath(positionals: readonly string[], command: string): string {
  const [path, ...others] = positionals
  if (path !== undefined && others.length === 0) return path
  throw new SentinelError("INVALID_INPUT", `${command}: expected one model, got ${positionals.length} (see: sentinel ${command} --help)`)
}

export interface SessionArguments {
  provider?: string[] | undefined
  strict?: boolean | undefined
  "free-dim"?: string[] | undefined
  adapter?: string | undefined
  debug?: string | undefined
}

/** The session options that the command line asks for; settings for the whole package are made here. */
export async function sessionOptions(values: SessionArguments): Promise<InferenceSession.SessionOptions> {
  const { adapter, debug } = values
  await init({ ...(adapter === undefined ? {} : { adapter }), ...(debug === undefined ? {} : { debug }) })
  const options: InferenceSession.SessionOptions = {}
  const providers = (values.provider ?? []).flatMap(names => names.split(",")).filter(name => name !== "" && name !== "auto")
  if (providers.length > 0) options.executionProviders = providers
  if (values.strict === true) options.strict = true
  if (values["free-dim"] !== undefined) options.freeDimensionOverrides = freeDimensions(values["free-dim"])
  return options
}

/** `name=n` pairs, several separated by commas. */
function freeDimensions(pairs: readonly string[]): Record<string, number> {
  const dimensions = pairs.flatMap(pair => pair.split(",")).map(pair => {
    const equals = pair.lastIndexOf("=")
    const size = wholeNumber(pair.slice(equals + 1), 0)
    if (equals < 1 || size === undefined) throw new SentinelError("INVALID_INPUT", `--free-dim: expected name=size, got "${pair}"`)
    return [pair.slice(0, equals), size] as const
  })
  return Object.fromEntries(dimensions)
}

/** The option's value as a whole number of at least `least`. */
export function countOption(name: string, value: string | undefined, least: number): number | undefined {
  if (value === undefined) return undefined
  const count = wholeNumber(value, least)
  if (count === undefined) throw new SentinelError("INVALID_INPUT", `--${name}: expected a whole number from ${least}, got "${value}"`)
  return count
}

/** The option's value as numbers separated by commas. */
export function numbersOption(name: string, value: string | undefined): number[] | undefined {
  if (value === undefined) return undefined
  const numbers = value.split(",").map(Number)
  if (value === "" || !numbers.every(Number.isFinite)) throw new SentinelError("INVALID_INPUT", `--${name}: expected numbers separated by commas, got "${value}"`)
  return numbers
}

/** The option's value as a number that is not negative. */
export function toleranceOption(name: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const tolerance = value.trim() === "" ? NaN : Number(value)
  if (!(tolerance >= 0 && Number.isFinite(tolerance))) throw new SentinelError("INVALID_INPUT", `--${name}: expected a number from 0, got "${value}"`)
  return tolerance
}

/** The option's value as one of a few words. */
export function wordOption<const Word extends string>(name: string, value: string | undefined, words: readonly Word[]): Word | undefined {
  if (value === undefined) return undefined
  const known = words.find(word => word.toLowerCase() === value.toLowerCase())
  if (known === undefined) throw new SentinelError("INVALID_INPUT", `--${name}: expected ${words.join(" or ")}, got "${value}"`)
  return known
}

/** A file that the command line names. */
export async function readNamed(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new SentinelError("IO", `${path}: ${code === "ENOENT" ? "no such file" : `cannot be read (${code})`}`, { cause })
  }
}

function wholeNumber(text: string, least: number): number | undefined {
  const value = Number(text)
  return /^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least ? value : undefined
}
