import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { devices, init } from "../host/index.js"

/** Where Chromium's packages put a Vulkan driver that computes on the CPU. */
const SOFTWARE_DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json"

export interface Gpu {
  present: boolean
  description: string
}

/**
 * Finds a WebGPU adapter: this machine's own, else the software driver that comes with Chromium. The optional package
 * `webgpu` is looked for where `manifest`, a package.json, can see it.
 */
export async function findGpu(manifest: string): Promise<Gpu> {
  const module = resolved(manifest)
  if (module !== undefined) {
    // Vulkan's loader complains on the terminal about a desktop that is not there.
    process.env["XDG_RUNTIME_DIR"] ??= tmpdir()
    const isSoftwareNeeded = process.env["VK_ICD_FILENAMES"] === undefined && existsSync(SOFTWARE_DRIVER) && !(await hasAdapter(module))
    if (isSoftwareNeeded) process.env["VK_ICD_FILENAMES"] = SOFTWARE_DRIVER
  }
  await init(module === undefined ? {} : { webgpu: module })
  const gpu = (await devices()).find(({ backend }) => backend === "webgpu")
  return { present: gpu?.available === true, description: gpu?.description ?? "there is no WebGPU" }
}

/** Asked in a process of its own: the drivers that a process has seen first stay with it, and some of them print. */
async function hasAdapter(module: string): Promise<boolean> {
  const program = `import(${JSON.stringify(module)}).then(async ({ create }) => process.exit((await create([]).requestAdapter()) ? 0 : 1))`
  return promisify(execFile)(process.execPath, ["-e", program]).then(() => true, () => false)
}

function resolved(manifest: string): string | undefined {
  try {
    return pathToFileURL(createRequire(pathToFileURL(manifest)).resolve("webgpu")).href
  } catch {
    return undefined
  }
}
