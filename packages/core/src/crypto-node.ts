/**
 * The primitives on Node, from its own OpenSSL. `crypto-portable.ts` gives the same bytes everywhere else; the
 * package's export conditions choose between them. For engines and KEK providers, not for applications.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomFillSync,
  timingSafeEqual,
} from "node:crypto"
import { startupSnapshot } from "node:v8"
import { oneUseKeyForm } from "./key-form.ts"
import { RandomPool } from "./random-pool.ts"

/** A key in the form this backend is quickest with. The bytes given to `importKey` may be wiped afterwards only once the key is no longer used. */
export type SecretKey = Uint8Array | KeyObject

export type Sealed = { readonly ciphertext: Uint8Array; readonly tag: Uint8Array }

/** The name of this backend, for reports. */
export const backend = "node:crypto"

/** A key for one use, in the form that this version of Node is quickest with. */
export const importKey: (bytes: Uint8Array) => SecretKey = {
  raw: (bytes: Uint8Array) => bytes,
  keyObject: importLongLivedKey,
}[oneUseKeyForm(process.versions.node)]

/** A key for many uses: a KeyObject, which holds a copy of the bytes. */
export function importLongLivedKey(bytes: Uint8Array): SecretKey {
  return createSecretKey(bytes)
}

/**
 * AES-256-GCM (SP 800-38D) with a 96-bit IV and a 128-bit tag: writes ciphertext and then tag into `out` at
 * `offset`. Takes `plaintext.length + 16` bytes there. One update() at any length: a segment has at most 1 MiB, and
 * its pieces would only be copied once more (docs/performance.md).
 */
export function sealInto(
  key: SecretKey,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
  out: Uint8Array,
  offset: number,
): void {
  const cipher = createCipheriv("aes-256-gcm", key, iv)
  cipher.setAAD(aad)
  out.set(cipher.update(plaintext), offset)
  cipher.final()
  out.set(cipher.getAuthTag(), offset + plaintext.length)
}

/** The same for a stream: ciphertext and tag as two arrays, which spares a copy. */
export function seal(key: SecretKey, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Sealed {
  const cipher = createCipheriv("aes-256-gcm", key, iv)
  cipher.setAAD(aad)
  const ciphertext = plain(cipher.update(plaintext))
  cipher.final()
  return { ciphertext, tag: plain(cipher.getAuthTag()) }
}

/**
 * Opens what `sealInto` wrote: `sealed` is ciphertext and tag. Gives the plaintext in a fresh array once the tag
 * has held, undefined if it does not; nothing unverified leaves, and what was decrypted in vain is wiped. Begins
 * at `offset`.
 */
export function open(
  key: SecretKey,
  iv: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
  offset = 0,
): Uint8Array | undefined {
  const tagAt = sealed.length - TAG_BYTES
  if (tagAt < offset) return undefined
  const decipher = createDecipheriv("aes-256-gcm", key, iv, GCM)
  decipher.setAAD(aad)
  for (let i = 0; i < TAG_BYTES; i++) tag[i] = sealed[tagAt + i] as number
  decipher.setAuthTag(tag)
  const plaintext = plain(decipher.update(sealed.subarray(offset, tagAt)))
  try {
    decipher.final()
  } catch {
    plaintext.fill(0)
    return undefined // the tag does not hold: the one thing final() throws for
  }
  return plaintext
}

/** HMAC-SHA-256 (RFC 2104), 32 bytes. */
export function hmacSha256(key: SecretKey, data: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(data).digest()
}

/** HMAC-SHA-512 (RFC 2104), 64 bytes. */
export function hmacSha512(key: SecretKey, data: Uint8Array): Uint8Array {
  return createHmac("sha512", key).update(data).digest()
}

/**
 * HMAC-SHA-256 of what is public anyway, such as a header: writes the 32 bytes into `out` at `offset`. On its way the
 * value is a string, which spares a microsecond and cannot be wiped: not for keys.
 */
export function publicMacInto(key: SecretKey, data: Uint8Array, out: Uint8Array, offset: number): void {
  const mac = createHmac("sha256", key).update(data).digest("latin1")
  for (let i = 0; i < mac.length; i++) out[offset + i] = mac.charCodeAt(i)
}

/** SHA-256 (FIPS 180-4), 32 bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  return plain(createHash("sha256").update(data).digest())
}

/** Compares two secrets of equal length in constant time; false where the lengths differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/** Fills `target` with random bytes from the pool of this thread. */
export function fillRandom(target: Uint8Array): void {
  pool.take(target)
}

/** Drops pooled randomness: call it after the process was cloned or restored from a snapshot. */
export function reseed(): void {
  pool.reseed()
}

/** The same memory as a plain Uint8Array: a Buffer would bring its own methods and its own JSON form along. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
}

const TAG_BYTES = 16
/** Filled and read within one call, as a view of its own costs more. */
const tag = new Uint8Array(TAG_BYTES)
const GCM = Object.freeze({ authTagLength: TAG_BYTES })

const pool = new RandomPool(
  (target) => randomFillSync(target),
  () => !startupSnapshot.isBuildingSnapshot(),
)
