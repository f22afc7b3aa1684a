// A server of the Open Inference Protocol over HTTP, written from the protocol's own text: as Triton, KServe and OpenVINO Model
// Server speak it.
import { once } from "node:events"
import { createServer } from "node:http"

const TYPES = { FP32: Float32Array, INT32: Int32Array }

/**
 * The model `name` gives its input `x` back as `y`. `answer(request, response, url)` may do something else: it returns true where it
 * did. `extensions` are those of the server's metadata.
 */
export async function startServer({ name = "echo", extensions = ["binary_tensor_data"], about = {}, metadata = {}, answer } = {}) {
  const received = []
  const server = createServer(async (request, response) => {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    received.push({ method: request.method, url: request.url, headers: request.headers, body })
    const json = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value))
    if (answer?.({ ...request, url: request.url, headers: request.headers, body }, response, json)) return
    const model = `/v2/models/${name}`
    switch (request.url.replace(/\/versions\/\w+/, "")) {
      case "/v2": return json(200, { name: "a-server", version: "2.1", extensions, ...about })
      case model: return json(200, {
        name, versions: ["1", "2"], platform: "onnx", inputs: [{ name: "x", datatype: "FP32", shape: [-1] }], outputs: [{ name: "y", datatype: "FP32", shape: [-1] }], ...metadata,
      })
      case `${model}/ready`: return response.writeHead(200).end()
      case `${model}/infer`: return infer(request, body, response)
      default: return json(404, { error: "no such thing" })
    }
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    received,
    inferences: () => received.filter(({ url }) => url.endsWith("/infer")),
    async close() {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
  }
}

function infer(request, body, response) {
  const length = Number(request.headers["inference-header-content-length"] ?? body.length)
  const header = JSON.parse(body.subarray(0, length))
  const [{ datatype, shape, data, parameters }] = header.inputs
  const elements = data ?? Array.from(new TYPES[datatype](new Uint8Array(body.subarray(length, length + parameters.binary_data_size)).buffer))
  const isBinary = header.outputs?.[0].parameters?.binary_data ?? header.parameters?.binary_data_output ?? false
  const bytes = Buffer.from(TYPES[datatype].from(elements).buffer)
  const output = { name: "y", datatype, shape, ...(isBinary ? { parameters: { binary_data_size: bytes.length } } : { data: elements }) }
  const answer = Buffer.from(JSON.stringify({ model_name: "echo", model_version: "2", outputs: [output] }))
  if (!isBinary) return response.writeHead(200, { "content-type": "application/json" }).end(answer)
  response.writeHead(200, { "content-type": "application/octet-stream", "inference-header-content-length": answer.length })
  response.end(Buffer.concat([answer, bytes]))
}
