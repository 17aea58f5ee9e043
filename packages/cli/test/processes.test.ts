/** What needs time, memory, other processes or a full disk. */
import { execFileSync, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { createReadStream, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { pathToFileURL } from "node:url"
import { expect, test } from "vitest"
import { ended, pair, workshop } from "./cli.ts"

const { keyfold, start, path, folder, env } = workshop()
const GIB = 2 ** 30
const demo = join(import.meta.dirname, "../demo/demo.ts")
/** A preload that prints the largest memory a process had, on stderr, when it ends. */
writeFileSync(
  path("rss.mjs"),
  'process.on("exit", () => process._rawDebug("maxRSS " + process.resourceUsage().maxRSS + " KiB"))',
)
const measured = { NODE_OPTIONS: `--import ${pathToFileURL(path("rss.mjs"))}` }
const rssMib = (stderr: string) => Number(stderr.match(/maxRSS (\d+) KiB/)?.[1]) / 1024

test("1 GiB file to file, and pipe to pipe with a slow reader, within 192 MiB", {
  timeout: 180_000,
}, async () => {
  const piece = Buffer.from(Array.from({ length: 2 ** 20 }, (_, i) => (i * 7) % 253))
  const expected = createHash("sha256")
  const encrypting = start(["encrypt", ...pair, "-o", "large.kf"], measured)
  const encrypted = ended(encrypting)
  for (let done = 0; done < GIB; done += piece.length) {
    expected.update(piece)
    if (!encrypting.stdin.write(piece))
      await new Promise((resolve) => encrypting.stdin.once("drain", resolve))
  }
  encrypting.stdin.end()
  expect(rssMib((await encrypted).stderr)).toBeLessThan(192)
  const fileToFile = keyfold(["reencrypt", ...pair, "-i", "large.kf", "-o", "large.kf"], { env: measured })
  expect(rssMib(fileToFile.stderr)).toBeLessThan(192)

  const decrypting = start(["decrypt", ...pair], measured)
  const decrypted = ended(decrypting)
  const feeding = pipeline(createReadStream(path("large.kf")), decrypting.stdin)
  const found = createHash("sha256")
  let bytes = 0
  for await (const chunk of decrypting.stdout) {
    found.update(chunk)
    bytes += chunk.length
    if (bytes % 2 ** 26 < chunk.length) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await feeding
  expect(bytes).toBe(GIB)
  expect(found.digest("hex")).toBe(expected.digest("hex"))
  expect(rssMib((await decrypted).stderr)).toBeLessThan(192)
})

test("on a terminal a long work shows how far it has come, and an error ends it on a line of its own", async () => {
  const terminal = { NODE_OPTIONS: `--import ${pathToFileURL(path("terminal.mjs"))}` }
  writeFileSync(path("terminal.mjs"), 'Object.defineProperty(process.stderr, "isTTY", { value: true })')
  writeFileSync(path("long.bin"), Buffer.alloc(2 ** 26))
  const shown = keyfold(["encrypt", ...pair, "-i", "long.bin", "-o", "long.kf"], { env: terminal })
  expect([shown.code, shown.stderr]).toEqual([0, expect.stringMatching(/encrypting .*100% \| 64\/64 MiB/s)])
  const wrong = keyfold(["decrypt", "-c", "a=1", "-i", "long.kf", "-o", "long.bin"], { env: terminal })
  expect([wrong.code, wrong.stderr]).toEqual([
    3,
    expect.stringMatching(/(^|\n)error DECRYPTION_FAILED: .+\n$/),
  ])
  expect(keyfold(["inspect", "-i", "long.kf"], { env: terminal }).stderr).toBe("")
  const shows = spawnSync(process.execPath, [demo, "--mib", "64"], { env: { ...process.env, ...terminal } })
  expect([shows.status, shows.stderr.toString()]).toEqual([0, expect.stringMatching(/decrypting .*100%/s)])
})

test("zeros without end are refused at once", async () => {
  keyfold(["encrypt", ...pair], { input: "x" })
  const run = start(["decrypt", ...pair], measured)
  run.stdin.on("error", () => undefined) // it stops reading, as it should
  const done = ended(run)
  let written = 0
  while (written < GIB && run.exitCode === null) {
    run.stdin.write(Buffer.alloc(2 ** 20))
    written += 2 ** 20
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const { code, stderr } = await done
  expect(code).toBe(3)
  expect(stderr).toMatch(/^error MALFORMED_ENVELOPE/m)
  expect(rssMib(stderr)).toBeLessThan(192)
})

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s in the middle leaves nothing behind",
  async (signal) => {
    const name = `cut-by-${signal}.kf`
    const run = start(["encrypt", ...pair, "-o", name])
    const done = ended(run)
    run.stdin.on("error", () => undefined)
    run.stdin.write(Buffer.alloc(2 ** 22))
    const written = () => readdirSync(folder).filter((found) => found.includes(name))
    await expect.poll(() => written().length, { timeout: 30_000 }).toBe(1)
    run.kill(signal)
    expect(await done).toEqual({ code: 130, stderr: "error ABORTED: interrupted: run it again\n" })
    expect(written()).toEqual([])
  },
)

test("a reader that goes away ends it quietly", async () => {
  writeFileSync(path("some.bin"), Buffer.alloc(2 ** 23))
  const run = start(["encrypt", ...pair, "-i", "some.bin"])
  const done = ended(run)
  run.stdout.once("data", () => run.stdout.destroy())
  expect(await done).toMatchObject({ code: 1, stderr: "" })
})

test("eight processes on one new home make one root key and one KEK, and open each other's files", async () => {
  const home = ["--home", "crowded"]
  const runs = await Promise.all(
    Array.from({ length: 8 }, (_, i) => {
      const run = start(["encrypt", ...pair, ...home, "-o", `crowd-${i}.kf`])
      run.stdin.end(`file ${i}`)
      return ended(run)
    }),
  )
  expect(runs.map(({ code, stderr }) => `${code} ${code === 0 ? "" : stderr}`)).toEqual(Array(8).fill("0 "))
  for (let i = 0; i < 8; i++) {
    expect(keyfold(["decrypt", ...pair, ...home, "-i", `crowd-${i}.kf`]).stdout.toString()).toBe(`file ${i}`)
  }
  expect(JSON.parse(keyfold(["kek", "list", "--json", ...home]).stdout.toString()).keks).toHaveLength(1)
  expect(readdirSync(path("crowded")).filter((name) => name.endsWith(".tmp"))).toEqual([])
})

test("a full disk is named, and leaves nothing half written", (context) => {
  const small = path("small")
  mkdirSync(small)
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small], { stdio: "ignore" })
  } catch {
    context.skip("no permission to mount a small tmpfs")
  }
  try {
    writeFileSync(path("big.bin"), Buffer.alloc(2 ** 22))
    const output = keyfold(["encrypt", ...pair, "-i", "big.bin", "-o", "small/big.kf"])
    expect(output).toMatchObject({ code: 5, stderr: expect.stringMatching(/^error STORE_FULL/m) })
    expect(readdirSync(small)).toEqual([])
    writeFileSync(join(small, "fill"), Buffer.alloc(2 ** 20 - 8192))
    const home = keyfold(["encrypt", ...pair, "--home", "small/home"], { input: "x" })
    expect(home).toMatchObject({ code: 5, stderr: expect.stringMatching(/^error STORE_/m) })
    expect(home.stdout).toHaveLength(0)
  } finally {
    execFileSync("umount", [small])
  }
})

test("a home on a read-only disk still decrypts nothing wrongly: it says that it cannot be written", (context) => {
  const sealed = keyfold(["encrypt", ...pair], { input: "x" }).stdout
  mkdirSync(path("ro"))
  try {
    execFileSync("mount", ["--bind", env.KEYFOLD_HOME as string, path("ro")], { stdio: "ignore" })
    execFileSync("mount", ["-o", "remount,ro,bind", path("ro")], { stdio: "ignore" })
  } catch {
    context.skip("no permission to mount a read-only home")
  }
  try {
    const { code, stdout, stderr } = keyfold(["decrypt", ...pair, "--home", "ro"], { input: sealed })
    if (code === 0) expect(stdout.toString()).toBe("x")
    else expect([code, stderr]).toEqual([5, expect.stringMatching(/^error STORE_FAILED: .*read/m)])
    const writing = keyfold(["encrypt", "-c", "never=seen", "--home", "ro"], { input: "x" })
    expect(writing).toMatchObject({
      code: 5,
      stdout: Buffer.alloc(0),
      stderr: expect.stringMatching(/^error STORE_FAILED/m),
    })
  } finally {
    execFileSync("umount", [path("ro")])
  }
})

test.each([
  "",
  "encrypt",
  "inspect",
  "decrypt",
  "tamper",
  "context",
  "rotate",
  "disable",
  "tenants",
  "revoke",
  "move",
  "large",
])("the demo, with the step '%s' broken, says so", (step) => {
  const { status, stdout } = spawnSync(process.execPath, [demo, "--mib", "2"], {
    env: { ...process.env, ...(step !== "" && { KEYFOLD_DEMO_BREAK: step }) },
  })
  expect([status, stdout.toString()]).toEqual(
    step === ""
      ? [0, expect.stringMatching(/Every check held/)]
      : [1, expect.stringMatching(new RegExp(`FAILED: .*${step}`))],
  )
})

test("what the tests wrote is in their folder", () => expect(existsSync(path("large.kf"))).toBe(true))
