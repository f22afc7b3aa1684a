// usage: node serve.mjs [--port 7860] [--root DIR]
// Serves the built package on this machine only: the page at /page/, what it loads at /dist/.
import { createReadStream } from "node:fs"
import { realpath, stat } from "node:fs/promises"
import { createServer } from "node:http"
import { dirname, extname, join, sep } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { parseArgs } from "node:util"

const mimeTypes = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".onnx": "application/octet-stream",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webp": "image/webp",
}

const headers = {
  // Both together give the page SharedArrayBuffer and the precise clock.
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cache-Control": "no-cache",
  "X-Content-Type-Options": "nosniff",
}

/** The file that a request path names, or undefined when it names none inside `root`. `root` is a real path. */
async function fileFor(root, pathname) {
  let decoded
  try {
    decoded = decodeURIComponent(pathname)
  } catch {
    return undefined
  }
  if (decoded.includes("\0")) return undefined
  try {
    const file = await realpath(join(root, decoded.endsWith("/") ? `${decoded}index.html` : decoded))
    const info = await stat(file)
    return file.startsWith(root + sep) && info.isFile() ? { file, size: info.size } : undefined
  } catch {
    return undefined
  }
}

/**
 * Serves the files under `root` on 127.0.0.1; port 0 takes a free one.
 * @returns {Promise<{ url: string, close: () => Promise<void> }>}
 */
export async function serve({ root, port = 0, home = "/" }) {
  const realRoot = await realpath(root)
  const server = createServer(async (request, response) => {
    const pathname = (request.url ?? "/").split(/[?#]/, 1)[0]
    const answer = (status, extra, text = "") => {
      response.writeHead(status, { ...headers, "Content-Type": "text/plain; charset=utf-8", ...extra })
      response.end(text)
    }
    if (request.method !== "GET" && request.method !== "HEAD") return answer(405, { Allow: "GET, HEAD" }, "only GET\n")
    if (pathname === "/" && home !== "/") return answer(302, { Location: home })
    const found = await fileFor(realRoot, pathname)
    if (!found) return answer(404, {}, "not found\n")
    response.writeHead(200, {
      ...headers,
      "Content-Length": found.size,
      "Content-Type": mimeTypes[extname(found.file).toLowerCase()] ?? "application/octet-stream",
    })
    if (request.method === "HEAD") return response.end()
    createReadStream(found.file).on("error", () => response.destroy()).pipe(response)
  })
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve))
  const close = () => {
    server.closeAllConnections()
    return new Promise(resolve => server.close(() => resolve()))
  }
  return { url: `http://localhost:${server.address().port}`, close }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const here = dirname(fileURLToPath(import.meta.url))
  const { values } = parseArgs({ options: { port: { type: "string", default: "7860" }, root: { type: "string" } } })
  try {
    const { url } = await serve({ root: values.root ?? join(here, "..", "pkg"), port: Number(values.port), home: "/page/" })
    console.log(`The page is at ${url} (Ctrl-C ends it)`)
  } catch (error) {
    console.error(`serve: ${error.code === "EADDRINUSE" ? `port ${values.port} is taken` : error.message}`)
    process.exitCode = 1
  }
}
