// Chromium as a place: warm runs in a new page of one browser, cold ones each in a browser of its own.
import { readFileSync, statSync } from "node:fs"
import { createRequire } from "node:module"
import { gzipSync } from "node:zlib"
import { serve } from "../../../pkg-scripts/serve.mjs"
import { chromiumPath, QUIET, SWIFTSHADER } from "../../browser/support.mjs"
import { inRepository } from "../../node/support.mjs"
import { peakBytes } from "../contenders/native.mjs"

const { chromium } = createRequire(inRepository("www/package.json"))("playwright-core")

const HARDWARE = ["--enable-unsafe-webgpu", "--ignore-gpu-blocklist", "--enable-features=Vulkan", "--use-angle=vulkan"]
const isSoftware = adapter => adapter === undefined || adapter.isFallbackAdapter || /swiftshader|llvmpipe/i.test(Object.values(adapter).join(" "))

export async function openChromium() {
  if (chromiumPath() === undefined) throw new Error("no Chromium is installed")
  const server = await serve({ root: inRepository(".") })
  let flags = HARDWARE
  let shared
  const launch = () => chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--enable-precise-memory-info", ...QUIET, ...flags], timeout: 60_000 })
  const sharedBrowser = async () => {
    // One that has ended in between is replaced.
    if ((await shared?.catch(() => undefined))?.isConnected() !== true) shared = launch()
    return shared
  }
  const dropShared = async () => {
    const browser = shared
    shared = undefined
    await (await browser?.catch(() => undefined))?.close().catch(() => {})
  }

  /** A cold job has a browser of its own; after a job that had to be killed, the next gets a new browser too. */
  const start = job => {
    const isCold = job.mode === "cold"
    const browser = isCold ? launch() : sharedBrowser()
    const done = browser.then(each => runPage(each, server.url, job))
    const kill = async isStuck => {
      if (isCold) await (await browser.catch(() => undefined))?.close().catch(() => {})
      else if (isStuck) await dropShared()
    }
    return { done, kill }
  }
  const ask = async () => {
    const { done, kill } = start({ mode: "adapter" })
    return done.catch(() => undefined).finally(() => kill(true))
  }

  let adapter = await ask()
  if (isSoftware(adapter)) {
    flags = SWIFTSHADER
    adapter = await ask()
  }
  const version = (await sharedBrowser()).version()
  return {
    name: "chromium",
    adapter,
    version,
    start,
    async close() {
      await dropShared()
      await server.close()
    },
  }
}

/** Opens a page for the job and waits for its result; a cold one is told with its downloads and memory. */
async function runPage(browser, url, { report = () => {}, ...job }) {
  const page = await browser.newPage()
  try {
    const fetched = new Set()
    page.on("response", response => { if (response.status() === 200) fetched.add(new URL(response.url()).pathname) })
    let settle
    const done = new Promise((resolve, reject) => {
      settle = ({ result, error }) => (error === undefined ? resolve(result) : reject(new Error(error)))
      page.on("crash", () => reject(new Error("the page crashed")))
      page.on("pageerror", reject)
      browser.on("disconnected", () => reject(new Error("the browser ended")))
    })
    done.catch(() => {})
    // Both have to be there before the page is.
    await page.exposeFunction("benchReport", report)
    await page.exposeFunction("benchDone", settle)
    await page.goto(`${url}/tests/bench/places/page.html#${encodeURIComponent(JSON.stringify(job))}`)
    const result = await done
    if (job.mode !== "cold") return result
    return { ...result, memory: { ...result.memory, ...(await processPeaks(browser)) }, download: downloadBytes(fetched) }
  } finally {
    await page.close().catch(() => {})
  }
}

/** Bytes of the library's files among those that a page fetched; the model and the bench's own are not counted. */
function downloadBytes(pathnames) {
  const files = [...pathnames].filter(path => /^\/pkg\/dist\/|\/node_modules\//.test(path)).map(path => inRepository(`.${path}`))
  return {
    rawBytes: files.reduce((sum, file) => sum + statSync(file).size, 0),
    gzipBytes: files.reduce((sum, file) => sum + gzipped(file), 0),
  }
}

const sizes = new Map()
function gzipped(file) {
  if (!sizes.has(file)) sizes.set(file, gzipSync(readFileSync(file)).length)
  return sizes.get(file)
}

/** The most memory of the page's process and of the process that computes for WebGPU. */
async function processPeaks(browser) {
  const session = await browser.newBrowserCDPSession()
  const { processInfo } = await session.send("SystemInfo.getProcessInfo")
  await session.detach()
  const peaks = type => processInfo.filter(each => each.type === type).flatMap(({ id }) => peakBytes(id) ?? [])
  const most = values => (values.length === 0 ? undefined : Math.max(...values))
  return { processBytes: most(peaks("renderer")), gpuProcessBytes: most(peaks("GPU")) }
}
