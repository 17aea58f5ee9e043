/** Holds what @keyfold/core exposes, depends on and weighs (docs/design.md, "Surface"). */
import { gzipSync } from "node:zlib"
import { build } from "esbuild"
import { packages, root } from "./workspace.ts"

const MAX_EXPORTS = 15
const MAX_PORTABLE_BYTES = 25 * 1024

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

report(`${names.length} runtime exports, at most ${MAX_EXPORTS}`, names.length <= MAX_EXPORTS)
report(
  `depends on ${dependencies.join(", ")}`,
  dependencies.every((name) => name.startsWith("@noble/")),
)
report(
  `portable build: ${bytes} bytes minified and gzipped, at most ${MAX_PORTABLE_BYTES}`,
  bytes <= MAX_PORTABLE_BYTES,
)

function report(what: string, holds: boolean): void {
  console.log(`${holds ? "holds" : "FAILS"}: @keyfold/core, ${what}`)
  if (!holds) process.exitCode = 1
}
