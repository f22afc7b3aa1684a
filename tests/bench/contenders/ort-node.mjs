// usage: node ort-node.mjs CASE-FOLDER THREADS
// onnxruntime-node as a program of contenders/native.mjs; 0 threads are as many as it likes.
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { createInterface } from "node:readline"
import { describe, inProcess } from "../measure.mjs"
import { unpack } from "../tensors.mjs"

const say = answer => process.stdout.write(`${JSON.stringify(answer)}\n`)

async function main([folder, threads]) {
  const ort = createRequire(new URL("../../../target/bench/package.json", import.meta.url))("onnxruntime-node")
  const description = JSON.parse(readFileSync(`${folder}/case.json`, "utf8"))
  const { buffer, byteOffset, byteLength } = readFileSync(`${folder}/data.bin`)
  const read = entries => unpack(entries, buffer.slice(byteOffset, byteOffset + byteLength))
  const session = await ort.InferenceSession.create(`${folder}/model.onnx`, { executionProviders: ["cpu"], intraOpNumThreads: Number(threads), logSeverityLevel: 3 })
  const library = { tensor: (type, data, dims) => new ort.Tensor(type, data, dims), run: feeds => session.run(feeds), release: () => session.release() }
  const timed = inProcess(library, { inputs: read(description.inputs), outputs: read(description.outputs) })
  await timed.run()
  say({ wrong: await timed.check() })
  for await (const _ of createInterface({ input: process.stdin })) say({ ms: await timed.run() })
}

await main(process.argv.slice(2)).catch(thrown => say({ error: describe(thrown) }))
