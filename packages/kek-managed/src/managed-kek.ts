import {
  type FailureCode,
  type Kek,
  type KekFacts,
  KeyfoldError,
  MANAGED_PROVIDER_ID,
  type WrapContext,
  type WrapRecord,
} from "@keyfold/core"
import { type KekCache, type LoadedKek, notFound } from "./kek-cache.ts"
import { unwrapUnder, WRAPPED_BYTES, wrapUnder } from "./managed-wrap.ts"

/** One managed KEK. Answers at once while it is cached. */
export class ManagedKek implements Kek {
  readonly providerId = MANAGED_PROVIDER_ID
  readonly keyId: string
  readonly #cache: KekCache
  #loaded: LoadedKek | undefined
  #uses = 0

  constructor(cache: KekCache, keyId: string) {
    this.#cache = cache
    this.keyId = keyId
  }

  wrap(secret: Uint8Array, { binding }: WrapContext): WrapRecord | Promise<WrapRecord> {
    const cached = this.#peek()
    if (cached !== undefined) return wrapWith(cached, binding, secret)
    return this.#cache.use(this.keyId, (kek) => wrapWith(kek, binding, secret))
  }

  unwrap(record: WrapRecord, { binding }: WrapContext): Uint8Array | Promise<Uint8Array> {
    const cached = this.#peek()
    if (cached !== undefined) {
      if (record.keyVersion <= cached.version) return unwrapWith(cached, binding, record)
      // Another process may have rotated it since the store was asked.
      this.#cache.distrust()
    }
    return this.#cache.use(this.keyId, (kek) => unwrapWith(kek, binding, record))
  }

  async describe(): Promise<KekFacts> {
    const row = await this.#cache.use(this.keyId, (kek) => kek.row)
    return {
      state: row.state,
      algorithm: "AES-256-GCM",
      origin: "keyfold",
      protectionLevel: "software",
      publicKey: false,
      canWrap: true,
      purgeProtected: undefined,
      keyVersion: row.version,
      automaticRotation: false,
      expiresAt: undefined,
      deletionAt: row.deletionAt === 0 ? undefined : new Date(row.deletionAt),
      region: undefined,
    }
  }

  classify(error: unknown): FailureCode {
    return error instanceof KeyfoldError ? error.code : "UNKNOWN"
  }

  /** The loaded KEK; asks the cache, which keeps what it is asked for, only now and then. */
  #peek(): LoadedKek | undefined {
    const loaded = this.#loaded
    if (loaded !== undefined && !loaded.wiped && this.#cache.fresh && ++this.#uses % ASK_EVERY !== 0) {
      return loaded
    }
    this.#loaded = this.#cache.peek(this.keyId)
    return this.#loaded
  }
}

/** Uses of a KEK between two that the cache is told of. */
const ASK_EVERY = 16

function wrapWith(kek: LoadedKek, binding: Uint8Array, secret: Uint8Array): WrapRecord {
  if (!kek.enabled) throw refusal(kek)
  if (kek.closed) {
    throw new KeyfoldError(
      "NO_ROUTE",
      "it was closed for a customer's key: if that binding was not completed, add it again, or remove it",
    )
  }
  kek.wraps++
  kek.lastUsedAt = Date.now()
  return {
    keyVersion: kek.version,
    leased: false,
    wrapped: wrapUnder(kek.subkeyForWrapping(), binding, secret),
  }
}

function unwrapWith(
  kek: LoadedKek,
  binding: Uint8Array,
  { keyVersion, leased, wrapped }: WrapRecord,
): Uint8Array {
  if (!kek.enabled) throw refusal(kek)
  if (!leased && keyVersion >= 1 && keyVersion <= kek.version && wrapped.length === WRAPPED_BYTES) {
    const secret = unwrapUnder(kek.subkeyForUnwrapping(keyVersion, wrapped), binding, wrapped)
    if (secret !== undefined) {
      kek.unwraps++
      kek.lastUsedAt = Date.now()
      return secret
    }
  }
  throw new KeyfoldError("DECRYPTION_FAILED", "the wrap does not open under this key and binding")
}

function refusal({ row }: LoadedKek): KeyfoldError {
  if (row.state === "disabled") {
    return new KeyfoldError(
      "KEY_DISABLED",
      "it is disabled: enable it (keyfold kek enable) to use its data again",
    )
  }
  if (row.state === "pending-deletion") {
    return new KeyfoldError(
      "KEY_PENDING_DELETION",
      "it is scheduled for deletion: cancel that (keyfold kek cancel-deletion) to use its data again",
    )
  }
  return notFound()
}
