import { malformed } from "./envelope.ts"
import { KeyfoldError } from "./errors.ts"

/**
 * Canonical base64url without padding (RFC 4648 §5), for text columns.
 * @throws KeyfoldError `INVALID_ARGUMENT` where the text would pass 256 MiB
 */
export function encodeText(bytes: Uint8Array): string {
  checkTextFits(bytes.length)
  if (bytes.toBase64 !== undefined) return bytes.toBase64({ alphabet: "base64url", omitPadding: true })
  let binary = ""
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK_BYTES))
  }
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
}

/** Whether so many bytes fit a text form. @throws KeyfoldError `INVALID_ARGUMENT` */
export function checkTextFits(bytes: number): void {
  if (Math.ceil((bytes * 4) / 3) > MAX_TEXT_LENGTH) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "the text form would be longer than 256 MiB: keep the envelope as bytes",
    )
  }
}

/**
 * Reads what `encodeText` wrote, and only that: no padding, no white space, no spare bits.
 * @throws KeyfoldError `MALFORMED_ENVELOPE`
 */
export function decodeText(text: string): Uint8Array {
  if (text.length > MAX_TEXT_LENGTH) throw malformed("its text form is longer than 256 MiB")
  const rest = text.length % 4
  if (rest === 1 || !/^[A-Za-z0-9_-]*$/.test(text)) throw malformed("its text form is not base64url")
  if (rest > 0 && (ALPHABET.indexOf(text[text.length - 1] as string) & (rest === 2 ? 15 : 3)) !== 0) {
    throw malformed("its text form has spare bits")
  }
  if (Uint8Array.fromBase64 !== undefined) return Uint8Array.fromBase64(text, { alphabet: "base64url" })
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"))
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}

declare global {
  // ES2026; absent before Node 25.
  interface Uint8Array {
    toBase64?(options: { alphabet: "base64url"; omitPadding: true }): string
  }
  interface Uint8ArrayConstructor {
    fromBase64?(text: string, options: { alphabet: "base64url" }): Uint8Array
  }
}

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
/** docs/format.md, "Limits". */
const MAX_TEXT_LENGTH = 2 ** 28
/** As many arguments as every engine takes. */
const CHUNK_BYTES = 8192
