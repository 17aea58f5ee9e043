/** `.keyfold.toml`: the context and the names of the processes of a folder. */
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { beforeEach, describe, expect, test, vi } from "vitest"
import { findProject } from "../src/project-file.ts"
import { type Run, workshop } from "./cli.ts"

const { keyfold, path } = workshop()
const file = path("project/.keyfold.toml")
const cwd = path("project/deep/down")
const sound = 'secrets = ["A", "B"]\n[context]\nenvironment = "dev"\n'

beforeEach(() => {
  for (const each of ["home", "project"]) rmSync(path(each), { recursive: true, force: true })
  mkdirSync(cwd, { recursive: true })
  writeFileSync(file, sound)
})

const set = (name: string, input = name) => keyfold(["secrets", "set", name], { input, cwd })
const exec = (...command: string[]) => keyfold(["exec", "--", ...command], { cwd })
const failure = ({ code, stderr }: Run) => [code, stderr.match(/^error (\w+)/m)?.[1]]

test("spares -c, above the working directory too: a process gets what it names, and no other slot", () => {
  for (const name of ["A", "B"])
    expect(set(name).stdout.toString()).toBe(`Set ${name} for environment=dev.\n`)
  expect(set("C").stdout.toString()).toContain(`A process gets it when ${file} names it too.`)
  expect(exec("sh", "-c", "echo $A$B$C; pwd").stdout.toString()).toBe(`AB\n${cwd}\n`)
  const all = keyfold(["exec", "-c", "environment=dev", "--", "sh", "-c", "echo $A$B$C"], { cwd })
  expect(all.stdout.toString()).toBe("ABC\n")
  expect(keyfold(["secrets", "rm", "A"], { cwd }).code).toBe(0)
  expect(exec("true").code).toBe(2)
})

test("the nearest one counts, and with -c none is read", () => {
  writeFileSync(path("project/deep/.keyfold.toml"), sound.replace("dev", "near"))
  expect(set("A").stdout.toString()).toBe("Set A for environment=near.\n")
  writeFileSync(path("project/deep/.keyfold.toml"), "broken")
  expect(failure(set("A"))).toEqual([2, "INVALID_ARGUMENT"])
  const told = keyfold(["secrets", "set", "A", "-c", "x=1"], { input: "1", cwd })
  expect(told.stdout.toString()).toBe("Set A for x=1.\n")
})

test("a missing slot is named with the command that sets it, which then works", () => {
  const none = exec("touch", path("started"))
  expect(failure(none)).toEqual([2, "INVALID_ARGUMENT"])
  expect(none.stderr).toContain(
    `not set yet of what ${file} names: run keyfold secrets set A, keyfold secrets set B`,
  )
  set("A")
  expect(exec("touch", path("started")).stderr).toMatch(/: run keyfold secrets set B\n$/)
  expect(existsSync(path("started"))).toBe(false)
  set("B")
  expect(exec("true").code).toBe(0)
})

test("without it, and without -c, nothing runs", () => {
  rmSync(file)
  for (const done of [exec("touch", path("started")), set("A"), keyfold(["secrets", "rm", "A"], { cwd })]) {
    expect([...failure(done), done.stderr]).toEqual([
      2,
      "INVALID_ARGUMENT",
      expect.stringMatching(/-c name=value/),
    ])
  }
  expect(existsSync(path("started"))).toBe(false)
})

describe("refused, and nothing of it is told", () => {
  test.each([
    ["a value of a name", `${sound.replace("[context]", 'A = "canary"\n[context]')}`],
    ["a table of values", `${sound}[values]\nA = "canary"\n`],
    ["a table of secrets", '[secrets]\nA = "canary"\n[context]\nenvironment = "dev"\n'],
    ["a list of tables", 'secrets = [{ A = "canary" }]\n[context]\nenvironment = "dev"\n'],
    ["a value beside a name", sound.replace('"A"', '"A=canary"')],
    ["no names", 'secrets = []\n[context]\nenvironment = "canary"\n'],
    ["no list", '[context]\nenvironment = "canary"\n'],
    ["a name twice", sound.replace('"B"', '"A"')],
    ["no context", 'secrets = ["A"]\n'],
    ["a context that is none", sound.replace('"dev"', '{ canary = "x" }')],
    ["a number in the context", sound.replace('"dev"', "7")],
    ["a context pair of a slot's name", `${sound}A = "canary"\n`],
    ["an API key in the context", `${sound}key = "sk_test_canary"\n`],
    ["a password in the context", `${sound}url = "postgres://app:canary@db/app"\n`],
    ["a PEM in the context", `${sound}pem = """-----BEGIN CANARY-----\ncanary"""\n`],
    ["what is no TOML", `${sound}password = canary\n`],
    ["a key twice", `${sound}environment = "canary"\n`],
    ["what is too long", `${sound}#${"canary".repeat(11_000)}`],
    ["tables without end", `secrets = ${"[".repeat(30_000)}`],
  ])("%s", (_, text) => {
    writeFileSync(file, text)
    const refused = exec("touch", path("started"))
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).toContain(file)
    expect(refused.stderr).not.toMatch(/canary/i)
    expect(existsSync(path("started"))).toBe(false)
  })

  test("a file that everybody may change, and a folder in its place", () => {
    chmodSync(file, 0o646)
    expect(exec("true").stderr).toMatch(/everybody may change it/)
    rmSync(file)
    mkdirSync(file)
    expect(exec("true").stderr).toMatch(/it is no file/)
  })
})

test("a file of another user is refused, but to root", async () => {
  if (process.getuid?.() === 0) chownSync(file, 65_534, 65_534) // what is root's own is everybody's to take
  vi.spyOn(process, "cwd").mockReturnValue(cwd)
  const getuid = vi.spyOn(process, "getuid")
  try {
    getuid.mockReturnValue(12_345)
    await expect(findProject()).rejects.toThrow(/belongs to another user/)
    getuid.mockReturnValue(0)
    expect(await findProject()).toMatchObject({ path: file, names: ["A", "B"] })
  } finally {
    vi.restoreAllMocks()
  }
})

describe("a .env that names slots", () => {
  const env = path("project/.env")
  const run = (...command: string[]) => keyfold(["exec", "--dotenv", env, "--", ...command], { cwd })

  test("gives their values under its own names, its settings, and no other slot", () => {
    for (const name of ["A", "B", "C"]) set(name, `value of ${name}`)
    writeFileSync(
      env,
      "# what it needs\nPORT=3000\nDATABASE_URL=keyfold:A\nexport COPY='keyfold:A'\nC=keyfold:C\n",
    )
    const told = run("sh", "-c", 'echo "$PORT|$DATABASE_URL|$COPY|$C|$A|$B"')
    expect([told.code, told.stdout.toString()]).toEqual([0, "3000|value of A|value of A|value of C||\n"])
    writeFileSync(env, "X=keyfold:NOT_SET\n")
    expect(run("touch", path("started")).stderr).toContain("run keyfold secrets set NOT_SET")
    expect(existsSync(path("started"))).toBe(false)
  })

  test.each([
    ["a value", "A=keyfold:A\nTOKEN=sk_test_canary\n"],
    ["a URL with a password", "A=keyfold:A\nURL=postgres://u:canary@h/d\n"],
    ["what loads code", "A=keyfold:A\nNODE_OPTIONS=--import=canary\n"],
    ["no slot", "PORT=3000\n"],
    ["a slot that is none", "A=keyfold:can ary\n"],
  ])("is refused with %s in it", (_, text) => {
    writeFileSync(env, text)
    const { stderr, ...rest } = run("touch", path("started"))
    expect(failure({ ...rest, stderr })).toEqual([2, "INVALID_ARGUMENT"])
    expect(stderr).not.toContain("canary")
    expect(existsSync(path("started"))).toBe(false)
  })

  test("is refused where everybody may change it, or where it is not there", () => {
    expect(failure(run("true"))).toEqual([2, "INVALID_ARGUMENT"])
    writeFileSync(env, "A=keyfold:A\n")
    chmodSync(env, 0o666)
    expect(failure(run("true"))).toEqual([2, "INVALID_ARGUMENT"])
  })
})
