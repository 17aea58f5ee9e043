import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { expect, test } from "vitest"

test("a server that is killed under load loses nothing that it acknowledged", {
  timeout: 120_000,
}, async () => {
  const main = join(import.meta.dirname, "../kill-server/main.ts")
  const { stdout } = await promisify(execFile)(process.execPath, [main, "--kills", "3"])
  expect(stdout).toMatch(
    /killed 3 times under 8 clients: [1-9]\d* writes acknowledged, 0 lost, 0 answered wrongly/,
  )
})
