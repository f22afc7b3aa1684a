// "Workers" on the page as a person uses it, with real workers. Screenshots go to target/screenshots.
import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "../browser/support.mjs"
import { inRepository } from "../node/support.mjs"
import { makeRepository, startWorker, withoutWorker } from "./support/workers.mjs"

const skip = withoutWorker || (chromiumPath() === undefined ? "no Chromium is installed" : false)
const options = { skip, timeout: 180_000 }
const screenshots = inRepository("target/screenshots")

let browser, repository, workers
before(async () => {
  if (skip) return
  mkdirSync(screenshots, { recursive: true })
  browser = await startBrowser()
  repository = await makeRepository({})
  const origin = ["--allow-origin", new URL(browser.url).origin, "--allow-upload"]
  workers = await Promise.all([0, 1].map(() => startWorker({ repository: repository.folder, options: origin })))
})
after(async () => {
  await browser?.close()
  await Promise.all((workers ?? []).map(worker => worker.end()))
  await repository?.remove()
})

async function openPage({ width = 1200, scheme = "light" } = {}) {
  const page = await browser.open("/tests/browser/blank.html")
  await page.setViewportSize({ width, height: 900 })
  await page.emulateMedia({ colorScheme: scheme })
  await page.goto(new URL("/pkg/page/index.html", browser.url).href)
  await page.locator("#samples img").last().waitFor()
  return page
}

async function add(page, url) {
  await page.getByLabel("Address of a worker").fill(url)
  await page.getByRole("button", { name: "Add worker" }).click()
}

const address = worker => `ws://127.0.0.1:${worker.port}`
const cell = (page, url, at) => page.locator(`tr[data-worker="${url}"] td`).nth(at)
const status = page => page.locator("#worker-status").textContent()
const statistic = async (page, name) => Number.parseFloat(await page.locator(`[data-workers-statistic=${name}] dd`).textContent())
const shot = (page, name) => page.locator("#workers").screenshot({ path: `${screenshots}/${name}.png` })
const isUp = (page, url) => page.locator(`tr[data-worker="${url}"] .state.open`).waitFor()

test("workers_are_added_share_the_work_and_are_seen_to_go", options, async () => {
  const page = await openPage()
  const [first, second] = workers.map(address)
  await add(page, first)
  await isUp(page, first)
  await add(page, second)
  await isUp(page, second)
  await page.getByLabel("Inputs", { exact: true }).fill("400")
  await page.getByRole("button", { name: "Run inputs" }).click()
  await page.waitForFunction(() => / per second$/.test(document.getElementById("worker-status").textContent))
  assert.match(await status(page), /^400 of 400 in [\d.]+ m?s, \d+ per second$/)
  const done = await Promise.all([first, second].map(async url => Number(await cell(page, url, 3).textContent())))
  assert.equal(done[0] + done[1], 400)
  assert.ok(Math.min(...done) > 0, `${done}`)
  assert.equal(await statistic(page, "remoteInputs"), 400)
  assert.equal(await statistic(page, "totalErrors"), 0)
  await shot(page, "workers")

  await workers[1].kill("SIGKILL")
  await page.locator(`tr[data-worker="${second}"] .state:not(.open)`).waitFor()
  await page.getByRole("button", { name: "Run inputs" }).click()
  await page.waitForFunction(() => document.querySelector("[data-workers-statistic=totalOutputs] dd").textContent === "800")
  await workers[1].restart()
  await isUp(page, second)
  await shot(page, "workers-back")
  await page.getByRole("button", { name: `Remove ${second}` }).click()
  await page.locator(`tr[data-worker="${second}"]`).waitFor({ state: "detached" })
  await page.close()
})

test("the_page_works_too_where_it_is_asked_to", options, async () => {
  const page = await openPage({ width: 420, scheme: "dark" })
  await page.getByLabel("This page works too").check()
  await add(page, address(workers[0]))
  await isUp(page, "local")
  await page.getByLabel("Inputs", { exact: true }).fill("300")
  await page.getByRole("button", { name: "Run inputs" }).click()
  await page.waitForFunction(() => / per second$/.test(document.getElementById("worker-status").textContent))
  assert.ok((await statistic(page, "localInputs")) > 0)
  assert.equal((await statistic(page, "localInputs")) + (await statistic(page, "remoteInputs")), 300)
  await shot(page, "workers-phone-dark")
  await page.close()
})

test("who_is_not_there_is_told_with_what_to_do", options, async () => {
  const page = await openPage()
  await add(page, "ws://127.0.0.1:9")
  await page.locator("#worker-error").waitFor({ timeout: 30_000 })
  assert.equal(await page.locator("#worker-error-code").textContent(), "WORKER_UNAVAILABLE")
  assert.match(await page.locator("#worker-error-message").textContent(), /127\.0\.0\.1:9/)
  assert.ok(await page.getByRole("button", { name: "Run inputs" }).isDisabled())
  await shot(page, "workers-error")
  await page.close()
})
