import { readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { expect, test } from "vitest"
import { pictures } from "../src/pictures.ts"
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
