import { existsSync } from "node:fs"
import { chmod, constants, copyFile, open, rename, stat } from "node:fs/promises"
import { dirname } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { readBindings, writeBindings } from "../bindings-file.ts"
import { temporaryFile } from "../cleanup.ts"
import { fileFailure } from "../failure.ts"
import { besideOf, pathOf, syncFolder } from "../files.ts"
import { closing, existingHome, type HomeOptions, openHome, whileHomeLocked } from "../home.ts"
import { readConfig } from "../home-config.ts"
import type { HomePaths } from "../root-key-files.ts"

/** The store and, in a second file, the bindings: without them a restored home would use managed KEKs in their place. */
export async function backup(options: HomeOptions & { to: string; json?: true }): Promise<void> {
  const { backupSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const target = pathOf(options.to)
  const bindings = bindingsOf(target)
  await refuseDatabase(existingHome(options))
  for (const [path, named] of [
    [target, options.to],
    [bindings, bindingsOf(options.to)],
  ] as const) {
    if (existsSync(path))
      throw new KeyfoldError("INVALID_ARGUMENT", `${named} exists already: name a new file`)
  }
  const folder = dirname(target)
  try {
    await stat(folder)
  } catch (error) {
    throw fileFailure(`cannot write ${options.to}`, error)
  }
  await whileHomeLocked(options, async (paths) => {
    const kept = await readBindings(paths)
    const written = besideOf(target)
    const store = temporaryFile(written)
    backupSqliteStore(paths.store, written)
    const beside = temporaryFile(bindings)
    await writeBindings({ bindings }, kept)
    await rename(written, target)
    store.keep()
    beside.keep()
    await syncFolder(folder)
  })
  if (options.json) console.log(JSON.stringify({ backup: target, bindings }))
  else
    console.log(
      `Wrote ${options.to}, and the bindings beside it. It opens only with this home's root key or passphrase, which is not in it.`,
    )
}

export async function restore(options: HomeOptions & { from: string; json?: true }): Promise<void> {
  const { checkSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const source = pathOf(options.from)
  for (const [path, named] of [
    [source, options.from],
    [bindingsOf(source), bindingsOf(options.from)],
  ] as const) {
    if (!existsSync(path))
      throw new KeyfoldError("INVALID_ARGUMENT", `cannot read ${named}: there is no such file`)
  }
  await refuseDatabase(existingHome(options))
  checkSqliteStore(source)
  const bindings = await readBindings({ bindings: bindingsOf(source) })
  const restored = await whileHomeLocked(options, async (paths) => {
    await refuseBindings(paths, bindings)
    if (existsSync(paths.store)) await refuseKeks(paths, options)
    // SQLite removes this file with the last connection.
    if (existsSync(`${paths.store}-wal`)) {
      throw new KeyfoldError("UNAVAILABLE", "another process uses this home: end it and try again")
    }
    const copy = besideOf(paths.store)
    const { keep } = temporaryFile(copy)
    await copyWhole(source, copy)
    const count = await countKeks({ ...paths, store: copy }, options)
    // Before the store, so that what is cut off in between can be run again.
    await writeBindings(paths, bindings)
    await rename(copy, paths.store)
    keep()
    await syncFolder(paths.folder)
    return count
  })
  console.log(
    options.json ? JSON.stringify({ restored }) : `Restored ${restored} KEKs; every one of them opens.`,
  )
}

async function refuseDatabase(paths: HomePaths): Promise<void> {
  if ((await readConfig(paths)).postgres === undefined) return
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "the KEKs of this home are in PostgreSQL: back them up with its own tools",
  )
}

const bindingsOf = (backup: string) => `${backup}.bindings.json`

async function copyWhole(from: string, to: string): Promise<void> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL)
    await chmod(to, 0o600)
    const file = await open(to, "r+")
    await file.sync()
    await file.close()
  } catch (error) {
    throw fileFailure("cannot restore", error)
  }
}

/** Opens every KEK of a store. */
async function countKeks(paths: HomePaths, options: HomeOptions): Promise<number> {
  const { home } = await openHome(paths, options)
  return closing(home, async ({ managed }) => {
    let count = 0
    for await (const _ of managed.list()) count++
    return count
  })
}

async function refuseKeks(paths: HomePaths, options: HomeOptions): Promise<void> {
  const { home } = await openHome(paths, options)
  await closing(home, async ({ managed }) => {
    for await (const { keyId } of managed.list()) {
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        `this home has KEKs already, such as ${keyId}: restore into a new one (keyfold init --root-key-file)`,
      )
    }
  })
}

async function refuseBindings(paths: HomePaths, restored: readonly Binding[]): Promise<void> {
  const bindings = await readBindings(paths)
  if (bindings.length === 0 || isDeepStrictEqual(bindings, restored)) return
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "this home has other bindings already: restore into a new one (keyfold init --root-key-file)",
  )
}
