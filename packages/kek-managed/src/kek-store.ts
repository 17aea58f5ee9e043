/** The states of a KEK. A destroyed one has no key bytes any more. */
export type KekState = "enabled" | "disabled" | "pending-deletion" | "destroyed"

/** One KEK as a store keeps it. All but the usage is authenticated by `sealed`. */
export type KekRow = {
  /** 32 lowercase hex digits. */
  readonly keyId: string
  /** Keyed hash of what the KEK is for, as 64 hex digits; it shows no context value. */
  readonly index: string
  /** True for the KEK that serves its index today; at most one is. */
  readonly current: boolean
  /** The newest version, from 1; 0 where there is no key at all, only a closed index. */
  readonly version: number
  readonly state: KekState
  /** Closed for a binding: it unwraps, but never wraps, rotates or is made. */
  readonly closed: boolean
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly rotatedAt: number
  /** When a KEK that is pending deletion is destroyed; 0 where it is not. */
  readonly deletionAt: number
  /** Counts the changes of this row, from 1, for compare-and-swap. */
  readonly change: number
  /** Every version's 32 bytes, encrypted. */
  readonly sealed: Uint8Array
}

export type KekUsage = { readonly wraps: number; readonly unwraps: number; readonly lastUsedAt: number }

/** What is kept beside the KEKs: how the sealing keys are opened. */
export type KekMeta = { readonly change: number; readonly text: string }

type Answer<T> = T | Promise<T>

/**
 * Where KEKs are kept. Answers may be synchronous. Every write is durable before it is answered, and all or nothing;
 * races are settled by `insert` and `replace` alone, also between processes. What fails throws a `KeyfoldError`:
 * `STORE_FAILED`, `STORE_FULL` or `STORE_CORRUPT`.
 */
export interface KekStore {
  meta(): Answer<KekMeta | undefined>
  /** Writes the meta if the stored `change` is `meta.change - 1` (0 where there is none); says whether it did. */
  putMeta(meta: KekMeta): Answer<boolean>
  /** Grows with every change of the meta or of a row, not with inserts and usage. */
  revision(): Answer<number>
  get(keyId: string): Answer<KekRow | undefined>
  /** The current row of an index. */
  find(index: string): Answer<KekRow | undefined>
  /** Adds a row, unless its index has a current one; says whether it did. */
  insert(row: KekRow): Answer<boolean>
  /** Replaces the row with this key id if its stored `change` is `row.change - 1`; says whether it did. */
  replace(row: KekRow): Answer<boolean>
  /** Rows with a key id above `after`, in its order. */
  list(after: string, limit: number): Answer<readonly (KekRow & KekUsage)[]>
  /** Key ids of rows that are pending deletion and due at `now`. */
  due(now: number): Answer<readonly string[]>
  /** Adds to the counts, and moves the time forward. */
  addUsage(usage: ReadonlyMap<string, KekUsage>): Answer<void>
  /**
   * Makes sure that bytes which were replaced are nowhere in the store's files any more; says whether it did: a reader
   * in another process may still need them. Undefined where that is not the store's to do, as in a database server.
   */
  scrub(): Answer<boolean | undefined>
  close(): Answer<void>
}
