import { copyFile, rename, rm } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "../failure.ts"
import { pathOf, syncFolder } from "../files.ts"
import { type HomeOptions, homePaths, openHome, withHome } from "../home.ts"

export async function backup(options: HomeOptions & { to: string; json?: true }): Promise<void> {
  const { backupSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  backupSqliteStore(homePaths(options).store, pathOf(options.to))
  if (options.json) console.log(JSON.stringify({ backup: pathOf(options.to) }))
  else
    console.log(
      `Wrote ${options.to}. It opens only with this home's root key or passphrase, which is not in it.`,
    )
}

export async function restore(options: HomeOptions & { from: string; json?: true }): Promise<void> {
  const { checkSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const source = pathOf(options.from)
  checkSqliteStore(source)
  const { store } = homePaths(options)
  await withHome(options, async ({ managed }) => {
    for await (const { keyId } of managed.list()) {
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        `this home has KEKs already, such as ${keyId}: restore into a new one (keyfold init --root-key-file)`,
      )
    }
  })
  const empty = `${store}.empty`
  try {
    for (const suffix of ["-wal", "-shm"]) await rm(store + suffix, { force: true })
    await rename(store, empty)
    await copyFile(source, store)
  } catch (error) {
    throw fileFailure("cannot restore", error)
  }
  let count = 0
  try {
    const home = await openHome(options)
    for await (const _ of home.managed.list()) count++
    await home.close()
  } catch (error) {
    for (const suffix of ["", "-wal", "-shm"]) await rm(store + suffix, { force: true })
    await rename(empty, store)
    throw error
  }
  await rm(empty)
  await syncFolder(homePaths(options).folder)
  console.log(
    options.json ? JSON.stringify({ restored: count }) : `Restored ${count} KEKs; every one of them opens.`,
  )
}
