/**
 * `pnpm test [filters and options of vitest…]`: every test of the workspace, and then one line that says how many ran,
 * how many did not, and why. In CI a test that did not run for a reason which is not expected is a failure.
 */
import { join } from "node:path"
import type { Reporter, TestModule } from "vitest/node"
import { parseCLI, startVitest } from "vitest/node"
import { root } from "./workspace.ts"

/** Reasons a test may give for not running in CI: what a machine can lack that the project cannot install. */
const EXPECTED_REASONS: readonly RegExp[] = [
  /^no third-party vectors/, // they are not part of the repository
  /^no permission to mount/, // a full disk is played by a small tmpfs
  /^root may write everywhere/, // permission bits bind only who is not root
  /^no strace/, // a Debian tool
  /^no python3-cryptography/, // a Debian package, for the second decoder
  /^no script command/, // a Debian tool, which is a terminal for tests
  /^no PostgreSQL for this platform/,
  /^no \/proc/, // what a process shows of itself, on Linux
  /^no Chromium from npm/, // for this platform
]

const reporter: Reporter & { modules: readonly TestModule[] } = {
  modules: [],
  onTestRunEnd(modules) {
    this.modules = modules
  },
}

// Tests start the command hundreds of times: its compiled modules are kept between them, which takes two thirds off each.
process.env.NODE_COMPILE_CACHE ??= join(root, "node_modules/.cache/node-compile")

const { filter, options } = parseCLI(["vitest", "run", ...process.argv.slice(2)])
const vitest = await startVitest("test", filter, { ...options, reporters: ["default", reporter] })
await vitest.close()
// Vitest skips what -t leaves out, and gives no reason.
const unnamed = options.testNamePattern === undefined ? "no reason given" : "left out by -t"

let ran = 0
const reasons = new Map<string, number>()
for (const module of reporter.modules) {
  for (const test of module.children.allTests()) {
    const result = test.result()
    if (result.state === "skipped" || result.state === "pending") {
      const reason = (result.state === "skipped" && result.note) || unnamed
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
    } else {
      ran++
    }
  }
}
const notRun = [...reasons.values()].reduce((sum, count) => sum + count, 0)
const why = [...reasons].map(([reason, count]) => `${reason} (${count})`).join(", ")
const unexpected = [...reasons.keys()].filter(
  (reason) => !EXPECTED_REASONS.some((known) => known.test(reason)),
)
if (ran === 0) {
  console.error("no test ran")
  process.exitCode = 1
}
if (process.env.CI && unexpected.length > 0) {
  console.error(`not run for a reason that is not expected: ${unexpected.join(", ")}`)
  process.exitCode = 1
}
console.log(notRun === 0 ? `ran ${ran}, not run 0` : `ran ${ran}, not run ${notRun}: ${why}`)
