import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { describe, expect, test } from "vitest"
import { formsOf, leakIn, shownBy } from "../fuzz/canary.ts"

function fuzz(...args: string[]) {
  const main = join(import.meta.dirname, "../fuzz/main.ts")
  const { status, stdout } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" })
  const lines = stdout.trimEnd().split("\n")
  return { status, stdout, last: lines.at(-1) }
}

test("some cases of another seed than that of the check find nothing", () => {
  const { status, last } = fuzz("--runs", "1500", "--seed", "7")
  expect(last).toMatch(/^ran 1500, accepted 0, untyped 0, hung 0, leaked 0, memory \+\d+\.\d MiB$/)
  expect(status).toBe(0)
})

describe("a planted fault is found", () => {
  const subject = pathToFileURL(join(import.meta.dirname, "faulty-subject.ts")).href
  test.each([
    ["accepted", /accepted [1-9]/],
    ["untyped", /untyped [1-9]/],
    ["loops", /hung 1/],
    ["never", /hung 1/],
    ["leaked", /leaked [1-9]/],
    ["grows", /memory \+(1[3-9]\d|[2-9]\d\d)\./],
  ])("%s", (fault, found) => {
    const args = ["--runs", "600", "--hang-ms", "1500", "--subject", `${subject}?fault=${fault}`]
    const { status, last, stdout } = fuzz(...args)
    expect(last).toMatch(found)
    expect(status).toBe(1)
    if (fault === "grows") return
    // Its number repeats it.
    const index = /--case (\d+)/.exec(stdout)?.[1] as string
    const again = fuzz("--case", index, ...args.slice(2))
    expect(again.last).toMatch(found)
    expect(again.status).toBe(1)
  })
})

test("a secret is found in whatever form it is shown", () => {
  const secret = Buffer.from("f00dcafe0123456789abcdef99887766554433221100ffeeddccbbaa98765432", "hex")
  const forms = formsOf(secret)
  const shown = [
    secret.toString("hex").toUpperCase(),
    secret.toString("latin1"),
    ...[0, 1, 2].map((offset) =>
      Buffer.concat([Buffer.alloc(offset, "x"), secret, Buffer.alloc(5)]).toString("base64"),
    ),
    ...[0, 1, 2].map((offset) => Buffer.concat([Buffer.alloc(offset, 7), secret]).toString("base64url")),
    shownBy(Object.assign(new Error("x"), { secret })),
    shownBy(new Error("x", { cause: { deep: { secret: Uint8Array.from(secret) } } })),
    JSON.stringify({ ...secret }),
  ]
  for (const text of shown) expect(leakIn(`before ${text} after`, forms), text).toBeDefined()
  expect(leakIn(`before ${Buffer.alloc(32, 9).toString("base64")}`, forms)).toBeUndefined()
})
