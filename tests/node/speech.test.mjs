// A speech file through a stream with a recurrent state, window by window, against ONNX Runtime's probabilities.
import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { test } from "node:test"
import * as host from "../../pkg/dist/index.mjs"
import { findModels } from "../models/models.mjs"
import { findWebGpu, inRepository, readNpz } from "./support.mjs"

const { StreamingInferenceEngine, Tensor } = host
const silero = findModels().here.find(({ name }) => name === "silero_vad")
const noModel = silero === undefined && "silero_vad is not on this machine: pkg-scripts/fetch-models --all"
const { webgpu, missing: noWebGpu } = await findWebGpu()
if (webgpu !== undefined) await host.init({ webgpu })

const RATE = 16_000
const HOP = 512
// The model hears the end of the window before, and silence before the first.
const CONTEXT = 64
const TOLERANCE = 1e-4

const speech = name => inRepository(`tests/fixtures/speech/${name}`)
const scalar = (rate = RATE) => new Tensor("int64", BigInt64Array.of(BigInt(rate)), [])
const listening = {
  state: { state: "stateN" },
  constants: { sr: scalar() },
  preprocess: { input: "input", sampleRate: RATE, windowSamples: CONTEXT + HOP, hopSamples: HOP },
  postprocess: ({ output }) => output.data[0],
}

/** The samples behind the 44 bytes of the header. */
function wave() {
  const bytes = readFileSync(speech("speech.wav"))
  return new Int16Array(bytes.buffer.slice(bytes.byteOffset + 44, bytes.byteOffset + bytes.byteLength))
}

/** The samples in pieces of uneven lengths, as files and sockets give them. */
function* pieces(samples) {
  yield new Float32Array(CONTEXT)
  let at = 0
  for (let size = 1; at < samples.length; size = (size * 7) % 4001) {
    yield samples.subarray(at, at + size)
    at += size
  }
}

async function withEngine(executionProviders, use) {
  const engine = new StreamingInferenceEngine({ model: silero.file, executionProviders, strict: true })
  await engine.start()
  try {
    return await use(engine)
  } finally {
    await engine.stop()
  }
}

async function probabilities(engine, name, source) {
  await engine.startStream(name, source, undefined, listening)
  const heard = []
  for await (const { outputs } of engine.results(name)) heard.push(outputs)
  return heard
}

function assertProbabilities(heard, expected) {
  assert.equal(heard.length, expected.length)
  for (const [at, probability] of expected.entries()) {
    assert.ok(Math.abs(heard[at] - probability) <= TOLERANCE, `window ${at}: got ${heard[at]}, expected ${probability}`)
  }
}

const expectedOf = async () => [...(await readNpz(host, speech("speech.npz"))).get("probabilities").data]

test("the_reference_hears_speech_between_silences", async () => {
  const expected = await expectedOf()
  const isSpeech = expected.map(probability => probability > 0.5)
  assert.ok(isSpeech.filter(Boolean).length > expected.length / 2)
  assert.ok(!isSpeech[0] && !isSpeech.at(-1))
})

test("a_speech_file_gives_onnxruntimes_probabilities_on_cpu", { skip: noModel }, async () => {
  await withEngine(["cpu"], async engine => {
    assertProbabilities(await probabilities(engine, "file", pieces(wave())), await expectedOf())
  })
})

test("a_speech_file_gives_onnxruntimes_probabilities_on_webgpu", { skip: noModel || noWebGpu }, async () => {
  await withEngine(["webgpu"], async engine => {
    // The first silence and a part of the speech: a software adapter takes long for more.
    const expected = (await expectedOf()).slice(0, 32)
    assertProbabilities(await probabilities(engine, "file", pieces(wave().subarray(0, expected.length * HOP))), expected)
  })
})

test("streams_of_one_engine_keep_states_of_their_own", { skip: noModel }, async () => {
  await withEngine(["cpu"], async engine => {
    const expected = await expectedOf()
    const later = wave().subarray(40 * HOP)
    const [whole, again] = await Promise.all([
      probabilities(engine, "whole", pieces(wave())),
      probabilities(engine, "again", pieces(wave())),
      probabilities(engine, "later", pieces(later)),
    ])
    assertProbabilities(whole, expected)
    assertProbabilities(again, expected)
  })
})

test("a_failed_step_keeps_the_state_of_the_step_before", { skip: noModel }, async () => {
  await withEngine(["cpu"], async engine => {
    const samples = Float32Array.from(wave(), sample => sample / 2 ** 15)
    const heardWith = function* () {
      for (let at = 0; at < 60; at += 1) {
        const window = new Float32Array(CONTEXT + HOP)
        for (let i = 0; i < window.length; i += 1) window[i] = samples[at * HOP + i - CONTEXT] ?? 0
        yield window
        if (at === 30) yield "not a window"
      }
    }
    const preprocess = window => {
      if (typeof window === "string") throw new Error(window)
      return new Tensor(window, [1, window.length])
    }
    await engine.startStream("broken", heardWith(), undefined, { ...listening, preprocess })
    const heard = []
    for await (const { outputs } of engine.results("broken")) heard.push(outputs)
    assertProbabilities(heard, (await expectedOf()).slice(0, 60))
    const { totalErrors, lastError } = engine.getStats().streams.broken
    assert.equal(totalErrors, 1)
    assert.match(lastError.message, /"broken", input 31: not a window/)
  })
})

test("a_state_that_is_reset_starts_afresh", { skip: noModel }, async () => {
  await withEngine(["cpu"], async engine => {
    const once = wave().subarray(0, 40 * HOP)
    const heard = []
    await engine.startStream("twice", twice(once), (probability, { id }) => {
      heard.push(probability)
      if (id === 39) engine.resetState("twice")
    }, { ...listening, preprocess: windowOf })
    await engine.finished("twice")
    assertProbabilities(heard.slice(40), heard.slice(0, 40))
    assertProbabilities(heard.slice(0, 40), (await expectedOf()).slice(0, 40))
  })
})

function* twice(samples) {
  for (const _ of [1, 2]) {
    for (let at = 0; at < samples.length; at += HOP) yield { samples, at }
  }
}

function windowOf({ samples, at }) {
  const window = Float32Array.from({ length: CONTEXT + HOP }, (_, i) => (samples[at + i - CONTEXT] ?? 0) / 2 ** 15)
  return new Tensor(window, [1, window.length])
}

test("state_that_the_model_does_not_have_is_refused_by_name", { skip: noModel }, async () => {
  await withEngine(["cpu"], async engine => {
    const start = options => engine.startStream("wrong", [], undefined, { ...listening, ...options })
    await assert.rejects(start({ state: { hidden: "stateN" } }), /state: input "hidden" is not in the model/)
    await assert.rejects(start({ state: { state: "hidden" } }), /state: output "hidden" is not in the model/)
    await assert.rejects(start({ initialState: { sr: scalar() } }), /initialState: "sr"/)
  })
})

const stepped = silero?.io
test("the_manifests_step_is_met_from_its_own_state", { skip: noModel || (!existsSync(stepped) && "no reference file") }, async () => {
  const arrays = await readNpz(host, stepped)
  await withEngine(["cpu"], async engine => {
    await engine.startStream("step", [arrays.get("in_0")], undefined, {
      state: { state: "stateN" },
      initialState: { state: arrays.get("in_1") },
      constants: { sr: arrays.get("in_2") },
    })
    for await (const { outputs } of engine.results("step")) {
      assert.deepEqual(Object.keys(outputs), ["output"])
      assert.ok(Math.abs(outputs.output.data[0] - arrays.get("out_0").data[0]) <= TOLERANCE)
    }
    assert.equal(engine.getStats().streams.step.totalOutputs, 1)
  })
})
