/** Changes envelopes by what their fields mean, and a few by what they do not. */
import { build, canonical, type Parts, take, type WrapParts } from "../../test-vectors/make/surgery.ts"
import type { Chance } from "./chance.ts"
import type { Sample } from "./samples.ts"

export type Mutant = {
  /** A changed envelope in its bytes or its text form. */
  readonly envelope: Uint8Array | string
  readonly what: readonly string[]
}

/** A changed envelope; never the one it was made from. */
export function mutateEnvelope(chance: Chance, sample: Sample, others: readonly Sample[]): Mutant {
  const what: string[] = []
  if (chance.oneIn(12)) return mutateText(chance, sample, what)
  if (sample.policy === "all" && chance.oneIn(8)) return byOneWhoHoldsTheDek(chance, sample, others, what)
  let bytes: Buffer = Buffer.from(sample.bytes)
  const rounds = 1 + (chance.oneIn(3) ? chance.below(3) : 0)
  for (let i = 0; i < rounds; i++) {
    const strategy = chance.below(10)
    if (strategy < 5) bytes = mutateParts(chance, bytes, others, what)
    else if (strategy < 9) bytes = mutateBytes(chance, bytes, others, what)
    else bytes = invent(chance, what)
  }
  if (bytes.equals(sample.bytes)) {
    what.push("one bit")
    bytes[chance.below(bytes.length)]! ^= 1 << chance.below(8)
  }
  return { envelope: Uint8Array.from(bytes), what }
}

/** A sender who holds the DEK makes the MAC hold again, whatever it did to the wraps (threats A3, T5). */
function byOneWhoHoldsTheDek(
  chance: Chance,
  sample: Sample,
  others: readonly Sample[],
  what: string[],
): Mutant {
  const parts = take(sample.bytes)
  mutateWraps(chance, parts, others, what, true)
  if (chance.oneIn(4)) {
    what.push("policy")
    parts.policy = 3 - parts.policy
  }
  what.push("with a MAC that holds")
  const bytes = build(parts, sample.dek, sample.digest)
  if (bytes.equals(sample.bytes)) bytes[9 + chance.below(16)]! ^= 1
  return { envelope: Uint8Array.from(bytes), what }
}

/** Reads a header, changes parts of it, and writes it again, with lengths that fit or lie. */
function mutateParts(chance: Chance, bytes: Buffer, others: readonly Sample[], what: string[]): Buffer {
  let parts: Parts
  try {
    parts = take(bytes)
  } catch {
    return mutateBytes(chance, bytes, others, what) // an earlier change left nothing to read
  }
  const change = chance.pick(PART_CHANGES)
  what.push(change)
  const other = () => take(chance.pick(others).bytes)
  switch (change) {
    case "immutable":
      parts.immutable[chance.pick([0, 1, 2, 3, 4, 5, 6, 7, 8, 9 + chance.below(16)])] = chance.next()
      break
    case "salt of another":
      other().immutable.copy(parts.immutable, 9, 9)
      break
    case "policy":
      parts.policy = chance.pick([0, 1, 2, 3, 255, chance.below(256)])
      break
    case "wraps":
      mutateWraps(chance, parts, others, what)
      break
    case "wraps of another":
      parts.wraps = other().wraps
      break
    case "header of another":
      return Buffer.concat([build({ ...other(), payload: Buffer.alloc(0) }), parts.payload])
    case "counts":
      if (chance.oneIn(2)) parts.wrapCount = chance.pick([0, 1, parts.wraps.length + 1, 20, 21, 255])
      else parts.headerLength = lie(chance, bytes.readUInt32BE(25), 2 ** 32)
      break
    case "context length":
      parts.contextLength = lie(chance, parts.context.length, 65_536)
      break
    case "context":
      parts.context = mutateContextBytes(chance, parts.context, other().context)
      break
    case "mac":
      parts.mac = chance.pick([other().mac, Buffer.alloc(32), chance.bytes(32), parts.mac.subarray(0, 16)])
      break
    case "payload":
      parts.payload = mutatePayload(chance, parts, other().payload)
      break
  }
  return build(parts)
}

const PART_CHANGES = [
  "immutable",
  "salt of another",
  "policy",
  "wraps",
  "wraps",
  "wraps",
  "wraps of another",
  "header of another",
  "counts",
  "context length",
  "context",
  "mac",
  "payload",
  "payload",
] as const

function mutateWraps(
  chance: Chance,
  parts: Parts,
  others: readonly Sample[],
  what: string[],
  holdsDek = false,
): void {
  const { wraps } = parts
  if (wraps.length === 0) return
  const at = chance.below(wraps.length)
  const wrap = { ...(wraps[at] as WrapParts) }
  wraps[at] = wrap
  const foreign = () => chance.pick(take(chance.pick(others).bytes).wraps)
  const change = chance.pick(WRAP_CHANGES)
  what.push(change)
  switch (change) {
    case "swap wraps": {
      const to = chance.below(wraps.length)
      ;[wraps[at], wraps[to]] = [wraps[to] as WrapParts, wraps[at] as WrapParts]
      if (at === to) wraps.reverse()
      break
    }
    case "drop a wrap":
      wraps.splice(at, 1)
      break
    case "double a wrap":
      wraps.splice(chance.below(wraps.length + 1), 0, { ...wrap })
      break
    case "many wraps":
      while (wraps.length < 19 + chance.below(3)) wraps.push({ ...wrap })
      break
    case "a foreign wrap":
      wraps[at] = foreign()
      break
    case "a foreign wrap more":
      wraps.splice(chance.below(wraps.length + 1), 0, foreign())
      break
    case "provider":
      wrap.provider = chance.pick([
        Buffer.from("managed"),
        Buffer.from("aws-kms"),
        Buffer.alloc(0),
        Buffer.from("AWS-KMS"),
        chance.bytes(chance.below(40)),
        foreign().provider,
      ])
      break
    case "key id":
      wrap.keyId = chance.pick([
        Buffer.alloc(0),
        foreign().keyId,
        chance.bytes(16),
        Buffer.alloc(1024 + chance.below(3), "k"),
        Buffer.concat([wrap.keyId, Buffer.from("x")]),
        Buffer.from(wrap.keyId.toString("latin1").toUpperCase(), "latin1"),
      ])
      break
    case "key version":
      // Google finds the version in its own ciphertext: who holds the DEK may write what it likes beside it.
      if (holdsDek && wrap.provider.toString("latin1") === "gcp-kms") wrap.role ^= 1
      wrap.version = chance.pick([0, 1, 2, Math.min(wrap.version + 1, 2 ** 32 - 1), 2 ** 31, 2 ** 32 - 1])
      break
    case "mask":
      wrap.mask = chance.pick([0, 1, 2, 3, wrap.mask << 1, 0x8000, 0xffff, chance.below(65_536)]) & 0xffff
      break
    case "role":
      wrap.role = chance.pick([0, 1, 2, 3, 255])
      break
    case "wrapped bytes":
      wrap.wrapped = mutateWrapped(chance, wrap.wrapped, foreign().wrapped)
      break
  }
}

const WRAP_CHANGES = [
  "swap wraps",
  "drop a wrap",
  "double a wrap",
  "many wraps",
  "a foreign wrap",
  "a foreign wrap more",
  "provider",
  "key id",
  "key version",
  "mask",
  "role",
  "wrapped bytes",
  "wrapped bytes",
] as const

function mutateWrapped(chance: Chance, wrapped: Buffer, foreign: Buffer): Buffer {
  const bytes = Buffer.from(wrapped)
  switch (chance.below(6)) {
    case 0:
      return foreign
    case 1:
      return bytes.subarray(0, chance.below(bytes.length + 1))
    case 2:
      return Buffer.concat([bytes, chance.bytes(1 + chance.below(4))])
    case 3:
      return Buffer.alloc(chance.pick([0, 1, 17, 18, 75, 76, 77, 8192, 8193]), chance.next())
    case 4:
      // The length of a lease's wrapped key.
      if (bytes.length > 18) bytes.writeUInt16BE(lie(chance, bytes.readUInt16BE(16), 65_536), 16)
      return bytes
    default:
      if (bytes.length > 0) bytes[chance.below(bytes.length)]! ^= 1 << chance.below(8)
      return bytes
  }
}

function mutateContextBytes(chance: Chance, context: Buffer, foreign: Buffer): Buffer {
  const field = () =>
    chance.pick(["", "a", "b", "\u0000", "keyfold:x", "é", "x".repeat(121), Buffer.from([0xff])])
  switch (chance.below(5)) {
    case 0:
      return Buffer.alloc(0)
    case 1:
      return foreign
    case 2:
      return canonical(Array.from({ length: chance.below(12) }, () => [field(), field()] as const))
    case 3:
      return canonical([[field(), field()]], chance.below(12))
    default: {
      const bytes = Buffer.concat([context, chance.bytes(chance.below(2))])
      if (bytes.length > 0) bytes[chance.below(bytes.length)] = chance.next()
      return bytes
    }
  }
}

/** Cuts, swaps, drops and doubles segments, and lengthens or shortens the last. */
function mutatePayload(chance: Chance, { immutable, payload }: Parts, foreign: Buffer): Buffer {
  const stride = 2 ** Math.min(20, immutable[7] as number) + 16
  const segments: Buffer[] = []
  for (let at = 0; at < payload.length; at += stride) segments.push(payload.subarray(at, at + stride))
  const at = chance.below(Math.max(1, segments.length))
  switch (chance.below(8)) {
    case 0:
      return payload.subarray(0, chance.below(payload.length + 1))
    case 1:
      return Buffer.concat([payload, chance.bytes(1 + chance.below(20))])
    case 2:
      return foreign
    case 3:
      segments.splice(at, 1)
      return Buffer.concat(segments)
    case 4:
      return Buffer.concat([...segments, ...segments.slice(at)])
    case 5:
      return Buffer.concat(segments.reverse())
    case 6:
      return Buffer.concat([...segments.slice(0, at), foreign])
    default: {
      const bytes = Buffer.from(payload)
      if (bytes.length > 0) bytes[chance.below(bytes.length)]! ^= 1 << chance.below(8)
      return bytes
    }
  }
}

function mutateBytes(chance: Chance, given: Buffer, others: readonly Sample[], what: string[]): Buffer {
  const bytes = Buffer.from(given)
  if (bytes.length === 0) return chance.bytes(chance.below(40))
  const at = chance.below(bytes.length)
  const strategy = chance.below(8)
  what.push(["bit", "byte", "cut", "longer", "left out", "inserted", "joined", "number"][strategy] as string)
  switch (strategy) {
    case 0:
      bytes[at]! ^= 1 << chance.below(8)
      return bytes
    case 1:
      bytes[at] = chance.pick([0, 1, 0x7f, 0x80, 0xff, chance.below(256)])
      return bytes
    case 2:
      return bytes.subarray(0, at)
    case 3:
      return Buffer.concat([bytes, chance.bytes(1 + chance.below(64))])
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + chance.below(32))])
    case 5:
      return Buffer.concat([bytes.subarray(0, at), chance.bytes(1 + chance.below(32)), bytes.subarray(at)])
    case 6: {
      const other = chance.pick(others).bytes
      return Buffer.concat([
        bytes.subarray(0, at),
        other.subarray(chance.oneIn(2) ? at : chance.below(other.length)),
      ])
    }
    default: {
      const value = chance.pick([0, 1, 0x7fff, 0xffff, chance.below(65_536)])
      if (at + 2 <= bytes.length) bytes.writeUInt16BE(value, at)
      return bytes
    }
  }
}

/** A header that nobody wrote: right at its beginning, wrong somewhere behind. */
function invent(chance: Chance, what: string[]): Buffer {
  what.push("invented")
  const length = chance.pick([80, 81, 200, 65_535, 65_536, 65_537, 2 ** 31, 2 ** 32 - 1])
  const start = Buffer.alloc(31)
  start.write("KFLD")
  start.set([1, 1, chance.pick([1, 2]), 12 + chance.below(9), 1 + chance.below(10)], 4)
  chance.bytes(16).copy(start, 9)
  start.writeUInt32BE(length, 25)
  start.set([chance.pick([1, 2]), chance.pick([1, 2, 20, 21])], 29)
  const wrap = Buffer.concat([
    Buffer.from([7]),
    Buffer.from("managed"),
    Buffer.from([0, 16]),
    chance.bytes(16),
  ])
  return Buffer.concat([start, chance.oneIn(2) ? wrap : Buffer.alloc(0), chance.bytes(chance.below(300))])
}

function mutateText(chance: Chance, sample: Sample, what: string[]): Mutant {
  const text = Buffer.from(sample.bytes).toString("base64url")
  const at = chance.below(text.length)
  const change = chance.below(7)
  what.push(
    ["text: a character", "cut", "padding", "blank", "line", "alphabet", "spare bits"][change] as string,
  )
  const replaced = (by: string) => text.slice(0, at) + by + text.slice(at + 1)
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
  const variants = [
    replaced(chance.pick([..."+/=. \n\u0000é💡", alphabet[chance.below(64)] as string])),
    text.slice(0, at),
    `${text}${"=".repeat(1 + chance.below(2))}`,
    ` ${text}`,
    replaced(`${text[at]}\n`),
    text.replaceAll("-", "+").replaceAll("_", "/"),
    text.slice(0, -1) + alphabet[(alphabet.indexOf(text.at(-1) as string) ^ 1) & 63],
  ]
  const envelope = variants[change] as string
  return envelope === text ? { envelope: `${text}A`, what } : { envelope, what }
}

/** A number near the true one, or far from it. */
function lie(chance: Chance, truth: number, bound: number): number {
  const value = chance.pick([0, 1, truth - 1, truth + 1, truth * 2, bound - 1, chance.below(bound)])
  return Math.max(0, Math.min(bound - 1, value))
}
