/** Finds secrets in what an error shows: raw, in hex, in base64 at each of its three offsets, and as lists of numbers. */
import { inspect } from "node:util"

/** Every form of some secret bytes that a text could hold. */
export function formsOf(secret: Uint8Array): string[] {
  const bytes = Buffer.from(secret)
  const hex = bytes.toString("hex")
  const forms = new Set([
    bytes.toString("latin1"),
    bytes.toString("utf8"),
    hex,
    hex.toUpperCase(),
    (hex.match(/../g) ?? []).join(" "),
    bytes.join(","),
    bytes.join(", "),
    Array.from(bytes, (byte, i) => `"${i}":${byte}`).join(","),
  ])
  for (let offset = 0; offset < 3; offset++) {
    const shifted = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString("base64")
      .replaceAll("=", "")
    // What the neighbours share a character with is left out.
    const known = shifted.slice(Math.ceil((offset * 8) / 6), shifted.length - 1)
    forms.add(known)
    forms.add(known.replaceAll("+", "-").replaceAll("/", "_"))
  }
  return [...forms]
}

/** All that a caller can see of an error. */
export function shownBy(error: unknown): string {
  const parts: string[] = []
  const look = (show: () => unknown) => {
    try {
      parts.push(String(show()))
    } catch {
      // A cause can refuse to be shown, and shows nothing then.
    }
  }
  look(() => inspect(error, { depth: 5, maxStringLength: 20_000, compact: true, breakLength: Infinity }))
  look(() => (error as Error).message)
  look(() => (error as Error).stack)
  look(() => JSON.stringify(error))
  return parts.join("\n")
}

/** The first form that stands in the text. */
export function leakIn(text: string, forms: readonly string[]): string | undefined {
  return forms.find((form) => text.includes(form))
}
