// Makes the npm package in ../pkg from the TypeScript here; pkg-scripts/build has put the .wasm files there before.
import { execFileSync } from "node:child_process"
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { basename, dirname, extname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import * as esbuild from "esbuild"
import { glueFactories } from "./host/glue.mjs"

const www = dirname(fileURLToPath(import.meta.url))
const root = dirname(www)
const pkg = join(root, "pkg")
const dist = join(pkg, "dist")
const hostEntry = join(www, "host", "index.ts")

const common = {
  absWorkingDir: www,
  bundle: true,
  charset: "utf8",
  logLevel: "warning",
  target: ["es2022"],
}

/** What browsers download. Names stay, so that a stack trace can be read. */
const short = { minifySyntax: true, minifyWhitespace: true }

/** `import.meta.url` in CommonJS, where the language has none. */
const commonJsUrl = {
  define: { "import.meta.url": "moduleUrl" },
  banner: { js: `const moduleUrl = require("node:url").pathToFileURL(__filename).href;` },
}

/** The command line and the page use the built host as it is shipped, not a copy inside each of them. */
function shippedHost(path) {
  return {
    name: "shipped-host",
    setup(build) {
      build.onResolve({ filter: /^\.{1,2}\// }, ({ path: specifier, resolveDir }) => {
        const target = resolve(resolveDir, specifier).replace(/\.(js|ts)$/, "")
        const isHost = target === join(www, "host") || target === join(www, "host", "index")
        return isHost ? { path, external: true } : undefined
      })
    },
  }
}

async function buildHost() {
  const host = { ...common, plugins: [glueFactories, libraries] }
  const node = { ...host, platform: "node", external: ["webgpu"] }
  await Promise.all([
    buildModules({ ...node, entryPoints: { index: hostEntry, "worker.node": workerEntry("node") }, chunkNames: "core.node" }),
    buildModules({ ...host, ...short, platform: "browser", entryPoints: { browser: hostEntry, worker: workerEntry("browser") }, chunkNames: "core" }),
    esbuild.build({ ...node, ...commonJsUrl, entryPoints: [hostEntry], format: "cjs", outfile: join(dist, "index.cjs") }),
  ])
}

/** What others wrote and few need: a file each, which is loaded where it is used. */
const LIBRARIES = {
  "nats-library.browser": { name: "nats", platform: "browser" },
  "nats-library.node": { name: "nats.node", platform: "node" },
  "ws-library.node": { name: "ws.node", platform: "node", external: ["bufferutil", "utf-8-validate"] },
}

const libraries = {
  name: "libraries",
  setup(build) {
    build.onResolve({ filter: /-library\.(browser|node)\.js$/ }, ({ path }) => {
      const { name } = LIBRARIES[basename(path, ".js")]
      return { path: `./${name}.mjs`, external: true }
    })
  },
}

function buildLibraries() {
  // They are CommonJS, and ask for Node's own modules with `require`.
  const banner = { js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);` }
  return Promise.all(Object.entries(LIBRARIES).map(([file, { name, ...options }]) => esbuild.build({
    ...common,
    ...short,
    ...options,
    ...(options.platform === "node" ? { banner } : {}),
    entryPoints: [join(www, "host", "distributed", "links", `${file}.ts`)],
    format: "esm",
    outfile: join(dist, `${name}.mjs`),
  })))
}

const workerEntry = platform => join(www, "host", "platform", `worker.${platform}.ts`)

/** The host and its worker's entry; what both need is in one chunk beside them, so that neither imports the other. */
function buildModules(options) {
  return esbuild.build({ ...options, format: "esm", splitting: true, outdir: dist, outExtension: { ".js": ".mjs" } })
}

/** Declarations twice: the same text counts as an ES module under `types/`, as CommonJS under `types-cjs/`. */
function buildTypes() {
  for (const folder of ["types", "types-cjs"]) rmSync(join(dist, folder), { recursive: true, force: true })
  execFileSync(join(www, "node_modules", ".bin", "tsc"), ["-p", "tsconfig.types.json"], { cwd: www, stdio: "inherit" })
  cpSync(join(dist, "types"), join(dist, "types-cjs"), { recursive: true })
  writeJson(join(dist, "types-cjs", "package.json"), { type: "commonjs" })
}

async function buildCommands() {
  const bin = join(pkg, "bin")
  rmSync(bin, { recursive: true, force: true })
  // The demo reads the checkout's fixtures: it is built beside the command and not packed.
  for (const [folder, name] of [["cli", "sentinel.mjs"], ["demo", "demo.mjs"]]) {
    const entry = join(www, folder, "main.ts")
    const outfile = join(bin, name)
    await esbuild.build({
      ...common,
      entryPoints: [entry],
      platform: "node",
      format: "esm",
      outfile,
      external: ["webgpu"],
      plugins: [shippedHost("../dist/index.mjs")],
      banner: { js: readFileSync(entry, "utf8").startsWith("#!") ? "" : "#!/usr/bin/env node" },
    })
    chmodSync(outfile, 0o755)
  }
}

async function buildPage() {
  const page = join(pkg, "page")
  rmSync(page, { recursive: true, force: true })
  const source = join(www, "page")
  await esbuild.build({
    ...common,
    entryPoints: [join(source, "main.ts")],
    platform: "browser",
    format: "esm",
    outfile: join(page, "main.js"),
    plugins: [shippedHost("../dist/browser.mjs")],
  })
  for (const path of readdirSync(source, { recursive: true })) {
    const file = join(source, path)
    if (statSync(file).isFile() && extname(file) !== ".ts") cpSync(file, join(page, relative(source, file)))
  }
  const samples = join(root, "tests", "fixtures", "digits")
  for (const name of readdirSync(samples).filter(name => /^(digits\.onnx|digit_\d\.png)$/.test(name))) {
    cpSync(join(samples, name), join(page, "samples", name))
  }
}

function writeJson(path, value) {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)
}

function writeManifest() {
  const source = JSON.parse(readFileSync(join(www, "package.json"), "utf8"))
  const types = {
    import: "./dist/types/index.d.ts",
    require: "./dist/types-cjs/index.d.ts",
  }
  writeJson(join(pkg, "package.json"), {
    name: "sentinel-inference",
    version: source.version,
    description: "ONNX models on WebGPU and WebAssembly: in browsers, in Node.js and on the command line",
    keywords: ["onnx", "webgpu", "wasm", "inference", "machine-learning"],
    license: source.license,
    type: "module",
    engines: source.engines,
    bin: { sentinel: "bin/sentinel.mjs" },
    main: "./dist/index.cjs",
    module: "./dist/index.mjs",
    browser: "./dist/browser.mjs",
    types: types.import,
    exports: {
      ".": {
        node: {
          import: { types: types.import, default: "./dist/index.mjs" },
          require: { types: types.require, default: "./dist/index.cjs" },
        },
        default: { types: types.import, default: "./dist/browser.mjs" },
      },
      "./dist/*.wasm": "./dist/*.wasm",
      "./package.json": "./package.json",
    },
    files: ["dist", "bin/sentinel.mjs", "page", "LICENSE-MIT", "LICENSE-APACHE", "THIRD_PARTY_NOTICES.txt"],
    // The declarations name onnxruntime-common's types; its code is inside the bundles.
    dependencies: { "onnxruntime-common": source.dependencies["onnxruntime-common"] },
    peerDependencies: { webgpu: `^${source.devDependencies.webgpu}` },
    peerDependenciesMeta: { webgpu: { optional: true } },
  })
}

mkdirSync(dist, { recursive: true })
try {
  await Promise.all([buildHost(), buildLibraries()])
  buildTypes()
  await buildCommands()
  await buildPage()
} catch (error) {
  // esbuild and tsc have said what is wrong, at which line.
  if (error.errors || error.status) process.exit(1)
  throw error
}
writeManifest()
for (const name of ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
  // npm packs what is there; the check that all of them are stands in pkg-scripts/pack.
  if (existsSync(join(root, name))) cpSync(join(root, name), join(pkg, name))
}
