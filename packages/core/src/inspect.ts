import { KIND, type Policy, parseHeader, readIdentity } from "./envelope.ts"
import { KeyfoldError } from "./errors.ts"
import { envelopeBytes } from "./message.ts"
import { layoutOf } from "./payload.ts"
import { ROLE, SUITE } from "./wrap-binding.ts"

/** What anyone can read in an envelope. Nothing of it is authentic, and no context value is in it. */
export type EnvelopeFacts = {
  readonly version: 1
  readonly suite: number
  readonly kind: "message" | "data-key"
  readonly policy: Policy
  readonly pairCount: number
  /** Length of the header, MAC included, in bytes; what follows is the payload. */
  readonly headerBytes: number
  readonly segmentBytes: number
  /** Length of the plaintext in bytes; undefined where only the header was given, or no payload has that length. */
  readonly plaintextBytes: number | undefined
  readonly embedsContext: boolean
  readonly wraps: readonly WrapFacts[]
}

export type WrapFacts = {
  readonly providerId: string
  readonly keyId: string
  /** 0 where the key id carries the version, or there is none. */
  readonly keyVersion: number
  /** Positions of the covered pairs among the pairs sorted by name, the first 0. */
  readonly covers: readonly number[]
  readonly role: "direct" | "leased" | "companion"
  readonly wrappedBytes: number
}

/**
 * Describes an envelope without any key.
 * @param totalBytes the envelope's length where `envelope` holds only its beginning; default its own length
 * @throws KeyfoldError `MALFORMED_ENVELOPE`, `UNSUPPORTED_VERSION`, `INVALID_ARGUMENT`
 */
export function inspect(envelope: Uint8Array | string, totalBytes?: number): EnvelopeFacts {
  const bytes = envelopeBytes(envelope)
  if (totalBytes !== undefined && !(Number.isSafeInteger(totalBytes) && totalBytes >= 0)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "totalBytes is the envelope's length in bytes")
  }
  const header = parseHeader(bytes)
  const segmentBytes = 2 ** header.segmentExponent
  const sealedBytes = (totalBytes ?? bytes.length) - header.bytes.length
  return {
    version: 1,
    suite: SUITE,
    kind: header.kind === KIND.message ? "message" : "data-key",
    policy: header.policy,
    pairCount: header.pairCount,
    headerBytes: header.bytes.length,
    segmentBytes,
    plaintextBytes: plaintextLength(sealedBytes, segmentBytes),
    embedsContext: header.embedded !== undefined,
    wraps: header.wraps.map((wrap) => ({
      ...readIdentity(wrap.identity),
      keyVersion: wrap.keyVersion,
      covers: Array.from({ length: header.pairCount }, (_, i) => i).filter((i) => (wrap.mask >> i) & 1),
      role: wrap.role === ROLE.direct ? "direct" : wrap.role === ROLE.leased ? "leased" : "companion",
      wrappedBytes: wrap.wrapped.length,
    })),
  }
}

function plaintextLength(sealedBytes: number, segmentBytes: number): number | undefined {
  try {
    return layoutOf(sealedBytes, segmentBytes).plaintextBytes
  } catch {
    return undefined // no payload has that length
  }
}
