import { sha256 } from "@keyfold/core/crypto"
import { encodePairs, type Pair } from "./context.ts"
import { KeyfoldError } from "./errors.ts"
import { copyBytes } from "./memory.ts"

/** What a wrap is for (docs/format.md, "Wrap binding"); a wrap for one purpose never opens for another. */
export const PURPOSE = Object.freeze({ message: 1, dataKey: 2, leaseKey: 3, rootKey: 4, canary: 5 })
/** How a wrap takes part: made by its KEK, made under a lease of it, or companion of the wrap before it. */
export const ROLE = Object.freeze({ direct: 0, leased: 1, companion: 2 })

/** Length in bytes of a wrap binding. */
export const BINDING_BYTES = 71

/** What the wraps of one envelope share in their bindings. */
export type EnvelopeBinding = {
  readonly suite: number
  readonly kind: number
  readonly policy: number
  readonly wrapCount: number
  readonly salt: Uint8Array
  readonly contextDigest: Uint8Array
}

/** The binding of one wrap of an envelope, 71 bytes, written into `bytes`. */
export function wrapBinding(
  of: EnvelopeBinding,
  mask: number,
  slot: number,
  role: number,
  bytes: Uint8Array = new Uint8Array(BINDING_BYTES),
): Uint8Array {
  const { suite, kind, policy, wrapCount, salt, contextDigest } = of
  writeBinding(bytes, suite, kind, policy, wrapCount, mask, slot, role, salt, contextDigest)
  return bytes
}

/** What a wrap outside an envelope is bound to: a lease key, a root key, a canary. */
export type Scope = {
  readonly purpose: "leaseKey" | "rootKey" | "canary"
  readonly providerId: string
  readonly keyId: string
  readonly owner: string
  readonly environment: string
  /** Sorted by name; empty for a root key. */
  readonly covered: readonly Pair[]
}

/**
 * The binding of a wrap outside an envelope, 71 bytes. `salt` is 16 random bytes that are kept beside the wrap.
 * @throws KeyfoldError `INVALID_ARGUMENT` where the salt has another length, or a field is ill-formed or longer than
 * 1,024 bytes of UTF-8
 */
export function scopedBinding(scope: Scope, salt: Uint8Array): Uint8Array {
  const purpose = PURPOSE[scope.purpose]
  if (salt.length !== SALT_BYTES) throw invalid("the salt of a scope has 16 bytes")
  const fields: Uint8Array[] = [scope.providerId, scope.keyId, scope.owner, scope.environment].map(
    encodeField,
  )
  fields.push(scope.covered.length === 0 ? new Uint8Array(0) : encodePairs(scope.covered))
  const bytes = new Uint8Array(
    SCOPE_LABEL.length + 1 + fields.reduce((sum, field) => sum + 2 + field.length, 0),
  )
  const view = new DataView(bytes.buffer)
  bytes.set(SCOPE_LABEL)
  bytes[SCOPE_LABEL.length] = purpose
  let offset = SCOPE_LABEL.length + 1
  for (const field of fields) {
    view.setUint16(offset, field.length)
    bytes.set(field, offset + 2)
    offset += 2 + field.length
  }
  const binding = new Uint8Array(BINDING_BYTES)
  writeBinding(binding, SUITE, purpose, 0, 0, 0, 0, 0, salt, sha256(bytes))
  return binding
}

/** The same binding for a wrap made under a lease: only the role differs. */
export function leasedBinding(binding: Uint8Array): Uint8Array {
  const leased = binding.slice()
  leased[ROLE_OFFSET] = ROLE.leased
  return leased
}

/** Two texts of a scope never give the same bytes. */
function encodeField(field: string): Uint8Array {
  if (!field.isWellFormed())
    throw invalid("a scope's provider, key id, owner and environment are well-formed text")
  const bytes = utf8.encode(field)
  if (bytes.length > MAX_FIELD_BYTES) {
    throw invalid(
      `a scope's provider, key id, owner and environment have at most ${MAX_FIELD_BYTES} bytes each`,
    )
  }
  return bytes
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

function writeBinding(
  bytes: Uint8Array,
  suite: number,
  purpose: number,
  policy: number,
  wrapCount: number,
  mask: number,
  slot: number,
  role: number,
  salt: Uint8Array,
  digest: Uint8Array,
): void {
  copyBytes(LABEL, 0, LABEL.length, bytes, 0)
  bytes[15] = suite
  bytes[16] = purpose
  bytes[17] = policy
  bytes[18] = wrapCount
  bytes[19] = mask >> 8
  bytes[20] = mask & 0xff
  bytes[21] = slot
  bytes[ROLE_OFFSET] = role
  copyBytes(salt, 0, SALT_BYTES, bytes, 23)
  copyBytes(digest, 0, 32, bytes, 39)
}

const utf8 = new TextEncoder()
const LABEL = utf8.encode("keyfold/v1/wrap")
const SCOPE_LABEL = utf8.encode("keyfold/v1/scope")
const ROLE_OFFSET = 22
const SALT_BYTES = 16
/** docs/format.md, "Wrap binding". */
const MAX_FIELD_BYTES = 1024
/** The one suite of version 1: AES-256-GCM, HMAC-SHA-512 key derivation, HMAC-SHA-256 header MAC. */
export const SUITE = 1
