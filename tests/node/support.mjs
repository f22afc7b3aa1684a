// What the tests of the built package share.
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"

const root = new URL("../../", import.meta.url)
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"

/** The path of a file in the checkout. */
export const inRepository = path => fileURLToPath(new URL(path, root))

/** The path of a file of the digit classifier. */
export const digits = name => inRepository(`tests/fixtures/digits/${name}`)

/** The arrays of an `.npz` file. */
export const readNpz = (host, path) => host.tools.readNpz(readFileSync(path))

/** Every element is within `atol + rtol * |expected|`. */
export function assertClose(got, expected, { atol = 1e-3, rtol = 1e-3 } = {}) {
  assert.deepEqual([...got.dims], [...expected.dims])
  for (const [at, value] of expected.data.entries()) {
    const difference = Math.abs(Number(got.data[at]) - Number(value))
    assert.ok(difference <= atol + rtol * Math.abs(Number(value)), `element ${at}: got ${got.data[at]}, expected ${value}`)
  }
}

/** `promise` fails with a `SentinelError` of this code whose message matches. */
export async function assertCode(promise, code, message = /./) {
  await assert.rejects(promise, error => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`)
    assert.equal(error.name, "SentinelError")
    assert.match(error.message, message)
    return true
  })
}

/** Runs the built `sentinel` command. */
export function sentinel(...args) {
  return new Promise(resolve => {
    const environment = { ...process.env, NO_COLOR: "1" }
    execFile(process.execPath, [inRepository("pkg/bin/sentinel.mjs"), ...args], { env: environment, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ exitCode: error === null ? 0 : error.code, stdout, stderr })
    })
  })
}

/**
 * npm `webgpu`, on Chromium's software driver where there is no other; or why this machine has none.
 * The driver has to be named before Dawn starts.
 */
export async function findWebGpu() {
  if (process.env.VK_ICD_FILENAMES === undefined && existsSync(SWIFTSHADER)) process.env.VK_ICD_FILENAMES = SWIFTSHADER
  let webgpu
  try {
    const path = createRequire(new URL("www/package.json", root)).resolve("webgpu")
    webgpu = await import(pathToFileURL(path).href)
  } catch {
    return { missing: "npm webgpu is not installed" }
  }
  const adapter = await webgpu.create([]).requestAdapter()
  return adapter === null ? { missing: `no WebGPU adapter and no ${SWIFTSHADER}` } : { webgpu }
}
