// What is run: the models of tests/fixtures/manifest.json that are on this machine, and single operators. Each is laid
// into a folder of target/bench/cases, where pages, processes and programs find it.
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { basename } from "node:path"
import { findModels, tolerances } from "../models/models.mjs"
import { inRepository } from "../node/support.mjs"
import { buildOperator, OPERATORS } from "./operators.mjs"
import { pack } from "./tensors.mjs"

/** For `--quick`: small networks of each kind. */
export const QUICK = ["digits", "token_encoder", "mobilenet_v2_w025", "resnet18_w16"]

// Other spellings of models that are run anyway: they test readers, and time nothing new.
const SAME_AGAIN = ["resnet18_w16.ext", "resnet18_w16.op11", "resnet18_w16.op17", "resnet18_w16.op21", "token_encoder.op17"]

/** The cases that the options name, as `{ name, kind, build }`; and the names that are not here. */
export function chooseCases({ models, ops, quick, isModels }) {
  const { here, missing } = findModels()
  const wanted = models ?? (quick ? QUICK : here.map(({ name }) => name).filter(name => !SAME_AGAIN.includes(name)))
  const unknown = wanted.filter(name => !here.some(entry => entry.name === name))
  const chosenModels = isModels ? wanted.flatMap(name => here.find(entry => entry.name === name) ?? []) : []
  const chosenOps = ops === undefined ? [] : OPERATORS.filter(({ name }) => ops === "" || name.toLowerCase().includes(ops.toLowerCase()))
  return {
    cases: [
      ...chosenModels.map(entry => ({ name: entry.name, kind: "model", build: host => modelCase(host, entry) })),
      ...chosenOps.map(entry => ({ name: entry.name, kind: "op", build: async () => buildOperator(entry) })),
    ],
    missing: models === undefined ? missing : unknown,
  }
}

async function modelCase(host, entry) {
  const arrays = await host.tools.readNpz(readFileSync(entry.io))
  // One element stands for a scalar in the files; not everyone takes it so.
  const scalar = ({ declaredShape }, tensor) => (declaredShape.length === 0 && tensor.data.length === 1 ? [] : tensor.dims)
  const inputs = entry.inputs.map((input, at) => {
    const tensor = arrays.get(`in_${at}`)
    return { name: input.name, type: tensor.type, dims: scalar(input, tensor), data: tensor.data }
  })
  const outputs = tolerances(entry).map(({ name, ...tolerance }, at) => {
    const { type, dims, data } = arrays.get(`out_${at}`)
    return { name, type, dims, data, tolerance }
  })
  return { model: entry.file, externalData: entry.externalData, inputs, outputs }
}

/** Lays a case into its folder; the place of each file is the same for all of them. */
export async function stage(host, { name, kind, build }) {
  const { model, externalData = [], inputs, outputs } = await build(host)
  const path = `target/bench/cases/${name.replaceAll(/[^\w.]+/g, "-")}`
  const folder = inRepository(path)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  if (typeof model === "string") copyFileSync(model, `${folder}/model.onnx`)
  else writeFileSync(`${folder}/model.onnx`, model)
  const beside = externalData.map(file => basename(file))
  externalData.forEach((file, at) => copyFileSync(file, `${folder}/${beside[at]}`))
  const { entries, bytes } = pack([...inputs, ...outputs])
  const description = { name, inputs: entries.slice(0, inputs.length), outputs: entries.slice(inputs.length), externalData: beside }
  writeFileSync(`${folder}/case.json`, JSON.stringify(description))
  writeFileSync(`${folder}/data.bin`, bytes)
  const asTensor = ({ name, type, dims, data }) => [name, new host.Tensor(type, data, dims)]
  writeFileSync(`${folder}/io.npz`, await host.tools.writeNpz(new Map(inputs.map(asTensor))))
  return { name, kind, path, folder, outputs }
}

/** Removes what `stage` has laid out. */
export function clearCases() {
  const folder = inRepository("target/bench/cases")
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true })
}
