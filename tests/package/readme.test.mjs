// The README's examples of batches and streams, as they are written there, on the built package.
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, before, test } from "node:test"
import { chromiumPath, startBrowser } from "../browser/support.mjs"
import { inRepository } from "../node/support.mjs"

const readme = readFileSync(inRepository("README.md"), "utf8")
const examples = new Map([...readme.matchAll(/<!-- example: ([\w-]+) -->\n```js\n(.*?)```/gs)].map(([, name, code]) => [name, code]))

const SILERO = inRepository("target/models/silero_vad.onnx")
const SPEECH = inRepository("tests/fixtures/speech/speech.wav")
const noSpeech = [SILERO, SPEECH].find(path => !existsSync(path))

/** What each example for Node prints, and what it is given. */
const NODE = {
  batch: { prints: /^32 answers in 4 batches\n$/ },
  map: { prints: /^0 is a 0\n1 is a 7\n2 is a 9\n$/ },
  callbacks: { prints: /^(input_\d \[ 1, 10 \]\n){6}$/ },
  frames: { prints: /^frame 0 is a 3\nframe 1 is a 3\n$/, input: () => framesOf("digit_3.png", 2) },
  polled: { prints: /^true running 0\n$/ },
  // The two workers of the example are not there: what it says holds all the same.
  distributed: { prints: /^100 answers, 100 computed here and elsewhere\n$/ },
  speech: { prints: /^\.+[.#]*#{10}[.#]*\.+\n$/, skip: noSpeech !== undefined && `no ${noSpeech}` },
}
const PAGE = ["camera"]

let project
before(() => {
  project = mkdtempSync(join(tmpdir(), "sentinel-readme-"))
  mkdirSync(join(project, "node_modules"))
  symlinkSync(inRepository("pkg"), join(project, "node_modules", "sentinel-inference"))
  cpSync(inRepository("tests/fixtures/digits/digits.onnx"), join(project, "digits.onnx"))
  for (const digit of [0, 7, 9]) cpSync(inRepository(`tests/fixtures/digits/digit_${digit}.png`), join(project, `${digit}.png`))
  if (noSpeech === undefined) {
    cpSync(SILERO, join(project, "silero_vad.onnx"))
    cpSync(SPEECH, join(project, "speech.wav"))
  }
})
after(() => rmSync(project, { recursive: true, force: true }))

/** A picture as so many raw frames of 64 x 64, as ffmpeg would write them. */
async function framesOf(name, count) {
  const { tools } = await import("../../pkg/dist/index.mjs")
  const bytes = readFileSync(inRepository(`tests/fixtures/digits/${name}`))
  const { data } = await tools.imageToTensor(bytes, { dims: [1, 64, 64, 3], layout: "NHWC", type: "uint8" })
  const frame = Buffer.alloc(64 * 64 * 4, 255)
  for (let pixel = 0; pixel < 64 * 64; pixel += 1) frame.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4)
  return Buffer.concat(Array.from({ length: count }, () => frame))
}

function runInNode(name, code, input) {
  writeFileSync(join(project, `${name}.mjs`), code)
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [`${name}.mjs`], { cwd: project, timeout: 120_000 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${error.message}\n${stderr}`))
    })
    child.stdin.end(input)
  })
}

test("every_example_of_the_readme_is_run_here", () => {
  assert.deepEqual([...examples.keys()].sort(), [...Object.keys(NODE), ...PAGE].sort())
})

for (const [name, { prints, input, skip }] of Object.entries(NODE)) {
  test(`the_example_${name}_prints_what_it_should`, { skip, timeout: 150_000 }, async () => {
    assert.match(await runInNode(name, examples.get(name), await input?.()), prints)
  })
}

const browserOptions = { skip: chromiumPath() === undefined ? "no Chromium is installed" : undefined, timeout: 150_000 }
test("the_example_camera_names_what_it_sees", browserOptions, async () => {
  const browser = await startBrowser({ flags: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] })
  try {
    const page = await browser.open("/tests/browser/blank.html")
    const code = examples.get("camera").replace('"sentinel-inference"', '"/pkg/dist/browser.mjs"').replace('"digits.onnx"', '"/tests/fixtures/digits/digits.onnx"')
    await page.addScriptTag({ type: "module", content: code })
    await page.waitForFunction(() => /^\d, \d+ ms, \d+ dropped$/.test(document.title))
    assert.deepEqual(browser.complaints.filter(text => !text.startsWith("A VideoFrame was garbage collected")), [])
  } finally {
    await browser.close()
  }
})
