import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { expect, test } from "vitest"

test("a core dump and a heap snapshot show the keys of managed KEKs that are in use, and after they are closed nothing", {
  timeout: 120_000,
}, async ({ skip }) => {
  if (!existsSync("/proc/self/pagemap")) skip("no /proc")
  const main = join(import.meta.dirname, "../residue/main.ts")
  const { stdout } = await promisify(execFile)(process.execPath, [main, "--operations", "50"])
  const found = [...stdout.matchAll(/│ (\w+) +│ ([\w ]+?) +│ (\d+) +│ (\d+) +│ (\d+) +│/g)].map(
    ([, state, what, , ...counts]) => ({ state, what, counts: counts.map(Number) }),
  )
  expect(found).toHaveLength(10)
  for (const { state, what, counts } of found) {
    // Managed KEKs and their subkeys are in use until the provider is closed: 20 pairs and one more.
    const inUse =
      state === "working" && ["random keys and shares", "subkeys of KEKs"].includes(what as string)
    expect([what, ...counts]).toEqual([what, inUse ? 21 : 0, 0])
  }
})
