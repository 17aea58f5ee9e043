/** `pnpm check [step…]`: all that CI runs, step by step with times; every step runs, and what failed is listed last. */
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { bin, root } from "./workspace.ts"

type Command = readonly [string, ...string[]]

const node = process.execPath
const readme = readFileSync(join(root, "README.md"), "utf8")

/** Each step with its command, in the order they run: what is quick and likely to fail comes first. */
const STEPS: Readonly<Record<string, Command>> = {
  format: [bin("biome"), "check", "--linter-enabled=false", "."],
  lint: [bin("biome"), "lint", "--error-on-warnings", "."],
  types: [bin("tsc"), "--noEmit", "-p", "tsconfig.json"],
  direction: [bin("depcruise"), "--config", ".dependency-cruiser.json", "packages"],
  unused: [bin("knip"), "--no-progress"],
  surface: [node, "scripts/surface.ts"],
  docs: [node, "scripts/doc-comments.ts"],
  examples: [node, "scripts/readme-examples.ts"],
  test: fromReadme("test"),
  fuzz: [node, "laws/fuzz/main.ts", "--runs", "200000"],
  speed: [node, "benchmarks/src/bench.ts", "--peers", "--quick", "--check"],
  demo: fromReadme("demo"),
  build: [node, "scripts/build.ts"],
  packed: [node, "scripts/packed.ts"],
}

const asked = process.argv.slice(2)
const unknown = asked.filter((name) => !(name in STEPS))
if (unknown.length > 0) {
  console.error(`no such step: ${unknown.join(", ")}. Steps: ${Object.keys(STEPS).join(", ")}`)
  process.exit(2)
}
const failed: string[] = []
for (const [name, [command, ...args]] of Object.entries(STEPS)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  console.log(`\n— ${name}`)
  const started = performance.now()
  const { status, signal } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) failed.push(name)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const outcome = status === 0 ? "passed" : `FAILED (${signal ?? `exit ${status}`})`
  console.log(`— ${name} ${outcome} in ${seconds} s`)
}
console.log(failed.length === 0 ? "\ncheck passed" : `\ncheck FAILED: ${failed.join(", ")}`)
process.exitCode = failed.length === 0 ? 0 : 1

/** A command as README.md gives it to its reader, word for word. */
function fromReadme(script: string): Command {
  const command = new RegExp(`^npx --yes pnpm@\\S+ ${script}(?= |$)`, "m").exec(readme)?.[0]
  if (command === undefined) throw new Error(`README.md does not say how to run ${script}`)
  return command.split(" ") as [string, ...string[]]
}
