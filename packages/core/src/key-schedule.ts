import { equalBytes, hmacSha512, importKey, publicMacInto, type SecretKey } from "@keyfold/core/crypto"
import { IMMUTABLE_BYTES, MAC_BYTES } from "./envelope.ts"

/** The two keys of an envelope. `wipe` when done: the DEK is not kept, these are all there is. */
export type EnvelopeKeys = {
  readonly content: SecretKey
  readonly header: SecretKey
  readonly wipe: () => void
}

/**
 * Derives both keys from a DEK: one block of HKDF-Expand (RFC 5869 §2.3) with HMAC-SHA-512, bound to the immutable
 * bytes and the key context. `immutable` may be a whole header.
 */
export function deriveKeys(dek: Uint8Array, immutable: Uint8Array, contextDigest: Uint8Array): EnvelopeKeys {
  info.set(immutable.subarray(0, IMMUTABLE_BYTES), LABEL.length)
  info.set(contextDigest, LABEL.length + IMMUTABLE_BYTES)
  const okm = hmacSha512(importKey(dek), info)
  return {
    content: importKey(new Uint8Array(okm.buffer, okm.byteOffset, 32)),
    header: importKey(new Uint8Array(okm.buffer, okm.byteOffset + 32, 32)),
    wipe: () => okm.fill(0),
  }
}

/** Writes the MAC of a header, which covers every byte before it, into the header's last 32 bytes. */
export function writeMac(key: SecretKey, header: Uint8Array): void {
  const length = header.length - MAC_BYTES
  publicMacInto(key, header.subarray(0, length), header, length)
}

/** Whether the MAC at the end of `header` holds; in constant time. */
export function macHolds(key: SecretKey, header: Uint8Array): boolean {
  const length = header.length - MAC_BYTES
  const expected = new Uint8Array(MAC_BYTES)
  publicMacInto(key, header.subarray(0, length), expected, 0)
  return equalBytes(expected, header.subarray(length))
}

const LABEL = new TextEncoder().encode("keyfold/v1")
/** Filled and hashed within one call; the label and the closing 0x01 stay. */
const info = new Uint8Array(LABEL.length + IMMUTABLE_BYTES + 32 + 1)
info.set(LABEL)
info[info.length - 1] = 1
