import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { root } from "../workspace.ts"

const page = readFileSync(join(root, "docs/threat-model.md"), "utf8")

test("every test that docs/threat-model.md names exists", () => {
  const proofs = [...page.matchAll(/`([\w./-]+\.ts)`((?:,? "[^"]+")+)/g)]
  const missing = proofs.flatMap(([, file = "", titles = ""]) => {
    const path = join(root, file)
    if (!existsSync(path)) return [file]
    const text = readFileSync(path, "utf8")
    return [...titles.matchAll(/"([^"]+)"/g)]
      .filter(([, title = ""]) => !text.includes(title))
      .map(([, title]) => `${file}: ${title}`)
  })
  expect(missing).toEqual([])
  expect(proofs.length).toBeGreaterThan(40)
})

test("every threat has a row, with a proof or what is missing", () => {
  const rows = new Map(
    [...page.matchAll(/^\| (T\d+) +\|(.*)\|$/gm)].map(([, id = "", row = ""]) => [id, row]),
  )
  expect([...rows.keys()]).toEqual(Array.from({ length: 26 }, (_, i) => `T${i + 1}`))
  for (const [id, row] of rows) {
    const cells = row.split(" | ")
    expect(cells, id).toHaveLength(3)
    expect(cells[2], id).toMatch(/\.ts`|`pnpm |not tested yet|none here/)
  }
})
