import { equalBytes, hmacSha256, hmacSha512, importKey, type SecretKey } from "@keyfold/core/crypto"
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
    content: importKey(okm.subarray(0, 32)),
    header: importKey(okm.subarray(32, 64)),
    wipe: () => okm.fill(0),
  }
}

/** The MAC of a header: over every byte before its last 32. */
export function headerMac(key: SecretKey, header: Uint8Array): Uint8Array {
  return hmacSha256(key, header.subarray(0, header.length - MAC_BYTES))
}

/** Whether the MAC at the end of `header` holds; in constant time. */
export function macHolds(key: SecretKey, header: Uint8Array): boolean {
  return equalBytes(headerMac(key, header), header.subarray(header.length - MAC_BYTES))
}

const LABEL = new TextEncoder().encode("keyfold/v1")
/** Filled and hashed within one call; the label and the closing 0x01 stay. */
const info = new Uint8Array(LABEL.length + IMMUTABLE_BYTES + 32 + 1)
info.set(LABEL)
info[info.length - 1] = 1
