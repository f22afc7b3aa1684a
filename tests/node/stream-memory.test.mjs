// A file of raw frames through a real model, again and again: what is in use does not grow.
import assert from "node:assert/strict"
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { digits, inRepository } from "./support.mjs"

const { chunksOf, StreamingInferenceEngine } = await import(inRepository("pkg/dist/index.mjs"))

const FRAMES = 1000
const [WIDTH, HEIGHT] = [64, 48]

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc")

/** Bytes of JavaScript and of its buffers that are in use. A buffer goes in a turn after the one in which it is found. */
async function usedBytes() {
  for (let turn = 0; turn < 8; turn += 1) {
    collect()
    await new Promise(resolve => setImmediate(resolve))
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

test("frames_from_a_file_stream_in_flat_memory_on_this_thread_and_on_a_worker", async t => {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-frames-"))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, "frames.raw")
  writeFileSync(file, Uint8Array.from({ length: WIDTH * HEIGHT * 4 * 50 }, (_, at) => at * 31))
  async function* bytes() {
    for (let round = 0; round < FRAMES / 50; round += 1) yield* createReadStream(file)
  }
  async function* frames() {
    for await (const rgba of chunksOf(bytes(), WIDTH * HEIGHT * 4)) yield { width: WIDTH, height: HEIGHT, rgba }
  }
  for (const workers of [0, 1]) {
    const engine = new StreamingInferenceEngine({ model: digits("digits.onnx"), executionProviders: ["cpu"], workers })
    await engine.start()
    const used = []
    for (let round = 0; round < 4; round += 1) {
      const name = `film ${round}`
      await engine.startStream(name, frames(), undefined, { preprocess: { fit: "crop", colorOrder: "GRAY" } })
      let next = 0
      for await (const { id, outputs } of engine.results(name)) {
        assert.equal(id, next)
        assert.equal(outputs.logits.dims.join(), "1,10")
        next += 1
      }
      assert.equal(next, FRAMES)
      used.push(await usedBytes())
    }
    await engine.stop()
    t.diagnostic(`workers: ${workers}; MB in use after each ${FRAMES} frames: ${used.map(bytes => (bytes / 1e6).toFixed(2)).join(", ")}`)
    // A frame has 12 kB: a thousand that stayed would be 12 MB.
    assert.ok(used.at(-1) - used[0] < 1_000_000, used.join())
  }
})
