import type { Pair } from "./context.ts"
import type { FailureCode } from "./errors.ts"

/**
 * A key-encrypting key: exactly one native key of one provider. The engine owns deadlines, argument checks,
 * error wrapping and zeroing; a provider only speaks to its KMS. Answers may be synchronous: that spares a
 * local provider a promise.
 */
export interface Kek {
  /** The provider's id: `managed`, `aws-kms`, `azure-keyvault`, `gcp-kms`, or another matching `^[a-z0-9-]{1,32}$`. */
  readonly providerId: string
  /** The native key id in its normal form (docs/format.md, "Key ids"); printable ASCII, at most 1,024 bytes. */
  readonly keyId: string
  /**
   * Encrypts 32 secret bytes under this key, bound to `context.binding`.
   * The secret belongs to the caller, who wipes it after the call: keep no reference to it.
   */
  wrap(secret: Uint8Array, context: WrapContext, options: KekCallOptions): WrapRecord | Promise<WrapRecord>
  /**
   * Decrypts what `wrap` made, and only under an equal binding. The result is a fresh array that the caller wipes.
   * @throws anything; `classify` names it. A wrong binding or altered bytes classify as `DECRYPTION_FAILED`.
   */
  unwrap(record: WrapRecord, context: WrapContext, options: KekCallOptions): Uint8Array | Promise<Uint8Array>
  /** Asks the KMS about the key. */
  describe(options: KekCallOptions): Promise<KekFacts>
  /** Names an error that `wrap`, `unwrap` or `describe` threw. Pure; `UNKNOWN` is the honest default. */
  classify(error: unknown): FailureCode
}

/** A source of KEKs. The managed provider adds `kekFor(pair)`, which makes a KEK just in time. */
export interface KekProvider<Options = unknown> {
  readonly id: string
  /** The KEK with this native key id. No call is made until it is used. */
  kek(keyId: string, options?: Options): Kek
}

/** What a wrap is bound to. */
export type WrapContext = {
  /** The wrap binding of docs/format.md, 71 bytes. Local wraps take it as AAD, clouds its SHA-256. */
  readonly binding: Uint8Array
  /** The pairs this wrap covers, sorted by name. */
  readonly covered: readonly Pair[]
  /** The owner of the route entry; `""` for a managed KEK of a pair. */
  readonly owner: string
}

/** What a KEK's `wrap` gives and its `unwrap` takes. */
export type WrapRecord = {
  /** The version of the native key, 1 to 2^32 - 1; 0 where the provider's key id carries it or has none. */
  readonly keyVersion: number
  /** True where `wrapped` was made under a lease (docs/format.md, "Leased wraps"). */
  readonly leased: boolean
  /** The provider's bytes, at most 8,192. */
  readonly wrapped: Uint8Array
}

export type KekCallOptions = {
  /** Ends the call for good: the connection closes and no timer is left. */
  readonly signal?: AbortSignal | undefined
  /** Called by a lease with whether it answered without its CMK. */
  readonly onLease?: ((hit: boolean) => void) | undefined
  /** Called before each request to the KMS, tries and fallbacks included; what it throws ends the call. */
  readonly onRequest?: (() => void) | undefined
}

/** What a KMS says about a key. */
export type KekFacts = {
  readonly state:
    | "enabled"
    | "disabled"
    | "expired"
    | "not-yet-valid"
    | "pending-deletion"
    | "pending-import"
    | "destroyed"
    | "unavailable"
    | "unknown"
  /** In the provider's words, such as `SYMMETRIC_DEFAULT`, `RSA-OAEP-256` or `AES-256-GCM`. */
  readonly algorithm: string
  /** Where the key material comes from, in the provider's words. */
  readonly origin: string
  readonly protectionLevel: "software" | "hsm" | "external" | "unknown"
  /** True for a key with a public half: anyone who has it can wrap (design.md, law 2). */
  readonly publicKey: boolean
  /** Whether its type, usage and permitted operations let keyfold wrap and unwrap with it. */
  readonly canWrap: boolean
  /** Whether nobody can destroy it at once, its owner included; undefined where the KMS does not say. */
  readonly purgeProtected: boolean | undefined
  /** Current version, 0 where it has none. */
  readonly keyVersion: number
  /** Whether the KMS rotates the key by itself; undefined where it does not say. */
  readonly automaticRotation: boolean | undefined
  readonly expiresAt: Date | undefined
  readonly deletionAt: Date | undefined
  /** Region or location; undefined where there is none. */
  readonly region: string | undefined
}

/** The provider id of managed KEKs. Its wraps alone may be companions, and their key ids are 16 raw bytes. */
export const MANAGED_PROVIDER_ID = "managed"
