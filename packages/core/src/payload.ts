import { open, type Sealed, type SecretKey, seal, sealInto, sha256 } from "@keyfold/core/crypto"
import { IMMUTABLE_BYTES } from "./envelope.ts"
import { decryptionFailed, KeyfoldError } from "./errors.ts"
import { copyBytes } from "./memory.ts"

/** Length of a segment's tag in bytes. */
export const TAG_BYTES = 16
/** A counter of 32 bits numbers the segments. */
export const MAX_SEGMENTS = 2 ** 32
/** docs/format.md, "Limits". */
const MAX_AAD_BYTES = 65_536

/** Seals and opens the segments of one payload (docs/format.md, "Payload"). */
export class Segments {
  readonly #key: SecretKey
  readonly #immutable = new Uint8Array(IMMUTABLE_BYTES)
  readonly #contextDigest: Uint8Array
  readonly #aadDigest: Uint8Array

  /** `immutable` may be a whole header; `aadDigest` is the SHA-256 of the caller's additional data. */
  constructor(key: SecretKey, immutable: Uint8Array, contextDigest: Uint8Array, aadDigest: Uint8Array) {
    this.#key = key
    copyBytes(immutable, 0, IMMUTABLE_BYTES, this.#immutable, 0)
    this.#contextDigest = contextDigest
    this.#aadDigest = aadDigest
  }

  /** Writes ciphertext and tag of segment `counter` into `out` at `offset`. */
  sealInto(plaintext: Uint8Array, counter: number, last: boolean, out: Uint8Array, offset: number): void {
    sealInto(this.#key, nonceOf(counter, last), this.#aad(), plaintext, out, offset)
  }

  /** Ciphertext and tag of segment `counter`, as two arrays. */
  seal(plaintext: Uint8Array, counter: number, last: boolean): Sealed {
    return seal(this.#key, nonceOf(counter, last), this.#aad(), plaintext)
  }

  /**
   * Plaintext of segment `counter`, in a fresh array.
   * @throws KeyfoldError `DECRYPTION_FAILED`
   */
  open(sealed: Uint8Array, counter: number, last: boolean): Uint8Array {
    const plaintext = open(this.#key, nonceOf(counter, last), this.#aad(), sealed)
    if (plaintext === undefined) throw decryptionFailed()
    return plaintext
  }

  #aad(): Uint8Array {
    copyBytes(this.#immutable, 0, IMMUTABLE_BYTES, aad, 0)
    copyBytes(this.#contextDigest, 0, 32, aad, IMMUTABLE_BYTES)
    copyBytes(this.#aadDigest, 0, 32, aad, IMMUTABLE_BYTES + 32)
    return aad
  }
}

/** How a payload is cut, from its length; all in bytes but `segments`. */
export type Layout = { readonly plaintextBytes: number; readonly segments: number }

/**
 * The layout of a sealed payload of `sealedBytes`.
 * @throws KeyfoldError `DECRYPTION_FAILED` where no payload has that length
 */
export function layoutOf(sealedBytes: number, segmentBytes: number): Layout {
  const stride = segmentBytes + TAG_BYTES
  const segments = Math.ceil(sealedBytes / stride)
  const lastBytes = sealedBytes - (segments - 1) * stride - TAG_BYTES
  if (segments < 1 || segments > MAX_SEGMENTS || lastBytes < 0 || (lastBytes === 0 && segments > 1)) {
    throw decryptionFailed()
  }
  return { plaintextBytes: sealedBytes - segments * TAG_BYTES, segments }
}

/**
 * Number of segments for a plaintext of this length in bytes.
 * @throws KeyfoldError `INVALID_ARGUMENT` above 2^32 segments
 */
export function segmentCount(plaintextBytes: number, segmentBytes: number): number {
  const segments = Math.max(1, Math.ceil(plaintextBytes / segmentBytes))
  checkSegmentCount(segments)
  return segments
}

/** @throws KeyfoldError `INVALID_ARGUMENT` above 2^32 segments */
export function checkSegmentCount(segments: number): void {
  if (segments > MAX_SEGMENTS) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "the plaintext has more than 2^32 segments: use a larger segment size",
    )
  }
}

/**
 * SHA-256 of the caller's additional data; of the empty string where there is none.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function digestAad(aad: Uint8Array | undefined): Uint8Array {
  if (aad === undefined) return EMPTY_DIGEST
  if (!(aad instanceof Uint8Array)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "aad must be a Uint8Array")
  }
  if (isDetached(aad)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "aad was transferred elsewhere")
  }
  if (aad.length > MAX_AAD_BYTES) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `aad has ${aad.length} bytes, at most ${MAX_AAD_BYTES} are allowed`,
    )
  }
  return sha256(aad)
}

/** Whether an array has lost its memory to another thread, and so looks empty. */
export function isDetached({ buffer }: Uint8Array): boolean {
  return (buffer as { detached?: boolean }).detached === true
}

function nonceOf(counter: number, last: boolean): Uint8Array {
  nonce[7] = counter >>> 24
  nonce[8] = (counter >>> 16) & 0xff
  nonce[9] = (counter >>> 8) & 0xff
  nonce[10] = counter & 0xff
  nonce[11] = last ? 1 : 0
  return nonce
}

/** Filled and used within one call, which spares every payload an allocation (docs/performance.md). */
const aad = new Uint8Array(IMMUTABLE_BYTES + 64)
const nonce = new Uint8Array(12)
const EMPTY_DIGEST = sha256(new Uint8Array(0))
