// Triton's own client, `tritonclient[http]` of PyPI, works with our worker.
import { existsSync } from "node:fs"
import { test } from "node:test"
import { sameModel } from "../node/made.mjs"
import { inRepository } from "../node/support.mjs"
import { runChecks } from "./support/checks.mjs"
import { scaleBytes } from "./support/scale.mjs"
import { makeRepository, startWorker, withoutWorker } from "./support/workers.mjs"

const python = inRepository("target/venv/bin/python")
const skip = withoutWorker || (existsSync(python) ? false : "no Triton client: run pkg-scripts/setup --test")

/** ONNX's numbers of the types that the provider `cpu` takes. */
const TYPES = { FP32: 1, UINT8: 2, INT8: 3, INT32: 6, INT64: 7, BOOL: 9, FP16: 10, FP64: 11 }
const STRING = 8

test("tritonclient", { skip }, async t => {
  const repository = await makeRepository({
    scale: scaleBytes,
    digits: inRepository("tests/fixtures/digits/digits.onnx"),
    token_encoder: inRepository("tests/fixtures/models/token_encoder.onnx"),
    mlp_dyn_batch: inRepository("tests/fixtures/models/mlp_dyn_batch.onnx"),
    unsupported: sameModel(STRING),
    ...Object.fromEntries(Object.entries(TYPES).map(([datatype, type]) => [`same_${datatype}`, sameModel(type)])),
  })
  const worker = await startWorker({ repository: repository.folder })
  try {
    const options = { url: `127.0.0.1:${worker.port}`, fixtures: inRepository("tests/fixtures"), types: Object.keys(TYPES) }
    await runChecks(t, python, inRepository("tests/worker/triton.py"), JSON.stringify(options))
  } finally {
    await worker.end()
    await repository.remove()
  }
})
