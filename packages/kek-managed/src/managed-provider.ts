import {
  type Kek,
  type KekProvider,
  KeyfoldError,
  MANAGED_PROVIDER_ID,
  type Pair,
  parseContext,
} from "@keyfold/core"
import { fillRandom } from "@keyfold/core/crypto"
import { LRUCache } from "lru-cache"
import { after, KekCache, type LoadedKek, notFound } from "./kek-cache.ts"
import type { KekRow, KekState, KekStore, KekUsage } from "./kek-store.ts"
import { ManagedKek } from "./managed-kek.ts"
import { PairCache } from "./pair-cache.ts"
import type { RootKey } from "./root-key.ts"
import { SealingKeys } from "./sealing-keys.ts"

export type ManagedProviderOptions = {
  readonly store: KekStore
  /** What opens the store; a new store is made under it. */
  readonly root: RootKey
  /** Keeps data apart: a store of one environment opens in no other. At most 120 characters. */
  readonly environment: string
  /** How long a change of state by another process may go unseen, in milliseconds. Default 1,000. */
  readonly stateTtlMs?: number
  /** Unsealed KEKs kept in memory. Default 10,000, about a kilobyte each. */
  readonly cacheSize?: number
  /** Told of what became of KEKs; never a context value. What it throws is ignored. */
  readonly onEvent?: (event: ManagedKekEvent) => void
}

export type ManagedKekEvent = {
  readonly type:
    | "kek.created"
    | "kek.rotated"
    | "kek.disabled"
    | "kek.enabled"
    | "kek.deletion-scheduled"
    | "kek.deletion-cancelled"
    | "kek.destroyed"
    | "kek.closed"
  readonly keyId: string
}

/** What a list tells of a KEK: never what it is for. */
export type ManagedKeyInfo = KekUsage & {
  readonly keyId: string
  readonly version: number
  readonly state: KekState
  readonly closed: boolean
  readonly createdAt: Date
  readonly rotatedAt: Date
  readonly deletionAt: Date | undefined
}

/**
 * The managed HSM simulator: KEKs are made just in time, live sealed in a store, and have no way out. Methods fail with
 * `KEY_NOT_FOUND`, `INVALID_ARGUMENT` and `STORE_…`.
 */
export interface ManagedProvider extends KekProvider {
  readonly id: typeof MANAGED_PROVIDER_ID
  /** Keeps data apart: what was written in one opens in no other. */
  readonly environment: string
  /** Another number whenever a pair that has a KEK may have another one, or none; undefined while only the store can tell. */
  readonly generation: number | undefined
  kek(keyId: string): Kek
  /** The KEK of a pair, made now if there is none: exactly once, also between processes. @throws `NO_ROUTE` where the pair is closed */
  kekFor(pair: Pair): Kek | Promise<Kek>
  /** The KEK of a pair if there is one and it is not closed; never makes one. */
  findKek(pair: Pair): Kek | undefined | Promise<Kek | undefined>
  /** The companion of a public-key binding: a KEK of its own for an owner and a whole match. */
  companionFor(owner: string, match: readonly Pair[]): Kek | Promise<Kek>
  /** Closes the KEK of a pair, or its absence, and tells its last version; again for a pair that is closed. */
  closePair(pair: Pair): Promise<{ readonly keyId: string; readonly lastVersion: number } | undefined>
  /** Lets a closed pair have a new KEK, with a new id. The old one still unwraps. */
  reopenPair(pair: Pair): Promise<void>
  /** The KEK of a pair as a list tells it, closed or not. */
  describePair(pair: Pair): Promise<ManagedKeyInfo | undefined>
  /** Every KEK, in the order of key ids. */
  list(): AsyncIterable<ManagedKeyInfo>
  /** A new version; the old ones still unwrap. */
  rotate(keyId: string): Promise<ManagedKeyInfo>
  disable(keyId: string): Promise<ManagedKeyInfo>
  enable(keyId: string): Promise<ManagedKeyInfo>
  /** Destroys the KEK after `recoveryDays`, 7 to 365, default 30; until then it does nothing and can be had back. */
  scheduleDeletion(keyId: string, recoveryDays?: number): Promise<ManagedKeyInfo>
  /** Gives a KEK back, disabled. */
  cancelDeletion(keyId: string): Promise<ManagedKeyInfo>
  /**
   * Destroys what is due, and gives the key ids; tried when a provider is made, too.
   * @throws `STORE_FAILED` where their bytes are still in the store's log because another process reads: try again
   */
  destroyDue(): Promise<readonly string[]>
  /**
   * Puts the store under another root key or passphrase, in one write: after a crash one of the two opens it. Where it
   * fails the old one holds.
   */
  changeRoot(newRoot: RootKey): Promise<void>
  /** Writes usage counts, as far as there is room for them, wipes the keys and closes the store. */
  close(): Promise<void>
}

/** @throws KeyfoldError `INVALID_ARGUMENT`, `PERMISSION_DENIED` for a wrong root key, `STORE_…` */
export async function createManagedProvider(options: ManagedProviderOptions): Promise<ManagedProvider> {
  const { store, environment, stateTtlMs = 1000, cacheSize = 10_000, onEvent } = options
  if (typeof environment !== "string" || environment.length < 1 || environment.length > 120) {
    throw invalid("environment is a string of 1 to 120 characters")
  }
  if (!Number.isInteger(stateTtlMs) || stateTtlMs < 0 || stateTtlMs > MAX_STATE_TTL_MS) {
    throw invalid(`stateTtlMs is a whole number of milliseconds from 0 to ${MAX_STATE_TTL_MS}`)
  }
  if (!Number.isInteger(cacheSize) || cacheSize < 1) throw invalid("cacheSize is a whole number from 1")
  let { root } = options
  const keys = await SealingKeys.open(store, root, environment)
  const cache = new KekCache(store, keys, { stateTtlMs, cacheSize })
  // A KEK object keeps nothing of its own: one made anew is as good.
  const keks = new LRUCache<string, Kek>({ max: cacheSize })
  const pairs = new PairCache(cache, cacheSize)
  const timer = setInterval(() => {
    // Counts that could not be written are kept, and written the next time.
    cache.flushUsage().catch(() => undefined)
  }, FLUSH_MS)
  timer.unref()

  const tell = (type: ManagedKekEvent["type"], keyId: string) => {
    try {
      onEvent?.({ type, keyId })
    } catch {
      // An observer changes nothing.
    }
  }
  const kek = (keyId: string): Kek => {
    const known = keks.get(keyId)
    if (known !== undefined) return known
    const made = new ManagedKek(cache, keyId)
    keks.set(keyId, made)
    return made
  }
  /** The KEK of an authentic row; undefined where it is closed. */
  const openKek = (row: KekRow, generation: number): Kek | undefined => {
    // What was read before a change is not kept after it.
    if (generation === cache.generation) cache.keep(row)
    else keys.unseal(row).fill(0)
    return row.closed ? undefined : kek(row.keyId)
  }
  const findOrMake = (index: string, pairs: readonly Pair[]): Kek | Promise<Kek> => {
    const { generation } = cache
    return after(store.find(index), (row) => {
      if (row !== undefined) return openKek(row, generation) ?? refuseClosed(pairs)
      const fresh = makeRow(keys, index)
      return after(store.insert(fresh), (inserted) => {
        if (!inserted) return findOrMake(index, pairs) // another process was first
        tell("kek.created", fresh.keyId)
        return kek(fresh.keyId)
      })
    })
  }
  const indexOf = (pair: Pair) => keys.indexOf("pair", "", sorted([pair]))
  /** The row of a pair today, authentic. */
  const rowOf = async (pair: Pair): Promise<KekRow | undefined> => {
    const row = await store.find(indexOf(pair))
    if (row !== undefined) keys.unseal(row).fill(0)
    return row
  }

  /** Changes a row by compare-and-swap until it holds. */
  const change = async (
    keyId: string,
    edit: (kek: LoadedKek) => { row: Partial<KekRow>; versions?: Uint8Array } | undefined,
  ): Promise<ManagedKeyInfo> => {
    for (;;) {
      const row = await store.get(keyId)
      if (row === undefined) throw notFound()
      const loaded = cache.keep(row)
      const edited = edit(loaded)
      if (edited === undefined) return info(row)
      const versions = edited.versions ?? loaded.copyVersions()
      const next = keys.seal({ ...row, ...edited.row, change: row.change + 1 }, versions)
      versions.fill(0)
      const done = await store.replace(next)
      cache.forget()
      if (done) return info(next)
    }
  }

  const provider: ManagedProvider = {
    id: MANAGED_PROVIDER_ID,
    environment,
    get generation() {
      return cache.fresh ? cache.generation : undefined
    },
    kek,
    kekFor: (pair) =>
      pairs.get(pair) ??
      after(cache.refresh(), () => {
        const known = pairs.get(pair)
        if (known !== undefined) return known
        const { generation } = cache
        return after(findOrMake(indexOf(pair), [pair]), (kek) => pairs.set(pair, kek, generation))
      }),
    findKek: (pair) =>
      pairs.get(pair) ??
      after(cache.refresh(), () => {
        const known = pairs.get(pair)
        if (known !== undefined) return known
        const { generation } = cache
        return after(store.find(indexOf(pair)), (row) => {
          const kek = row === undefined ? undefined : openKek(row, generation)
          return kek === undefined ? undefined : pairs.set(pair, kek, generation)
        })
      }),
    companionFor: (owner, match) =>
      after(cache.refresh(), () => findOrMake(keys.indexOf("companion", owner, sorted(match)), match)),
    async closePair(pair) {
      for (;;) {
        const row = await rowOf(pair)
        if (row === undefined) {
          await store.insert(makeRow(keys, indexOf(pair), true))
        } else if (!row.closed) {
          await change(row.keyId, ({ row }) =>
            row.current && !row.closed ? { row: { closed: true } } : undefined,
          )
          tell("kek.closed", row.keyId)
        } else {
          cache.forget()
          return row.version === 0 ? undefined : { keyId: row.keyId, lastVersion: row.version }
        }
      }
    },
    async reopenPair(pair) {
      const row = await rowOf(pair)
      if (row?.closed)
        await change(row.keyId, ({ row }) => (row.current ? { row: { current: false } } : undefined))
    },
    async describePair(pair) {
      const row = await rowOf(pair)
      return row === undefined || row.version === 0 ? undefined : info(row)
    },
    async *list() {
      await cache.flushUsage()
      for (let page = await store.list("", PAGE); page.length > 0; ) {
        for (const row of page) {
          keys.unseal(row).fill(0)
          if (row.version > 0) yield { ...info(row), ...usageOf(row) }
        }
        page = await store.list((page.at(-1) as KekRow).keyId, PAGE)
      }
    },
    async rotate(keyId) {
      const rotated = await change(keyId, (kek) => {
        if (kek.row.closed) throw invalid("a KEK that is closed for a customer's key does not rotate")
        if (kek.row.state !== "enabled")
          throw invalid(`a KEK that is ${kek.row.state} does not rotate: enable it first`)
        const old = kek.copyVersions()
        const versions = new Uint8Array(old.length + 32)
        versions.set(old)
        fillRandom(versions.subarray(old.length))
        old.fill(0)
        return { row: { version: kek.row.version + 1, rotatedAt: Date.now() }, versions }
      })
      tell("kek.rotated", keyId)
      return rotated
    },
    async disable(keyId) {
      const done = await change(keyId, moveTo("disabled", ["enabled", "disabled"]))
      tell("kek.disabled", keyId)
      return done
    },
    async enable(keyId) {
      const done = await change(keyId, moveTo("enabled", ["enabled", "disabled"]))
      tell("kek.enabled", keyId)
      return done
    },
    async scheduleDeletion(keyId, recoveryDays = 30) {
      if (!Number.isInteger(recoveryDays) || recoveryDays < 7 || recoveryDays > 365) {
        throw invalid("recoveryDays is a whole number from 7 to 365")
      }
      const deletionAt = Date.now() + recoveryDays * DAY_MS
      const done = await change(keyId, moveTo("pending-deletion", ["enabled", "disabled"], deletionAt))
      tell("kek.deletion-scheduled", keyId)
      return done
    },
    async cancelDeletion(keyId) {
      const done = await change(keyId, moveTo("disabled", ["pending-deletion"]))
      tell("kek.deletion-cancelled", keyId)
      return done
    },
    async destroyDue() {
      const destroyed: string[] = []
      for (const keyId of await store.due(Date.now())) {
        const { state } = await change(keyId, ({ row }) =>
          row.state === "pending-deletion" && row.deletionAt <= Date.now()
            ? { row: { state: "destroyed", deletionAt: 0 }, versions: new Uint8Array(0) }
            : undefined,
        )
        if (state !== "destroyed") continue
        destroyed.push(keyId)
        tell("kek.destroyed", keyId)
      }
      // Also where nothing was due: the last one may have ended, or been stopped, before this.
      if ((await store.scrub()) === false) {
        throw new KeyfoldError(
          "STORE_FAILED",
          "what was due is destroyed, but its bytes are still in the store's log, for another process is reading: try again",
        )
      }
      return destroyed
    },
    async changeRoot(newRoot) {
      await SealingKeys.changeRoot(store, root, newRoot, environment)
      root = newRoot
      // The new root key holds already: a log that cannot be emptied now must not make its owner throw it away.
      await ignoringStore(store.scrub)
    },
    async close() {
      clearInterval(timer)
      // A full disk, on which all can still be read, costs the last counts and no more.
      await ignoringStore(() => cache.flushUsage())
      cache.forget()
      keys.wipe()
      await store.close()
    },
  }
  // What is due opens nothing any more, destroyed or not; so a full disk must not keep the rest from being read.
  await ignoringStore(async () => {
    if ((await store.due(Date.now())).length > 0) await provider.destroyDue()
  })
  return Object.freeze(provider)
}

/** A row for an index without one: with a fresh key, or, closed, with none. */
function makeRow(keys: SealingKeys, index: string, closed = false): KekRow {
  const id = new Uint8Array(16)
  fillRandom(id)
  const versions = new Uint8Array(closed ? 0 : 32)
  fillRandom(versions)
  const now = Date.now()
  const row = keys.seal(
    {
      keyId: Buffer.from(id).toString("hex"),
      index,
      current: true,
      version: closed ? 0 : 1,
      state: "enabled",
      closed,
      createdAt: now,
      rotatedAt: now,
      deletionAt: 0,
      change: 1,
    },
    versions,
  )
  versions.fill(0)
  return row
}

function moveTo(state: KekState, from: readonly KekState[], deletionAt = 0) {
  return ({ row }: LoadedKek) => {
    if (row.state === "destroyed") throw notFound()
    if (!from.includes(row.state)) throw invalid(`this KEK is ${row.state}, so it cannot become ${state}`)
    return { row: { state, deletionAt } }
  }
}

function info(row: KekRow): ManagedKeyInfo {
  const { keyId, version, state, closed } = row
  return {
    keyId,
    version,
    state,
    closed,
    createdAt: new Date(row.createdAt),
    rotatedAt: new Date(row.rotatedAt),
    deletionAt: row.deletionAt === 0 ? undefined : new Date(row.deletionAt),
    ...usageOf({ wraps: 0, unwraps: 0, lastUsedAt: 0, ...row }),
  }
}

function usageOf({ wraps, unwraps, lastUsedAt }: KekUsage): KekUsage {
  return { wraps, unwraps, lastUsedAt }
}

function sorted(match: readonly Pair[]): readonly Pair[] {
  return parseContext(Object.fromEntries(match.map(({ name, value }) => [name, value]))).pairs
}

function refuseClosed(pairs: readonly Pair[]): never {
  const pairNames = pairs.map(({ name }) => name)
  throw new KeyfoldError(
    "NO_ROUTE",
    `the managed KEK of ${pairNames.join(", ")} was closed for a customer's key, but no binding matches: complete the binding or remove it`,
    { pairNames },
  )
}

async function ignoringStore(work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof KeyfoldError) || !error.code.startsWith("STORE_")) throw error
  }
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

/** A KEK that was disabled elsewhere is obeyed within this time at the latest. */
const MAX_STATE_TTL_MS = 60_000
const FLUSH_MS = 5000
const DAY_MS = 86_400_000
const PAGE = 500
