import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { expect, test } from "vitest"
import { root } from "../workspace.ts"
import { plant } from "./plant.ts"

test("the last line counts what ran; a failing test fails the run", () => {
  expect(runTests(`test("a", () => {}); test("b", () => {})`)).toEqual({
    status: 0,
    last: "ran 2, not run 0",
  })
  expect(runTests(`test("a", () => { throw new Error("planted") })`)).toEqual({
    status: 1,
    last: "ran 1, not run 0",
  })
})

test("a reason that is expected passes in CI, any other passes elsewhere only", () => {
  const expected = `test("a", () => {}); test("b", (context) => context.skip("no strace here"))`
  expect(runTests(expected)).toEqual({ status: 0, last: "ran 1, not run 1: no strace here (1)" })

  const other = `test("a", () => {}); test("b", (context) => context.skip("no time"))`
  expect(runTests(other)).toEqual({ status: 1, last: "ran 1, not run 1: no time (1)" })
  expect(runTests(other, [], "")).toEqual({ status: 0, last: "ran 1, not run 1: no time (1)" })
})

test("skip and todo without a reason fail in CI", () => {
  const silent = `test("a", () => {}); test.skip("b", () => {}); test.todo("c")`
  expect(runTests(silent)).toEqual({ status: 1, last: "ran 1, not run 2: no reason given (2)" })
})

test("only, no test at all, and a file that does not load fail everywhere", () => {
  expect(runTests(`test.only("a", () => {})`, [], "").status).toBe(1)
  expect(runTests("", [], "").status).toBe(1)
  expect(runTests(`test("a", () => {})`, ["packages/absent"], "")).toEqual({
    status: 1,
    last: "ran 0, not run 0",
  })
  expect(runTests(`throw new Error("planted")`, [], "").status).toBe(1)
})

test("what -t leaves out is named so", () => {
  const two = `test("first", () => {}); test("second", () => {})`
  expect(runTests(two, ["-t", "first"], "")).toEqual({
    status: 0,
    last: "ran 1, not run 1: left out by -t (1)",
  })
})

function runTests(code: string, args: readonly string[] = [], ci = "true") {
  using workspace = plant({
    "packages/planted/test/planted.test.ts": `import { test } from "vitest"\n${code}\n`,
  })
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      join(root, "scripts/run-tests.ts"),
      ...args,
      "--root",
      workspace.folder,
      "--config",
      join(root, "vitest.config.ts"),
    ],
    { encoding: "utf8", env: { PATH: process.env.PATH, CI: ci } },
  )
  return { status, last: stdout.trimEnd().split("\n").at(-1) }
}
