import { KeyfoldError, type Pair } from "@keyfold/core"
import { fillRandom, hmacSha256, importLongLivedKey, type SecretKey } from "@keyfold/core/crypto"
import type { KekMeta, KekRow, KekStore } from "./kek-store.ts"
import { isHex, isRootRecord, newRootKey, openRootKey, type RootKey, type RootRecord } from "./root-key.ts"
import { fields, rowAad, seal, unseal } from "./seal.ts"

/**
 * The two random keys of a store: one seals the KEKs, one hashes what they are for. They are sealed by the root key in
 * the store's meta, so that a new root key touches that one record.
 */
export class SealingKeys {
  readonly environment: string
  readonly #sealing: Uint8Array
  readonly #index: SecretKey
  #wiped = false

  /** Takes the two keys over, 32 bytes each, and wipes `both`. */
  constructor(environment: string, both: Uint8Array) {
    this.environment = environment
    this.#sealing = both.slice(0, 32)
    this.#index = importLongLivedKey(both.subarray(32, 64))
    both.fill(0)
  }

  /** Opens the keys of a store, or makes them where it is new; of racing processes one makes them. */
  static async open(store: KekStore, root: RootKey, environment: string): Promise<SealingKeys> {
    // Asked before the meta, which is there before any KEK is: else a race would look like a loss.
    const used = (await store.list("", 1)).length > 0
    const meta = await store.meta()
    if (meta !== undefined) return new SealingKeys(environment, await openMeta(meta, root, environment))
    if (used) throw metaLost()
    const both = new Uint8Array(64)
    fillRandom(both)
    const made = await sealMeta(both, root, environment, 1)
    if (await store.putMeta(made)) return new SealingKeys(environment, both)
    both.fill(0)
    return SealingKeys.open(store, root, environment)
  }

  /** Seals the same keys under another root key, in one write. @throws KeyfoldError */
  static async changeRoot(
    store: KekStore,
    root: RootKey,
    newRoot: RootKey,
    environment: string,
  ): Promise<void> {
    const meta = await store.meta()
    if (meta === undefined) throw metaLost()
    const both = await openMeta(meta, root, environment)
    try {
      if (!(await store.putMeta(await sealMeta(both, newRoot, environment, meta.change + 1)))) {
        throw new KeyfoldError("STORE_FAILED", "the root key was changed by another process at the same time")
      }
    } finally {
      both.fill(0)
    }
  }

  /** The index of a pair, or of a companion's owner and match: 64 hex digits that show nothing. */
  indexOf(label: "pair" | "companion", owner: string, pairs: readonly Pair[]): string {
    const values = [label, this.environment, owner, ...pairs.flatMap(({ name, value }) => [name, value])]
    return Buffer.from(hmacSha256(this.#index, fields("keyfold/kek-index/v1", values))).toString("hex")
  }

  /** A row with its keys sealed; `versions` are 32 bytes each, one after the other. */
  seal(row: Omit<KekRow, "sealed">, versions: Uint8Array): KekRow {
    this.#checkOpen()
    return { ...row, sealed: seal(this.#sealing, rowAad(this.environment, row), versions) }
  }

  /** The keys of a row. @throws KeyfoldError `STORE_CORRUPT` naming it; nothing of a damaged row is served */
  unseal(row: KekRow): Uint8Array {
    this.#checkOpen()
    const versions = unseal(this.#sealing, rowAad(this.environment, row), row.sealed)
    const expected = row.state === "destroyed" ? 0 : row.version * 32
    if (versions === undefined || versions.length !== expected) {
      throw new KeyfoldError(
        "STORE_CORRUPT",
        `the stored KEK ${row.keyId} was damaged or altered: restore a backup`,
      )
    }
    return versions
  }

  /** From now on nothing is sealed or unsealed. */
  wipe(): void {
    this.#sealing.fill(0)
    this.#wiped = true
  }

  /** A key of zeros must never seal anything. */
  #checkOpen(): void {
    if (this.#wiped) throw new KeyfoldError("STORE_FAILED", "the managed provider was closed: make a new one")
  }
}

/** What opens a store; undefined where it is new. @throws KeyfoldError `STORE_…` */
export async function rootKindOf(store: KekStore): Promise<"key" | "passphrase" | "kek" | undefined> {
  const meta = await store.meta()
  if (meta === undefined) return undefined
  const { kind } = parseMeta(meta.text).root
  return kind === "scrypt" ? "passphrase" : kind
}

type MetaText = { readonly environment: string; readonly root: RootRecord; readonly sealed: string }

async function sealMeta(
  both: Uint8Array,
  root: RootKey,
  environment: string,
  change: number,
): Promise<KekMeta> {
  const { key, record } = await newRootKey(root, environment)
  const sealed = seal(key, metaAad(environment, record), both)
  key.fill(0)
  const text: MetaText = { environment, root: record, sealed: Buffer.from(sealed).toString("hex") }
  return { change, text: JSON.stringify(text) }
}

async function openMeta(meta: KekMeta, root: RootKey, environment: string): Promise<Uint8Array> {
  const stored = parseMeta(meta.text)
  if (stored.environment !== environment) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `this store belongs to the environment "${stored.environment}", not to "${environment}"`,
    )
  }
  const key = await openRootKey(root, stored.root, environment)
  const both = unseal(
    key,
    metaAad(environment, stored.root),
    new Uint8Array(Buffer.from(stored.sealed, "hex")),
  )
  key.fill(0)
  if (both?.length !== 64) {
    throw new KeyfoldError(
      "PERMISSION_DENIED",
      "the root key or passphrase does not open this store: give the right one",
    )
  }
  return both
}

function metaLost(): KeyfoldError {
  return new KeyfoldError("STORE_CORRUPT", "the store has lost its meta record: restore a backup")
}

function parseMeta(text: string): MetaText {
  try {
    const { environment, root, sealed } = JSON.parse(text) as MetaText
    if (typeof environment === "string" && isHex(sealed) && isRootRecord(root)) {
      return { environment, root, sealed }
    }
  } catch {
    // What follows names it.
  }
  throw new KeyfoldError("STORE_CORRUPT", "the store's meta record is damaged: restore a backup")
}

function metaAad(environment: string, root: RootRecord): Uint8Array {
  return fields("keyfold/kek-meta/v1", [environment, JSON.stringify(root)])
}
