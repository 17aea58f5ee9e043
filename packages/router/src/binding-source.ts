import { type KeyContext, KeyfoldError, type ParsedContext, type RouteOptions } from "@keyfold/core"
import { LRUCache } from "lru-cache"
import { type Binding, checkPair, invalid, isIn, type ParsedBinding, parseBinding } from "./binding.ts"

/**
 * Finds the bindings that matter for a context, in any state: all whose own match, or the match of an entry of their
 * history, the context contains. It may give more. What it throws is an error of the operation and never "no binding".
 */
export type BindingLookup = (
  context: KeyContext,
  options: RouteOptions,
) => readonly Binding[] | Promise<readonly Binding[]>

export type BindingSource = (
  context: ParsedContext,
  options: RouteOptions,
) => readonly ParsedBinding[] | Promise<readonly ParsedBinding[]>

/** @throws KeyfoldError where a fixed list is not valid, or ambiguous */
export function bindingSource(bindings: readonly Binding[] | BindingLookup, ttlMs: number): BindingSource {
  if (typeof bindings !== "function") return fixedSource(bindings)
  if (!Number.isInteger(ttlMs) || ttlMs < 0 || ttlMs > MAX_TTL_MS) {
    throw invalid(`bindingTtlMs is a whole number of milliseconds from 0 to ${MAX_TTL_MS}`)
  }
  return lookupSource(bindings, ttlMs)
}

function fixedSource(bindings: readonly Binding[]): BindingSource {
  const parsed = bindings.map(parseBinding)
  checkOverlaps(parsed)
  if (parsed.length === 0) return () => NONE
  const found = new WeakMap<ParsedContext, readonly ParsedBinding[]>()
  return (context) => {
    const known = found.get(context)
    if (known !== undefined) return known
    const relevant = parsed.filter((binding) => concerns(binding, context))
    found.set(context, relevant)
    return relevant
  }
}

function lookupSource(lookup: BindingLookup, ttlMs: number): BindingSource {
  const cache = new LRUCache<string, readonly ParsedBinding[]>({ max: MAX_CACHED, ttl: Math.max(ttlMs, 1) })
  return (context, options) => {
    const key = Buffer.from(context.digest).toString("latin1")
    const cached = ttlMs === 0 ? undefined : cache.get(key)
    if (cached !== undefined) return cached
    const accept = (found: readonly Binding[]) => {
      if (!Array.isArray(found))
        throw new KeyfoldError("STORE_CORRUPT", "a binding lookup must give a list of bindings")
      const parsed = found.map(parseBinding).filter((binding) => concerns(binding, context))
      if (ttlMs > 0) cache.set(key, parsed)
      return parsed
    }
    return resolve(lookup, context, options).then(accept)
  }
}

async function resolve(
  lookup: BindingLookup,
  context: ParsedContext,
  options: RouteOptions,
): Promise<readonly Binding[]> {
  try {
    return await lookup(context.object, options)
  } catch (error) {
    if (error instanceof KeyfoldError) throw error
    throw new KeyfoldError(
      "UNAVAILABLE",
      "the bindings of this key context could not be looked up: try again",
      {
        cause: error,
      },
    )
  }
}

/** Any two that could claim a pair of one context. @throws KeyfoldError `AMBIGUOUS_BINDING` */
function checkOverlaps(parsed: readonly ParsedBinding[]): void {
  const live = parsed.filter(({ binding }) => binding.state !== "removed")
  live.forEach((binding, i) => {
    for (const other of live.slice(i + 1)) checkPair(binding, other)
  })
}

function concerns({ match, history }: ParsedBinding, { pairs }: ParsedContext): boolean {
  return isIn(match, pairs) || history.some(({ parsedMatch }) => isIn(parsedMatch, pairs))
}

const NONE: readonly ParsedBinding[] = Object.freeze([])
/** Contexts whose bindings are kept. */
const MAX_CACHED = 10_000
/** A binding that was disabled elsewhere is obeyed within this time at the latest. */
const MAX_TTL_MS = 60_000
