/**
 * Makes the vector files, once. They are frozen: this refuses to write where a file stands, and what format version 1
 * means is never changed by running it again. New cases go into a new file.
 */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Vector, VectorFile, VectorKek } from "../vector-types.ts"
import { hostileVectors } from "./hostile.ts"
import { FLAGS, makeKeks, validSpecs } from "./specs.ts"
import { type Made, makeValid } from "./valid.ts"

const folder = process.argv[2]
if (folder === undefined) throw new Error("usage: node make/main.ts FOLDER, where no vector file stands")
mkdirSync(folder, { recursive: true })

const keks = makeKeks()
const valid = new Map<string, Made>()
for (const spec of validSpecs()) valid.set(spec.id, await makeValid(keks, spec))
const groups: Record<string, Vector[]> = {
  valid: [...valid.values()].map(({ vector }) => vector),
  ...hostileVectors(valid),
}

const sums: string[] = []
for (const [name, vectors] of Object.entries(groups)) {
  const file: VectorFile = {
    format: "keyfold envelope version 1",
    flags: only(
      FLAGS,
      vectors.flatMap(({ flags }) => flags),
    ),
    keks: only(keks as Record<string, VectorKek>, vectors.flatMap(keksOf)),
    vectors,
  }
  const text = `${JSON.stringify(file, null, 1)}\n`
  const path = join(folder, `${name}.json`)
  if (existsSync(path)) throw new Error(`${path} stands already, and is frozen`)
  writeFileSync(path, text)
  sums.push(`${createHash("sha256").update(text).digest("hex")}  ${name}.json`)
  console.log(`${name}: ${vectors.length}`)
}
writeFileSync(join(folder, "SHA256SUMS"), `${sums.join("\n")}\n`)

function keksOf({ candidates }: Vector): string[] {
  return candidates.flatMap(({ kek, companion }) => (companion === null ? [kek] : [kek, companion]))
}

function only<Value>(all: Readonly<Record<string, Value>>, names: readonly string[]): Record<string, Value> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)))
}
