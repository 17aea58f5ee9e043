import { existsSync } from "node:fs"
import { chmod, constants, copyFile, open, rename, stat } from "node:fs/promises"
import { dirname } from "node:path"
import { KeyfoldError } from "@keyfold/core"
import { temporaryFile } from "../cleanup.ts"
import { fileFailure } from "../failure.ts"
import { besideOf, pathOf, syncFolder } from "../files.ts"
import { closing, existingHome, type HomeOptions, openHome, whileHomeLocked } from "../home.ts"
import type { HomePaths } from "../root-key-files.ts"

export async function backup(options: HomeOptions & { to: string; json?: true }): Promise<void> {
  const { backupSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const { store } = existingHome(options)
  const target = pathOf(options.to)
  if (existsSync(target))
    throw new KeyfoldError("INVALID_ARGUMENT", `${options.to} exists already: name a new file`)
  try {
    await stat(dirname(target))
  } catch (error) {
    throw fileFailure(`cannot write ${options.to}`, error)
  }
  const written = besideOf(target)
  const { keep } = temporaryFile(written)
  backupSqliteStore(store, written)
  await rename(written, target)
  keep()
  await syncFolder(dirname(target))
  if (options.json) console.log(JSON.stringify({ backup: target }))
  else
    console.log(
      `Wrote ${options.to}. It opens only with this home's root key or passphrase, which is not in it. Nor are the bindings: keep a copy of bindings.json.`,
    )
}

export async function restore(options: HomeOptions & { from: string; json?: true }): Promise<void> {
  const { checkSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const source = pathOf(options.from)
  if (!existsSync(source))
    throw new KeyfoldError("INVALID_ARGUMENT", `cannot read ${options.from}: there is no such file`)
  checkSqliteStore(source)
  const restored = await whileHomeLocked(options, async (paths) => {
    if (existsSync(paths.store)) await refuseKeks(paths, options)
    // SQLite removes this file with the last connection.
    if (existsSync(`${paths.store}-wal`)) {
      throw new KeyfoldError("UNAVAILABLE", "another process uses this home: end it and try again")
    }
    const copy = besideOf(paths.store)
    const { keep } = temporaryFile(copy)
    await copyWhole(source, copy)
    const count = await countKeks({ ...paths, store: copy }, options)
    await rename(copy, paths.store)
    keep()
    await syncFolder(paths.folder)
    return count
  })
  console.log(
    options.json ? JSON.stringify({ restored }) : `Restored ${restored} KEKs; every one of them opens.`,
  )
}

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
