/**
 * The wrapped bytes of managed KEKs (docs/format.md, "Wrapped bytes"): salt 16 ‖ IV 12 ‖ ciphertext 32 ‖ tag 16.
 * Each salt gives a subkey of its own, so that the random IVs of a KEK that every envelope shares never run out.
 */
import {
  fillRandom,
  hmacSha256,
  importKey,
  importLongLivedKey,
  open,
  type SecretKey,
  sealInto,
} from "@keyfold/core/crypto"

/** A subkey, and the salt that gives it. */
export type Subkey = { readonly salt: Uint8Array; readonly key: SecretKey }

export const SALT_BYTES = 16
const IV_BYTES = 12
const SECRET_BYTES = 32
const TAG_BYTES = 16
export const WRAPPED_BYTES = SALT_BYTES + IV_BYTES + SECRET_BYTES + TAG_BYTES

/** A subkey under a fresh salt. `keyId` is 16 bytes. */
export function freshSubkey(kek: Uint8Array, keyId: Uint8Array, version: number): Subkey {
  const salt = new Uint8Array(SALT_BYTES)
  fillRandom(salt)
  return deriveSubkey(kek, keyId, version, salt)
}

/** SP 800-108 in counter mode with HMAC-SHA-256: one block of 256 bits. */
export function deriveSubkey(kek: Uint8Array, keyId: Uint8Array, version: number, salt: Uint8Array): Subkey {
  const input = new Uint8Array(4 + LABEL.length + 1 + 16 + 4 + SALT_BYTES + 4)
  const view = new DataView(input.buffer)
  view.setUint32(0, 1)
  input.set(LABEL, 4)
  let at = 4 + LABEL.length + 1
  input.set(keyId, at)
  at += 16
  view.setUint32(at, version)
  input.set(salt, at + 4)
  view.setUint32(at + 4 + SALT_BYTES, 256)
  const bytes = hmacSha256(importKey(kek), input)
  // A copy in any case: slice() of a Buffer would be a view.
  const subkey = { salt: Uint8Array.from(salt), key: importLongLivedKey(bytes) }
  bytes.fill(0)
  return subkey
}

/** Wraps 32 secret bytes, bound to `binding`. */
export function wrapUnder({ salt, key }: Subkey, binding: Uint8Array, secret: Uint8Array): Uint8Array {
  // From Node's pool, for an array of its own costs half a microsecond; every byte is written below.
  const wrapped = Buffer.allocUnsafe(WRAPPED_BYTES)
  for (let i = 0; i < SALT_BYTES; i++) wrapped[i] = salt[i] as number
  fillRandom(iv)
  for (let i = 0; i < IV_BYTES; i++) wrapped[SALT_BYTES + i] = iv[i] as number
  sealInto(key, iv, binding, secret, wrapped, SALT_BYTES + IV_BYTES)
  return wrapped
}

/** The secret, in a fresh array; undefined where it was not wrapped under this subkey and binding. */
export function unwrapUnder(
  { key }: Subkey,
  binding: Uint8Array,
  wrapped: Uint8Array,
): Uint8Array | undefined {
  for (let i = 0; i < IV_BYTES; i++) iv[i] = wrapped[SALT_BYTES + i] as number
  return open(key, iv, binding, wrapped, SALT_BYTES + IV_BYTES)
}

const LABEL = new TextEncoder().encode("keyfold/v1/kek")
/** Filled and used within one call. */
const iv = new Uint8Array(IV_BYTES)
