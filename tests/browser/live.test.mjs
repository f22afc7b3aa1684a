// "Batch & stream" on the page as a person uses it. Screenshots go to target/screenshots.
import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { after, afterEach, before, test } from "node:test"
import { fileURLToPath } from "node:url"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 180_000 }
const screenshots = fileURLToPath(new URL("../../target/screenshots", import.meta.url))

let browser
before(async () => {
  mkdirSync(screenshots, { recursive: true })
  if (!options.skip) browser = await startBrowser({ flags: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] })
})
after(() => browser?.close())
afterEach(() => assert.deepEqual(browser?.complaints.splice(0) ?? [], [], "the page printed errors"))

async function openPage({ width = 1200, height = 900, scheme = "light" } = {}) {
  const page = await browser.open("/tests/browser/blank.html")
  await page.setViewportSize({ width, height })
  await page.emulateMedia({ colorScheme: scheme })
  await page.goto(new URL("/pkg/page/index.html", browser.url).href)
  await page.locator("#samples img").last().waitFor()
  await page.waitForFunction(() => !document.getElementById("device").textContent.startsWith("looking"))
  return page
}

const status = page => page.locator("#live-status").textContent()
const statistic = async (page, name) => Number.parseFloat(await page.locator(`[data-statistic=${name}] dd`).textContent())
const button = (page, name) => page.getByRole("button", { name, exact: true })
const shot = (page, name) => page.locator("#live").screenshot({ path: `${screenshots}/${name}.png` })
const saysDone = page => page.waitForFunction(() => / in .* per second/.test(document.getElementById("live-status").textContent))

test("a_batch_of_32_answers_them_all_and_says_where", options, async () => {
  const page = await openPage()
  await page.getByLabel("Inputs in a batch run").fill("32")
  await button(page, "Run batch").click()
  await saysDone(page)
  assert.match(await status(page), /^32 of 32 in [\d.]+ ms, \d+ per second$/)
  assert.equal(await statistic(page, "totalInputs"), 32)
  assert.equal(await statistic(page, "totalOutputs"), 32)
  assert.equal(await statistic(page, "totalErrors"), 0)
  assert.ok((await statistic(page, "totalBatches")) <= 16)
  assert.ok((await statistic(page, "p95Latency")) > 0)
  assert.match(await page.locator("#live-place").textContent(), /^cpu on the page's own thread, joined in batches of up to 8 \(.+\)$/)
  assert.equal(await page.locator("#live-latency-chart rect").count() > 0, true)
  // The last of 32 inputs, the ten samples in turn.
  await page.waitForFunction(() => document.querySelector("#live-outputs .label")?.textContent === "class 1")
  assert.ok(await button(page, "Run batch").isEnabled())
  assert.ok(await button(page, "Stop").isDisabled())
  await shot(page, "live-batch")
  await page.close()
})

test("a_long_batch_stops_when_asked", options, async () => {
  const page = await openPage()
  await page.getByLabel("Inputs in a batch run").fill("10000")
  await page.getByLabel("Batch size").selectOption("1")
  await button(page, "Run batch").click()
  await page.waitForFunction(() => Number(document.querySelector("[data-statistic=totalOutputs] dd").textContent) > 0)
  await button(page, "Stop").click()
  await page.waitForFunction(() => document.getElementById("live-status").textContent === "Stopped")
  assert.ok(await button(page, "Run batch").isEnabled())
  assert.ok((await statistic(page, "totalOutputs")) < 10_000)
  await page.close()
})
