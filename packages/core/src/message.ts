import { type KeyContext, type ParsedContext, parseContext } from "./context.ts"
import {
  beginEnvelope,
  chain,
  checkPolicyName,
  type Engine,
  type OpenedEnvelope,
  type OpenOptions,
  openEnvelope,
  rewrapHeader,
} from "./engine.ts"
import { KIND, type Kind, type Policy } from "./envelope.ts"
import { decryptionFailed, KeyfoldError } from "./errors.ts"
import type { Operation } from "./kek-call.ts"
import { digestAad, isDetached, layoutOf, Segments, segmentCount, TAG_BYTES } from "./payload.ts"
import { checkTextFits, decodeText, encodeText } from "./text.ts"

/** How to encrypt; only `context` is needed. */
export type EncryptOptions = {
  /** The key context: 1 to 10 name/value pairs. Decryption needs the same one. */
  readonly context: KeyContext
  /** Additional authenticated data, at most 64 KiB: not stored, and needed again to decrypt. */
  readonly aad?: Uint8Array
  /** `all` (default): every KEK must take part. `any`: each KEK alone opens; see docs/format.md, "Policies". */
  readonly policy?: Policy
  /** Stores the key context, readable by anyone, in the envelope, so that `authorize` can open it. Default false. */
  readonly embedContext?: boolean
  /** Ends the operation, which then fails with `ABORTED`. */
  readonly signal?: AbortSignal
}

/** The form of what is made: bytes (default), or base64url for text columns. */
export type Output = "bytes" | "base64url"

/** How to decrypt: with the context, or with `authorize` where the envelope embeds it. */
export type DecryptOptions = OpenOptions & {
  /** The additional authenticated data that was given to encrypt. */
  readonly aad?: Uint8Array
}

export type RewrapOptions = OpenOptions & {
  /** A new policy; the envelope's own is kept where none is given. */
  readonly policy?: Policy
}

/** Plaintext, with the authenticated context it was encrypted under. */
export type Decrypted = { readonly plaintext: Uint8Array; readonly context: KeyContext }

/** Length of a data key in bytes. */
export const DATA_KEY_BYTES = 32
/** One-shot payloads are cut into segments of 1 MiB, so what is shorter has one tag. */
const ONE_SHOT_EXPONENT = 20

export function encrypt(
  engine: Engine,
  operation: Operation,
  plaintext: Uint8Array | string,
  options: EncryptOptions & { readonly output?: Output },
): Uint8Array | string | Promise<Uint8Array | string> {
  const format = formatter(options.output)
  const context = parseContext(options.context)
  const bytes = toBytes(plaintext)
  if (options.output === "base64url") checkTextFits(bytes.length)
  const sealed = sealPayload(engine, operation, bytes, context, KIND.message, options)
  return chain(sealed, format)
}

export function decrypt(
  engine: Engine,
  operation: Operation,
  envelope: Uint8Array | string,
  options: DecryptOptions,
): Decrypted | Promise<Decrypted> {
  return openPayload(engine, operation, envelope, KIND.message, options)
}

/** Whatever the kind: a new DEK, salt and wraps for the same payload, context and additional data. */
export async function reencrypt(
  engine: Engine,
  operation: Operation,
  envelope: Uint8Array | string,
  options: DecryptOptions & RewrapOptions,
): Promise<Uint8Array | string> {
  const aadDigest = digestAad(options.aad)
  if (options.policy !== undefined) checkPolicyName(options.policy)
  const bytes = envelopeBytes(envelope)
  const opened = await openEnvelope(engine, operation, bytes, options)
  const { header, context } = opened
  const plaintext = readPayload(opened, bytes.subarray(header.bytes.length), aadDigest)
  try {
    const sealed = await sealPayload(engine, operation, plaintext, context, header.kind, {
      ...(options.aad !== undefined && { aad: options.aad }),
      policy: options.policy ?? header.policy,
      embedContext: header.embedded !== undefined,
      segmentExponent: header.segmentExponent,
    })
    return sameForm(envelope, sealed)
  } finally {
    plaintext.fill(0)
  }
}

/** New wraps, same payload bytes. Also for a header alone: what follows it is copied as it is. */
export async function rewrap(
  engine: Engine,
  operation: Operation,
  envelope: Uint8Array | string,
  options: RewrapOptions,
): Promise<Uint8Array | string> {
  if (options.policy !== undefined) checkPolicyName(options.policy)
  const bytes = envelopeBytes(envelope)
  const opened = await openEnvelope(engine, operation, bytes, options)
  try {
    const header = await rewrapHeader(engine, operation, opened, options.policy)
    const payload = bytes.subarray(opened.header.bytes.length)
    const rewrapped = new Uint8Array(header.length + payload.length)
    rewrapped.set(header)
    rewrapped.set(payload, header.length)
    return sameForm(envelope, rewrapped)
  } finally {
    opened.dek.fill(0)
    opened.keys.wipe()
  }
}

/** Encrypts `plaintext` into a whole envelope. */
export function sealPayload(
  engine: Engine,
  operation: Operation,
  plaintext: Uint8Array,
  context: ParsedContext,
  kind: Kind,
  options: {
    readonly aad?: Uint8Array
    readonly policy?: Policy
    readonly embedContext?: boolean
    readonly segmentExponent?: number
  },
): Uint8Array | Promise<Uint8Array> {
  const aadDigest = digestAad(options.aad)
  const segmentExponent = options.segmentExponent ?? ONE_SHOT_EXPONENT
  const segmentBytes = 2 ** segmentExponent
  const { length } = plaintext
  if (isDetached(plaintext)) throw changed()
  const segments = segmentCount(length, segmentBytes)
  const begun = beginEnvelope(engine, operation, context, {
    kind,
    segmentExponent,
    policy: options.policy,
    embedContext: options.embedContext ?? false,
  })
  return chain(begun, ({ immutable, keys, headerBytes, writeHeaderTo }) => {
    try {
      if (plaintext.length !== length || isDetached(plaintext)) throw changed()
      const out = allocate(headerBytes + length + segments * TAG_BYTES)
      writeHeaderTo(out)
      const payload = new Segments(keys.content, immutable, context.digest, aadDigest)
      for (let i = 0, from = 0, at = headerBytes; i < segments; i++) {
        const segment = segments === 1 ? plaintext : plaintext.subarray(from, from + segmentBytes)
        payload.sealInto(segment, i, i === segments - 1, out, at)
        from += segmentBytes
        at += segment.length + TAG_BYTES
      }
      return out
    } finally {
      keys.wipe()
    }
  })
}

/** Decrypts a whole envelope of one kind. */
export function openPayload(
  engine: Engine,
  operation: Operation,
  envelope: Uint8Array | string,
  kind: Kind,
  options: DecryptOptions,
): Decrypted | Promise<Decrypted> {
  const aadDigest = digestAad(options.aad)
  const bytes = envelopeBytes(envelope)
  return chain(openEnvelope(engine, operation, bytes, options), (opened) => {
    checkKind(opened, kind)
    const plaintext = readPayload(opened, bytes.subarray(opened.header.bytes.length), aadDigest)
    return { plaintext, context: opened.context.object }
  })
}

/** @throws KeyfoldError `DECRYPTION_FAILED`: data keys and messages refuse each other's calls */
export function checkKind({ header, dek, keys }: OpenedEnvelope, kind: Kind): void {
  if (header.kind === kind) return
  dek.fill(0)
  keys.wipe()
  throw decryptionFailed()
}

/** An envelope in either of its forms, as bytes. */
export function envelopeBytes(envelope: unknown): Uint8Array {
  if (typeof envelope === "string") return decodeText(envelope)
  if (envelope instanceof Uint8Array) return envelope
  throw new KeyfoldError("INVALID_ARGUMENT", "an envelope is a Uint8Array or a base64url string")
}

/** `bytes` in the form that `given` has. */
export function sameForm(given: Uint8Array | string, bytes: Uint8Array): Uint8Array | string {
  return typeof given === "string" ? encodeText(bytes) : bytes
}

/** What turns bytes into the form asked for. @throws KeyfoldError `INVALID_ARGUMENT` */
export function formatter(output: Output | undefined): (bytes: Uint8Array) => Uint8Array | string {
  if (output === undefined || output === "bytes") return (bytes) => bytes
  if (output === "base64url") return encodeText
  throw new KeyfoldError("INVALID_ARGUMENT", 'output is "bytes" or "base64url"')
}

/** Opens every segment of a payload, and wipes the keys of the envelope. */
function readPayload(opened: OpenedEnvelope, sealed: Uint8Array, aadDigest: Uint8Array): Uint8Array {
  const { header, context, keys, dek } = opened
  let plaintext: Uint8Array | undefined
  try {
    const segmentBytes = 2 ** header.segmentExponent
    const { plaintextBytes, segments } = layoutOf(sealed.length, segmentBytes)
    if (header.kind === KIND.dataKey && plaintextBytes !== DATA_KEY_BYTES) throw decryptionFailed()
    const payload = new Segments(keys.content, header.bytes, context.digest, aadDigest)
    if (segments === 1) return payload.open(sealed, 0, true)
    plaintext = allocate(plaintextBytes)
    const stride = segmentBytes + TAG_BYTES
    for (let i = 0; i < segments; i++) {
      const piece = payload.open(sealed.subarray(i * stride, (i + 1) * stride), i, i === segments - 1)
      plaintext.set(piece, i * segmentBytes)
      piece.fill(0)
    }
    return plaintext
  } catch (error) {
    plaintext?.fill(0)
    throw error
  } finally {
    keys.wipe()
    dek.fill(0)
  }
}

function toBytes(plaintext: unknown): Uint8Array {
  if (plaintext instanceof Uint8Array) return plaintext
  if (typeof plaintext !== "string") {
    throw new KeyfoldError("INVALID_ARGUMENT", "plaintext is a Uint8Array or a string")
  }
  if (!plaintext.isWellFormed()) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "plaintext is not well-formed Unicode (it has a lone surrogate)",
    )
  }
  return new TextEncoder().encode(plaintext)
}

function changed(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    "the plaintext was transferred or resized: leave it alone until the call is done",
  )
}

/** @throws KeyfoldError `INVALID_ARGUMENT` where the runtime has no array that long */
export function allocate(bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes)
  } catch (cause) {
    throw new KeyfoldError("INVALID_ARGUMENT", `${bytes} bytes do not fit one array: use a stream`, { cause })
  }
}
