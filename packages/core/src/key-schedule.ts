import { equalBytes, hmacSha512, importKey, publicMacInto, type SecretKey } from "@keyfold/core/crypto"
import { IMMUTABLE_BYTES, MAC_BYTES } from "./envelope.ts"
import { copyBytes } from "./memory.ts"

/** The two keys of an envelope. `wipe` when done: the DEK is not kept, these are all there is. */
export class EnvelopeKeys {
  readonly content: SecretKey
  readonly header: SecretKey
  readonly #okm: Uint8Array

  /** `okm`: 32 bytes of content key, 32 of header key. */
  constructor(okm: Uint8Array) {
    // On Node, `subarray` of what a hash gives is slower.
    this.content = importKey(new Uint8Array(okm.buffer, okm.byteOffset, 32))
    this.header = importKey(new Uint8Array(okm.buffer, okm.byteOffset + 32, 32))
    this.#okm = okm
  }

  wipe(): void {
    this.#okm.fill(0)
  }
}

/**
 * Derives both keys from a DEK: one block of HKDF-Expand (RFC 5869 §2.3) with HMAC-SHA-512, bound to the immutable
 * bytes and the key context. `immutable` may be a whole header.
 */
export function deriveKeys(dek: Uint8Array, immutable: Uint8Array, contextDigest: Uint8Array): EnvelopeKeys {
  copyBytes(immutable, 0, IMMUTABLE_BYTES, info, LABEL.length)
  copyBytes(contextDigest, 0, 32, info, LABEL.length + IMMUTABLE_BYTES)
  return new EnvelopeKeys(hmacSha512(importKey(dek), info))
}

/** Writes the MAC of a header, which covers every byte before it, into the header's last 32 bytes. */
export function writeMac(key: SecretKey, header: Uint8Array): void {
  const length = header.length - MAC_BYTES
  publicMacInto(key, header.subarray(0, length), header, length)
}

/** Whether the MAC at the end of `header` holds; in constant time. */
export function macHolds(key: SecretKey, header: Uint8Array): boolean {
  const length = header.length - MAC_BYTES
  publicMacInto(key, header.subarray(0, length), expected, 0)
  copyBytes(header, length, MAC_BYTES, given, 0)
  return equalBytes(expected, given)
}

const LABEL = new TextEncoder().encode("keyfold/v1")
/** Filled and hashed within one call; the label and the closing 0x01 stay. */
const info = new Uint8Array(LABEL.length + IMMUTABLE_BYTES + 32 + 1)
info.set(LABEL)
info[info.length - 1] = 1
/** Likewise. */
const expected = new Uint8Array(MAC_BYTES)
const given = new Uint8Array(MAC_BYTES)
