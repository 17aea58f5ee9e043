import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { beforeAll, describe, expect, test } from "vitest"
import { pair, workshop } from "./cli.ts"

const { keyfold, path, folder } = workshop()
const error = (stderr: string) => stderr.match(/^error (\w+): .+$/m)?.[1]

describe("files and pipes", () => {
  const secret = "attack at dawn, plaintext_canary"
  writeFileSync(path("plain.txt"), secret)

  test("encrypt makes the home, and decrypt gives the file back", () => {
    const made = keyfold(["encrypt", ...pair, "-i", "plain.txt", "-o", "plain.kf"])
    expect(made).toMatchObject({ code: 0, stdout: Buffer.alloc(0) })
    expect(made.stderr).toMatch(/made the home/)
    expect(statSync(path("home/root.key")).mode & 0o777).toBe(0o600)
    expect(statSync(path("home")).mode & 0o777).toBe(0o700)
    expect(keyfold(["decrypt", ...pair, "-i", "plain.kf", "-o", "back.txt"]).code).toBe(0)
    expect(readFileSync(path("back.txt"), "utf8")).toBe(secret)
  })

  test("through pipes, in binary, empty, and as text", () => {
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
    for (const input of [bytes, Buffer.alloc(0)]) {
      const sealed = keyfold(["encrypt", ...pair], { input }).stdout
      expect(keyfold(["decrypt", ...pair], { input: sealed }).stdout.equals(input)).toBe(true)
      const text = keyfold(["encrypt", ...pair, "--text"], { input }).stdout.toString()
      expect(text).toMatch(/^S0ZMRA[A-Za-z0-9_-]+\n$/)
      expect(keyfold(["decrypt", ...pair], { input: text }).stdout.equals(input)).toBe(true)
    }
  })

  test("additional data and an embedded context", () => {
    const sealed = keyfold(["encrypt", ...pair, "--aad", "row 7", "--embed-context"], { input: "x" }).stdout
    expect(
      keyfold(["decrypt", "--authorize-embedded", "--aad", "row 7"], { input: sealed }).stdout.toString(),
    ).toBe("x")
    expect(keyfold(["decrypt", ...pair, "--aad", "row 8"], { input: sealed }).code).toBe(3)
    expect(
      keyfold(["decrypt", "-c", "organization_id=other", "--aad", "row 7"], { input: sealed }).code,
    ).toBe(3)
  })

  test("inspect shows what is there, and no context", () => {
    const { stdout, code } = keyfold(["inspect", "-i", "plain.kf", "--json"])
    expect(code).toBe(0)
    expect(JSON.parse(stdout.toString())).toMatchObject({
      kind: "message",
      policy: "all",
      plaintextBytes: secret.length,
      wraps: [{ providerId: "managed", covers: [0] }],
    })
    const piped = keyfold(["inspect"], { input: readFileSync(path("plain.kf")) }).stdout.toString()
    expect(piped).toMatch(/managed/)
    expect(piped + stdout).not.toMatch(/canary/)
  })

  test("inspect loads neither the store nor a cloud", () => {
    writeFileSync(
      path("loads.mjs"),
      'import { registerHooks } from "node:module"; registerHooks({ resolve: (name, context, next) => { process._rawDebug("loads " + name); return next(name, context) } })',
    )
    const env = { NODE_OPTIONS: `--import ${pathToFileURL(path("loads.mjs"))}` }
    const { stderr } = keyfold(["inspect", "-i", "plain.kf"], { env })
    expect(stderr).toMatch(/loads commander/)
    expect(stderr).not.toMatch(/sqlite|aws|azure|google|kek-managed/)
  })

  test("rewrap onto the same file changes only the header, and reencrypt all", () => {
    const before = readFileSync(path("plain.kf"))
    const header = JSON.parse(keyfold(["inspect", "-i", "plain.kf", "--json"]).stdout.toString()).headerBytes
    expect(keyfold(["kek", "rotate", ...pair]).stdout.toString()).toMatch(/version 2/)
    expect(keyfold(["rewrap", ...pair, "-i", "plain.kf", "-o", "plain.kf"]).code).toBe(0)
    const after = readFileSync(path("plain.kf"))
    expect(after.subarray(header).equals(before.subarray(header))).toBe(true)
    expect(after.subarray(0, header).equals(before.subarray(0, header))).toBe(false)
    expect(keyfold(["reencrypt", ...pair, "-i", "plain.kf", "-o", "plain.kf", "--policy", "any"]).code).toBe(
      0,
    )
    expect(readFileSync(path("plain.kf")).subarray(header).equals(before.subarray(header))).toBe(false)
    expect(keyfold(["decrypt", ...pair, "-i", "plain.kf"]).stdout.toString()).toBe(secret)
  })

  test("a file that already stands is replaced only by a whole one", () => {
    writeFileSync(path("keep.txt"), "kept")
    const damaged = readFileSync(path("plain.kf"))
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1
    writeFileSync(path("damaged.kf"), damaged)
    const { code, stderr } = keyfold(["decrypt", ...pair, "-i", "damaged.kf", "-o", "keep.txt"])
    expect([code, error(stderr)]).toEqual([3, "DECRYPTION_FAILED"])
    expect(readFileSync(path("keep.txt"), "utf8")).toBe("kept")
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([])
  })

  test("no secret is printed", () => {
    const root = readFileSync(path("home/root.key"), "utf8").trim()
    const runs = [
      keyfold(["kek", "list"]),
      keyfold(["kek", "list", "--json"]),
      keyfold(["decrypt", "-c", "organization_id=org_canary2", "-i", "plain.kf"], {
        env: { KEYFOLD_DEBUG: "1" },
      }),
      keyfold(["encrypt", "-c", "organization_id=org_canary", "-c", "x"], { input: "plaintext_canary" }),
    ]
    for (const { stdout, stderr } of runs) {
      const said = stdout.toString() + stderr
      expect(said).not.toMatch(/canary/)
      expect(said).not.toContain(root)
      expect(said).not.toContain(Buffer.from(root, "hex").toString("base64"))
    }
  })
})

describe("managed KEKs", () => {
  test("disabled is refused and named; enabled again it opens", () => {
    const sealed = keyfold(["encrypt", "-c", "user=u1"], { input: "x" }).stdout
    const { keks } = JSON.parse(keyfold(["kek", "list", "-c", "user=u1", "--json"]).stdout.toString())
    const [{ keyId, wraps }] = keks
    expect([keks.length, wraps]).toEqual([1, 1])
    expect(keyfold(["kek", "disable", "--key-id", keyId]).code).toBe(0)
    const refused = keyfold(["decrypt", "-c", "user=u1"], { input: sealed })
    expect([refused.code, error(refused.stderr)]).toEqual([4, "KEY_DISABLED"])
    expect(refused.stderr).toContain(keyId)
    keyfold(["kek", "enable", "-c", "user=u1"])
    expect(keyfold(["decrypt", "-c", "user=u1"], { input: sealed }).stdout.toString()).toBe("x")
    expect(keyfold(["kek", "schedule-deletion", "-c", "user=u1", "--days", "7"]).stdout.toString()).toMatch(
      /pending-deletion/,
    )
    expect(error(keyfold(["decrypt", "-c", "user=u1"], { input: sealed }).stderr)).toBe(
      "KEY_PENDING_DELETION",
    )
    expect(keyfold(["kek", "cancel-deletion", "-c", "user=u1"]).stdout.toString()).toMatch(/disabled/)
  })

  test("asking for a pair that has none makes none", () => {
    const before = JSON.parse(keyfold(["kek", "list", "--json"]).stdout.toString()).keks.length
    const { code, stderr } = keyfold(["kek", "rotate", "-c", "user=nobody"])
    expect([code, error(stderr)]).toEqual([4, "KEY_NOT_FOUND"])
    expect(JSON.parse(keyfold(["kek", "list", "--json"]).stdout.toString()).keks).toHaveLength(before)
  })

  test("the root key rotates, also where a rotation was cut off; a backup restores", () => {
    const sealed = keyfold(["encrypt", ...pair], { input: "x" }).stdout
    const first = readFileSync(path("home/root.key"), "utf8")
    expect(keyfold(["root", "rotate"]).code).toBe(0)
    expect(readFileSync(path("home/root.key"), "utf8")).not.toBe(first)
    // As after a crash between the two files: the store is under the new key, which has not its name yet.
    const second = readFileSync(path("home/root.key"), "utf8")
    writeFileSync(path("home/root.key.new"), second, { mode: 0o600 })
    writeFileSync(path("home/root.key"), first, { mode: 0o600 })
    expect(keyfold(["decrypt", ...pair], { input: sealed }).stdout.toString()).toBe("x")
    expect(readFileSync(path("home/root.key"), "utf8")).toBe(second)
    expect(existsSync(path("home/root.key.new"))).toBe(false)

    expect(keyfold(["backup", "--to", "keks.backup"]).code).toBe(0)
    expect(keyfold(["backup", "--to", "keks.backup"]).code).toBe(2)
    const restored = ["--home", "restored"]
    expect(keyfold(["init", "--root-key-file", "home/root.key", ...restored]).code).toBe(0)
    expect(keyfold(["restore", "--from", "keks.backup", ...restored]).stdout.toString()).toMatch(
      /Restored \d+ KEKs/,
    )
    expect(keyfold(["decrypt", ...pair, ...restored], { input: sealed }).stdout.toString()).toBe("x")
    expect(keyfold(["restore", "--from", "keks.backup", ...restored]).code).toBe(2)
    // Under another root key a backup does not open, and the home stays as it was.
    expect(keyfold(["init", "--home", "other"]).code).toBe(0)
    expect(error(keyfold(["restore", "--from", "keks.backup", "--home", "other"]).stderr)).toBe(
      "PERMISSION_DENIED",
    )
    expect(keyfold(["encrypt", ...pair, "--home", "other"], { input: "x" }).code).toBe(0)
  })

  test("a passphrase protects a home, from files", () => {
    writeFileSync(path("one.pass"), "correct horse\n")
    writeFileSync(path("two.pass"), "battery staple")
    const home = ["--home", "secret"]
    expect(keyfold(["init", "--passphrase-file", "one.pass", ...home]).code).toBe(0)
    expect(existsSync(path("secret/root.key"))).toBe(false)
    const sealed = keyfold(["encrypt", ...pair, "--passphrase-file", "one.pass", ...home], {
      input: "x",
    }).stdout
    expect(error(keyfold(["decrypt", ...pair, ...home], { input: sealed }).stderr)).toBe("INVALID_ARGUMENT")
    expect(
      error(
        keyfold(["decrypt", ...pair, "--passphrase-file", "two.pass", ...home], { input: sealed }).stderr,
      ),
    ).toBe("PERMISSION_DENIED")
    expect(
      keyfold([
        "root",
        "passphrase",
        "--passphrase-file",
        "one.pass",
        "--new-passphrase-file",
        "two.pass",
        ...home,
      ]).code,
    ).toBe(0)
    expect(
      keyfold(["decrypt", ...pair, "--passphrase-file", "two.pass", ...home], {
        input: sealed,
      }).stdout.toString(),
    ).toBe("x")
  })
})

describe("bad input", () => {
  let sealed: Buffer = Buffer.alloc(0)
  beforeAll(() => {
    sealed = keyfold(["encrypt", ...pair], { input: "x" }).stdout
  })

  test.each([
    ["no command", [], 2, "INVALID_ARGUMENT"],
    ["an unknown command", ["encode"], 2, "INVALID_ARGUMENT"],
    ["an unknown option", ["decrypt", ...pair, "--force"], 2, "INVALID_ARGUMENT"],
    ["no context", ["encrypt"], 2, "INVALID_ARGUMENT"],
    ["no context to decrypt", ["decrypt"], 2, "INVALID_ARGUMENT"],
    ["a pair without =", ["encrypt", "-c", "organization_id"], 2, "INVALID_CONTEXT"],
    ["a name twice", ["encrypt", "-c", "a=1", "-c", "a=2"], 2, "INVALID_CONTEXT"],
    ["an empty value", ["encrypt", "-c", "a="], 2, "INVALID_CONTEXT"],
    [
      "11 pairs",
      ["encrypt", ...Array.from({ length: 11 }, (_, i) => ["-c", `n${i}=v`]).flat()],
      2,
      "INVALID_CONTEXT",
    ],
    ["a name of 121", ["encrypt", "-c", `${"n".repeat(121)}=v`], 2, "INVALID_CONTEXT"],
    ["a value of 501", ["encrypt", "-c", `n=${"v".repeat(501)}`], 2, "INVALID_CONTEXT"],
    ["an unknown policy", ["encrypt", ...pair, "--policy", "most"], 2, "INVALID_ARGUMENT"],
    ["a file that is not there", ["decrypt", ...pair, "-i", "nothing.kf"], 2, "INVALID_ARGUMENT"],
    ["a folder as input", ["encrypt", ...pair, "-i", "."], 2, "INVALID_ARGUMENT"],
    [
      "a folder that is not there as output",
      ["encrypt", ...pair, "-o", "no/where.kf"],
      2,
      "INVALID_ARGUMENT",
    ],
    ["a mistyped home", ["decrypt", ...pair, "--home", "hone"], 2, "INVALID_ARGUMENT"],
    ["a home that is a file", ["encrypt", ...pair, "--home", "plain.txt"], 5, "STORE_FAILED"],
    ["an empty envelope", ["decrypt", ...pair], 3, "MALFORMED_ENVELOPE"],
    ["both ways to name a KEK", ["kek", "rotate", "--key-id", "00", "-c", "a=1"], 2, "INVALID_ARGUMENT"],
    ["an unknown KEK", ["kek", "rotate", "--key-id", "00".repeat(16)], 4, "KEY_NOT_FOUND"],
    [
      "a recovery window that is too short",
      ["kek", "schedule-deletion", ...pair, "--days", "1"],
      2,
      "INVALID_ARGUMENT",
    ],
  ] as const)("%s", (_, args, code, name) => {
    const run = keyfold(args)
    expect([run.code, error(run.stderr)]).toEqual([code, name])
    expect(run.stderr.trim().split("\n")).toHaveLength(1)
    const json = keyfold([...args, "--json"])
    if (args[0] !== undefined && args[0] !== "encode") expect(JSON.parse(json.stderr).error.code).toBe(name)
    expect(existsSync(path("hone"))).toBe(false)
  })

  test("an envelope cut here and there, zeros, and text that is none", () => {
    for (const length of [1, 28, 29, 100, sealed.length - 17, sealed.length - 1]) {
      expect(keyfold(["decrypt", ...pair], { input: sealed.subarray(0, length) }).code).toBe(3)
    }
    expect(error(keyfold(["decrypt", ...pair], { input: "S0ZMRA!" }).stderr)).toBe("MALFORMED_ENVELOPE")
  })

  test("a root key that others can read", () => {
    chmodSync(path("home/root.key"), 0o644)
    const { code, stderr } = keyfold(["decrypt", ...pair], { input: sealed })
    chmodSync(path("home/root.key"), 0o600)
    expect([code, stderr]).toEqual([2, expect.stringMatching(/chmod 600/)])
  })

  test("a lost root key, a damaged store, a home of a newer keyfold", () => {
    mkdirSync(path("lost"))
    for (const name of ["config.json", "keks.db"])
      writeFileSync(path(`lost/${name}`), readFileSync(path(`home/${name}`)))
    expect(keyfold(["decrypt", ...pair, "--home", "lost"], { input: sealed }).stderr).toMatch(
      /root key .* is missing/,
    )
    writeFileSync(path("lost/keks.db"), "not a database at all".repeat(300))
    writeFileSync(path("lost/root.key"), readFileSync(path("home/root.key")), { mode: 0o600 })
    const { code, stderr } = keyfold(["decrypt", ...pair, "--home", "lost"], { input: sealed })
    expect([code, error(stderr)]).toEqual([5, "STORE_CORRUPT"])
    writeFileSync(path("lost/config.json"), '{"version":2}')
    expect(error(keyfold(["decrypt", ...pair, "--home", "lost"], { input: sealed }).stderr)).toBe(
      "UNSUPPORTED_VERSION",
    )
  })
})
