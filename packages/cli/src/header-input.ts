import { peek } from "./streams.ts"

/** The longest header (docs/format.md, "Limits"), in bytes. */
const MAX_HEADER_BYTES = 65_536

/** The beginning of an envelope, long enough for every header; with the stream that still has all of it. */
export async function readHead(stream: ReadableStream<Uint8Array>, size: number | undefined) {
  const { head, stream: whole } = await peek(stream, MAX_HEADER_BYTES)
  // A short envelope was read whole, so that its length is known even from a pipe.
  const total = size ?? (head.length < MAX_HEADER_BYTES ? head.length : undefined)
  return { head, stream: whole, total }
}
