import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { expect, test } from "vitest"
import { countRepeats } from "../uniqueness/repeats.ts"

test("40,000 encryptions over processes and threads repeat no salt, IV or data key", () => {
  const main = join(import.meta.dirname, "../uniqueness/main.ts")
  const args = ["--count", "40000", "--processes", "2", "--threads", "2"]
  const { status, stdout } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" })
  expect(stdout.trim()).toBe(
    "40000 encryptions in 2 processes of 2 threads: envelope salts repeated 0, data keys repeated 0, wrap IVs repeated 0, wrap salts repeated 0",
  )
  expect(status).toBe(0)
})

test("a value that repeats is counted, wherever it stands", () => {
  expect(countRepeats(BigUint64Array.of(5n, 2n ** 63n, 7n, 5n, 1n, 2n ** 63n, 5n))).toBe(3)
  expect(countRepeats(BigUint64Array.of(3n, 2n, 1n))).toBe(0)
})
