// The command line of pkg-scripts/bench.
import { parseArgs } from "node:util"
import { CONTENDERS, PLACES } from "./contenders/contenders.mjs"

export const HELP = `usage: pkg-scripts/bench [OPTION...]
  Times the built package beside its peers, in turns, and checks what each computes.

  --quick             a few models, three rounds, one first result each, and no more than three minutes
  --models A,B        these models of tests/fixtures/manifest.json; --models none for operators alone
  --ops [TEXT]        also single operators: all, or those whose name has TEXT
  --batching          instead of all that: what batches cost and bring, in Node.js and Chromium; with --where and --readme
  --worker            instead of all that: what the worker answers, and how fast; with --quick, --soak-s SECONDS and --readme
  --only A,B          these contenders: ${[...new Set(Object.values(CONTENDERS).flat())].join(", ")}
  --where A,B         these places: ${Object.keys(PLACES).join(", ")}
  --runs N            exactly N warm runs each, instead of as many as fit into two seconds (at least 3, at most 50)
  --cold N            N first results, each in a fresh page or process; 0 leaves them out; 3 unless said otherwise
  --threads N         threads of the native contenders; all cores unless said otherwise
  --minutes N         what has not begun by then is left out
  --timeout SECONDS   how long a contender may be silent before it is given up: 180; 40 with --quick
  --json FILE         where the numbers go: target/bench/DATE.json unless said otherwise
  --readme            puts the tables and pictures into README.md and docs/bench
  --from A.json,B.json  measures nothing: makes tables and pictures of earlier runs`

export class UsageError extends Error {}

const OPTIONS = {
  quick: { type: "boolean", default: false },
  models: { type: "string" },
  ops: { type: "string" },
  batching: { type: "boolean", default: false },
  worker: { type: "boolean", default: false },
  "soak-s": { type: "string" },
  only: { type: "string" },
  where: { type: "string" },
  runs: { type: "string" },
  cold: { type: "string" },
  threads: { type: "string" },
  minutes: { type: "string" },
  timeout: { type: "string" },
  json: { type: "string" },
  readme: { type: "boolean", default: false },
  from: { type: "string" },
  help: { type: "boolean", short: "h", default: false },
}

/** What the arguments ask for; `undefined` where they leave the choice. */
export function readOptions(args) {
  // `--ops` alone means all of them.
  const spelt = args.map((arg, at) => (arg === "--ops" && (args[at + 1] ?? "--").startsWith("-") ? "--ops=" : arg))
  let values
  try {
    values = parseArgs({ args: spelt, options: OPTIONS, strict: true }).values
  } catch (error) {
    throw new UsageError(error.message)
  }
  const models = values.models === "none" ? [] : list(values.models)
  const runs = count("runs", values.runs, 1)
  const limits = values.quick ? { budgetMs: 0, minRuns: 3, maxRuns: 3 } : { budgetMs: 2000, minRuns: 3, maxRuns: 50 }
  return {
    help: values.help,
    quick: values.quick,
    batching: values.batching,
    worker: values.worker,
    soakS: count("soak-s", values["soak-s"], 1),
    models,
    isModels: models === undefined || models.length > 0,
    ops: values.ops,
    only: among("only", list(values.only), [...new Set(Object.values(CONTENDERS).flat())]),
    where: among("where", list(values.where), Object.keys(PLACES)) ?? Object.keys(PLACES),
    limits: runs === undefined ? limits : { budgetMs: 0, minRuns: runs, maxRuns: runs },
    cold: count("cold", values.cold, 0) ?? (values.quick ? 1 : 3),
    threads: count("threads", values.threads, 1),
    // The last case to begin takes its time too.
    budgetMs: (count("minutes", values.minutes, 1) ?? (values.quick ? 2 : Infinity)) * 60_000,
    silenceMs: (count("timeout", values.timeout, 1) ?? (values.quick ? 40 : 180)) * 1000,
    json: values.json,
    readme: values.readme,
    from: list(values.from),
  }
}

const list = text => text?.split(",").map(each => each.trim()).filter(each => each !== "")

function count(name, text, least) {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isInteger(value) || value < least) throw new UsageError(`--${name} ${text}: not a whole number from ${least}`)
  return value
}

function among(name, values, known) {
  const strange = values?.find(value => !known.includes(value))
  if (strange !== undefined) throw new UsageError(`--${name} ${strange}: there are ${known.join(", ")}`)
  return values
}
