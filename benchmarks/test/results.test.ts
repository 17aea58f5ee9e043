import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import type { PeerResult } from "../src/compare.ts"
import { slowdown } from "../src/regression.ts"
import { madeFrom, readKept } from "../src/results.ts"
import { fillIn, tables } from "../src/tables.ts"

test("documents and pictures show the results that are kept", () => {
  const kept = readKept()
  for (const [file, text] of Object.entries(madeFrom(kept)))
    expect(readFileSync(file, "utf8"), file).toBe(text)
})

test("every table that is made stands in a document", () => {
  const { latest, leaks } = readKept()
  const documents = Object.keys(madeFrom({ latest, leaks })).filter((file) => file.endsWith(".md"))
  const shown = documents.map((file) => readFileSync(file, "utf8")).join()
  for (const table of Object.values(tables(latest, leaks))) expect(shown).toContain(table)
})

test("a table that no one makes is refused", () => {
  expect(() => fillIn("<!-- bench: other -->\n<!-- end -->", { summary: "" })).toThrow("no table other")
})

test("keyfold at half its former speed is a slowdown of two, whatever the machine", () => {
  const result = (name: string, us: number, ratio: number): PeerResult => {
    return { name, op: "encrypt", bytes: 1024, pairs: 1, inflight: 1, us, ratio }
  }
  const then = { peers: [result("keyfold", 10, 1), result("jose", 50, 5), result("noble", 80, 8)] }
  const now = { peers: [result("keyfold", 60, 1), result("jose", 150, 2.5), result("noble", 240, 4)] }
  expect(slowdown(now, then)).toBe(2)
  expect(() => slowdown(now, { peers: [] })).toThrow("no case in common")
})
