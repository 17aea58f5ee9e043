import { existsSync } from "node:fs"
import { mkdir } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import { createKeyfold, type Keyfold, KeyfoldError, type KeyfoldOptions } from "@keyfold/core"
import type { ManagedProvider, ManagedProviderOptions, RootKey } from "@keyfold/kek-managed"
import { createBindings, readBindings } from "./bindings-file.ts"
import { type Clouds, createClouds } from "./clouds.ts"
import { createOnce } from "./create-once.ts"
import { fileFailure } from "./failure.ts"
import { pathOf, syncFolder } from "./files.ts"
import { configText, type HomeConfig, parsePostgres, readConfig } from "./home-config.ts"
import { whileLocked } from "./lock.ts"
import { askPassphrase, passphraseFromFile } from "./passphrase.ts"
import { createRootKey, type HomePaths, openWithRootKey, settleRootKey } from "./root-key-files.ts"
import { checkKekStoreFile, openKekStore } from "./stores.ts"

export type HomeOptions = { readonly home?: string; readonly passphraseFile?: string }

/** What protects a new home: a root key to take over, a passphrase, or neither: a fresh root key. */
export type HomeRoot = { readonly rootKey?: Uint8Array; readonly passphrase?: string }

/** Who is told of what happens in an open home. */
export type HomeObservers = {
  readonly onKekEvent?: ManagedProviderOptions["onEvent"]
  readonly onEvent?: KeyfoldOptions["onEvent"]
}

/** An open home. `close` it. */
export type Home = {
  readonly paths: HomePaths
  /** Keeps data apart. */
  readonly environment: string
  readonly managed: ManagedProvider
  readonly keyfold: Keyfold
  /** Those of its bindings. */
  readonly clouds: Clouds
  readonly close: () => Promise<void>
}

/** Where the files of a home are, whether it exists or not. */
export function homePaths({ home }: HomeOptions): HomePaths {
  // An empty variable counts as none, as everywhere in the XDG base directory specification.
  const data = process.env.XDG_DATA_HOME || join(homedir(), ".local/share")
  const folder = pathOf(home ?? (process.env.KEYFOLD_HOME || join(data, "keyfold")))
  return {
    folder,
    config: join(folder, "config.json"),
    rootKey: join(folder, "root.key"),
    newRootKey: join(folder, "root.key.new"),
    lock: join(folder, "root.lock"),
    store: join(folder, "keks.db"),
    bindings: join(folder, "bindings.json"),
    vault: join(folder, "vault.db"),
    secrets: join(folder, "secrets.json"),
  }
}

/** The files of a home that exists. @throws KeyfoldError `INVALID_ARGUMENT`: only init and encrypt make one */
export function existingHome(options: HomeOptions): HomePaths {
  const paths = homePaths(options)
  if (existsSync(paths.config)) return paths
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    `there is no keyfold home at ${paths.folder}: name another with --home or $KEYFOLD_HOME, or make one with keyfold init`,
  )
}

/** Opens the home for `work`, and closes it whatever happens. */
export async function withHome<T>(
  options: HomeOptions,
  work: (home: Home) => Promise<T>,
  observers: HomeObservers = {},
): Promise<T> {
  const paths = existingHome(options)
  const settled = existsSync(paths.newRootKey)
    ? await whileLocked(paths.lock, 0, () => openSettled(paths, options, observers))
    : undefined
  // Where another process is changing the root key just now, it is the one that settles it.
  const { home } = settled?.value ?? (await openHome(paths, options, observers))
  return closing(home, work)
}

/** The same, while no other process changes the root key or restores. @throws KeyfoldError `UNAVAILABLE` where one does */
export async function withLockedHome<T>(options: HomeOptions, work: (home: Home) => Promise<T>): Promise<T> {
  return whileHomeLocked(options, async (paths) => closing((await openSettled(paths, options)).home, work))
}

/** Runs `work` on the files of a home as the only one that changes it. @throws KeyfoldError `UNAVAILABLE` */
export async function whileHomeLocked<T>(
  options: HomeOptions,
  work: (paths: HomePaths) => Promise<T>,
): Promise<T> {
  const paths = existingHome(options)
  const done = await whileLocked(paths.lock, LOCK_WAIT_MS, () => work(paths))
  if (done !== undefined) return done.value
  throw new KeyfoldError("UNAVAILABLE", "another process is changing this home: try again when it has ended")
}

/** Opens a home. @returns it, and the path of the root key file that opened it, undefined for a passphrase */
export async function openHome(
  paths: HomePaths,
  options: HomeOptions,
  { onKekEvent, onEvent }: HomeObservers = {},
): Promise<{ readonly home: Home; readonly opens: string | undefined }> {
  const config = await readConfig(paths)
  const { environment } = config
  if (config.postgres === undefined) checkKekStoreFile(paths)
  const { createManagedProvider, rootKindOf } = await import("@keyfold/kek-managed")
  const store = await openKekStore(paths, config)
  try {
    const observer = onKekEvent !== undefined && { onEvent: onKekEvent }
    const open = (root: RootKey) => createManagedProvider({ store, root, environment, ...observer })
    const { value: managed, path: opens } =
      (await rootKindOf(store)) === "passphrase"
        ? { value: await open(await passphraseRoot(options)), path: undefined }
        : await openWithRootKey(paths, (key) => open({ key }))
    return { home: await routed(paths, managed, onEvent), opens }
  } catch (error) {
    await store.close()
    throw error
  }
}

/** Makes a home, with its store, unless there is one; of racing processes one makes it. Says whether this call did. */
export async function makeHome(
  paths: HomePaths,
  { rootKey, passphrase }: HomeRoot,
  postgres?: string,
): Promise<boolean> {
  if (existsSync(paths.config)) return false
  const config: HomeConfig = { environment: ENVIRONMENT, ...(postgres !== undefined && { postgres }) }
  try {
    if (postgres !== undefined && rootKey === undefined && passphrase === undefined)
      await refuseUsedDatabase(paths, config)
    await mkdir(paths.folder, { recursive: true, mode: 0o700 })
    if (passphrase !== undefined) await makeStore(paths, { passphrase }, config)
    else {
      if (!(await createRootKey(paths, rootKey)) && rootKey !== undefined) {
        throw new KeyfoldError("INVALID_ARGUMENT", `there is a root key at ${paths.rootKey} already`)
      }
      await openWithRootKey(paths, (key) => makeStore(paths, { key }, config))
    }
    await createBindings(paths)
    // It comes last: where it stands, the home is whole.
    const made = await createOnce(paths.config, configText(config))
    await syncFolder(paths.folder)
    return made
  } catch (error) {
    throw fileFailure(`cannot make the home ${paths.folder}`, error)
  }
}

/** Makes the home if there is none, and says so on standard error. */
export async function makeMissingHome(
  options: HomeOptions & { readonly postgres?: string; readonly json?: true },
): Promise<void> {
  const paths = homePaths(options)
  const passphrase = await passphraseFromFile(options.passphraseFile)
  const postgres = options.postgres === undefined ? undefined : parsePostgres(options.postgres)
  if (!(await makeHome(paths, { ...(passphrase !== undefined && { passphrase }) }, postgres))) {
    if (postgres === undefined || (await readConfig(paths)).postgres === postgres) return
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `the home ${paths.folder} has its KEKs elsewhere: name another with --home`,
    )
  }
  if (options.json) console.error(JSON.stringify({ home: paths.folder }))
  else {
    const root = passphrase === undefined ? "keep a copy of its root.key elsewhere" : "keep its passphrase"
    console.error(`made the home ${paths.folder}: ${root}, without it every KEK is lost`)
  }
}

/** Runs `work` with an open home, and closes it whatever happens. */
export async function closing<T>(home: Home, work: (home: Home) => Promise<T>): Promise<T> {
  try {
    return await work(home)
  } finally {
    await home.close()
  }
}

/** Opens a home whose lock this process holds, and tidies up after a rotation that was cut off. */
async function openSettled(paths: HomePaths, options: HomeOptions, observers?: HomeObservers) {
  const opened = await openHome(paths, options, observers)
  await settleRootKey(paths, opened.opens)
  return opened
}

/** A home whose contexts go by its bindings, read anew whenever a context is routed. */
async function routed(
  paths: HomePaths,
  managed: ManagedProvider,
  onEvent: KeyfoldOptions["onEvent"],
): Promise<Home> {
  const { createRouter } = await import("@keyfold/router")
  const clouds = createClouds()
  const router = createRouter({ managed, providers: clouds.providers, bindings: () => readBindings(paths) })
  return {
    paths,
    environment: managed.environment,
    managed,
    keyfold: createKeyfold({ router, ...(onEvent !== undefined && { onEvent }) }),
    clouds,
    async close() {
      try {
        await clouds.close()
      } finally {
        await managed.close()
      }
    },
  }
}

async function makeStore(paths: HomePaths, root: RootKey, config: HomeConfig): Promise<void> {
  const { createManagedProvider } = await import("@keyfold/kek-managed")
  const store = await openKekStore(paths, config)
  try {
    const managed = await createManagedProvider({ store, root, environment: config.environment })
    await managed.close()
  } finally {
    await store.close()
  }
}

/** A fresh root key would open nothing of what is there, and stand in the way of the right one. */
async function refuseUsedDatabase(paths: HomePaths, config: HomeConfig): Promise<void> {
  const { rootKindOf } = await import("@keyfold/kek-managed")
  const store = await openKekStore(paths, config)
  try {
    const kind = await rootKindOf(store)
    if (kind === undefined || existsSync(paths.rootKey)) return
    const option = kind === "passphrase" ? "--passphrase-file" : "--root-key-file"
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `this database has KEKs already: make the home with keyfold init --postgres … ${option} FILE`,
    )
  } finally {
    await store.close()
  }
}

async function passphraseRoot({ passphraseFile }: HomeOptions): Promise<RootKey> {
  return { passphrase: (await passphraseFromFile(passphraseFile)) ?? (await askPassphrase("current")) }
}

const ENVIRONMENT = "default"
/** Longer than a change takes, with a passphrase to stretch, in milliseconds. */
const LOCK_WAIT_MS = 10_000
