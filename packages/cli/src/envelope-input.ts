import { KeyfoldError } from "@keyfold/core"
import { type Input, openInput } from "./files.ts"
import { peek, readAll } from "./streams.ts"

/** An envelope to read: a stream of bytes, or the whole of a text form. */
export type EnvelopeInput =
  | { readonly form: "bytes"; readonly stream: ReadableStream<Uint8Array>; readonly size: Input["size"] }
  | { readonly form: "text"; readonly text: string }

/** Every text form begins so (docs/format.md, "Text form"). */
const TEXT_BEGIN = "S0ZMRA"
/** The longest text form, and a line end. */
const MAX_TEXT_BYTES = 2 ** 28 + 2

/** Opens an envelope in either of its forms. */
export async function openEnvelopeInput(path: string | undefined, label?: string): Promise<EnvelopeInput> {
  const { stream: source, size } = await openInput(path, label)
  const { head, stream } = await peek(source, TEXT_BEGIN.length)
  if (new TextDecoder().decode(head) !== TEXT_BEGIN) return { form: "bytes", stream, size }
  const text = new TextDecoder().decode(await readAll(stream, MAX_TEXT_BYTES, tooLong))
  return { form: "text", text: text.replace(/\r?\n$/, "") }
}

function tooLong(): KeyfoldError {
  return new KeyfoldError("MALFORMED_ENVELOPE", "the text form of an envelope holds at most 256 MiB")
}
