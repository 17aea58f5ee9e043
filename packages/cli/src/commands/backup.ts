import { existsSync } from "node:fs"
import { chmod, constants, copyFile, open, readFile, rename, stat } from "node:fs/promises"
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

/**
 * The store and, in files beside it, the bindings, without which a restored home would use managed KEKs in their place, and
 * the vault and the secret slots, where there are any.
 */
export async function backup(options: HomeOptions & { to: string; json?: true }): Promise<void> {
  const { backupSqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const { backupSqliteVault } = await import("@keyfold/vault/sqlite")
  const target = pathOf(options.to)
  const bindings = bindingsOf(target)
  await refuseDatabase(existingHome(options))
  for (const nameOf of [(name: string) => name, bindingsOf, vaultOf, secretsOf]) {
    if (existsSync(nameOf(target)))
      throw new KeyfoldError("INVALID_ARGUMENT", `${nameOf(options.to)} exists already: name a new file`)
  }
  const folder = dirname(target)
  try {
    await stat(folder)
  } catch (error) {
    throw fileFailure(`cannot write ${options.to}`, error)
  }
  await whileHomeLocked(options, async (paths) => {
    const kept = await readBindings(paths)
    // Before the store: what is written meanwhile is under KEKs that are there when the store is copied.
    if (existsSync(paths.vault))
      await placed(vaultOf(target), async (copy) => backupSqliteVault(paths.vault, copy))
    if (existsSync(paths.secrets)) await placed(secretsOf(target), (copy) => copyWhole(paths.secrets, copy))
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
  const more = [vaultOf, secretsOf].map((nameOf) => nameOf(target)).filter((path) => existsSync(path))
  if (options.json) console.log(JSON.stringify({ backup: target, bindings, more }))
  else
    console.log(
      `Wrote ${options.to}, and beside it the bindings${more.length > 0 ? ", the vault's objects and secret slots that there are" : ""}. ` +
        "It opens only with this home's root key or passphrase, which is not in it.",
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
  const vault = existsSync(vaultOf(source)) ? vaultOf(source) : undefined
  if (vault !== undefined) (await import("@keyfold/vault/sqlite")).checkSqliteVault(vault)
  const secrets = existsSync(secretsOf(source)) ? secretsOf(source) : undefined
  const bindings = await readBindings({ bindings: bindingsOf(source) })
  const restored = await whileHomeLocked(options, async (paths) => {
    await refuseBindings(paths, bindings)
    if (existsSync(paths.store)) await refuseKeks(paths, options)
    if (vault !== undefined) await refuseOther(paths.vault, vault, "a vault")
    if (secrets !== undefined) await refuseOther(paths.secrets, secrets, "secret slots")
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
    if (vault !== undefined) await placed(paths.vault, (copy) => copyWhole(vault, copy))
    if (secrets !== undefined) await placed(paths.secrets, (copy) => copyWhole(secrets, copy))
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
const vaultOf = (backup: string) => `${backup}.vault.db`
const secretsOf = (backup: string) => `${backup}.secrets.json`

/** A file that appears whole, or not at all. */
async function placed(target: string, write: (copy: string) => Promise<void>): Promise<void> {
  const copy = besideOf(target)
  const { keep } = temporaryFile(copy)
  await write(copy)
  await rename(copy, target)
  keep()
}

/** After a restore that was cut off, the same file is there already. */
async function refuseOther(path: string, restored: string, what: string): Promise<void> {
  if (!existsSync(path) || (await readFile(path)).equals(await readFile(restored))) return
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    `this home has ${what} already: restore into a new one (keyfold init --root-key-file)`,
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

async function refuseBindings(paths: HomePaths, restored: readonly Binding[]): Promise<void> {
  const bindings = await readBindings(paths)
  if (bindings.length === 0 || isDeepStrictEqual(bindings, restored)) return
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "this home has other bindings already: restore into a new one (keyfold init --root-key-file)",
  )
}
