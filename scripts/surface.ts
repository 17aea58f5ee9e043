/** Holds what @keyfold/core exposes, depends on and weighs, and that a provider brings one cloud's SDK along at most. */
import { gzipSync } from "node:zlib"
import { build } from "esbuild"
import { type Package, packages, root } from "./workspace.ts"

const MAX_EXPORTS = 15
const MAX_PORTABLE_BYTES = 25 * 1024
const CLOUDS = [/^@aws-|^@smithy\//, /^@azure\//, /^@google-cloud\/|^google-|^@grpc\//]

const core = packages().find(({ folder }) => folder === "core")
if (core === undefined) throw new Error("packages/core is missing")
const names = Object.keys(await import("@keyfold/core"))
const dependencies = Object.keys(core.manifest.dependencies ?? {})
const { outputFiles } = await build({
  stdin: { contents: 'export * from "@keyfold/core"', resolveDir: root },
  bundle: true,
  minify: true,
  format: "esm",
  platform: "neutral",
  write: false,
  absWorkingDir: root,
})
const bytes = gzipSync(outputFiles[0]?.contents ?? new Uint8Array(0), { level: 9 }).length

report(
  "@keyfold/core",
  `${names.length} runtime exports, at most ${MAX_EXPORTS}`,
  names.length <= MAX_EXPORTS,
)
report(
  "@keyfold/core",
  `depends on ${dependencies.join(", ")}`,
  dependencies.every((name) => name.startsWith("@noble/")),
)
report(
  "@keyfold/core",
  `portable build: ${bytes} bytes minified and gzipped, at most ${MAX_PORTABLE_BYTES}`,
  bytes <= MAX_PORTABLE_BYTES,
)

for (const each of packages().filter(({ folder }) => /^(core|router|kek-|byok$)/.test(folder))) {
  const installed = closure(each)
  const clouds = CLOUDS.filter((cloud) => [...installed].some((name) => cloud.test(name))).length
  const most = /^kek-(?!managed)/.test(each.folder) ? 1 : 0
  report(each.manifest.name, `brings the SDKs of ${clouds} clouds along, at most ${most}`, clouds <= most)
}

/** What installing a package brings along of this workspace's packages and theirs, peers included. */
function closure({ manifest }: Package, found = new Set<string>()): ReadonlySet<string> {
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    if (found.has(name)) continue
    found.add(name)
    const own = packages().find((each) => each.manifest.name === name)
    if (own !== undefined) closure(own, found)
  }
  return found
}

function report(whose: string, what: string, holds: boolean): void {
  console.log(`${holds ? "holds" : "FAILS"}: ${whose}, ${what}`)
  if (!holds) process.exitCode = 1
}
