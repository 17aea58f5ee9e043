import { KeyfoldError } from "@keyfold/core"

/** An object's own properties, without a prototype. */
export type Fields = Readonly<Record<string, unknown>>

/**
 * Reads each own property once, and no inherited one: what stands on `Object.prototype` changes nothing.
 * @throws KeyfoldError `INVALID_ARGUMENT` for what is not an object
 */
export function ownFields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalid(`${what} is an object`)
  return Object.assign(Object.create(null), value)
}

/**
 * A deep frozen copy of what JSON can hold. What it cannot is refused, for a database would lose it.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function copyPlain(value: unknown, depth = 0): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)) {
    return value
  }
  if (typeof value !== "object" || depth === MAX_DEPTH) throw notPlain()
  if (Array.isArray(value)) return Object.freeze(Array.from(value, (item) => copyPlain(item, depth + 1)))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw notPlain()
  const copy: Record<string, unknown> = Object.create(null)
  for (const [name, item] of Object.entries(value)) {
    if (item !== undefined) copy[name] = copyPlain(item, depth + 1)
  }
  return Object.freeze(copy)
}

/** Names of pairs for a message: what would move a terminal's cursor or break the line is shown as "?". */
export function shown(names: readonly string[]): string {
  return names.join(", ").replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, "?")
}

export function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

function notPlain(): KeyfoldError {
  return invalid(
    "a binding's options are strings, numbers, booleans, lists and plain objects: give clients and credentials to the provider",
  )
}

/** More than any provider's options need. */
const MAX_DEPTH = 8
