// Headless Chromium with WebGPU on SwiftShader, and a server of the checkout for it.
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { serve } from "../../pkg-scripts/serve.mjs"

const root = fileURLToPath(new URL("../../", import.meta.url))
const { chromium } = createRequire(new URL("../../www/package.json", import.meta.url))("playwright-core")

const CHROMIUM_PATHS = [process.env.SENTINEL_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]

export const QUIET = [
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

// Compute needs fewer of these; importing video and canvas into WebGPU needs all of them.
export const SWIFTSHADER = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
]

/** The browser that tests use, or undefined when none is installed. */
export function chromiumPath() {
  return CHROMIUM_PATHS.find(path => path !== undefined && existsSync(path))
}

/**
 * Starts a server of the checkout and a browser for it. `open(path)` gives a page there; whatever a page prints as
 * an error, or throws without a catch, is in `complaints`. `close()` ends both.
 */
export async function startBrowser({ webgpu = true, flags = [] } = {}) {
  const server = await serve({ root })
  const browser = await chromium.launch({
    executablePath: chromiumPath(),
    args: ["--no-sandbox", ...QUIET, ...(webgpu ? SWIFTSHADER : ["--disable-gpu"]), ...flags],
  })
  const complaints = []
  return {
    url: server.url,
    complaints,
    async open(path) {
      const page = await browser.newPage()
      page.on("pageerror", error => complaints.push(String(error)))
      page.on("console", message => { if (message.type() === "error") complaints.push(message.text()) })
      await page.goto(new URL(path, server.url).href)
      return page
    },
    async close() {
      await browser.close()
      await server.close()
    },
  }
}
