/**
 * The primitives everywhere but Node, from the audited @noble packages: browsers, workers, edge runtimes, Deno and
 * Bun. Same functions and same bytes as `crypto-node.ts`.
 */
import { gcm } from "@noble/ciphers/aes.js"
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 as nobleSha256, sha512 } from "@noble/hashes/sha2.js"
import { RandomPool } from "./random-pool.ts"

/** A key in the form this backend takes: its bytes. */
export type SecretKey = Uint8Array

export type Sealed = { readonly ciphertext: Uint8Array; readonly tag: Uint8Array }

/** The name of this backend, for reports. */
export const backend = "@noble"

/** A key for one use. */
export function importKey(bytes: Uint8Array): SecretKey {
  return bytes
}

/** A key for many uses: a copy of the bytes. (slice() of a Buffer would be a view.) */
export function importLongLivedKey(bytes: Uint8Array): SecretKey {
  return Uint8Array.from(bytes)
}

/** AES-256-GCM: writes ciphertext and then tag into `out` at `offset`. */
export function sealInto(
  key: SecretKey,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
  offset: number,
): void {
  out.set(gcm(key, iv, aad).encrypt(plaintext), offset)
}

/** The same for a stream: ciphertext and tag as two arrays. */
export function seal(key: SecretKey, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Sealed {
  const sealed = gcm(key, iv, aad).encrypt(plaintext)
  return { ciphertext: sealed.subarray(0, plaintext.length), tag: sealed.subarray(plaintext.length) }
}

/** Opens what `sealInto` wrote, from `offset` to the end; undefined if the tag does not hold. */
export function open(
  key: SecretKey,
  iv: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
  offset = 0,
): Uint8Array | undefined {
  if (sealed.length < offset + TAG_BYTES) return undefined
  try {
    return gcm(key, iv, aad).decrypt(sealed.subarray(offset))
  } catch {
    return undefined // the tag does not hold
  }
}

/** HMAC-SHA-256 (RFC 2104), 32 bytes. */
export function hmacSha256(key: SecretKey, data: Uint8Array): Uint8Array {
  return hmac(nobleSha256, key, data)
}

/** HMAC-SHA-512 (RFC 2104), 64 bytes. */
export function hmacSha512(key: SecretKey, data: Uint8Array): Uint8Array {
  return hmac(sha512, key, data)
}

/** HMAC-SHA-256 of what is public anyway, such as a header: writes the 32 bytes into `out` at `offset`. */
export function publicMacInto(key: SecretKey, data: Uint8Array, out: Uint8Array, offset: number): void {
  out.set(hmac(nobleSha256, key, data), offset)
}

/** SHA-256 (FIPS 180-4), 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return nobleSha256(data)
}

/** Compares two secrets of equal length in constant time; false where the lengths differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number)
  return difference === 0
}

/** Fills `target` with random bytes from the pool of this thread. */
export function fillRandom(target: Uint8Array): void {
  pool.take(target)
}

/** Drops pooled randomness: call it after the process was cloned or restored from a snapshot. */
export function reseed(): void {
  pool.reseed()
}

const TAG_BYTES = 16
/** getRandomValues refuses more (Web Cryptography API). */
const MAX_FILL_BYTES = 65_536

const pool = new RandomPool((target) => {
  for (let from = 0; from < target.length; from += MAX_FILL_BYTES) {
    crypto.getRandomValues(target.subarray(from, from + MAX_FILL_BYTES) as Uint8Array<ArrayBuffer>)
  }
})
