import { env } from "onnxruntime-common"
import { SentinelError } from "../errors.js"
import type { Parent } from "../platform/threads.js"
import { SerialQueue } from "../queue.js"
import { setSettings } from "../settings.js"
import { loadEngine, useModule } from "../wasm.js"
import { LocalLane } from "./local.js"
import { buffersOf, toPlain, type Answers, type Message, type Reply, type Request, type WorkerSettings } from "./messages.js"

type Answered = { answer: Answers[Request["type"]]; transfer: ArrayBuffer[] }

/** Does what the thread asks for that started this worker: one session, one batch at a time. */
export function serve(parent: Parent): void {
  const queue = new SerialQueue()
  const post = (reply: Reply, transfer: ArrayBuffer[] = []) => { parent.post(reply, transfer) }
  let model: Uint8Array | undefined
  let lane: LocalLane | undefined
  let latestSizes: string | undefined

  const answer = async (request: Request): Promise<Answered> => {
    switch (request.type) {
      case "prepare": {
        applySettings(request.settings)
        useModule("engine", request.engine)
        const { model: bytes } = request
        model = bytes
        const engine = await loadEngine()
        return { answer: { locations: engine.use(module => module.externalDataLocations(bytes)) }, transfer: [] }
      }
      case "open": {
        if (model === undefined) throw new SentinelError("INTERNAL", "worker: asked to open a model that it was not given")
        lane = await LocalLane.open({ ...request.options, model, externalData: request.external })
        model = undefined
        return { answer: { facts: lane.facts, placement: lane.placement() }, transfer: [] }
      }
      case "run": {
        if (lane === undefined) throw new SentinelError("INTERNAL", "worker: asked to run without a model")
        const outputs = await lane.runJoined(request.feeds, request.rows)
        const sizes = Object.values(request.feeds).map(({ dims }) => `[${dims}]`).join()
        const placement = sizes === latestSizes ? undefined : lane.placement()
        latestSizes = sizes
        return { answer: { outputs, placement }, transfer: outputs.flatMap(buffersOf) }
      }
      case "close":
        await lane?.close()
        return { answer: {}, transfer: [] }
    }
  }

  parent.listen(message => {
    const { id, request } = message as Message
    void queue.add(async () => {
      try {
        const { answer: given, transfer } = await answer(request)
        post({ type: "answer", id, answer: given }, transfer)
      } catch (thrown) {
        if (lane?.fault !== undefined) post({ type: "faulted", error: toPlain(lane.fault) })
        post({ type: "failed", id, error: toPlain(thrown) })
      }
    })
  })
  void parent.holdLock().then(lock => { post({ type: "ready", lock }) })
}

function applySettings({ init, powerPreference, forceFallbackAdapter }: WorkerSettings): void {
  setSettings(init)
  if (powerPreference !== undefined) env.webgpu.powerPreference = powerPreference
  if (forceFallbackAdapter !== undefined) env.webgpu.forceFallbackAdapter = forceFallbackAdapter
}
