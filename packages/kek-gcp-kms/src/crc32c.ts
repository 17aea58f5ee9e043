import castagnoli from "crc-32/crc32c.js"

/** CRC-32C (Castagnoli, RFC 3720 §12.1, test values in §B.4) as Cloud KMS counts it: 0 to 2^32 - 1. */
export function crc32c(bytes: Uint8Array): number {
  return castagnoli.buf(bytes) >>> 0
}
