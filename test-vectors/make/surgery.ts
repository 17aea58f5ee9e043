/**
 * Reads and rebuilds envelopes without core, from docs/format.md, so that hostile vectors do not depend on the code
 * they are to test. It can give any header a MAC that holds, for whoever knows the DEK.
 */
import { createHash, createHmac } from "node:crypto"

export type WrapParts = {
  provider: Buffer
  keyId: Buffer
  version: number
  mask: number
  role: number
  wrapped: Buffer
}

/** An envelope in parts; every field can be set to what no writer would set it to. */
export type Parts = {
  /** The 25 immutable bytes. */
  immutable: Buffer
  policy: number
  wraps: WrapParts[]
  context: Buffer
  mac: Buffer
  payload: Buffer
  /** Set to lie about a length or count. */
  headerLength?: number
  wrapCount?: number
  contextLength?: number
}

export function take(envelope: Uint8Array): Parts {
  const bytes = Buffer.from(envelope)
  const end = bytes.readUInt32BE(25)
  const wraps: WrapParts[] = []
  let at = 31
  for (let i = 0; i < bytes.readUInt8(30); i++) {
    const provider = bytes.subarray(at + 1, at + 1 + bytes.readUInt8(at))
    at += 1 + provider.length
    const keyId = bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at))
    at += 2 + keyId.length
    const wrapped = bytes.subarray(at + 9, at + 9 + bytes.readUInt16BE(at + 7))
    const [version, mask, role] = [
      bytes.readUInt32BE(at),
      bytes.readUInt16BE(at + 4),
      bytes.readUInt8(at + 6),
    ]
    wraps.push({
      provider: Buffer.from(provider),
      keyId: Buffer.from(keyId),
      version,
      mask,
      role,
      wrapped: Buffer.from(wrapped),
    })
    at += 9 + wrapped.length
  }
  return {
    immutable: Buffer.from(bytes.subarray(0, 25)),
    policy: bytes.readUInt8(29),
    wraps,
    context: Buffer.from(bytes.subarray(at + 2, end - 32)),
    mac: Buffer.from(bytes.subarray(end - 32, end)),
    payload: Buffer.from(bytes.subarray(end)),
  }
}

/** Puts the parts together; with a DEK the MAC is made to hold, otherwise it is `parts.mac`. */
export function build(parts: Parts, dek?: Uint8Array, digest?: Uint8Array): Buffer {
  const wraps = parts.wraps.map((wrap) =>
    Buffer.concat([
      u8(wrap.provider.length),
      wrap.provider,
      u16(wrap.keyId.length),
      wrap.keyId,
      u32(wrap.version),
      u16(wrap.mask),
      u8(wrap.role),
      u16(wrap.wrapped.length),
      wrap.wrapped,
    ]),
  )
  const rest = Buffer.concat([
    u8(parts.policy),
    u8(parts.wrapCount ?? wraps.length),
    ...wraps,
    u16(parts.contextLength ?? parts.context.length),
    parts.context,
  ])
  const header = Buffer.concat([parts.immutable, u32(parts.headerLength ?? 29 + rest.length + 32), rest])
  const mac =
    dek && digest ? hmac("sha256", keysOf(parts.immutable, dek, digest).subarray(32), header) : parts.mac
  return Buffer.concat([header, mac, parts.payload])
}

/** contentKey ‖ headerKey. */
export function keysOf(immutable: Uint8Array, dek: Uint8Array, digest: Uint8Array): Buffer {
  return hmac("sha512", dek, Buffer.concat([Buffer.from("keyfold/v1"), immutable, digest, Buffer.of(1)]))
}

/** Canonical bytes of pairs in the order given, right or wrong. */
export function canonical(
  pairs: readonly (readonly [string | Buffer, string | Buffer])[],
  count = pairs.length,
): Buffer {
  const fields = pairs.flatMap((pair) =>
    pair.flatMap((field) => [u16(Buffer.from(field as string).length), Buffer.from(field as string)]),
  )
  return Buffer.concat([u8(count), ...fields])
}

export function digestOf(context: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(context).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  return createHash("sha256").update("keyfold/v1/context").update(canonical(pairs)).digest()
}

function hmac(hash: string, key: Uint8Array, data: Uint8Array): Buffer {
  return createHmac(hash, key).update(data).digest()
}

const u8 = (value: number) => Buffer.of(value)
function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
