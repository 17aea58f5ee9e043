import { sha256 } from "@keyfold/core/crypto"
import { BoundedCache } from "./bounded-cache.ts"
import { KeyfoldError } from "./errors.ts"

/** A key context as callers write it: 1 to 10 name/value pairs of strings. */
export type KeyContext = Readonly<Record<string, string>>

/** One name/value pair of a key context. */
export type Pair = { readonly name: string; readonly value: string }

/** A validated key context. Equal contexts have equal `canonical` bytes, and only they. */
export type ParsedContext = {
  /** Sorted by the UTF-8 bytes of the name; frozen. */
  readonly pairs: readonly Pair[]
  /** The canonical bytes (docs/format.md, "Key context"). Do not change them. */
  readonly canonical: Uint8Array
  /** SHA-256 of the domain label and the canonical bytes. Do not change it. */
  readonly digest: Uint8Array
  /** The same pairs as a frozen object without prototype. */
  readonly object: KeyContext
}

/**
 * Validates a key context and gives its canonical form.
 * @throws KeyfoldError `INVALID_CONTEXT` saying which rule was broken; it names a pair's position, never its value
 */
export function parseContext(context: KeyContext): ParsedContext {
  try {
    return readContext(context)
  } catch (error) {
    if (error instanceof KeyfoldError) throw error
    throw invalid("the key context could not be read: a proxy or a getter of it failed")
  }
}

function readContext(context: KeyContext): ParsedContext {
  const names = readNames(context)
  const values = new Array<string>(names.length)
  let longest = ""
  let length = 0
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    // Read once: a getter could answer otherwise the next time.
    const value: unknown = context[name]
    if (typeof value !== "string") {
      const found = value === null ? "null" : typeof value
      throw invalid(`pair ${i + 1}: a value must be a string, not ${found}`)
    }
    // A code point takes at most two UTF-16 units: what is far too long is refused before it is copied.
    if (name.length > 2 * MAX_NAME_CODE_POINTS || value.length > 2 * MAX_VALUE_CODE_POINTS) {
      throw invalid(`pair ${i + 1}: ${faultOf(name, value)}`)
    }
    values[i] = value
    length += name.length + value.length
    if (value.length > longest.length) longest = value
  }
  // The longest value, most often an id, tells most contexts apart, and is quicker to look up than a text of them all.
  const byValue = cache.get(longest)
  if (byValue !== undefined && isSame(byValue, names, values)) return byValue.parsed
  const text = JSON.stringify([names, values])
  const byText = byValue === undefined ? undefined : cache.get(text)
  if (byText !== undefined && isSame(byText, names, values)) return byText.parsed
  const parsed = buildContext(names.map((name, i) => ({ name, value: values[i] as string })))
  if (length <= MAX_CACHED_LENGTH) {
    cache.set(byValue === undefined ? longest : text, { names, values, parsed })
  }
  return parsed
}

/** A context in its caller's order. */
type Known = {
  readonly names: readonly string[]
  readonly values: readonly string[]
  readonly parsed: ParsedContext
}

function isSame(known: Known, names: readonly string[], values: readonly string[]): boolean {
  if (known.names.length !== names.length) return false
  for (let i = 0; i < names.length; i++) {
    if (known.names[i] !== names[i] || known.values[i] !== values[i]) return false
  }
  return true
}

/** Canonical bytes of pairs that are already validated and sorted. */
export function encodePairs(pairs: readonly Pair[]): Uint8Array {
  const parts = pairs.map(({ name, value }) => ({ name: utf8.encode(name), value: utf8.encode(value) }))
  let length = 1
  for (const part of parts) length += 4 + part.name.length + part.value.length
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  bytes[0] = parts.length
  let offset = 1
  for (const part of parts) {
    for (const field of [part.name, part.value]) {
      view.setUint16(offset, field.length)
      bytes.set(field, offset + 2)
      offset += 2 + field.length
    }
  }
  return bytes
}

/**
 * Reads canonical bytes, and only canonical ones: what it accepts encodes to the same bytes again.
 * Gives undefined for anything else.
 */
export function decodeContext(bytes: Uint8Array): ParsedContext | undefined {
  const count = bytes[0] ?? 0
  if (count < 1 || count > MAX_PAIRS) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const pairs: Pair[] = []
  let offset = 1
  const readField = (): string | undefined => {
    if (offset + 2 > bytes.length) return undefined
    const end = offset + 2 + view.getUint16(offset)
    if (end > bytes.length) return undefined
    const field = bytes.subarray(offset + 2, end)
    offset = end
    try {
      return strictUtf8.decode(field)
    } catch {
      return undefined // ill-formed UTF-8: not canonical
    }
  }
  for (let i = 0; i < count; i++) {
    const name = readField()
    const value = name === undefined ? undefined : readField()
    if (name === undefined || value === undefined) return undefined
    const previous = pairs[i - 1]
    if (previous !== undefined && compareUtf8(previous.name, name) >= 0) return undefined
    if (faultOf(name, value) !== undefined) return undefined
    pairs.push(Object.freeze({ name, value }))
  }
  if (offset !== bytes.length) return undefined
  return buildContext(pairs)
}

/** Whether two parsed contexts are the same. Not for secrets: takes a variable time. */
export function sameContext(a: ParsedContext, b: ParsedContext): boolean {
  if (a.canonical.length !== b.canonical.length) return false
  return a.canonical.every((byte, i) => byte === b.canonical[i])
}

/** The names of an object's own properties, none of them inherited (threat T11). */
function readNames(context: unknown): string[] {
  const listLike = Array.isArray(context) || ArrayBuffer.isView(context) || context instanceof String
  if (typeof context !== "object" || context === null || listLike) {
    throw invalid('a key context is an object of name/value strings, such as {"organization_id":"org_1"}')
  }
  const names = Reflect.ownKeys(context)
  if (names.length === 0) throw invalid("a key context needs at least one pair")
  if (names.length > MAX_PAIRS) {
    throw invalid(`a key context has at most ${MAX_PAIRS} pairs, this one has ${names.length}`)
  }
  for (let i = 0; i < names.length; i++) {
    if (typeof names[i] !== "string") throw invalid(`pair ${i + 1}: a name must be a string, not a symbol`)
  }
  return names as string[]
}

function buildContext(unsorted: Pair[]): ParsedContext {
  unsorted.forEach(({ name, value }, i) => {
    const fault = faultOf(name, value)
    if (fault !== undefined) throw invalid(`pair ${i + 1}: ${fault}`)
  })
  const pairs = unsorted.map((pair) => Object.freeze(pair)).sort((a, b) => compareUtf8(a.name, b.name))
  const canonical = encodePairs(pairs)
  const labelled = new Uint8Array(CONTEXT_LABEL.length + canonical.length)
  labelled.set(CONTEXT_LABEL)
  labelled.set(canonical, CONTEXT_LABEL.length)
  const object: Record<string, string> = Object.create(null)
  for (const { name, value } of pairs) object[name] = value
  return Object.freeze({
    pairs: Object.freeze(pairs),
    canonical,
    digest: sha256(labelled),
    object: Object.freeze(object),
  })
}

/** Which rule of law 1 a pair breaks, or undefined. Says lengths, never content. */
function faultOf(name: string, value: string): string | undefined {
  return (
    fieldFault("name", name, MAX_NAME_CODE_POINTS) ??
    fieldFault("value", value, MAX_VALUE_CODE_POINTS) ??
    (name.startsWith(RESERVED_PREFIX) ? `a name must not begin with "${RESERVED_PREFIX}"` : undefined)
  )
}

function fieldFault(what: string, text: string, maxCodePoints: number): string | undefined {
  if (text.length === 0) return `a ${what} must not be empty`
  // A code point takes at most two UTF-16 units: refuse before counting what is far too long.
  if (text.length > 2 * maxCodePoints) return `a ${what} has at most ${maxCodePoints} code points`
  if (!text.isWellFormed()) return `a ${what} must be well-formed Unicode (it has a lone surrogate)`
  if (text.includes("\0")) return `a ${what} must not contain NUL`
  if (text.length > maxCodePoints) {
    let codePoints = 0
    for (const _ of text) codePoints++
    if (codePoints > maxCodePoints) {
      return `a ${what} has at most ${maxCodePoints} code points, this one has ${codePoints}`
    }
  }
  return undefined
}

/** Order of well-formed strings by their UTF-8 bytes, which is the order of their code points. */
function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) {
      // Surrogates stand for code points above every other unit, yet sort below U+E000…U+FFFF as units.
      const surrogateX = (x & 0xf800) === 0xd800
      const surrogateY = (y & 0xf800) === 0xd800
      if (surrogateX !== surrogateY) return surrogateX ? 1 : -1
      return x - y
    }
  }
  return a.length - b.length
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_CONTEXT", message)
}

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** docs/format.md, "Limits"; the numbers are the published limits of WorkOS Vault's key context. */
export const MAX_PAIRS = 10
const MAX_NAME_CODE_POINTS = 120
const MAX_VALUE_CODE_POINTS = 500
/** keyfold sends pairs of its own to the clouds under this prefix. */
const RESERVED_PREFIX = "keyfold:"
const CONTEXT_LABEL = utf8.encode("keyfold/v1/context")

/** Contexts kept parsed: 4,096 of at most 1,024 UTF-16 units each, so a few megabytes at the most. */
const MAX_CACHED_LENGTH = 1024
const cache = new BoundedCache<string, Known>(4096)
