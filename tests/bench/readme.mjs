// Puts runs into the README, between its marks, and their tables and pictures into docs/bench.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { inRepository } from "../node/support.mjs"
import { pictures } from "./pictures.mjs"
import { fullReport, provenance, ratiosTable } from "./report.mjs"

/** A word for files, from the adapter that the GPU contenders ran on. */
export function slug({ adapters }) {
  const adapter = adapters.chromium ?? adapters.node ?? adapters.native
  const name = adapter?.device || adapter?.architecture || adapter?.vendor || adapter?.description?.split(",", 1)[0] || "no-gpu"
  return name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-|-$/g, "")
}

/** `text` with `content` between the marks of that name. */
export function between(text, name, content) {
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const [from, to] = [text.indexOf(open), text.indexOf(close)]
  if (from < 0 || to < from) throw new Error(`README.md has no ${open} and ${close}`)
  return `${text.slice(0, from + open.length)}\n${content}\n${text.slice(to)}`
}

/** What the README says of one run. */
export function section(run, name, made) {
  const shown = made.filter(({ file }) => /-chromium-/.test(file))
  const images = (shown.length > 0 ? shown : made).map(({ file, heading }) => `![${heading}](docs/bench/${file})`)
  return [provenance(run), ratiosTable(run.ratios), ...images, `All tables: [docs/bench/${name}.md](docs/bench/${name}.md).`].join("\n\n")
}

export function writeReadme(runs) {
  const folder = inRepository("docs/bench")
  mkdirSync(folder, { recursive: true })
  for (const file of readdirSync(folder)) rmSync(`${folder}/${file}`)
  const sections = runs.map((run, at) => {
    const name = runs.slice(0, at).some(other => slug(other) === slug(run)) ? `${slug(run)}-${at + 1}` : slug(run)
    const made = pictures(run, name)
    for (const { file, text } of made) writeFileSync(`${folder}/${file}`, text)
    writeFileSync(`${folder}/${name}.md`, `# Benchmark on ${name}\n\n${fullReport(run)}`)
    return section(run, name, made)
  })
  const readme = inRepository("README.md")
  writeFileSync(readme, between(readFileSync(readme, "utf8"), "bench", sections.join("\n\n")))
}
