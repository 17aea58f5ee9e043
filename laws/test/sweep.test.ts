import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { expect, test } from "vitest"

test("objects are moved to new keys by processes that are killed, and can be read throughout", {
  timeout: 180_000,
}, async () => {
  const main = join(import.meta.dirname, "../sweep/main.ts")
  const { stdout } = await promisify(execFile)(process.execPath, [main, "--objects", "600", "--kills", "2"])
  expect(stdout).toMatch(
    /600 objects moved in .* killed 2 times; .* 0 failed; 0 left behind, 0 with another value/,
  )
})
