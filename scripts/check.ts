/** `pnpm check [step…]`: all that CI runs, step by step with times; every step runs, and what failed is listed last. */
import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { root } from "./workspace.ts"

const bin = (name: string) => join(root, "node_modules/.bin", name)
const node = process.execPath

/** Each step with its command, in the order they run. */
const STEPS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  format: [bin("biome"), "check", "--error-on-warnings", "."],
  types: [bin("tsc"), "--noEmit", "-p", "tsconfig.json"],
  direction: [bin("depcruise"), "--config", ".dependency-cruiser.json", "packages"],
  surface: [node, "scripts/surface.ts"],
  test: [node, "scripts/run-tests.ts"],
  examples: [node, "scripts/readme-examples.ts"],
  demo: [node, "packages/cli/demo/demo.ts"],
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
  const { status } = spawnSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
  if (status !== 0) failed.push(name)
  console.log(
    `— ${name} ${status === 0 ? "passed" : "FAILED"} in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  )
}
console.log(failed.length === 0 ? "\ncheck passed" : `\ncheck FAILED: ${failed.join(", ")}`)
process.exitCode = failed.length === 0 ? 0 : 1
