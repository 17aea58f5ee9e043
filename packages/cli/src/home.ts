import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { link, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import { createKeyfold, type Keyfold, KeyfoldError } from "@keyfold/core"
import type { ManagedProvider, RootKey } from "@keyfold/kek-managed"
import { fileFailure } from "./failure.ts"
import { pathOf, syncFolder } from "./files.ts"
import { askPassphrase, passphraseFromFile } from "./passphrase.ts"

export type HomeOptions = { readonly home?: string; readonly passphraseFile?: string }

/** The files of a home. */
export type HomePaths = {
  readonly folder: string
  readonly config: string
  readonly rootKey: string
  /** A root key that is about to replace the other. */
  readonly newRootKey: string
  readonly store: string
}

/** An open home. `close` it. */
export type Home = {
  readonly paths: HomePaths
  readonly managed: ManagedProvider
  readonly keyfold: Keyfold
  readonly close: () => Promise<void>
}

export function homePaths({ home }: HomeOptions): HomePaths {
  const data = process.env.XDG_DATA_HOME || join(homedir(), ".local/share")
  const folder = pathOf(home ?? process.env.KEYFOLD_HOME ?? join(data, "keyfold"))
  return {
    folder,
    config: join(folder, "config.json"),
    rootKey: join(folder, "root.key"),
    newRootKey: join(folder, "root.key.new"),
    store: join(folder, "keks.db"),
  }
}

/** Opens a home. @throws KeyfoldError `INVALID_ARGUMENT` where there is none: only init and encrypt make one */
export async function openHome(options: HomeOptions): Promise<Home> {
  const paths = homePaths(options)
  if (!existsSync(paths.config)) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `there is no keyfold home at ${paths.folder}: name another with --home or $KEYFOLD_HOME, or make one with keyfold init`,
    )
  }
  const { environment } = await readConfig(paths)
  const { createManagedProvider, rootKindOf } = await import("@keyfold/kek-managed")
  const { sqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const { createRouter } = await import("@keyfold/router")
  const store = sqliteStore(paths.store)
  try {
    const kind = await rootKindOf(store)
    const roots = kind === "passphrase" ? [await passphraseRoot(options)] : await rootKeys(paths)
    const managed = await firstThatOpens(roots, (root) => createManagedProvider({ store, root, environment }))
    if (kind === "key" && roots.length > 1) await settleRootKey(paths, managed.root)
    const keyfold = createKeyfold({ router: createRouter({ managed: managed.value }) })
    return { paths, managed: managed.value, keyfold, close: () => managed.value.close() }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Runs `work` with an open home, and closes it whatever happens. */
export async function withHome<T>(options: HomeOptions, work: (home: Home) => Promise<T>): Promise<T> {
  const home = await openHome(options)
  try {
    return await work(home)
  } finally {
    await home.close()
  }
}

/**
 * Makes a home unless there is one; of racing processes one makes it. Says whether this call did.
 * @param rootKey a root key to take over instead of a fresh one
 */
export async function makeHome(
  paths: HomePaths,
  options: { rootKey?: Uint8Array; passphrase?: string } = {},
): Promise<boolean> {
  if (existsSync(paths.config)) return false
  try {
    await mkdir(paths.folder, { recursive: true, mode: 0o700 })
    if (options.passphrase === undefined)
      await createOnce(paths.rootKey, keyText(options.rootKey ?? randomBytes(32)))
    else await prepareStore(paths, options.passphrase)
    const made = await createOnce(
      paths.config,
      `${JSON.stringify({ version: 1, environment: ENVIRONMENT })}\n`,
    )
    await syncFolder(paths.folder)
    return made
  } catch (error) {
    throw fileFailure(`cannot make the home ${paths.folder}`, error)
  }
}

/** Writes the new root key beside the old one, before the store is changed to it. */
export async function writeNewRootKey(paths: HomePaths): Promise<Uint8Array> {
  const key = randomBytes(32)
  await rm(paths.newRootKey, { force: true })
  await createOnce(paths.newRootKey, keyText(key))
  await syncFolder(paths.folder)
  return new Uint8Array(key)
}

/** Makes the new root key the only one. */
export async function acceptNewRootKey(paths: HomePaths): Promise<void> {
  await rename(paths.newRootKey, paths.rootKey)
  await syncFolder(paths.folder)
}

export function parseRootKey(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}\s*$/.test(text)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a root key file holds 64 lowercase hex digits")
  }
  return new Uint8Array(Buffer.from(text.trim(), "hex"))
}

async function prepareStore(paths: HomePaths, passphrase: string): Promise<void> {
  const { createManagedProvider } = await import("@keyfold/kek-managed")
  const { sqliteStore } = await import("@keyfold/kek-managed/sqlite")
  const managed = await createManagedProvider({
    store: sqliteStore(paths.store),
    root: { passphrase },
    environment: ENVIRONMENT,
  })
  await managed.close()
}

/** Writes a file that appears whole, for its owner alone, and only if there is none; says whether this call made it. */
async function createOnce(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`
  const file = await open(temporary, "wx", 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
    await file.close()
    await link(temporary, path)
    return true
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

/** The root key, and a new one that an interrupted rotation left. */
async function rootKeys(paths: HomePaths): Promise<RootKey[]> {
  const roots: RootKey[] = []
  for (const path of [paths.rootKey, paths.newRootKey]) {
    if (existsSync(path)) roots.push({ key: await readRootKey(path) })
  }
  if (roots.length === 0) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `the root key ${paths.rootKey} is missing: put it back, or its KEKs are lost`,
    )
  }
  return roots
}

async function readRootKey(path: string): Promise<Uint8Array> {
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) !== 0 && process.platform !== "win32") {
      throw new KeyfoldError("INVALID_ARGUMENT", `others may read the root key ${path}: run chmod 600 on it`)
    }
    return parseRootKey(await readFile(path, "utf8"))
  } catch (error) {
    throw fileFailure("cannot read the root key", error)
  }
}

async function passphraseRoot({ passphraseFile }: HomeOptions): Promise<RootKey> {
  return { passphrase: (await passphraseFromFile(passphraseFile)) ?? (await askPassphrase("current")) }
}

async function firstThatOpens<T>(
  roots: readonly RootKey[],
  open: (root: RootKey) => Promise<T>,
): Promise<{ value: T; root: number }> {
  let failure: unknown
  for (const [root, candidate] of roots.entries()) {
    try {
      return { value: await open(candidate), root }
    } catch (error) {
      if (!(error instanceof KeyfoldError) || error.code !== "PERMISSION_DENIED") throw error
      failure ??= error
    }
  }
  throw failure
}

/** After a rotation that was interrupted: keeps the root key that opens the store. */
async function settleRootKey(paths: HomePaths, opened: number): Promise<void> {
  if (opened === 1) await acceptNewRootKey(paths)
  else await rm(paths.newRootKey, { force: true })
}

async function readConfig({ config }: HomePaths): Promise<{ environment: string }> {
  try {
    const { version, environment } = JSON.parse(await readFile(config, "utf8"))
    if (version !== 1)
      throw new KeyfoldError("UNSUPPORTED_VERSION", "this home was made by a newer keyfold: use that one")
    return { environment: String(environment) }
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new KeyfoldError("STORE_CORRUPT", `${config} is damaged: restore it`)
    throw fileFailure("cannot read the home's configuration", error)
  }
}

function keyText(key: Uint8Array): string {
  return `${Buffer.from(key).toString("hex")}\n`
}

const ENVIRONMENT = "default"
