import { KeyfoldError } from "@keyfold/core"
import { LRUCache } from "lru-cache"
import type { KekRow, KekStore, KekUsage } from "./kek-store.ts"
import { deriveSubkey, freshSubkey, SALT_BYTES, type Subkey } from "./managed-wrap.ts"
import type { SealingKeys } from "./sealing-keys.ts"

/** Wraps under one salt before the next is drawn (docs/format.md, "Security"). */
const MAX_WRAPS_PER_SALT = 2 ** 20
/** Salts of other processes whose subkeys a KEK keeps. */
const MAX_SUBKEYS = 32

/** A KEK with its keys in memory, and its use since the last flush. */
export class LoadedKek {
  readonly row: KekRow
  readonly keyId: Uint8Array
  /** Whether it may be used at all; why not, its row tells. */
  readonly enabled: boolean
  /** Its pair is a customer's key's now. */
  readonly closed: boolean
  readonly version: number
  wraps = 0
  unwraps = 0
  lastUsedAt = 0
  /** The cache has let go of it. */
  wiped = false
  readonly #versions: Uint8Array
  #own: Subkey | undefined
  #ownUses = 0
  #last: Subkey | undefined
  #lastVersion = 0
  readonly #others = new LRUCache<string, Subkey>({ max: MAX_SUBKEYS })

  constructor(row: KekRow, versions: Uint8Array) {
    this.row = row
    this.enabled = row.state === "enabled" && row.version > 0
    this.closed = row.closed
    this.version = row.version
    this.keyId = new Uint8Array(Buffer.from(row.keyId, "hex"))
    this.#versions = versions
  }

  /** The subkey to wrap with. */
  subkeyForWrapping(): Subkey {
    if (this.#own === undefined || this.#ownUses >= MAX_WRAPS_PER_SALT) {
      this.#own = freshSubkey(this.#version(this.version), this.keyId, this.version)
      this.#ownUses = 0
    }
    this.#ownUses++
    return this.#own
  }

  /** The subkey of a wrap; the version exists. */
  subkeyForUnwrapping(version: number, wrapped: Uint8Array): Subkey {
    if (version === this.version && this.#own !== undefined && startsWith(wrapped, this.#own.salt))
      return this.#own
    if (version === this.#lastVersion && this.#last !== undefined && startsWith(wrapped, this.#last.salt)) {
      return this.#last
    }
    const salt = wrapped.subarray(0, SALT_BYTES)
    const name = `${version}:${Buffer.from(salt).toString("latin1")}`
    let subkey = this.#others.get(name)
    if (subkey === undefined) {
      subkey = deriveSubkey(this.#version(version), this.keyId, version, salt)
      this.#others.set(name, subkey)
    }
    this.#last = subkey
    this.#lastVersion = version
    return subkey
  }

  /** All versions, for a change of the row; the caller wipes the copy. */
  copyVersions(): Uint8Array {
    return this.#versions.slice()
  }

  /** Its subkeys are in native memory, which is cleared when nothing holds them any more. */
  wipe(): void {
    this.wiped = true
    this.#versions.fill(0)
    this.#own = undefined
    this.#last = undefined
    this.#others.clear()
  }

  #version(version: number): Uint8Array {
    return this.#versions.subarray((version - 1) * 32, version * 32)
  }
}

/**
 * The unsealed KEKs of a process, bounded in number. At most once in `stateTtlMs` it asks the store whether anything
 * changed, and forgets all it knows if so: a change by another process is seen within that time.
 */
export class KekCache {
  /** Grows whenever cached knowledge may be stale. */
  generation = 0
  readonly #store: KekStore
  readonly #keys: SealingKeys
  readonly #stateTtlMs: number
  readonly #loaded: LRUCache<string, LoadedKek>
  #usage = new Map<string, KekUsage>()
  #flushed: Promise<void> = Promise.resolve()
  #revision: number | undefined
  #checkedAt = Number.NEGATIVE_INFINITY

  constructor(store: KekStore, keys: SealingKeys, options: { stateTtlMs: number; cacheSize: number }) {
    this.#store = store
    this.#keys = keys
    this.#stateTtlMs = options.stateTtlMs
    this.#loaded = new LRUCache({
      max: options.cacheSize,
      dispose: (kek) => {
        this.#collect(kek)
        kek.wipe()
      },
    })
  }

  /** Whether what is cached may be used without asking the store. */
  get fresh(): boolean {
    return performance.now() - this.#checkedAt <= this.#stateTtlMs
  }

  /** A loaded KEK, if it is cached and `fresh`. */
  peek(keyId: string): LoadedKek | undefined {
    return this.fresh ? this.#loaded.get(keyId) : undefined
  }

  /**
   * Works with a KEK by its id, at once when it is there: a KEK is wiped when the cache lets go of it, so nobody may
   * hold one while waiting for anything.
   * @throws KeyfoldError `KEY_NOT_FOUND`, `STORE_…`
   */
  use<T>(keyId: string, work: (kek: LoadedKek) => T): T | Promise<T> {
    return after(this.refresh(), () => {
      const cached = this.#loaded.get(keyId)
      if (cached !== undefined) return work(cached)
      const { generation } = this
      return after(this.#store.get(keyId), (row) => {
        // What was read before a change must not be used after it.
        if (generation !== this.generation) return this.use(keyId, work)
        if (row === undefined) throw notFound()
        return work(this.keep(row))
      })
    })
  }

  /** Unseals a row and keeps it, unless it or a newer one is kept. @throws KeyfoldError `STORE_CORRUPT` */
  keep(row: KekRow): LoadedKek {
    const kept = this.#loaded.get(row.keyId)
    if (kept !== undefined && kept.row.change >= row.change) return kept
    const kek = new LoadedKek(row, this.#keys.unseal(row))
    this.#loaded.set(row.keyId, kek)
    return kek
  }

  /** Asks the store, if it is time, whether anything changed. */
  refresh(): void | Promise<void> {
    if (this.fresh) return
    const askedAt = performance.now()
    return after(this.#store.revision(), (revision) => {
      if (revision !== this.#revision) this.forget()
      this.#revision = revision
      this.#checkedAt = askedAt
    })
  }

  /** Has the store asked again before the next use. */
  distrust(): void {
    this.#checkedAt = Number.NEGATIVE_INFINITY
  }

  /** Forgets every KEK: after a change made here, so that it holds for the next call. */
  forget(): void {
    this.generation++
    this.#checkedAt = Number.NEGATIVE_INFINITY
    this.#loaded.clear()
  }

  /** Writes what was counted, after what is being written; keeps the counts where the store fails. */
  flushUsage(): Promise<void> {
    const flush = () => this.#writeUsage()
    this.#flushed = this.#flushed.then(flush, flush)
    return this.#flushed
  }

  async #writeUsage(): Promise<void> {
    for (const kek of this.#loaded.values()) this.#collect(kek)
    const usage = this.#usage
    if (usage.size === 0) return
    this.#usage = new Map()
    try {
      await this.#store.addUsage(usage)
    } catch (error) {
      for (const [keyId, counts] of usage) this.#add(keyId, counts)
      throw error
    }
  }

  #collect(kek: LoadedKek): void {
    if (kek.lastUsedAt === 0) return
    this.#add(kek.row.keyId, { wraps: kek.wraps, unwraps: kek.unwraps, lastUsedAt: kek.lastUsedAt })
    kek.wraps = 0
    kek.unwraps = 0
    kek.lastUsedAt = 0
  }

  #add(keyId: string, { wraps, unwraps, lastUsedAt }: KekUsage): void {
    const before = this.#usage.get(keyId)
    this.#usage.set(keyId, {
      wraps: wraps + (before?.wraps ?? 0),
      unwraps: unwraps + (before?.unwraps ?? 0),
      lastUsedAt: Math.max(lastUsedAt, before?.lastUsedAt ?? 0),
    })
  }
}

/** Goes on at once where there is no promise to wait for. */
export function after<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

export function notFound(): KeyfoldError {
  return new KeyfoldError(
    "KEY_NOT_FOUND",
    "it does not exist, or was destroyed: data under it cannot be read any more",
  )
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false
  return true
}
