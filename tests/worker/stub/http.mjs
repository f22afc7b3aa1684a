// The stub's HTTP: the Open Inference Protocol v2 with its binary extension.
import { readTensors, Refusal, writeTensors } from "./tensors.mjs"

const STATUS = {
  INVALID_INPUT: 400, SHAPE_MISMATCH: 400, DTYPE_MISMATCH: 400, MODEL_PARSE: 400, MODEL_UNSUPPORTED: 400, UNAUTHORIZED: 401, NOT_FOUND: 404, TOO_LARGE: 413,
  QUEUE_FULL: 503, WORKER_UNAVAILABLE: 503, RELEASED: 503, TIMEOUT: 504, OUT_OF_MEMORY: 507,
}

const MODEL_PATH = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|stats|infer))?$/

export async function answerHttp(worker, request, response) {
  try {
    await route(worker, request, response)
  } catch (error) {
    const code = error instanceof Refusal ? error.code : "INTERNAL"
    const status = STATUS[code] ?? 500
    sendJson(response, status, { error: error.message, code }, status === 503 ? { "Retry-After": "1" } : {})
  }
}

async function route(worker, request, response) {
  const { pathname } = new URL(request.url, "http://stub")
  if (pathname === "/v2/health/live") return response.writeHead(200).end()
  if (pathname === "/v2/health/ready") return response.writeHead(worker.draining ? 503 : 200).end()
  if (worker.token !== undefined && request.headers.authorization !== `Bearer ${worker.token}`) throw new Refusal("UNAUTHORIZED", "the worker wants a token")
  if (pathname === "/v2") return sendJson(response, 200, { name: "stub", version: "1", extensions: ["binary_tensor_data", "model_repository"] })
  if (pathname === "/v2/repository/index" && request.method === "POST") {
    return sendJson(response, 200, worker.models.map(({ name, version }) => ({ name, version, state: "READY", reason: "" })))
  }
  const [, name, version, action] = MODEL_PATH.exec(pathname) ?? []
  if (name === undefined) throw new Refusal("NOT_FOUND", "there is nothing here")
  const model = worker.find(decodeURIComponent(name), version)
  switch (action) {
    case undefined: {
      const versions = worker.models.filter(each => each.name === model.name).map(each => each.version)
      return sendJson(response, 200, { name: model.name, versions, platform: "stub", inputs: model.inputs, outputs: model.outputs, parameters: { provider: "stub" } })
    }
    case "ready":
      return response.writeHead(200).end()
    case "stats":
      return sendJson(response, 200, { model_stats: [{ name: model.name, version: model.version, inference_count: worker.requests.http }] })
    case "infer":
      return infer(worker, model, request, response)
  }
}

async function infer(worker, model, request, response) {
  if (worker.draining) throw new Refusal("WORKER_UNAVAILABLE", "the worker drains")
  worker.requests.http += 1
  const body = await bodyOf(request)
  const headerLength = Number(request.headers["inference-header-content-length"] ?? body.length)
  let header
  try {
    header = JSON.parse(body.toString("utf8", 0, headerLength))
  } catch {
    throw new Refusal("INVALID_INPUT", "the request is not JSON")
  }
  const outputs = await worker.infer(model, readTensors(header.inputs, body.subarray(headerLength)), header.outputs)
  const asked = new Map(header.outputs?.map(output => [output.name, output.parameters?.binary_data]))
  const { list, pieces } = writeTensors(outputs, output => asked.get(output) ?? header.parameters?.binary_data_output === true)
  const answer = { model_name: model.name, model_version: model.version, ...(header.id !== undefined && { id: header.id }), outputs: list }
  if (pieces.length === 0) return sendJson(response, 200, answer)
  const json = Buffer.from(JSON.stringify(answer))
  response.writeHead(200, { "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": json.length })
  response.end(Buffer.concat([json, ...pieces]))
}

async function bodyOf(request) {
  const pieces = []
  for await (const piece of request) pieces.push(piece)
  return Buffer.concat(pieces)
}

function sendJson(response, status, content, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers })
  response.end(JSON.stringify(content))
}
