import { execFileSync, spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { readFile } from "node:fs/promises"
import { pathToFileURL } from "node:url"
import { beforeAll, describe, expect, test } from "vitest"
import { ended, main, pair, type Run, workshop } from "./cli.ts"

const { keyfold, start, path, folder, env } = workshop()
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

  test("inspect tells the length of a pipe only where it saw its end", () => {
    const sealed = keyfold(["encrypt", ...pair], { input: Buffer.alloc(300_000) }).stdout
    writeFileSync(path("long.kf"), sealed)
    const facts = (run: Run) => JSON.parse(run.stdout.toString())
    expect(facts(keyfold(["inspect", "--json", "-i", "long.kf"]))).toMatchObject({ plaintextBytes: 300_000 })
    const piped = facts(keyfold(["inspect", "--json"], { input: sealed }))
    expect(piped).toMatchObject({ pairCount: 1 })
    expect(piped.plaintextBytes).toBeUndefined()
  })

  test("an embedded context is told by its names, which cannot steer the terminal", () => {
    const sealed = keyfold(["encrypt", "-c", "a\u001b[31m\nb=value_canary", "--embed-context"], {
      input: "x",
    }).stdout
    const opened = keyfold(["decrypt", "--authorize-embedded"], { input: sealed })
    expect(opened.stdout.toString()).toBe("x")
    expect(opened.stderr).toBe("opening with the embedded key context of a\\u{1b}[31m\\u{a}b\n")
    const json = keyfold(["decrypt", "--authorize-embedded", "--json"], { input: sealed })
    expect(JSON.parse(json.stderr)).toEqual({ embeddedContext: { pairNames: ["a\u001b[31m\nb"] } })
  })

  test("a link is followed, and a named pipe is written to as it is", async () => {
    writeFileSync(path("real.txt"), "old")
    symlinkSync("real.txt", path("link.txt"))
    expect(keyfold(["decrypt", ...pair, "-i", "plain.kf", "-o", "link.txt"]).code).toBe(0)
    expect(lstatSync(path("link.txt")).isSymbolicLink()).toBe(true)
    expect(readFileSync(path("real.txt"), "utf8")).toBe(secret)
    execFileSync("mkfifo", [path("fifo")])
    const read = readFile(path("fifo"), "utf8")
    expect(await ended(start(["decrypt", ...pair, "-i", "plain.kf", "-o", "fifo"]))).toMatchObject({
      code: 0,
    })
    expect(await read).toBe(secret)
    expect(lstatSync(path("fifo")).isFIFO()).toBe(true)
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
})

describe("bad input", () => {
  let sealed: Buffer = Buffer.alloc(0)
  beforeAll(() => {
    sealed = keyfold(["encrypt", ...pair], { input: "x" }).stdout
  })

  test.each([
    ["a pair as an argument of its own", ["decrypt", "-c", "a", "value_canary"], 2, "INVALID_ARGUMENT"],
    ["a mistyped -c", ["decrypt", "--contxt=a=value canary"], 2, "INVALID_ARGUMENT"],
    ["U+FFFD, as invalid UTF-8 arrives", ["encrypt", "-c", "a=\uFFFD"], 2, "INVALID_CONTEXT"],
    ["U+FFFD in additional data", ["decrypt", ...pair, "--aad", "\uFFFD"], 2, "INVALID_ARGUMENT"],
    ["a folder as output", ["encrypt", ...pair, "-o", "."], 2, "INVALID_ARGUMENT"],
    ["a mistyped home to back up", ["backup", "--home", "hone", "--to", "b"], 2, "INVALID_ARGUMENT"],
    ["a backup into no folder", ["backup", "--to", "no/where"], 2, "INVALID_ARGUMENT"],
    ["a backup that is not there", ["restore", "--from", "nothing"], 2, "INVALID_ARGUMENT"],
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
    const run = keyfold([...args, "--json"])
    expect([run.code, JSON.parse(run.stderr).error.code]).toEqual([code, name])
    expect(run.stderr).not.toMatch(/canary/)
    expect(existsSync(path("hone"))).toBe(false)
  })

  test("without --json an error is one line", () => {
    const { stderr } = keyfold(["decrypt", ...pair, "--contxt=a=value canary"])
    expect(stderr).toBe("error INVALID_ARGUMENT: unknown option '--contxt=…'; see keyfold --help\n")
  })

  test("an envelope cut here and there, zeros, and text that is none", () => {
    for (const length of [1, 28, 29, 100, sealed.length - 17, sealed.length - 1]) {
      expect(keyfold(["decrypt", ...pair], { input: sealed.subarray(0, length) }).code).toBe(3)
    }
    expect(error(keyfold(["decrypt", ...pair], { input: "S0ZMRA!" }).stderr)).toBe("MALFORMED_ENVELOPE")
  })

  test("__proto__ is a name like any other", () => {
    const odd = keyfold(["encrypt", "-c", "__proto__=x"], { input: "y" }).stdout
    expect(keyfold(["decrypt", "-c", "__proto__=x"], { input: odd }).stdout.toString()).toBe("y")
    expect(keyfold(["decrypt", "-c", "__proto__=z"], { input: odd }).code).toBe(3)
  })

  test("a folder as standard input, which Node would read as empty", () => {
    const { status, stdout, stderr } = spawnSync(
      "sh",
      ["-c", `"$0" "$1" encrypt -c a=1 < .`, process.execPath, main],
      {
        env,
      },
    )
    expect([status, stdout.length, error(stderr.toString())]).toEqual([2, 0, "INVALID_ARGUMENT"])
  })

  test("help has examples on every command", () => {
    const commands = ["encrypt", "decrypt", "inspect", "rewrap", "reencrypt", "init", "backup", "restore"]
    const nested = ["kek list", "kek rotate", "kek schedule-deletion", "root rotate", "root passphrase"]
    const cloud = ["binding add", "binding list", "binding remove", "emulate"]
    for (const command of ["", ...commands, ...nested, ...cloud]) {
      const { code, stdout } = keyfold([...command.split(" ").filter(Boolean), "--help"])
      expect([code, stdout.toString()]).toEqual([0, expect.stringMatching(/Examples:\n {2}.*keyfold /)])
    }
    expect(keyfold(["--version"]).stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/)
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
    const lost = ["--home", "lost"]
    rmSync(path("lost/keks.db"))
    writeFileSync(path("lost/root.key"), readFileSync(path("home/root.key")), { mode: 0o600 })
    const gone = keyfold(["decrypt", ...pair, ...lost], { input: sealed })
    expect([gone.code, gone.stderr]).toEqual([5, expect.stringMatching(/keks.db is missing/)])
    expect(keyfold(["encrypt", ...pair, ...lost], { input: "x" }).code).toBe(5)
    expect(existsSync(path("lost/keks.db"))).toBe(false)
    writeFileSync(path("lost/keks.db"), "")
    for (const command of ["encrypt", "decrypt"]) {
      const empty = keyfold([command, ...pair, ...lost], { input: sealed })
      expect([empty.code, empty.stderr]).toEqual([
        5,
        expect.stringMatching(/STORE_CORRUPT: .*keks.db is empty/),
      ])
    }
    writeFileSync(path("lost/keks.db"), "not a database at all".repeat(300))
    const { code, stderr } = keyfold(["decrypt", ...pair, "--home", "lost"], { input: sealed })
    expect([code, error(stderr)]).toEqual([5, "STORE_CORRUPT"])
    writeFileSync(path("lost/config.json"), '{"version":3}')
    expect(error(keyfold(["decrypt", ...pair, "--home", "lost"], { input: sealed }).stderr)).toBe(
      "UNSUPPORTED_VERSION",
    )
  })
})
