/** What needs time, memory, other processes or a full disk. */
import { execFileSync, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { expect, test } from "vitest"
import { pair, workshop } from "./cli.ts"

const { keyfold, start, path, folder, env } = workshop()
const GIB = 2 ** 30
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

  const decrypting = start(["decrypt", ...pair, "-i", "large.kf"], measured)
  const decrypted = ended(decrypting)
  const found = createHash("sha256")
  let bytes = 0
  for await (const chunk of decrypting.stdout) {
    found.update(chunk)
    bytes += chunk.length
    if (bytes % 2 ** 26 < chunk.length) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(bytes).toBe(GIB)
  expect(found.digest("hex")).toBe(expected.digest("hex"))
  expect(rssMib((await decrypted).stderr)).toBeLessThan(192)
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

test.each(["SIGINT", "SIGTERM"] as const)("%s in the middle leaves nothing behind", async (signal) => {
  const run = start(["encrypt", ...pair, "-o", "cut.kf"])
  const done = ended(run)
  run.stdin.on("error", () => undefined)
  run.stdin.write(Buffer.alloc(2 ** 22))
  await expect
    .poll(() => readdirSync(folder).some((name) => name.startsWith(".cut.kf")), { timeout: 30_000 })
    .toBe(true)
  run.kill(signal)
  expect((await done).code).toBe(signal === "SIGINT" ? 130 : 143)
  expect(readdirSync(folder).filter((name) => name.includes("cut.kf"))).toEqual([])
})

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

const demo = join(import.meta.dirname, "../demo/demo.ts")
test.each(["", "encrypt", "inspect", "decrypt", "tamper", "context", "rotate", "disable", "large"])(
  "the demo, with the step '%s' broken, says so",
  (step) => {
    const { status, stdout } = spawnSync(process.execPath, [demo, "--mib", "2"], {
      env: { ...process.env, ...(step !== "" && { KEYFOLD_DEMO_BREAK: step }) },
    })
    expect([status, stdout.toString()]).toEqual(
      step === ""
        ? [0, expect.stringMatching(/Every check held/)]
        : [1, expect.stringMatching(new RegExp(`FAILED: .*${step}`))],
    )
  },
)

test("what the tests wrote is in their folder", () => expect(existsSync(path("large.kf"))).toBe(true))

function ended(run: ReturnType<typeof start>): Promise<{ code: number | null; stderr: string }> {
  let stderr = ""
  run.stderr.on("data", (chunk) => {
    stderr += chunk
  })
  return new Promise((resolve) => run.on("close", (code) => resolve({ code, stderr })))
}
