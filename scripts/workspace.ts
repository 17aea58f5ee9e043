/** What the scripts know of the workspace. */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

export type Manifest = {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly exports: Readonly<Record<string, Target>>
  readonly bin?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly publishConfig?: {
    readonly exports?: Readonly<Record<string, unknown>>
    readonly bin?: Readonly<Record<string, string>>
  }
}

/** What a subpath of `exports` leads to: a file, or files by condition. */
export type Target = string | Readonly<Record<string, string>>

export type Package = { readonly folder: string; readonly path: string; readonly manifest: Manifest }

export const root = join(import.meta.dirname, "..")

/** The pnpm that README.md names. */
export const PNPM = "pnpm@12.21.0"

/** Where the root's dependencies put their commands. */
export const bin = (name: string) => join(root, "node_modules/.bin", name)

/** Every package under packages/, in alphabetical order. */
export function packages(): Package[] {
  return readdirSync(join(root, "packages"))
    .filter((folder) => existsSync(join(root, "packages", folder, "package.json")))
    .map((folder) => {
      const path = join(root, "packages", folder)
      return {
        folder,
        path,
        manifest: JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as Manifest,
      }
    })
}

/** Those that are published. */
export function publicPackages(): Package[] {
  return packages().filter(({ manifest }) => !manifest.private)
}

/** The source files that a package's exports lead to, relative to it. */
export function entriesOf({ manifest }: Package): string[] {
  const files = Object.values(manifest.exports ?? {}).flatMap((target) =>
    typeof target === "string" ? [target] : Object.values(target),
  )
  return [...new Set([...files, ...Object.values(manifest.bin ?? {})])].filter((file) => file.endsWith(".ts"))
}
