import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Report } from "./bench.ts"
import type { Leaks } from "./leaks.ts"
import { memoryPicture, pictures } from "./pictures.ts"
import { fillIn, tables } from "./tables.ts"

/** The last that was measured with --write, each in its file of benchmarks/results. */
export type Kept = { readonly latest: Report; readonly leaks: Leaks }

const ROOT = join(import.meta.dirname, "../..")
const FOLDER = join(ROOT, "benchmarks/results")
const DOCUMENTS = [join(ROOT, "README.md"), join(ROOT, "docs/performance.md")]

/** Keeps what was measured, draws it, and fills in the tables of the documents. */
export function keep<Name extends keyof Kept>(name: Name, measured: Kept[Name]): void {
  // One row to a line, so that a change of it can be read.
  writeFileSync(fileOf(name), `${JSON.stringify(measured).replaceAll("},{", "},\n{")}\n`)
  for (const [file, text] of Object.entries(madeFrom(readKept()))) writeFileSync(file, text)
}

export function readKept(): Kept {
  const read = (name: keyof Kept) => JSON.parse(readFileSync(fileOf(name), "utf8"))
  return { latest: read("latest"), leaks: read("leaks") }
}

/** The files that show what is kept, with what should stand in them. */
export function madeFrom({ latest, leaks }: Kept): Readonly<Record<string, string>> {
  const made = tables(latest, leaks)
  const drawn = { ...pictures(latest.peers), "memory.svg": memoryPicture(leaks.samples) }
  return Object.fromEntries([
    ...Object.entries(drawn).map(([name, svg]) => [join(FOLDER, name), svg]),
    ...DOCUMENTS.map((file) => [file, fillIn(readFileSync(file, "utf8"), made)]),
  ])
}

function fileOf(name: keyof Kept): string {
  return join(FOLDER, `${name}.json`)
}
