/** Secret slots, and commands that are run with them, in processes of their own. */
import { spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { beforeEach, describe, expect, test } from "vitest"
import { checkSlotName } from "../src/slot-name.ts"
import { ended, main, type Run, workshop } from "./cli.ts"
import { terminal } from "./terminal.ts"

const { keyfold, run, start, path, folder, env } = workshop()
const dev = ["-c", "environment=dev", "-c", "team=canary_team"]
const value = "canary-7f3a9c! with spaces & 'quotes'"

beforeEach(() => rmSync(path("home"), { recursive: true, force: true }))

const set = (name: string, input: string | Uint8Array, ...args: string[]) =>
  keyfold(["secrets", "set", name, ...dev, ...args], { input })
const exec = (...command: string[]) => keyfold(["exec", ...dev, "--", ...command])
const node = (code: string) => [process.execPath, "-e", code]
const failure = ({ code, stderr }: Run) => [code, stderr.match(/^error (\w+)/m)?.[1]]
const slots = () => JSON.parse(readFileSync(path("home/secrets.json"), "utf8")).slots

describe("a slot", () => {
  test("is set, replaced, listed without its value, given to a command, and removed", () => {
    expect(set("DATABASE_URL", `${value}\n`).stdout.toString()).toBe(
      "Set DATABASE_URL for environment=dev, team=canary_team.\n",
    )
    expect(exec("sh", "-c", 'printf %s "$DATABASE_URL"').stdout.toString()).toBe(value)
    expect(JSON.parse(set("DATABASE_URL", "second\r\n", "--json").stdout.toString()).replaced).toBe(true)
    expect(exec("sh", "-c", 'printf %s "$DATABASE_URL"').stdout.toString()).toBe("second")
    set("OTHER", "x")
    const listed = keyfold(["secrets", "list", "--json"]).stdout.toString()
    expect(JSON.parse(listed)).toEqual({
      slots: ["DATABASE_URL", "OTHER"].map((name) => ({
        name,
        context: { environment: "dev", team: "canary_team" },
      })),
    })
    expect(keyfold(["secrets", "list"]).stdout.toString()).toMatch(/DATABASE_URL.*environment=dev/)
    expect(keyfold(["secrets", "list", "-c", "environment=dev"]).stdout.toString()).toBe("no slot\n")
    expect(keyfold(["secrets", "rm", "DATABASE_URL", ...dev]).code).toBe(0)
    expect(slots().map(({ name }: { name: string }) => name)).toEqual(["OTHER"])
    expect(failure(keyfold(["secrets", "rm", "DATABASE_URL", ...dev]))).toEqual([2, "INVALID_ARGUMENT"])
    expect(statSync(path("home/secrets.json")).mode & 0o777).toBe(0o600)
  })

  test("keeps every byte but one line end", () => {
    const text = "\uFEFF-----BEGIN KEY-----\nä€😀\t\n\n"
    set("PEM", text)
    const told = exec(...node("process.stdout.write(process.env.PEM)"))
    expect(told.stdout.toString()).toBe(text.slice(0, -1))
  })

  test("goes to commands of exactly its context", () => {
    set("A", "1")
    for (const context of [
      ["-c", "environment=dev"],
      [...dev, "-c", "more=1"],
      ["-c", "environment=prod", "-c", "team=canary_team"],
    ]) {
      const refused = keyfold(["exec", ...context, "--", "touch", path("started")])
      expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    }
    expect(existsSync(path("started"))).toBe(false)
  })

  test("does not open under another name or context, or changed, and the command is then not started", () => {
    set("A", "1")
    set("B", "2")
    const whole = readFileSync(path("home/secrets.json"), "utf8")
    const file = JSON.parse(whole)
    const [a, b] = file.slots
    const bytes = Buffer.from(b.envelope, "base64url")
    bytes[bytes.length - 1]! ^= 1
    const flipped = bytes.toString("base64url")
    for (const [changed, code] of [
      [[{ ...a, envelope: b.envelope }, b], "DECRYPTION_FAILED"],
      [[{ ...a, name: "C" }, b], "DECRYPTION_FAILED"],
      [[a, { ...b, envelope: flipped }], "DECRYPTION_FAILED"],
      [[a, { ...b, envelope: "AAAA" }], "MALFORMED_ENVELOPE"],
    ] as const) {
      writeFileSync(path("home/secrets.json"), JSON.stringify({ ...file, slots: changed }))
      const refused = exec("touch", path("started"))
      expect(failure(refused)).toEqual([3, code])
      expect(refused.stderr).toMatch(/^error \w+: the slot [ABC] does not open: /)
    }
    const moved = { ...a, context: { environment: "prod" } }
    writeFileSync(path("home/secrets.json"), JSON.stringify({ ...file, slots: [moved] }))
    const elsewhere = keyfold(["exec", "-c", "environment=prod", "--", "touch", path("started")])
    expect([0, 2]).not.toContain(elsewhere.code)
    expect(existsSync(path("started"))).toBe(false)
    writeFileSync(path("home/secrets.json"), whole)
    expect(exec("true").code).toBe(0)
  })

  test("that is disabled with its KEK stops the command, by its own code", () => {
    set("A", "1")
    keyfold(["kek", "disable", "-c", "environment=dev"])
    expect(failure(exec("touch", path("started")))).toEqual([4, "KEY_DISABLED"])
    expect(existsSync(path("started"))).toBe(false)
  })

  test("of a process that is racing with seven others is not lost", async () => {
    keyfold(["init"])
    const names = Array.from({ length: 8 }, (_, i) => `RACE_${i}`)
    const runs = await Promise.all(
      names.map((name) => run(["secrets", "set", name, ...dev], { input: name })),
    )
    expect(runs.map(({ code, stderr }) => `${code} ${stderr}`)).toEqual(Array(8).fill("0 "))
    const found = slots().map(({ name }: { name: string }) => name)
    expect(found.sort()).toEqual(names)
    expect(readdirSync(path("home")).filter((name) => name.endsWith(".tmp"))).toEqual([])
  })
})

describe("refused before anything is written", () => {
  test.each([
    ["a name that is none", "1A", "x"],
    ["a value in the name's place", `A=${value}`, "x"],
    ["no name", "", "x"],
    ["a name that is too long", "A".repeat(256), "x"],
    ["an empty value", "A", "\n"],
    ["a value with NUL", "A", `${value}\0`],
    ["a value that is not UTF-8", "A", new Uint8Array([0x63, 0xff])],
    ["a value that is too long", "A", "x".repeat(65_537)],
    ["a value without end", "A", new Uint8Array(2 ** 24)],
    ["a name that steers processes", "LD_PRELOAD", "x"],
  ] as const)("%s", (_, name, input) => {
    const refused = set(name, input)
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).not.toContain("canary")
    expect(existsSync(path("home/secrets.json"))).toBe(false)
  })

  test("a name by which programs find or load code, unless it is forced", () => {
    const steering = ["PATH", "Path", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "BASH_ENV", "GIT_SSH_COMMAND"]
    for (const name of [...steering, "npm_config_script_shell", "PYTHONPATH", "KEYFOLD_HOME", "PERL5OPT"]) {
      expect(() => checkSlotName(name, false), name).toThrow(/--force/)
      expect(() => checkSlotName(name, true)).not.toThrow()
    }
    for (const name of ["DATABASE_URL", "_x", "a1", "WORKOS_API_KEY", "GIT_TOKEN", "NPM_TOKEN", "PATHS"]) {
      expect(() => checkSlotName(name, false)).not.toThrow()
    }
  })

  test("a value as an argument, which is not told", () => {
    const refused = keyfold(["secrets", "set", "A", value, ...dev], { input: "x" })
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).not.toContain("canary")
  })

  test("the 1,001st slot", () => {
    set("A", "1")
    const [{ envelope, context }] = slots()
    const many = Array.from({ length: 1000 }, (_, i) => ({ name: `S${i}`, context, envelope }))
    writeFileSync(path("home/secrets.json"), JSON.stringify({ version: 1, slots: many }))
    const refused = set("ONE_MORE", "x")
    expect([...failure(refused), refused.stderr]).toEqual([
      2,
      "INVALID_ARGUMENT",
      expect.stringMatching(/1000/),
    ])
    expect(slots()).toHaveLength(1000)
  })
})

test("a value of the greatest length reaches the command, and --force takes any name", () => {
  expect(set("LONG", "x".repeat(65_536)).code).toBe(0)
  expect(set("NODE_OPTIONS", "--no-warnings", "--force").code).toBe(0)
  const told = exec("sh", "-c", 'printf %s "$LONG" | wc -c; echo $NODE_OPTIONS')
  expect(told.stdout.toString().trim()).toMatch(/^65536\n--no-warnings$/)
})

describe("a slots file", () => {
  test.each([
    ["cut short", '{"version":1,"slots":[', "STORE_CORRUPT", 5],
    ["of no slots", '{"version":1}', "STORE_CORRUPT", 5],
    ["of a newer keyfold", '{"version":2,"slots":[]}', "UNSUPPORTED_VERSION", 3],
    ["with a slot of no context", '{"version":1,"slots":[{"name":"A","envelope":"x"}]}', "STORE_CORRUPT", 5],
    [
      "with a name that is none",
      '{"version":1,"slots":[{"name":"A=","context":{"a":"1"},"envelope":"x"}]}',
      "STORE_CORRUPT",
      5,
    ],
    [
      "with one slot twice",
      `{"version":1,"slots":[${Array(2).fill('{"name":"A","context":{"a":"1"},"envelope":"x"}')}]}`,
      "STORE_CORRUPT",
      5,
    ],
  ] as const)("%s is never taken for an empty one", (_, text, code, exitCode) => {
    keyfold(["init"])
    writeFileSync(path("home/secrets.json"), text, { mode: 0o600 })
    expect(failure(exec("true"))).toEqual([exitCode, code])
    expect(failure(set("A", "1"))).toEqual([exitCode, code])
    expect(readFileSync(path("home/secrets.json"), "utf8")).toBe(text)
  })

  test("that others may change is refused", () => {
    set("A", "1")
    chmodSync(path("home/secrets.json"), 0o622)
    expect(failure(exec("true"))).toEqual([2, "INVALID_ARGUMENT"])
  })
})

describe("a command", () => {
  beforeEach(() => {
    set("A", value)
  })

  test("has our streams, our environment and its own exit code", () => {
    const told = keyfold(["exec", ...dev, "--", "sh", "-c", 'cat; echo "$FROM_OUTSIDE" >&2; exit 77'], {
      input: "through",
      env: { FROM_OUTSIDE: "seen", A: "not this one" },
    })
    expect([told.code, told.stdout.toString(), told.stderr]).toEqual([77, "through", "seen\n"])
    expect(exec("sh", "-c", 'printf %s "$A"').stdout.toString()).toBe(value)
  })

  test("keeps its own options", () => {
    const told = exec(process.execPath, "-p", "process.argv.slice(1).join()", "--", "-c", "x=1", "--json")
    expect(told.stdout.toString()).toBe("-c,x=1,--json\n")
    const refused = keyfold(["exec", "-c", "a=1", "--", "true", "--json"])
    expect(refused.stderr).toMatch(/^error INVALID_ARGUMENT/)
  })

  test("that is none is not told, for a value may stand in its place", () => {
    const refused = exec(`A=${value}`, "true")
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).not.toContain("canary")
    expect(failure(exec(folder))).toEqual([2, "INVALID_ARGUMENT"])
  })

  test.each(["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)(
    "gets our %s, and what it then ends with is ours",
    async (signal) => {
      const code = `process.on("${signal}", () => process.exit(42)); console.log("ready"); setInterval(() => {}, 1000)`
      const running = start(["exec", ...dev, "--", ...node(code)])
      const done = ended(running)
      running.stdin.end()
      await new Promise((resolve) => running.stdout.once("data", resolve))
      running.kill(signal)
      expect(await done).toEqual({ code: 42, stderr: "" })
    },
  )

  test.each([
    ["SIGTERM", [null, "SIGTERM"]],
    ["SIGINT", [null, "SIGINT"]],
    ["SIGKILL", [null, "SIGKILL"]],
    // Not by itself, which could leave a core with the value in it.
    ["SIGABRT", [134, null]],
  ] as const)("ended by %s ends us so", (signal, expected) => {
    const { status, signal: endedBy } = spawnSync(
      process.execPath,
      [main, "exec", ...dev, "--", "sh", "-c", `ulimit -c 0; kill -${signal.slice(3)} $$`],
      { env },
    )
    expect([status, endedBy]).toEqual(expected)
  })
})

describe("on a terminal", () => {
  test("a value is asked for and not shown", async (context) => {
    const { send, shown, done } = terminal(context, env, ["secrets", "set", "A", ...dev])
    await expect.poll(shown, { timeout: 30_000 }).toContain("Value of A (not shown): ")
    send(`${value}\r`)
    expect(await done).toBe(0)
    expect(shown()).toContain("Set A for")
    expect(shown()).not.toContain("canary-")
    expect(exec("sh", "-c", 'printf %s "$A"').stdout.toString()).toBe(value)
  })

  test("Ctrl-C where a value is asked for ends it, and nothing is set", async (context) => {
    const { send, shown, done } = terminal(context, env, ["secrets", "set", "A", ...dev])
    await expect.poll(shown, { timeout: 30_000 }).toContain("(not shown)")
    send("canary\u0003")
    expect(await done).toBe(130)
    expect(shown()).not.toContain("canary\u0003")
    expect(existsSync(path("home/secrets.json"))).toBe(false)
  })

  test("a passphrase is asked for, and the terminal is then the command's", {
    timeout: 60_000,
  }, async (context) => {
    writeFileSync(path("passphrase"), "canary\n")
    expect(keyfold(["init", "--passphrase-file", "passphrase"]).code).toBe(0)
    expect(set("A", "1", "--passphrase-file", "passphrase").code).toBe(0)
    const reads = 'echo ready; for i in 1 2; do read line; echo "got $line"; done'
    const { send, shown, done } = terminal(context, env, ["exec", ...dev, "--", "sh", "-c", reads])
    await expect.poll(shown, { timeout: 30_000 }).toContain("Passphrase: ")
    send("canary\r")
    await expect.poll(shown, { timeout: 30_000 }).toContain("ready")
    for (const word of ["one", "two"]) {
      send(`${word}\r`)
      await expect.poll(shown, { timeout: 30_000 }).toContain(`got ${word}\r\n`)
    }
    expect(await done).toBe(0)
    expect(shown()).not.toContain("canary")
  })

  test("Ctrl-C reaches a command once", async (context) => {
    set("A", "1")
    const count =
      'let n = 0; process.on("SIGINT", () => { n++ === 0 && setTimeout(() => { console.log("had " + n); process.exit(9) }, 500) })'
    writeFileSync(path("count.js"), `${count}; console.log("ready"); setInterval(() => {}, 1000)`)
    const command = ["exec", ...dev, "--", process.execPath, path("count.js")]
    const { send, shown, done } = terminal(context, env, command)
    await expect.poll(shown, { timeout: 30_000 }).toContain("ready")
    send("\u0003")
    expect(await done).toBe(9)
    expect(shown()).toContain("had 1\r\n")
  })
})

test("the value stands in the command's environment and nowhere else: not in the home, the temporary folder, arguments or output", async (context) => {
  if (!existsSync("/proc/self/environ")) context.skip("no /proc")
  mkdirSync(path("tmp"))
  Object.assign(env, { TMPDIR: path("tmp") })
  const output: string[] = []
  const seen = (done: Run) => output.push(done.stdout.toString(), done.stderr)
  const setting = start(["secrets", "set", "A", ...dev])
  const wasSet = ended(setting)
  setting.stdout.on("data", (chunk) => output.push(String(chunk)))
  setting.stdin.write(value)
  await expect.poll(() => processText(setting.pid, "wchan") !== undefined).toBe(true)
  const forms = [
    value,
    ...(["base64", "base64url", "hex"] as const).map((form) => Buffer.from(value).toString(form)),
  ]
  const has = (text: string) => forms.some((form) => text.includes(form.slice(0, 24)))
  expect(argumentsOfAll().filter(has)).toEqual([])
  setting.stdin.end()
  output.push((await wasSet).stderr)
  seen(keyfold(["secrets", "list", "--json"]))
  seen(keyfold(["doctor", "--offline"]))

  const running = start(["exec", ...dev, "--", ...node('console.log("ready"); setInterval(() => {}, 1000)')])
  const done = ended(running)
  await new Promise((resolve) => running.stdout.once("data", resolve))
  const [child = ""] = (processText(running.pid, `task/${running.pid}/children`) ?? "").trim().split(" ")
  expect(has(processText(child, "environ") ?? "")).toBe(true) // so that the search can find it
  expect(has(processText(running.pid, "environ") ?? "")).toBe(false)
  expect(argumentsOfAll().filter(has)).toEqual([])
  running.kill("SIGTERM")
  output.push((await done).stderr)
  seen(keyfold(["secrets", "rm", "A", ...dev]))

  let files = 0
  for (const place of ["home", "tmp"]) {
    for (const entry of readdirSync(path(place), { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      files++
      expect([entry.name, has(readFileSync(join(entry.parentPath, entry.name), "latin1"))]).toEqual([
        entry.name,
        false,
      ])
    }
  }
  expect(files).toBeGreaterThan(3)
  expect(output.join("")).toContain("Set A for")
  expect(output.filter(has)).toEqual([])
})

function argumentsOfAll(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => processText(pid, "cmdline") ?? "")
}

function processText(pid: number | string | undefined, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1")
  } catch {
    return undefined // it has ended
  }
}
