// usage: node notices.mjs OUTPUT
// Writes the notices for what the npm package ships of others: the crates inside the WebAssembly modules, Rust's
// standard library, and the npm packages inside the bundles. A licence that is not in `accepted` is an error.
import { execFileSync } from "node:child_process"
import { readFileSync, readdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Licences that allow shipping a compiled copy with its notice. */
const accepted = new Set([
  "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
  "MIT-0", "Unicode-3.0", "Unlicense", "Zlib",
])

/** Whether one way through an SPDX expression uses accepted licences only: `A OR B`, `A AND B`, `(A OR B) AND C`, old `A/B`. */
function isAccepted(expression) {
  const tokens = expression.replaceAll("/", " OR ").match(/\(|\)|[^\s()]+/g) ?? []
  let at = 0
  const atom = () => {
    if (tokens[at] === "(") {
      at += 1
      const inner = any()
      at += 1
      return inner
    }
    let name = tokens[at++]
    if (tokens[at] === "WITH") {
      name = `${name} WITH ${tokens[at + 1]}`
      at += 2
    }
    return accepted.has(name)
  }
  const all = () => {
    let result = atom()
    while (tokens[at] === "AND") {
      at += 1
      result = atom() && result
    }
    return result
  }
  const any = () => {
    let result = all()
    while (tokens[at] === "OR") {
      at += 1
      result = all() || result
    }
    return result
  }
  return any() && at === tokens.length
}

/** The crates compiled into the modules: normal dependencies for wasm32, without macros, which run at build time. */
function shippedCrates() {
  const output = execFileSync(
    "cargo",
    ["metadata", "--format-version", "1", "--locked", "--no-default-features", "--features", "cpu,wonnx,tools,web",
      "--filter-platform", "wasm32-unknown-unknown"],
    { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] },
  )
  const { packages, resolve, workspace_members: members } = JSON.parse(output)
  const packageOf = new Map(packages.map(entry => [entry.id, entry]))
  const nodeOf = new Map(resolve.nodes.map(node => [node.id, node]))
  const isMacro = id => packageOf.get(id).targets.some(target => target.kind.includes("proc-macro"))
  const seen = new Set()
  const waiting = [resolve.root]
  while (waiting.length > 0) {
    const id = waiting.pop()
    if (seen.has(id)) continue
    seen.add(id)
    for (const { pkg, dep_kinds: kinds } of nodeOf.get(id).deps) {
      if (kinds.some(({ kind }) => kind === null) && !isMacro(pkg)) waiting.push(pkg)
    }
  }
  return [...seen].filter(id => !members.includes(id)).map(id => packageOf.get(id))
}

/** The licence texts that a package carries; where MIT is one of the choices, that one and the notices suffice. */
function licenceTexts(folder, expression) {
  const names = readdirSync(folder, { withFileTypes: true })
    .filter(entry => entry.isFile() && /^(licen[cs]e|copying|notice|unlicense|copyright)/i.test(entry.name))
    .map(entry => entry.name)
    .sort()
  const isChoice = / OR |\//.test(expression) && !expression.includes("AND")
  const mit = names.filter(name => /mit/i.test(name))
  const wanted = isChoice && mit.length > 0 ? [...mit, ...names.filter(name => /^notice/i.test(name))] : names
  return wanted.map(name => readFileSync(join(folder, name), "utf8").replaceAll("\r\n", "\n").trim())
}

function npmPackage(name, authors) {
  const folder = join(root, "www", "node_modules", name)
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  return { title: `${name} ${version} (npm)`, license, texts: licenceTexts(folder, license), authors }
}

const standardTexts = {
  MIT: readFileSync(join(root, "LICENSE-MIT"), "utf8").replace(/^Copyright.*\n\n/m, "").trim(),
  "Apache-2.0": readFileSync(join(root, "LICENSE-APACHE"), "utf8").trim(),
}

const shipped = [
  ...shippedCrates().map(crate => ({
    title: `${crate.name} ${crate.version}`,
    license: crate.license ?? "",
    texts: licenceTexts(dirname(crate.manifest_path), crate.license ?? ""),
    authors: crate.authors.join(", ") || `the ${crate.name} authors`,
  })),
  { title: "Rust standard library", license: "MIT OR Apache-2.0", texts: [], authors: "The Rust Project Contributors" },
  npmPackage("onnxruntime-common", "Microsoft Corporation"),
  npmPackage("@nats-io/nats-core", "The NATS Authors"),
  npmPackage("@nats-io/nkeys", "The NATS Authors"),
  npmPackage("@nats-io/nuid", "The NATS Authors"),
  npmPackage("@nats-io/transport-node", "The NATS Authors"),
  npmPackage("tweetnacl", "the TweetNaCl.js contributors"),
  npmPackage("ws", "the ws contributors"),
].sort((a, b) => (a.title < b.title ? -1 : 1))

const refused = shipped.filter(({ license }) => !isAccepted(license))
if (refused.length > 0) {
  for (const { title, license } of refused) console.error(`notices: ${title} has the licence '${license}', which is not accepted`)
  process.exit(1)
}

const usersOf = new Map()
for (const { title, license, texts, authors } of shipped) {
  let found = texts
  if (found.length === 0) {
    const name = Object.keys(standardTexts).find(name => license.includes(name))
    if (!name) throw new Error(`${title} carries no licence text, and there is no standard text for '${license}'`)
    found = [`Copyright (c) ${authors}\n\n${standardTexts[name]}`]
  }
  for (const text of found) usersOf.set(text, [...(usersOf.get(text) ?? []), title])
}

const rule = "=".repeat(100)
const list = shipped.map(({ title, license }) => `${title.padEnd(44)} ${license}`)
const sections = [...usersOf].map(([text, users]) => `${rule}\n${users.join(", ")}\n${rule}\n\n${text}`)
writeFileSync(process.argv[2], [
  "This package contains compiled copies of the following software, each under its own licence. The texts follow.",
  list.join("\n"),
  ...sections,
].join("\n\n") + "\n")
