import { fillRandom } from "@keyfold/core/crypto"
import { decodeContext, MAX_PAIRS, type ParsedContext } from "./context.ts"
import { KeyfoldError } from "./errors.ts"
import { type Kek, MANAGED_PROVIDER_ID, type WrapRecord } from "./kek.ts"
import { copyBytes, Slab } from "./memory.ts"
import { ROLE, SUITE } from "./wrap-binding.ts"

/** Envelope kinds; the number is also the purpose of the wraps (docs/format.md, "Wrap binding"). */
export const KIND = Object.freeze({ message: 1, dataKey: 2 })
export type Kind = (typeof KIND)[keyof typeof KIND]

/** `all`: every KEK must take part; `any`: each KEK alone opens (docs/format.md, "Policies"). */
export type Policy = "all" | "any"
export const POLICY_BYTE: Readonly<Record<Policy, number>> = Object.freeze({ all: 1, any: 2 })

/** One wrap as it stands in a header. */
export type Wrap = WrapRecord & {
  /** Provider id and key id as encoded, with their lengths. Compared with a candidate's, never used as an address. */
  readonly identity: Uint8Array
  /** The pairs it covers, bit 0 the first of the sorted pairs. */
  readonly mask: number
  /** One of `ROLE`. */
  readonly role: number
}

/** A parsed header. Nothing in it is authentic until its MAC has held. */
export type Header = {
  /** The whole header, MAC included. */
  readonly bytes: Uint8Array
  readonly kind: Kind
  /** Segment size is 2 to this power, in bytes. */
  readonly segmentExponent: number
  readonly pairCount: number
  readonly policy: Policy
  readonly wraps: readonly Wrap[]
  readonly embedded: ParsedContext | undefined
}

/** Sizes and limits of docs/format.md, in bytes unless named otherwise. */
export const IMMUTABLE_BYTES = 25
export const SALT_OFFSET = 9
export const SALT_BYTES = 16
export const MAC_BYTES = 32
/** Enough of an envelope to learn its header's length. */
export const PREFIX_BYTES = 29
export const MIN_SEGMENT_EXPONENT = 12
export const MAX_SEGMENT_EXPONENT = 20
const MAX_HEADER_BYTES = 65_536
/** One for each pair, and a companion for each. */
const MAX_WRAPS = 2 * MAX_PAIRS
const MAX_WRAPPED_BYTES = 8192
const MAX_KEY_ID_BYTES = 1024
const MAX_PROVIDER_ID_BYTES = 32
const MANAGED_KEY_ID_BYTES = 16
/** salt 16, IV 12, ciphertext 32, tag 16. */
export const MANAGED_WRAPPED_BYTES = 76

/** The first 25 bytes of a new envelope, which no rewrap changes, with a fresh random salt. */
export function immutableBytes(kind: Kind, segmentExponent: number, pairCount: number): Uint8Array {
  const bytes = beginnings.take(IMMUTABLE_BYTES)
  bytes[0] = MAGIC[0]
  bytes[1] = MAGIC[1]
  bytes[2] = MAGIC[2]
  bytes[3] = MAGIC[3]
  bytes[4] = VERSION
  bytes[5] = SUITE
  bytes[6] = kind
  bytes[7] = segmentExponent
  bytes[8] = pairCount
  fillRandom(bytes.subarray(SALT_OFFSET, IMMUTABLE_BYTES))
  return bytes
}

/**
 * Length of the header of these wraps, MAC included.
 * @throws KeyfoldError `INVALID_ARGUMENT` where it passes 64 KiB or a wrap passes its limit
 */
export function headerLength(wraps: readonly Wrap[], embedded: ParsedContext | undefined): number {
  let length = IMMUTABLE_BYTES + 4 + 2 + 2 + MAC_BYTES
  for (const { identity, wrapped } of wraps) {
    if (wrapped.length === 0 || wrapped.length > MAX_WRAPPED_BYTES) {
      throw tooLarge(`a KEK gave a wrap of ${wrapped.length} bytes; 1 to ${MAX_WRAPPED_BYTES} are allowed`)
    }
    length += identity.length + 9 + wrapped.length
  }
  if (embedded !== undefined) length += embedded.canonical.length
  if (length > MAX_HEADER_BYTES) {
    throw tooLarge(`the header would take ${length} bytes, at most ${MAX_HEADER_BYTES} are allowed`)
  }
  return length
}

/**
 * Writes all of a header but its MAC, whose 32 bytes come last in `out`. `out` has `headerLength` bytes; `immutable` may
 * be a whole header.
 */
export function writeHeader(
  out: Uint8Array,
  immutable: Uint8Array,
  policy: Policy,
  wraps: readonly Wrap[],
  embedded: ParsedContext | undefined,
): void {
  copyBytes(immutable, 0, IMMUTABLE_BYTES, out, 0)
  const length = out.length
  out[25] = length >>> 24
  out[26] = (length >>> 16) & 0xff
  out[27] = (length >>> 8) & 0xff
  out[28] = length & 0xff
  out[29] = POLICY_BYTE[policy]
  out[30] = wraps.length
  let at = 31
  for (const { identity, keyVersion, mask, role, wrapped } of wraps) {
    out.set(identity, at)
    at += identity.length
    out[at] = keyVersion >>> 24
    out[at + 1] = (keyVersion >>> 16) & 0xff
    out[at + 2] = (keyVersion >>> 8) & 0xff
    out[at + 3] = keyVersion & 0xff
    out[at + 4] = mask >> 8
    out[at + 5] = mask & 0xff
    out[at + 6] = role
    out[at + 7] = wrapped.length >> 8
    out[at + 8] = wrapped.length & 0xff
    out.set(wrapped, at + 9)
    at += 9 + wrapped.length
  }
  const contextBytes = embedded === undefined ? 0 : embedded.canonical.length
  out[at] = contextBytes >> 8
  out[at + 1] = contextBytes & 0xff
  if (embedded !== undefined) out.set(embedded.canonical, at + 2)
}

/**
 * Reads the length of the header from the first 29 bytes and refuses what cannot be a version 1 envelope, before
 * anything of that size is allocated or read.
 * @throws KeyfoldError `MALFORMED_ENVELOPE`, `UNSUPPORTED_VERSION`
 */
export function parsePrefix(bytes: Uint8Array): number {
  if (bytes.length < 4 || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    throw malformed("it does not begin as an envelope does")
  }
  if (bytes.length < PREFIX_BYTES) throw malformed("it ends inside its header")
  if (bytes[4] !== VERSION) throw unsupported("version", bytes[4])
  if (bytes[5] !== SUITE) throw unsupported("suite", bytes[5])
  const kind = bytes[6]
  if (kind !== KIND.message && kind !== KIND.dataKey) throw unsupported("kind", kind)
  const exponent = bytes[7] as number
  if (exponent < MIN_SEGMENT_EXPONENT || exponent > MAX_SEGMENT_EXPONENT) {
    throw malformed("its segment size is out of range")
  }
  const pairCount = bytes[8] as number
  if (pairCount < 1 || pairCount > MAX_PAIRS) throw malformed("its pair count is out of range")
  const length = u16(bytes, 25) * 65_536 + u16(bytes, 27)
  if (length < MIN_HEADER_BYTES || length > MAX_HEADER_BYTES) {
    throw malformed("its header length is out of range")
  }
  return length
}

/**
 * Parses a header, and only in its one canonical form. `bytes` may hold more than the header.
 * @throws KeyfoldError `MALFORMED_ENVELOPE`, `UNSUPPORTED_VERSION`
 */
export function parseHeader(bytes: Uint8Array): Header {
  const length = parsePrefix(bytes)
  if (bytes.length < length) throw malformed("it ends inside its header")
  const kind = bytes[6] as Kind
  const pairCount = bytes[8] as number
  const end = length - MAC_BYTES
  const policyByte = bytes[29]
  if (policyByte !== POLICY_BYTE.all && policyByte !== POLICY_BYTE.any)
    throw malformed("its policy is unknown")
  const wrapCount = bytes[30] as number
  if (wrapCount < 1 || wrapCount > MAX_WRAPS) throw malformed("its number of wraps is out of range")
  const wraps: Wrap[] = []
  let at = 31
  for (let slot = 0; slot < wrapCount; slot++) {
    at = parseWrap(bytes, at, end, pairCount, wraps)
  }
  if (at + 2 > end) throw malformed("it ends inside its header")
  const contextEnd = at + 2 + u16(bytes, at)
  if (contextEnd !== end) throw malformed("its header length does not fit its parts")
  const embedded = contextEnd === at + 2 ? undefined : decodeContext(bytes.subarray(at + 2, contextEnd))
  if (contextEnd !== at + 2 && embedded?.pairs.length !== pairCount) {
    throw malformed("its embedded key context is not canonical")
  }
  if (kind === KIND.dataKey && embedded === undefined) {
    throw malformed("a data key without an embedded key context")
  }
  return {
    bytes: bytes.subarray(0, length),
    kind,
    segmentExponent: bytes[7] as number,
    pairCount,
    policy: policyByte === POLICY_BYTE.all ? "all" : "any",
    wraps,
    embedded,
  }
}

/** The salt of a header. */
export function saltOf(header: Uint8Array): Uint8Array {
  return header.subarray(SALT_OFFSET, IMMUTABLE_BYTES)
}

/**
 * Provider id and key id of a KEK as a wrap record encodes them; kept per KEK.
 * @throws KeyfoldError `INVALID_ARGUMENT` where they break the format's rules
 */
export function identityOf(kek: Kek): Uint8Array {
  const known = identities.get(kek)
  if (known !== undefined) return known
  const { providerId, keyId } = kek
  if (!PROVIDER_ID.test(providerId)) throw tooLarge(`"${providerId}" is not a provider id: ^[a-z0-9-]{1,32}$`)
  const keyBytes = providerId === MANAGED_PROVIDER_ID ? managedKeyBytes(keyId) : asciiKeyBytes(keyId)
  const identity = new Uint8Array(3 + providerId.length + keyBytes.length)
  identity[0] = providerId.length
  for (let i = 0; i < providerId.length; i++) identity[1 + i] = providerId.charCodeAt(i)
  identity[1 + providerId.length] = keyBytes.length >> 8
  identity[2 + providerId.length] = keyBytes.length & 0xff
  identity.set(keyBytes, 3 + providerId.length)
  identities.set(kek, identity)
  return identity
}

/** Provider id and key id in their text form. */
export function readIdentity(identity: Uint8Array): { providerId: string; keyId: string } {
  const providerEnd = 1 + (identity[0] as number)
  const providerId = String.fromCharCode(...identity.subarray(1, providerEnd))
  const key = identity.subarray(providerEnd + 2)
  const keyId =
    providerId === MANAGED_PROVIDER_ID
      ? Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("")
      : String.fromCharCode(...key)
  return { providerId, keyId }
}

/** Whether two encoded identities are the same. */
export function sameIdentity(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export function malformed(what: string): KeyfoldError {
  return new KeyfoldError("MALFORMED_ENVELOPE", `this is not a keyfold envelope, or it was damaged: ${what}`)
}

/** Parses the wrap at `at`, appends it, and gives the offset behind it. */
function parseWrap(bytes: Uint8Array, at: number, end: number, pairCount: number, wraps: Wrap[]): number {
  const providerLength = bytes[at] as number
  const keyAt = at + 1 + providerLength
  if (keyAt + 2 > end) throw malformed("it ends inside a wrap")
  if (providerLength < 1 || providerLength > MAX_PROVIDER_ID_BYTES) {
    throw malformed("a provider id's length is out of range")
  }
  for (let i = at + 1; i < keyAt; i++) {
    if (!isProviderIdByte(bytes[i] as number)) throw malformed("a provider id has a character it cannot have")
  }
  const managed = isManaged(bytes, at + 1, providerLength)
  const keyLength = u16(bytes, keyAt)
  const fixedAt = keyAt + 2 + keyLength
  if (keyLength < 1 || keyLength > MAX_KEY_ID_BYTES || (managed && keyLength !== MANAGED_KEY_ID_BYTES)) {
    throw malformed("a key id's length is out of range")
  }
  if (fixedAt + 9 > end) throw malformed("it ends inside a wrap")
  if (!managed) {
    for (let i = keyAt + 2; i < fixedAt; i++) {
      if (!isKeyIdByte(bytes[i] as number)) throw malformed("a key id has a character it cannot have")
    }
  }
  const keyVersion = u16(bytes, fixedAt) * 65_536 + u16(bytes, fixedAt + 2)
  const mask = u16(bytes, fixedAt + 4)
  const role = bytes[fixedAt + 6] as number
  const wrappedLength = u16(bytes, fixedAt + 7)
  const wrapEnd = fixedAt + 9 + wrappedLength
  if (mask === 0 || mask >> pairCount !== 0)
    throw malformed("a wrap covers no pair, or one that does not exist")
  if (role > ROLE.companion) throw malformed("a wrap's role is unknown")
  if (managed ? role === ROLE.leased : role === ROLE.companion) {
    throw malformed("a wrap's role does not fit its provider")
  }
  if (managed && keyVersion === 0) throw malformed("a managed wrap without a key version")
  if (
    wrappedLength < 1 ||
    wrappedLength > MAX_WRAPPED_BYTES ||
    (managed && wrappedLength !== MANAGED_WRAPPED_BYTES)
  ) {
    throw malformed("a wrap's length is out of range")
  }
  if (wrapEnd > end) throw malformed("it ends inside a wrap")
  const previous = wraps[wraps.length - 1]
  const inOrder =
    role === ROLE.companion
      ? previous !== undefined && previous.role !== ROLE.companion && previous.mask === mask
      : previous === undefined || lowestBit(previous.mask) < lowestBit(mask)
  if (!inOrder) throw malformed("its wraps are out of order")
  wraps.push({
    identity: bytes.subarray(at, fixedAt),
    keyVersion,
    mask,
    role,
    leased: role === ROLE.leased,
    wrapped: bytes.subarray(fixedAt + 9, wrapEnd),
  })
  return wrapEnd
}

/** The lowest set bit of a mask that has one. */
export function lowestBit(mask: number): number {
  return mask & -mask
}

function managedKeyBytes(keyId: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(keyId)) throw tooLarge("a managed key id is 32 lowercase hex digits")
  const bytes = new Uint8Array(MANAGED_KEY_ID_BYTES)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(keyId.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

function asciiKeyBytes(keyId: string): Uint8Array {
  if (!KEY_ID.test(keyId)) {
    throw tooLarge(`a key id is 1 to ${MAX_KEY_ID_BYTES} printable ASCII characters without spaces`)
  }
  return new TextEncoder().encode(keyId)
}

function isProviderIdByte(byte: number): boolean {
  return (byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d
}

/** Printable ASCII without the space: an id is safe to show on a terminal. */
function isKeyIdByte(byte: number): boolean {
  return byte >= 0x21 && byte <= 0x7e
}

function isManaged(bytes: Uint8Array, at: number, length: number): boolean {
  if (length !== MANAGED_BYTES.length) return false
  for (let i = 0; i < length; i++) if (bytes[at + i] !== MANAGED_BYTES[i]) return false
  return true
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}

function unsupported(what: string, found: number | undefined): KeyfoldError {
  return new KeyfoldError(
    "UNSUPPORTED_VERSION",
    `this envelope has ${what} ${found}, which this release does not know: read it with a newer keyfold`,
  )
}

function tooLarge(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

/** "KFLD" */
const MAGIC = [0x4b, 0x46, 0x4c, 0x44] as const
const VERSION = 1
const MANAGED_BYTES = new TextEncoder().encode(MANAGED_PROVIDER_ID)
const PROVIDER_ID = /^[a-z0-9-]{1,32}$/
const KEY_ID = /^[\x21-\x7e]{1,1024}$/
/** Fixed parts, and one wrap of the shortest kind. */
const MIN_HEADER_BYTES = IMMUTABLE_BYTES + 4 + 2 + 15 + 2 + MAC_BYTES
const identities = new WeakMap<Kek, Uint8Array>()
const beginnings = new Slab()
