import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { root } from "../workspace.ts"

/** A small workspace with the given files by path, outside this one but with its root's dependencies. */
export function plant(files: Readonly<Record<string, string>>): Disposable & { readonly folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-planted-"))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"))
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}
