import { type Engine, openEnvelope } from "./engine.ts"
import { KIND, PREFIX_BYTES, parsePrefix } from "./envelope.ts"
import { decryptionFailed, KeyfoldError } from "./errors.ts"
import { type Operation, throwIfAborted } from "./kek-call.ts"
import { allocate, checkKind, type Decrypted, type DecryptOptions } from "./message.ts"
import { digestAad, layoutOf, Segments, TAG_BYTES } from "./payload.ts"

/** An envelope that can be read anywhere: a file, an object in a store. */
export type RangeSource = {
  /** Length of the whole envelope in bytes. */
  readonly size: number
  /** The `length` bytes at `offset`; fewer only where the envelope ends. */
  readonly read: (offset: number, length: number) => Promise<Uint8Array>
}

/** Decrypts plaintext bytes `[start, end)`; `end` undefined means to the end. */
export async function decryptRange(
  engine: Engine,
  operation: Operation,
  source: Uint8Array | Blob | RangeSource,
  start: number,
  end: number | undefined,
  options: DecryptOptions,
): Promise<Decrypted> {
  checkRange(start, end)
  const aadDigest = digestAad(options.aad)
  const { size, read } = toSource(source)
  const headerBytes = parsePrefix(await read(0, Math.min(PREFIX_BYTES, size)))
  const opened = await openEnvelope(engine, operation, await read(0, Math.min(headerBytes, size)), options)
  checkKind(opened, KIND.message)
  const { header, context, dek, keys } = opened
  dek.fill(0)
  let plaintext: Uint8Array | undefined
  let tail: Uint8Array | undefined
  try {
    const segmentBytes = 2 ** header.segmentExponent
    const stride = segmentBytes + TAG_BYTES
    const { plaintextBytes, segments } = layoutOf(size - headerBytes, segmentBytes)
    const payload = new Segments(keys.content, header.bytes, context.digest, aadDigest)
    const openSegment = async (counter: number) => {
      const offset = headerBytes + counter * stride
      const sealed = await read(offset, Math.min(stride, size - offset))
      throwIfAborted(operation.signal)
      return payload.open(sealed, counter, counter === segments - 1)
    }
    const to = Math.min(end ?? plaintextBytes, plaintextBytes)
    const from = Math.min(start, to)
    // A range that touches the end also proves where the end is, before memory is taken for what a source claims.
    const touchesEnd = end === undefined || end >= plaintextBytes
    if (touchesEnd) tail = await openSegment(segments - 1)
    plaintext = allocate(to - from)
    const first = Math.min(Math.floor(from / segmentBytes), segments - 1)
    const last = to === from ? first : Math.ceil(to / segmentBytes) - 1
    for (let i = first; i <= last; i++) {
      const piece = tail !== undefined && i === segments - 1 ? tail : await openSegment(i)
      const at = i * segmentBytes
      const wanted = piece.subarray(Math.max(0, from - at), Math.max(0, to - at))
      plaintext.set(wanted, Math.max(0, at - from))
      piece.fill(0)
    }
    return { plaintext, context: context.object }
  } catch (error) {
    plaintext?.fill(0)
    throw error
  } finally {
    tail?.fill(0)
    keys.wipe()
  }
}

function checkRange(start: number, end: number | undefined): void {
  if (!Number.isSafeInteger(start) || start < 0) {
    throw new KeyfoldError("INVALID_ARGUMENT", "start is a whole number of bytes, 0 or more")
  }
  if (end !== undefined && (!Number.isSafeInteger(end) || end < start)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "end is a whole number of bytes, not before start")
  }
}

function toSource(source: Uint8Array | Blob | RangeSource): RangeSource {
  if (source instanceof Uint8Array) {
    return { size: source.length, read: async (offset, length) => source.subarray(offset, offset + length) }
  }
  if (source instanceof Blob) {
    return {
      size: source.size,
      read: async (offset, length) =>
        new Uint8Array(await source.slice(offset, offset + length).arrayBuffer()),
    }
  }
  const size: unknown = source?.size
  if (
    typeof source?.read !== "function" ||
    typeof size !== "number" ||
    !Number.isSafeInteger(size) ||
    size < 0
  ) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a range source has a size in bytes and a read function")
  }
  return {
    size,
    read: async (offset, length) => {
      const bytes: unknown = await source.read(offset, length)
      if (!(bytes instanceof Uint8Array)) {
        throw new KeyfoldError("INVALID_ARGUMENT", "the read function of a range source gives a Uint8Array")
      }
      if (bytes.length !== length) throw decryptionFailed()
      return bytes
    },
  }
}
