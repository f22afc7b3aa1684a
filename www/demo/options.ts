import { existsSync } from "node:fs"
import { parseArgs } from "node:util"
import { SentinelError } from "../host/index.js"

export const MODES = ["basic", "batch", "async", "stream", "distributed"] as const
export type Mode = (typeof MODES)[number]
export const POLICIES = ["latest", "queue", "drop-new"] as const
export type Policy = (typeof POLICIES)[number]
export const BALANCING = ["least-loaded", "round-robin", "weighted", "latency"] as const
export type Balancing = (typeof BALANCING)[number]
export const PROVIDERS = ["auto", "webgpu", "wonnx", "cpu"]

export const HELP = `Runs real models on real input: once, in batches, as a stream, or on several machines.

Usage: demo [options]
  --mode name         ${MODES.join(", ")} (basic)
  --model name        in basic: text, digits, filetype, each of them unless said otherwise; may be repeated
                      in every mode: a path, or the name of a model in target/models or tests/fixtures/models
                      (the others than basic take digits unless said otherwise)
  --provider name     ${PROVIDERS.join(", ")}
  --json              print everything as JSON

basic   reads text in a picture, handwritten digits and the types of files; runs any other model once on made inputs
  --image file        a picture to read text in; may be repeated
  --file file         a file to tell the type of; may be repeated
  --repeat n          how often each model runs again for its median (5)

batch   gives inputs to a BatchInferenceEngine, which calls back; async awaits it, in the order of the inputs
  --num-inputs n      how many (10)
stream  polls frames into a StreamingInferenceEngine; silero_vad hears speech
  --duration s        for how many seconds (5)
  --fps n             frames per second (30)
  --policy name       what a slow model does to frames: ${POLICIES.join(", ")} (latest; queue for speech)
all three of them
  --batch-size n      the most inputs in one batch, or auto (4)
  --workers n         how many worker threads, or auto; with 0 everything runs on the calling thread (0)
  --rebatch           joins inputs of a model that was made for a batch of one, where that is proven safe
  --seed n            of the inputs that are made up (0)

distributed  gives inputs to a DistributedInferenceEngine, which sends them to workers
  --worker-urls url…  ws:// or wss:// (sentinel-worker), http:// or https:// (Open Inference Protocol), nats://;
                      without any, two workers are started on this machine
  --token text        what the workers want to be told
  --local             this process takes part in the work
  --balancing name    ${BALANCING.join(", ")} (least-loaded)
  --num-inputs n      how many (10)
`

export interface DemoArguments {
  mode: Mode
  models: string[]
  images: string[]
  inspected: string[]
  provider: string
  repeat: number
  nInputs: number
  durationS: number
  fps: number
  policy: Policy | undefined
  batchSize: number | "auto"
  workers: number | "auto"
  rebatch: boolean
  workerUrls: string[]
  token: string | undefined
  local: boolean
  balancing: Balancing
  seed: number
  json: boolean
  help: boolean
}

/** @throws `INVALID_INPUT` naming the option, what it may be and what it is. */
export function readArguments(args: readonly string[]): DemoArguments {
  const { values, positionals } = parsed(args)
  return {
    mode: word("mode", values.mode, MODES),
    models: values.model,
    images: values.image.map(path => existing("image", path)),
    inspected: values.file.map(path => existing("file", path)),
    provider: word("provider", values.provider, PROVIDERS),
    repeat: whole("repeat", values.repeat, 0, 9999),
    nInputs: whole("num-inputs", values["num-inputs"], 1, 10_000_000),
    durationS: seconds("duration", values.duration),
    fps: whole("fps", values.fps, 1, 1000),
    policy: values.policy === undefined ? undefined : word("policy", values.policy, POLICIES),
    batchSize: values["batch-size"] === "auto" ? "auto" : whole("batch-size", values["batch-size"], 1, 65_536, " or auto"),
    workers: values.workers === "auto" ? "auto" : whole("workers", values.workers, 0, 64, " or auto"),
    rebatch: values.rebatch,
    workerUrls: workerUrls(values["worker-urls"], positionals),
    token: values.token,
    local: values.local,
    balancing: word("balancing", values.balancing, BALANCING),
    seed: whole("seed", values.seed, 0, 2 ** 31),
    json: values.json,
    help: values.help,
  }
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        mode: { type: "string", default: "basic" },
        model: { type: "string", multiple: true, default: [] },
        image: { type: "string", multiple: true, default: [] },
        file: { type: "string", multiple: true, default: [] },
        provider: { type: "string", default: "auto" },
        repeat: { type: "string", default: "5" },
        "num-inputs": { type: "string", default: "10" },
        duration: { type: "string", default: "5" },
        fps: { type: "string", default: "30" },
        policy: { type: "string" },
        "batch-size": { type: "string", default: "4" },
        workers: { type: "string", default: "0" },
        rebatch: { type: "boolean", default: false },
        "worker-urls": { type: "string", multiple: true, default: [] },
        token: { type: "string" },
        local: { type: "boolean", default: false },
        balancing: { type: "string", default: "least-loaded" },
        seed: { type: "string", default: "0" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    })
  } catch (cause) {
    throw new SentinelError("INVALID_INPUT", `${(cause as Error).message} (see --help)`, { cause })
  }
}

/** The first URL is the option's own; what follows it stands alone. */
function workerUrls(first: readonly string[], others: readonly string[]): string[] {
  const [stray] = others
  if (stray !== undefined && first.length === 0) throw new SentinelError("INVALID_INPUT", `unexpected "${stray}" (see --help)`)
  return [...first, ...others]
}

function word<Word extends string>(option: string, value: string, words: readonly Word[]): Word {
  const found = words.find(each => each === value)
  if (found === undefined) throw wrong(option, `one of ${words.join(", ")}`, value)
  return found
}

function whole(option: string, value: string, least: number, most: number, otherwise = ""): number {
  const number = /^\d{1,10}$/.test(value) ? Number(value) : NaN
  if (number >= least && number <= most) return number
  throw wrong(option, `a whole number from ${least} to ${most}${otherwise}`, value)
}

function seconds(option: string, value: string): number {
  const number = /^\d{1,5}(\.\d{1,3})?$/.test(value) ? Number(value) : NaN
  if (number > 0 && number <= 86_400) return number
  throw wrong(option, "seconds, more than 0 and at most 86400", value)
}

function existing(option: string, path: string): string {
  if (existsSync(path)) return path
  throw new SentinelError("IO", `--${option} ${path}: no such file`)
}

function wrong(option: string, expected: string, value: string): SentinelError {
  return new SentinelError("INVALID_INPUT", `--${option}: expected ${expected}, got "${value}"`)
}
