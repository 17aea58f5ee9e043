/** `doctor`, on a sound installation and on broken ones. */
import { chmodSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { type AwsEmulator, startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { checkNode } from "../src/doctor-checks.ts"
import { workshop } from "./cli.ts"

const { run, path, env } = workshop()
let aws: AwsEmulator
let keyId: string

beforeAll(async () => {
  aws = await startAwsEmulator()
  Object.assign(env, {
    AWS_ACCESS_KEY_ID: aws.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.credentials.secretAccessKey,
  })
})
afterAll(() => aws.close())
beforeEach(async () => {
  rmSync(path("home"), { recursive: true, force: true })
  keyId = aws.createKey()
  const add = ["binding", "add", "--match", "a=1", "--provider", "aws-kms", "--key-id", keyId]
  expect((await run(["init"])).code).toBe(0)
  expect((await run([...add, "--endpoint", aws.url])).stderr).toBe("")
})

async function doctor(...args: string[]) {
  const { code, stdout, stderr } = await run(["doctor", "--json", ...args])
  expect(stderr).toBe("")
  const { result, checks } = JSON.parse(stdout.toString())
  const find = (id: string) => checks.find((each: { id: string }) => each.id === id)
  return { code, result, checks, find }
}

test("a sound installation passes, and nothing is changed", async () => {
  const before = readFileSync(path("home/bindings.json"))
  const { code, result, checks } = await doctor()
  expect([code, result]).toEqual([0, "pass"])
  expect(checks.map(({ id, status }: { id: string; status: string }) => `${id} ${status}`)).toEqual([
    ...["node", "home", "permissions", "store"].map((id) => `${id} pass`),
    "secrets skipped",
    ...["disk", "bindings", "clock", "provider"].map((id) => `${id} pass`),
  ])
  expect(readFileSync(path("home/bindings.json"))).toEqual(before)
  const { stdout } = await run(["doctor"])
  expect(stdout.toString()).toMatch(/^pass +store +it opens with its root key, and holds 0 managed KEKs$/m)
})

test("offline no cloud is asked", async () => {
  for (const pair of ["a=1", "b=2"]) await run(["secrets", "set", "A", "-c", pair], { input: "x" })
  const calls = aws.calls.length
  const { code, find } = await doctor("--offline")
  expect([code, find("provider").status, find("clock").status]).toEqual([0, "skipped", "skipped"])
  expect(find("secrets")).toMatchObject({
    status: "pass",
    message: "1 secret slot opens, 1 under customers' keys not tried",
  })
  expect(aws.calls.length).toBe(calls)
  expect((await doctor()).find("secrets").message).toBe("2 secret slots open")
})

describe("what is broken is named, with the exit code of its kind", () => {
  test.each([
    ["no home", () => rmSync(path("home"), { recursive: true }), "home", "INVALID_ARGUMENT", 2],
    [
      "a root key that others may read",
      () => chmodSync(path("home/root.key"), 0o644),
      "permissions",
      "INVALID_ARGUMENT",
      2,
    ],
    [
      "bindings that others may change",
      () => chmodSync(path("home/bindings.json"), 0o666),
      "permissions",
      "INVALID_ARGUMENT",
      2,
    ],
    ["a root key that is gone", () => rmSync(path("home/root.key")), "store", "INVALID_ARGUMENT", 2],
    [
      "the root key of another home",
      () => writeFileSync(path("home/root.key"), `${"ab".repeat(32)}\n`, { mode: 0o600 }),
      "store",
      "PERMISSION_DENIED",
      4,
    ],
    ["an empty store", () => truncateSync(path("home/keks.db")), "store", "STORE_CORRUPT", 5],
    ["a missing store", () => rmSync(path("home/keks.db")), "store", "STORE_FAILED", 5],
    [
      "bindings cut short",
      () => truncateSync(path("home/bindings.json"), 20),
      "bindings",
      "STORE_CORRUPT",
      5,
    ],
    [
      "a clock that was set back",
      () => changeBindings((text) => text.replaceAll(/"20\d\d-/g, '"2999-')),
      "clock",
      "INVALID_ARGUMENT",
      2,
    ],
    [
      "a cloud that is out",
      () => aws.inject({ kind: "server-error" }, { keyId }),
      "provider",
      "UNAVAILABLE",
      6,
    ],
  ])("%s", async (_, breakIt, id, code, exitCode) => {
    breakIt()
    const found = await doctor()
    const { status, fix, code: told } = found.find(id)
    expect([found.code, found.result, status, told]).toEqual([exitCode, "fail", "fail", code])
    expect(fix).toMatch(/\w/)
  })

  test("a key that its customer shut is no fault of the installation", async () => {
    aws.setState(keyId, "Disabled")
    const { code, result, find } = await doctor()
    expect([code, result, find("provider").status]).toEqual([0, "warn", "warn"])
  })

  test("but a slot under it does not open, and its command is not started, until the key is back", async () => {
    expect((await run(["secrets", "set", "A", "-c", "a=1"], { input: "x" })).code).toBe(0)
    aws.setState(keyId, "Disabled")
    const { code, find } = await doctor()
    expect([code, find("secrets").code]).toEqual([4, "KEY_DISABLED"])
    const exec = ["exec", "-c", "a=1", "--", "touch", path("started")]
    const refused = await run(exec)
    expect([refused.code, refused.stderr]).toEqual([
      4,
      expect.stringMatching(/KEY_DISABLED: the slot A does not open/),
    ])
    expect(existsSync(path("started"))).toBe(false)
    aws.setState(keyId, "Enabled")
    expect((await run(exec)).code).toBe(0)
    expect(existsSync(path("started"))).toBe(true)
  })

  test("a binding whose adding was cut off", async () => {
    changeBindings((text) => text.replace('"state": "active"', '"state": "verified"'))
    expect((await doctor()).find("bindings")).toMatchObject({
      status: "warn",
      fix: expect.stringMatching(/enable/),
    })
  })

  test("an old Node", () => {
    expect(checkNode("22.12.0")).toMatchObject({ status: "fail", fix: "install Node 22.13 or a later one" })
    expect(["22.13.0", "24.0.0", "26.10.0"].map((each) => checkNode(each).status)).toEqual([
      "pass",
      "pass",
      "pass",
    ])
    expect(checkNode("20.20.2").status).toBe("fail")
  })
})

function changeBindings(how: (text: string) => string): void {
  const file = path("home/bindings.json")
  const text = readFileSync(file, "utf8")
  const changed = how(text)
  expect(changed).not.toBe(text)
  writeFileSync(file, changed)
}
