// The page as a person uses it: open, choose or drop, click, read. Screenshots go to target/screenshots.
import assert from "node:assert/strict"
import { mkdirSync, readFileSync } from "node:fs"
import { after, afterEach, before, test } from "node:test"
import { fileURLToPath } from "node:url"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 180_000 }
const inRepository = path => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const digits = name => inRepository(`tests/fixtures/digits/${name}`)
const screenshots = inRepository("target/screenshots")

let browser
before(async () => {
  mkdirSync(screenshots, { recursive: true })
  if (!options.skip) browser = await startBrowser()
})
after(() => browser?.close())
afterEach(() => assert.deepEqual(browser?.complaints.splice(0) ?? [], [], "the page printed errors"))

async function openPage({ width = 1200, height = 900, scheme = "light", query = "" } = {}) {
  const page = await browser.open("/tests/browser/blank.html")
  await page.setViewportSize({ width, height })
  await page.emulateMedia({ colorScheme: scheme })
  await page.goto(new URL(`/pkg/page/index.html${query}`, browser.url).href)
  await page.locator("#samples img").last().waitFor()
  await page.waitForFunction(() => !document.getElementById("device").textContent.startsWith("looking"))
  return page
}

/** Drops files on the page, as a file manager does. */
async function drop(page, files) {
  const data = files.map(({ name, type, path, bytes }) => ({ name, type, base64: (bytes ?? readFileSync(path)).toString("base64") }))
  await page.evaluate(files => {
    const dataTransfer = new DataTransfer()
    for (const { name, type, base64 } of files) {
      const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0))
      dataTransfer.items.add(new File([bytes], name, { type }))
    }
    for (const kind of ["dragenter", "dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }))
    }
  }, data)
}

const best = page => page.locator(".ranks li").first().locator(".label")
const tile = (page, name) => page.locator(`[data-tile=${name}] dd`)
const shot = (page, name) => page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true })

/** Waits until the best class is `label`. */
async function answers(page, label) {
  await page.waitForFunction(label => document.querySelector(".ranks .label")?.textContent === label, label)
  await page.locator("#progress").waitFor({ state: "hidden" })
}

test("the_sample_runs_from_the_keyboard_and_says_where_and_how_long", options, async () => {
  const page = await openPage()
  await shot(page, "page-start")
  await page.getByRole("button", { name: "Try the digit classifier" }).focus()
  await page.keyboard.press("Enter")
  await answers(page, "class 3")
  assert.match(await page.locator(".ranks li").first().locator(".share").textContent(), /^(9\d|100)\.\d %$/)
  assert.equal(await page.locator(".ranks li").count(), 5)
  assert.equal(await tile(page, "backend").textContent(), "cpu")
  for (const name of ["load", "first", "median"]) assert.match(await tile(page, name).textContent(), /^[\d.]+ ms$/)
  assert.match(await page.locator("#facts").textContent(), /image\s+float32 \[\w+, 1, 28, 28\]/)
  assert.match(await page.locator("#placement-rows").textContent(), /software/i)
  await shot(page, "page-sample")
  await page.close()
})

test("another_picture_runs_at_once", options, async () => {
  const page = await openPage()
  await page.getByRole("button", { name: "Try the digit classifier" }).click()
  await answers(page, "class 3")
  for (const digit of [0, 9]) {
    await page.getByRole("button", { name: `The digit ${digit}` }).click()
    await answers(page, `class ${digit}`)
  }
  assert.equal(await page.locator("#samples [aria-pressed=true] img").getAttribute("alt"), "The digit 9")
  await page.close()
})

test("a_dropped_model_and_picture_run_together", options, async () => {
  const page = await openPage()
  await drop(page, [
    { name: "mine.onnx", type: "", path: digits("digits.onnx") },
    { name: "seven.png", type: "image/png", path: digits("digit_7.png") },
  ])
  await answers(page, "class 7")
  assert.equal(await page.locator("#model-name").textContent(), "mine.onnx")
  assert.match(await page.locator("#preview").getAttribute("alt"), /seven\.png/)
  assert.ok(await page.locator("#drop").isHidden())
  await page.close()
})

test("chosen_files_run_with_the_names_of_their_classes", options, async () => {
  const page = await openPage({ width: 390, height: 800, scheme: "dark" })
  await page.getByLabel("Choose a model").setInputFiles(digits("digits.onnx"))
  await page.getByLabel("Choose an input").setInputFiles(digits("digit_4.png"))
  await answers(page, "class 4")
  const names = "zero one two three four five six seven eight nine".split(" ").join("\n")
  await page.getByLabel("Names of the classes").setInputFiles({ name: "names.txt", mimeType: "text/plain", buffer: Buffer.from(names) })
  await answers(page, "four")
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.equal(overflow, 0, "the page scrolls sideways")
  await shot(page, "page-narrow-dark")
  await page.close()
})

test("all_inputs_may_come_in_an_npz_file", options, async () => {
  const page = await openPage()
  await drop(page, [
    { name: "digits.onnx", type: "", path: digits("digits.onnx") },
    { name: "digits.npz", type: "", path: digits("digits.npz") },
  ])
  await page.locator(".values").waitFor()
  assert.match(await page.locator("#outputs").textContent(), /float32 \[10, 10\]/)
  await page.close()
})

test("wonnx_runs_where_it_is_named", options, async () => {
  const page = await openPage({ scheme: "dark" })
  await page.getByRole("button", { name: "Try the digit classifier" }).click()
  await answers(page, "class 3")
  await page.getByRole("radio", { name: "wonnx" }).check()
  await page.waitForFunction(() => document.querySelector("[data-tile=backend] dd")?.textContent === "wonnx", undefined, { timeout: 120_000 })
  await answers(page, "class 3")
  assert.match(await page.locator("#facts").textContent(), /Operators\s*Relu 4, Conv 3/)
  await page.getByLabel("Filter").fill("conv wonnx")
  assert.match(await page.locator("#placement-count").textContent(), /^[1-9]\d* of \d+ nodes$/)
  for (const row of await page.locator("#placement-rows tr").all()) assert.match(await row.textContent(), /conv/i)
  await shot(page, "page-wonnx-dark")
  await page.close()
})

test("progress_shows_while_a_model_comes", options, async () => {
  const page = await openPage()
  await page.evaluate(() => {
    globalThis.seen = []
    const progress = document.getElementById("progress")
    new MutationObserver(() => { if (!progress.hidden) seen.push(document.getElementById("progress-text").textContent) })
      .observe(progress, { subtree: true, childList: true, characterData: true, attributes: true })
  })
  await page.getByRole("button", { name: "Try the digit classifier" }).click()
  await answers(page, "class 3")
  const seen = await page.evaluate(() => seen.join("\n"))
  for (const phase of [/Downloading digits\.onnx/, /Compiling digits\.onnx/, /Running digits\.onnx on digit_3\.png/]) assert.match(seen, phase)
  await page.close()
})

test("errors_show_their_code_and_the_page_stays_usable", options, async () => {
  const page = await openPage()
  await drop(page, [{ name: "broken.onnx", type: "", bytes: Buffer.from("this is no model at all") }])
  await page.locator("#error-code", { hasText: "MODEL_PARSE" }).waitFor()
  assert.notEqual(await page.locator("#error-message").textContent(), "")
  await shot(page, "page-error")
  await drop(page, [{ name: "notes.pdf", type: "application/pdf", bytes: Buffer.from("%PDF") }])
  await page.locator("#error-code", { hasText: "INVALID_INPUT" }).waitFor()
  await drop(page, [{ name: "names.json", type: "application/json", bytes: Buffer.from("{}") }])
  await page.locator("#error-message", { hasText: "names.json: expected a JSON array" }).waitFor()
  await page.getByRole("button", { name: "Try the digit classifier" }).click()
  await answers(page, "class 3")
  assert.ok(await page.locator("#error").isHidden())
  await drop(page, [{ name: "broken.png", type: "image/png", bytes: Buffer.from("neither") }])
  await page.locator("#error-code", { hasText: "INVALID_INPUT" }).waitFor()
  await page.getByRole("button", { name: "The digit 5" }).click()
  await answers(page, "class 5")
  await page.close()
})
