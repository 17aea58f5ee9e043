import { readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { expect, test } from "vitest"
import type { PeerResult } from "../src/compare.ts"
import { pictures } from "../src/pictures.ts"
import { slowdown } from "../src/regression.ts"
import { DOCUMENTS, FOLDER } from "../src/results.ts"
import { fillIn, tables } from "../src/tables.ts"

const latest = JSON.parse(readFileSync(join(FOLDER, "latest.json"), "utf8"))

test.each(DOCUMENTS.map((file) => ({ name: basename(file), file })))(
  "the tables of $name are those of the results that are kept",
  ({ file }) => {
    const text = readFileSync(file, "utf8")
    expect(text).toContain("<!-- bench: ")
    expect(fillIn(text, tables(latest))).toBe(text)
  },
)

test("the pictures are those of the results that are kept", () => {
  for (const [name, svg] of Object.entries(pictures(latest.peers))) {
    expect(readFileSync(join(FOLDER, name), "utf8"), name).toBe(svg)
  }
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
