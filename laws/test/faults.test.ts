import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { Acknowledged, judge } from "../faults/store.ts"

/** A part of `pnpm faults`, and that its judge notices a loss. */
const faults = join(import.meta.dirname, "../faults")
const hasStrace = spawnSync("strace", ["-V"]).error === undefined

test("killed at random moments, a store loses nothing that was acknowledged", () => {
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(faults, "main.ts"), "--kills", "15", "--points", "0"],
    { encoding: "utf8" },
  )
  expect([status, stdout]).toEqual([0, expect.stringMatching(/Nothing acknowledged was lost/)])
  expect(stdout).toMatch(/killed at random *│ 15 /)
})

test("nor with a fault at a system call", ({ skip }) => {
  if (!hasStrace) skip("no strace")
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(faults, "main.ts"), "--kills", "0", "--points", "2"],
    { encoding: "utf8" },
  )
  expect([status, stdout]).toEqual([0, expect.stringMatching(/Nothing acknowledged was lost/)])
  expect(stdout).toMatch(/file cut short *│ 2 +│ STORE_CORRUPT 2/)
  expect(stdout).toMatch(/killed at each pwrite64 *│ 2 /)
  expect(stdout).toMatch(/disk full at each pwrite64 *│ 2 +│ STORE_F/)
  expect(stdout).toMatch(/restore killed at each rename *│ 2 +│ restored [12]/)
})

test("without file descriptors a store says so by its code, and goes on when there are some", () => {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-scarce-"))
  const { stdout } = spawnSync(
    "sh",
    [
      "-c",
      `ulimit -n 64; exec "$0" "$@"`,
      process.execPath,
      join(faults, "scarce.ts"),
      join(folder, "keks.db"),
    ],
    { encoding: "utf8" },
  )
  rmSync(folder, { recursive: true })
  const outcomes = stdout
    .trim()
    .split("\n")
    .map((line) => line.split(" "))
  expect(outcomes.map(([left]) => Number(left))).toEqual(Array.from({ length: 12 }, (_, left) => left))
  expect(outcomes[0]).toEqual(["0", "STORE_FAILED"])
  expect(outcomes[11]).toEqual(["11", "done"])
  expect(new Set(outcomes.map(([, code]) => code))).toEqual(new Set(["STORE_FAILED", "done"]))
})

describe("the judge", () => {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-judge-"))
  const path = join(folder, "keks.db")
  let output = ""
  beforeAll(() => {
    output = spawnSync(process.execPath, [join(faults, "worker.ts"), path, "4"], { encoding: "utf8" }).stdout
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const acknowledged = (text: string) => {
    const found = new Acknowledged()
    found.add(text)
    return found
  }

  test("finds all of an unharmed store", async () => {
    expect(output).toMatch(/done\n$/)
    expect(await judge(path, acknowledged(output))).toEqual({ lost: 0, duplicates: 0, unreadable: 0 })
  })

  test("notices a KEK that is not there, one made twice, and an envelope that does not open", async () => {
    const [kek = "", envelope = ""] = output.split("\n")
    const [, name] = kek.split(" ")
    const other = `kek ${name} ${"0".repeat(32)}\n`
    expect(await judge(path, acknowledged(`kek stranger ${"0".repeat(32)}\n`))).toMatchObject({ lost: 1 })
    expect(await judge(path, acknowledged(`${other}${kek}\n`))).toMatchObject({ lost: 0, duplicates: 1 })
    expect(await judge(path, acknowledged(`${envelope.replace(` ${name} `, " another ")}\n`))).toMatchObject({
      unreadable: 1,
    })
  })
})
