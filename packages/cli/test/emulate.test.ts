import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { expect, test } from "vitest"
import { ended, main, workshop } from "./cli.ts"

const { start, run, path, env } = workshop()
const pair = "organization_id=org_1"
mkdirSync(path("tmp"))

async function emulating(...args: string[]) {
  const emulator = start(["emulate", ...args], { TMPDIR: path("tmp") })
  const done = ended(emulator)
  let printed = ""
  emulator.stdout.on("data", (chunk) => {
    printed += chunk
  })
  await expect.poll(() => printed, { timeout: 30_000 }).toMatch(/\n$/)
  const stop = async () => {
    emulator.kill("SIGINT")
    expect((await done).code).toBe(130)
  }
  return { printed, stop }
}

test.each(["aws", "azure", "gcp"])(
  "%s: another process binds its key, and Ctrl-C leaves nothing",
  async (cloud) => {
    const { printed, stop } = await emulating(cloud, "--json")
    const { url, provider, keyId, env: own, arguments: more, caFile } = JSON.parse(printed)
    expect(url).toMatch(/^https?:\/\/127\.0\.0\.1:\d+$/)
    const home = { KEYFOLD_HOME: path(cloud), ...own }
    expect((await run(["init"], { env: home })).code).toBe(0)
    const key = ["--provider", provider, "--key-id", keyId, ...more]
    expect((await run(["binding", "add", "--match", pair, ...key], { env: home })).stderr).toBe("")
    const { stdout } = await run(["encrypt", "-c", pair], { input: "x", env: home })
    expect((await run(["decrypt", "-c", pair], { input: stdout, env: home })).stdout.toString()).toBe("x")
    expect(caFile === undefined || existsSync(caFile)).toBe(true)
    await stop()
    expect(readdirSync(path("tmp"))).toEqual([])
    // Gone with its emulator, and an outage is no reason to go without the key.
    expect((await run(["decrypt", "-c", pair], { input: stdout, env: home })).code).not.toBe(0)
  },
)

test("its text is what a shell runs", async () => {
  const { printed, stop } = await emulating("azure")
  writeFileSync(path("keyfold"), `#!/bin/sh\nexec "${process.execPath}" "${main}" "$@"\n`, { mode: 0o755 })
  writeFileSync(path("try.sh"), `keyfold init\n${printed}`)
  const PATH = `${path("")}:${process.env.PATH}`
  const shell = spawnSync("sh", ["-eu", path("try.sh")], { env: { ...env, PATH }, encoding: "utf8" })
  expect([shell.status, shell.stdout]).toEqual([0, expect.stringMatching(/^Bound organization_id=org_1/m)])
  await stop()
})

test("a port that is taken, is none, or an unknown cloud", async () => {
  const taken = createServer().listen(0, "127.0.0.1")
  await once(taken, "listening")
  const { port } = taken.address() as { port: number }
  for (const args of [
    ["aws", "--port", `${port}`],
    ["gcp", "--port", `${port}`],
    ["aws", "--port", "x"],
    ["ibm"],
  ]) {
    const { code, stderr } = await run(["emulate", ...args])
    expect([args, code, stderr]).toEqual([args, 2, expect.stringMatching(/^error INVALID_ARGUMENT: /)])
  }
  taken.close()
})
