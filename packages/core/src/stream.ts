import { ByteReader } from "./byte-reader.ts"
import { type KeyContext, parseContext } from "./context.ts"
import { beginEnvelope, type Engine, openEnvelope } from "./engine.ts"
import { KIND, MAX_SEGMENT_EXPONENT, MIN_SEGMENT_EXPONENT, PREFIX_BYTES, parsePrefix } from "./envelope.ts"
import { decryptionFailed, KeyfoldError } from "./errors.ts"
import { aborted, type Operation } from "./kek-call.ts"
import { checkKind, type DecryptOptions, type EncryptOptions } from "./message.ts"
import { checkSegmentCount, digestAad, MAX_SEGMENTS, Segments, TAG_BYTES } from "./payload.ts"

export type EncryptStreamOptions = EncryptOptions & {
  /** Plaintext bytes per segment, a power of two from 4 KiB to 1 MiB. Default 64 KiB. */
  readonly segmentBytes?: number
}

/** A plaintext as it is verified, with the authenticated context. */
export type DecryptedStream = { readonly plaintext: ReadableStream<Uint8Array>; readonly context: KeyContext }

/** Readers of a stream wait for a segment, so a small one keeps memory and latency low. */
const STREAM_SEGMENT_BYTES = 2 ** 16

export async function encryptStream(
  engine: Engine,
  operation: Operation,
  source: ReadableStream<Uint8Array>,
  options: EncryptStreamOptions,
): Promise<ReadableStream<Uint8Array>> {
  const segmentBytes = options.segmentBytes ?? STREAM_SEGMENT_BYTES
  const segmentExponent = Math.log2(segmentBytes)
  if (
    !Number.isInteger(segmentExponent) ||
    2 ** segmentExponent !== segmentBytes ||
    segmentExponent < MIN_SEGMENT_EXPONENT ||
    segmentExponent > MAX_SEGMENT_EXPONENT
  ) {
    throw new KeyfoldError("INVALID_ARGUMENT", "segmentBytes is a power of two from 4,096 to 1,048,576")
  }
  const aadDigest = digestAad(options.aad)
  const context = parseContext(options.context)
  const reader = readerOf(source)
  const begun = await orGiveUp(reader, operation.signal, async () =>
    beginEnvelope(engine, operation, context, {
      kind: KIND.message,
      segmentExponent,
      policy: options.policy,
      embedContext: options.embedContext ?? false,
    }),
  )
  const header = new Uint8Array(begun.headerBytes)
  begun.writeHeaderTo(header)
  const segments = new Segments(begun.keys.content, begun.immutable, context.digest, aadDigest)
  // Every segment is copied here: a source that fills one buffer again and again would change it while we look whether
  // more follows. One array for all of them, because a fresh one costs more than the copy (docs/performance.md).
  const copy = new Uint8Array(segmentBytes)
  const wipe = () => {
    begun.keys.wipe()
    copy.fill(0)
  }
  return segmentStream(reader, wipe, options.signal, header, async (counter, enqueue) => {
    checkSegmentCount(counter + 1)
    const piece = await reader.read(segmentBytes)
    copy.set(piece)
    const last = await reader.atEnd()
    const { ciphertext, tag } = segments.seal(copy.subarray(0, piece.length), counter, last)
    if (ciphertext.length > 0) enqueue(ciphertext)
    enqueue(tag)
    return last
  })
}

export async function decryptStream(
  engine: Engine,
  operation: Operation,
  source: ReadableStream<Uint8Array>,
  options: DecryptOptions,
): Promise<DecryptedStream> {
  const aadDigest = digestAad(options.aad)
  const reader = readerOf(source)
  const opened = await orGiveUp(reader, operation.signal, async () => {
    const prefix = await reader.read(PREFIX_BYTES)
    const rest = await reader.read(parsePrefix(prefix) - PREFIX_BYTES)
    const bytes = new Uint8Array(prefix.length + rest.length)
    bytes.set(prefix)
    bytes.set(rest, prefix.length)
    const opened = await openEnvelope(engine, operation, bytes, options)
    checkKind(opened, KIND.message)
    return opened
  })
  const { header, context, dek, keys } = opened
  dek.fill(0)
  const segments = new Segments(keys.content, header.bytes, context.digest, aadDigest)
  const stride = 2 ** header.segmentExponent + TAG_BYTES
  const wipe = () => keys.wipe()
  const plaintext = segmentStream(reader, wipe, options.signal, undefined, async (counter, enqueue) => {
    const sealed = await reader.read(stride)
    const last = await reader.atEnd()
    if (counter === MAX_SEGMENTS || (counter > 0 && sealed.length <= TAG_BYTES)) throw decryptionFailed()
    const piece = segments.open(sealed, counter, last)
    if (piece.length > 0) enqueue(piece)
    return last
  })
  return { plaintext, context: context.object }
}

/** Gives the source up where there will be no stream to read it: after a failure, and at once on abort. */
async function orGiveUp<T>(
  reader: ByteReader,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const giveUp = (reason: unknown) => void reader.cancel(reason).catch(() => undefined) // it may have failed first
  const onAbort = () => giveUp(signal?.reason)
  signal?.addEventListener("abort", onAbort)
  try {
    return await work()
  } catch (error) {
    giveUp(error)
    throw error
  } finally {
    signal?.removeEventListener("abort", onAbort)
  }
}

/**
 * A stream that makes one segment each time its reader asks, and wipes its keys when it ends, fails or is given up.
 * `step` enqueues a segment and says whether it was the last.
 */
function segmentStream(
  reader: ByteReader,
  wipe: () => void,
  signal: AbortSignal | undefined,
  first: Uint8Array | undefined,
  step: (counter: number, enqueue: (piece: Uint8Array) => void) => Promise<boolean>,
): ReadableStream<Uint8Array> {
  let counter = 0
  let onAbort: (() => void) | undefined
  const end = () => {
    wipe()
    if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort)
  }
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        if (first !== undefined) controller.enqueue(first)
        if (signal === undefined) return
        onAbort = () => {
          end()
          controller.error(aborted(signal))
          // The source may have failed already: the caller hears of the abort either way.
          reader.cancel(signal.reason).catch(() => undefined)
        }
        signal.addEventListener("abort", onAbort)
        if (signal.aborted) onAbort()
      },
      async pull(controller) {
        try {
          const enqueue = (piece: Uint8Array) => {
            if (!signal?.aborted) controller.enqueue(piece)
          }
          const last = await step(counter++, enqueue)
          if (signal?.aborted) return end() // again: the step may have read more after the abort
          if (!last) return
          end()
          controller.close()
        } catch (error) {
          end()
          if (signal?.aborted) return
          await reader.cancel(error).catch(() => undefined)
          throw error
        }
      },
      async cancel(reason) {
        end()
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

function readerOf(source: unknown): ByteReader {
  if (!(source instanceof ReadableStream)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a source is a ReadableStream of Uint8Array chunks")
  }
  if (source.locked) throw new KeyfoldError("INVALID_ARGUMENT", "the source stream is already being read")
  return new ByteReader(source)
}
