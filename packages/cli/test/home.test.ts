/** The root key, the passphrase and the store of a home: changed, cut off, shared, backed up. */
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { beforeAll, describe, expect, test } from "vitest"
import { ended, pair, workshop } from "./cli.ts"

const { keyfold, start, path } = workshop()
const error = (stderr: string) => stderr.match(/^error (\w+): .+$/m)?.[1]
const rootKey = (home = "home") => readFileSync(path(`${home}/root.key`), "utf8")
let sealed: Buffer = Buffer.alloc(0)
const opens = (...args: string[]) =>
  keyfold(["decrypt", ...pair, ...args], { input: sealed }).stdout.toString()

beforeAll(() => {
  sealed = keyfold(["encrypt", ...pair], { input: "x" }).stdout
})

describe("the root key", () => {
  test("rotates, and the data opens as before", () => {
    const first = rootKey()
    expect(keyfold(["root", "rotate"]).code).toBe(0)
    expect(rootKey()).not.toBe(first)
    expect(opens()).toBe("x")
  })

  test("is found after a rotation that was cut off before or after the store was changed", () => {
    const current = rootKey()
    const other = `${"ab".repeat(32)}\n`
    for (const [key, next] of [
      [current, other],
      [other, current],
    ] as const) {
      writeFileSync(path("home/root.key"), key, { mode: 0o600 })
      writeFileSync(path("home/root.key.new"), next, { mode: 0o600 })
      expect(opens()).toBe("x")
      expect(rootKey()).toBe(current)
      expect(existsSync(path("home/root.key.new"))).toBe(false)
    }
    // From a passphrase to a key there is no former file.
    rmSync(path("home/root.key"))
    writeFileSync(path("home/root.key.new"), current, { mode: 0o600 })
    expect(opens()).toBe("x")
    expect(rootKey()).toBe(current)
  })

  test("is left alone while another process changes it, which a second change waits for", () => {
    const other = `${"ab".repeat(32)}\n`
    writeFileSync(path("home/root.key.new"), other, { mode: 0o600 })
    const rotating = new DatabaseSync(path("home/root.lock"))
    rotating.exec("BEGIN EXCLUSIVE")
    expect(opens()).toBe("x")
    expect(readFileSync(path("home/root.key.new"), "utf8")).toBe(other)
    const { code, stderr } = keyfold(["root", "rotate"])
    expect([code, error(stderr)]).toEqual([6, "UNAVAILABLE"])
    rotating.close()
    expect(keyfold(["root", "rotate"]).code).toBe(0)
    expect(opens()).toBe("x")
  })

  test("is never lost between processes that rotate it and others that read", {
    timeout: 180_000,
  }, async () => {
    for (let round = 0; round < 4; round++) {
      const rotations = [1, 2, 3].map(() => ended(start(["root", "rotate"])))
      const readers = [1, 2].map(() => {
        const run = start(["decrypt", ...pair])
        run.stdin.end(sealed)
        return ended(run)
      })
      for (const { code, stderr } of await Promise.all(readers)) expect([code, stderr]).toEqual([0, ""])
      // On a slow machine one may have waited long enough.
      const codes = (await Promise.all(rotations)).map(({ code }) => code)
      expect(codes).toContain(0)
      expect(codes.filter((code) => code !== 0 && code !== 6)).toEqual([])
      expect(opens()).toBe("x")
    }
    expect(readdirSync(path("home")).filter((name) => /new|tmp/.test(name))).toEqual([])
  })

  test("is never lost when a rotation is killed", { timeout: 180_000 }, async () => {
    for (let round = 0; round < 12; round++) {
      const run = start(["root", "rotate"])
      const done = ended(run)
      await new Promise((resolve) => setTimeout(resolve, 150 + 15 * round))
      run.kill("SIGKILL")
      await done
      expect(opens()).toBe("x")
    }
  })

  test("of a half-made home is not replaced by another", () => {
    writeFileSync(path("given.key"), `${"cd".repeat(32)}\n`)
    cpSync(path("home"), path("half"), { recursive: true })
    rmSync(path("half/config.json"))
    const { code, stderr } = keyfold(["init", "--root-key-file", "given.key", "--home", "half"])
    expect([code, error(stderr)]).toEqual([2, "INVALID_ARGUMENT"])
    expect(rootKey("half")).toBe(rootKey())
  })
})

describe("a backup", () => {
  test("is restored under its own root key, and under no other", () => {
    expect(keyfold(["backup", "--to", "keks.backup"]).code).toBe(0)
    expect(statSync(path("keks.backup")).mode & 0o777).toBe(0o600)
    expect(keyfold(["backup", "--to", "keks.backup"]).code).toBe(2)
    const restored = ["--home", "restored"]
    expect(keyfold(["init", "--root-key-file", "home/root.key", ...restored]).code).toBe(0)
    expect(keyfold(["restore", "--from", "keks.backup", ...restored]).stdout.toString()).toBe(
      "Restored 1 KEKs; every one of them opens.\n",
    )
    expect(opens(...restored)).toBe("x")
    expect(keyfold(["restore", "--from", "keks.backup", ...restored]).code).toBe(2)

    expect(keyfold(["init", "--home", "other"]).code).toBe(0)
    const refused = keyfold(["restore", "--from", "keks.backup", "--home", "other"])
    expect([refused.code, error(refused.stderr)]).toEqual([4, "PERMISSION_DENIED"])
    expect(readdirSync(path("other")).sort()).toEqual([
      "bindings.json",
      "config.json",
      "keks.db",
      "root.key",
      "root.lock",
    ])
    expect(keyfold(["encrypt", ...pair, "--home", "other"], { input: "x" }).code).toBe(0)
  })

  test("has the bindings beside it, without which it is not restored", () => {
    const home = ["--home", "bound"]
    const file = "keks.backup.bindings.json"
    const entry = { owner: "o", options: {}, publicKey: false, leaseTtlMs: 0, state: "active", history: [] }
    const bound = { id: "b", match: { a: "1", b: "2" }, provider: "aws-kms", keyId: "arn:x", ...entry }
    const bindings = readFileSync(path(file), "utf8")
    expect(statSync(path(file)).mode & 0o777).toBe(0o600)
    expect(keyfold(["init", "--root-key-file", "home/root.key", ...home]).code).toBe(0)
    rmSync(path(file))
    expect(keyfold(["restore", "--from", "keks.backup", ...home]).code).toBe(2)
    writeFileSync(path(file), JSON.stringify({ version: 1, bindings: [bound] }), { mode: 0o600 })
    expect(keyfold(["restore", "--from", "keks.backup", ...home]).code).toBe(0)
    expect(
      JSON.parse(keyfold(["binding", "list", "--json", ...home]).stdout.toString()).bindings,
    ).toHaveLength(1)
    // After a restore that was cut off, the same bindings are there already.
    rmSync(path("bound/keks.db"))
    expect(keyfold(["restore", "--from", "keks.backup", ...home]).code).toBe(0)
    rmSync(path("bound/keks.db"))
    writeFileSync(path(file), bindings)
    const refused = keyfold(["restore", "--from", "keks.backup", ...home])
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/other bindings already/)])
  })

  test("brings back a home that lost its store", () => {
    rmSync(path("restored/keks.db"))
    expect(keyfold(["restore", "--from", "keks.backup", "--home", "restored"]).code).toBe(0)
    expect(opens("--home", "restored")).toBe("x")
  })

  test("does not take the place of a store that another process has open", () => {
    const home = ["--home", "shared"]
    expect(keyfold(["init", "--root-key-file", "home/root.key", ...home]).code).toBe(0)
    const other = new DatabaseSync(path("shared/keks.db"))
    other.prepare("SELECT * FROM revision").all()
    const { code, stderr } = keyfold(["restore", "--from", "keks.backup", ...home])
    expect([code, error(stderr)]).toEqual([6, "UNAVAILABLE"])
    other.close()
    expect(keyfold(["restore", "--from", "keks.backup", ...home]).code).toBe(0)
  })
})

test("a passphrase protects a home, from files", { timeout: 180_000 }, () => {
  writeFileSync(path("one.pass"), "correct horse\n")
  writeFileSync(path("two.pass"), "battery staple")
  writeFileSync(path("empty.pass"), "\n")
  const home = ["--home", "secret"]
  const one = ["--passphrase-file", "one.pass"]
  const two = ["--passphrase-file", "two.pass"]
  const empty = keyfold(["init", "--passphrase-file", "empty.pass", ...home])
  expect([empty.code, existsSync(path("secret"))]).toEqual([2, false])
  sealed = keyfold(["encrypt", ...pair, ...one, ...home], { input: "x" }).stdout
  expect(readdirSync(path("secret")).sort()).toEqual(["bindings.json", "config.json", "keks.db"])
  expect(keyfold(["init", ...one, ...home]).code).toBe(2)
  expect(error(keyfold(["decrypt", ...pair, ...home], { input: sealed }).stderr)).toBe("INVALID_ARGUMENT")
  expect(error(keyfold(["decrypt", ...pair, ...two, ...home], { input: sealed }).stderr)).toBe(
    "PERMISSION_DENIED",
  )
  expect(keyfold(["root", "passphrase", ...one, "--new-passphrase-file", "two.pass", ...home]).code).toBe(0)
  expect(opens(...two, ...home)).toBe("x")
  expect(keyfold(["root", "rotate", ...two, ...home]).code).toBe(0)
  expect(opens(...home)).toBe("x")
})
