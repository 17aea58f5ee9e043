/**
 * `pnpm mutate [core] [router] [--files a.ts,b.ts] [--again]`: changes core's format, context and engine, and the router, one
 * place at a time, and counts the changes that no test notices. All of it takes about an hour on two cores; docs/mutation.md
 * has the figures. `--again` keeps what the last run found, but for what a changed test or source may answer otherwise.
 */
import { mkdirSync } from "node:fs"
import { parseArgs } from "node:util"
import { Stryker } from "@stryker-mutator/core"

const PARTS = {
  core: [
    "packages/core/src/{byte-reader,envelope,context,engine,wrap,unwrap,wrap-binding,key-schedule,message,payload}.ts",
    "packages/core/src/{memory,kek-call}.ts",
  ],
  router: ["packages/router/src/*.ts", "!packages/router/src/index.ts"],
} as const
type Part = keyof typeof PARTS

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { files: { type: "string" }, again: { type: "boolean", default: false } },
})
const parts = (positionals.length === 0 ? Object.keys(PARTS) : positionals) as Part[]
const unknown = parts.find((part) => !Object.hasOwn(PARTS, part))
if (unknown !== undefined || (values.files !== undefined && parts.length !== 1)) {
  console.error(
    unknown === undefined
      ? "--files are those of one part: pnpm mutate core --files context.ts"
      : `there is no part ${unknown}, only ${Object.keys(PARTS).join(" and ")}`,
  )
  process.exit(2)
}
mkdirSync("coverage", { recursive: true })
for (const part of parts) {
  // Tells vitest.config.ts, in processes of Stryker's own, which tests to run.
  process.env.KEYFOLD_MUTATE = part
  const stryker = new Stryker({
    packageManager: "pnpm",
    testRunner: "vitest",
    plugins: ["@stryker-mutator/vitest-runner", "./scripts/mutate/messages.ts"],
    ignorers: ["messages"],
    vitest: { configFile: "scripts/mutate/vitest.config.ts", related: false },
    mutate: values.files?.split(",").map((file) => `packages/${part}/src/${file}`) ?? [...PARTS[part]],
    reporters: ["clear-text", "progress-append-only", "json"],
    clearTextReporter: { reportTests: false, allowColor: false },
    jsonReporter: { fileName: `coverage/mutation-${part}.json` },
    incremental: true,
    incrementalFile: `coverage/mutation-${part}-kept.json`,
    force: !values.again,
    coverageAnalysis: "perTest",
    // What runs once, when a file is loaded, would need every test anew for each change.
    ignoreStatic: true,
    // The router's tests wait for timers more than they work.
    concurrency: part === "router" ? 4 : 2,
    // A change that makes a loop endless. Generous, so that a busy machine kills nothing.
    timeoutMS: 8_000,
    thresholds: { high: 95, low: 90, break: 90 },
    tempDirName: "coverage/stryker",
  })
  await stryker.runMutationTest()
}
