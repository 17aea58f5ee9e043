import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Report } from "./bench.ts"
import { pictures } from "./pictures.ts"
import { fillIn, tables } from "./tables.ts"

const ROOT = join(import.meta.dirname, "../..")
/** Where the last comparison is kept, with its pictures. */
export const FOLDER = join(ROOT, "benchmarks/results")

/** The documents that hold tables made from the results. */
export const DOCUMENTS = [join(ROOT, "README.md"), join(ROOT, "docs/performance.md")]

/** Keeps a report, draws its pictures and fills in the tables of the documents. */
export function write(report: Report): void {
  mkdirSync(FOLDER, { recursive: true })
  // One row to a line, so that a change of it can be read.
  const rows = JSON.stringify(report).replaceAll("},{", "},\n{")
  writeFileSync(join(FOLDER, "latest.json"), `${rows}\n`)
  for (const [name, svg] of Object.entries(pictures(report.peers))) writeFileSync(join(FOLDER, name), svg)
  for (const file of DOCUMENTS) {
    writeFileSync(file, fillIn(readFileSync(file, "utf8"), tables(report)))
  }
}
