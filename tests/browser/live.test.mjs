// "Batch & stream" on the page as a person uses it. Screenshots go to target/screenshots.
import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { after, afterEach, before, test } from "node:test"
import { fileURLToPath } from "node:url"
import { chromiumPath, startBrowser } from "./support.mjs"

const options = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 180_000 }
const inRepository = path => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const screenshots = inRepository("target/screenshots")
const MEDIA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--auto-select-desktop-capture-source=Entire screen"]

let browser
before(async () => {
  mkdirSync(screenshots, { recursive: true })
  if (!options.skip) browser = await startBrowser({ flags: MEDIA })
})
after(() => browser?.close())
// A track that is stopped while Chromium hands a frame over leaves that frame, which no script has seen, to its collector.
const isChromiums = text => text.startsWith("A VideoFrame was garbage collected")
afterEach(() => assert.deepEqual(browser?.complaints.splice(0).filter(text => !isChromiums(text)) ?? [], [], "the page printed errors"))

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
const section = page => page.locator("#live")
const button = (page, name) => section(page).getByRole("button", { name, exact: true })
const shot = (page, name) => page.locator("#live").screenshot({ path: `${screenshots}/${name}.png` })
const saysDone = page => page.waitForFunction(() => / in .* per second/.test(document.getElementById("live-status").textContent))

test("a_batch_of_32_answers_them_all_and_says_where", options, async () => {
  const page = await openPage()
  await section(page).getByLabel("Inputs in a batch run").fill("32")
  await section(page).getByLabel("Workers").selectOption("none")
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

test("workers_run_a_batch", options, async () => {
  const page = await openPage({ scheme: "dark" })
  await section(page).getByLabel("Workers").selectOption("2")
  await section(page).getByLabel("Inputs in a batch run").fill("200")
  await button(page, "Run batch").click()
  await saysDone(page)
  assert.match(await page.locator("#live-place").textContent(), /^cpu on 2 workers, joined in batches of up to 8/)
  assert.equal(await statistic(page, "totalOutputs"), 200)
  await page.close()
})

test("a_long_batch_stops_when_asked", options, async () => {
  const page = await openPage()
  await section(page).getByLabel("Inputs in a batch run").fill("10000")
  await section(page).getByLabel("Batch size").selectOption("1")
  await button(page, "Run batch").click()
  await page.waitForFunction(() => Number(document.querySelector("[data-statistic=totalOutputs] dd").textContent) > 0)
  await button(page, "Stop").click()
  await page.waitForFunction(() => document.getElementById("live-status").textContent === "Stopped")
  assert.ok(await button(page, "Run batch").isEnabled())
  assert.ok((await statistic(page, "totalOutputs")) < 10_000)
  await page.close()
})

/** Starts a stream and waits until so many results have come. */
async function streams(page, name, nResults) {
  await button(page, name).click()
  await page.waitForFunction(n => Number(document.querySelector("[data-statistic=totalOutputs] dd").textContent) >= n, nResults)
}

async function stops(page, source) {
  await button(page, "Stop").click()
  await page.waitForFunction(source => document.getElementById("live-status").textContent.startsWith(`The ${source} was stopped: `), source)
  assert.ok(await button(page, "Stop").isDisabled())
  assert.ok(await page.locator("#live-preview").isHidden())
}

test("the_canvas_streams_its_digits_and_stops_from_the_keyboard", options, async () => {
  const page = await openPage()
  await page.getByRole("button", { name: "Try the digit classifier" }).click()
  await streams(page, "Stream canvas", 5)
  await page.waitForFunction(() => ["class 0", "class 1"].includes(document.querySelector("#live-outputs .label")?.textContent))
  assert.ok(await page.locator("#live-preview").isVisible())
  assert.ok((await statistic(page, "throughput")) > 0)
  assert.match(await page.locator("#live-fps-chart .line").getAttribute("d"), /^M[\d.]+,[\d.]+L/)
  assert.match(await status(page), /^Streaming the canvas$/)
  await shot(page, "live-canvas")
  await button(page, "Stop").focus()
  await page.keyboard.press("Enter")
  await page.waitForFunction(() => document.getElementById("live-status").textContent.startsWith("The canvas was stopped: "))
  assert.equal(await page.evaluate(() => document.activeElement.dataset.source), "canvas")
  await page.close()
})

test("a_camera_streams_through_workers_by_each_policy", options, async () => {
  const page = await openPage({ width: 390, height: 844, scheme: "dark" })
  await section(page).getByLabel("Workers").selectOption("2")
  for (const policy of ["latest", "queue", "drop-new"]) {
    await section(page).getByLabel("When frames come faster").selectOption(policy)
    await streams(page, "Stream camera", 3)
    assert.equal(await statistic(page, "totalErrors"), 0)
    if (policy === "latest") await shot(page, "live-camera-narrow-dark")
    await stops(page, "camera")
  }
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
  assert.equal(overflow, 0, "the page scrolls sideways")
  await page.close()
})

test("a_screen_streams_on_the_pages_own_thread_until_its_track_ends", options, async () => {
  const page = await openPage()
  await section(page).getByLabel("Workers").selectOption("none")
  await streams(page, "Stream screen", 1)
  assert.match(await page.locator("#live-place").textContent(), /^cpu on the page's own thread, /)
  // As when the browser's own "Stop sharing" is pressed.
  await page.evaluate(() => document.getElementById("live-preview").srcObject.getTracks()[0].stop())
  await page.waitForFunction(() => /^The screen ended: [1-9]\d* results/.test(document.getElementById("live-status").textContent))
  assert.ok(await button(page, "Stream screen").isEnabled())
  await page.close()
})

test("webgpu_streams_from_the_canvas", options, async () => {
  const page = await openPage()
  await page.getByRole("radio", { name: "webgpu" }).check()
  await section(page).getByLabel("Workers").selectOption("none")
  await streams(page, "Stream canvas", 2)
  assert.match(await page.locator("#live-place").textContent(), /^webgpu on the page's own thread, /)
  assert.equal(await statistic(page, "totalErrors"), 0)
  await stops(page, "canvas")
  await page.close()
})

test("a_refused_camera_says_what_to_do_and_the_page_stays_usable", options, async () => {
  const page = await openPage()
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"))
  })
  await button(page, "Stream camera").click()
  await page.locator("#live-error-code", { hasText: "UNAUTHORIZED" }).waitFor()
  assert.match(await page.locator("#live-error-message").textContent(), /^camera: /)
  await shot(page, "live-refused")
  await streams(page, "Stream canvas", 1)
  assert.ok(await page.locator("#live-error").isHidden())
  await stops(page, "canvas")
  await page.close()
})

test("a_model_that_takes_no_picture_says_so", options, async () => {
  const page = await openPage()
  await page.getByLabel("Choose a model").setInputFiles(inRepository("tests/fixtures/models/token_encoder.onnx"))
  await page.waitForFunction(() => document.getElementById("live-model").textContent === "token_encoder.onnx")
  await button(page, "Stream canvas").click()
  await page.locator("#live-error-message", { hasText: "the model has 2 inputs" }).waitFor()
  await button(page, "Run batch").click()
  await saysDone(page)
  assert.match(await page.locator("#live-place").textContent(), /^cpu on \d+ workers?, .+/)
  await page.close()
})
