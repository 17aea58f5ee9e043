import { type KeyContext, KeyfoldError, type ParsedContext, type RouteOptions } from "@keyfold/core"
import { LRUCache } from "lru-cache"
import { type Binding, checkOverlap, isIn, type ParsedBinding, parseBinding } from "./binding.ts"
import { orAborted } from "./or-aborted.ts"
import { invalid } from "./plain-data.ts"

/**
 * Finds the bindings that matter for a context: all, in any state, whose match the context contains. It may give more.
 * What it throws is an error of the operation and never "no binding". It should end with its signal, which also fires
 * when it takes too long.
 */
export type BindingLookup = (
  context: KeyContext,
  options: RouteOptions,
) => readonly Binding[] | Promise<readonly Binding[]>

/** What a router derives from the bindings of a context, kept as long as they are. */
export type BindingSource<Plan> = {
  readonly find: (context: ParsedContext, options: RouteOptions) => Plan | Promise<Plan>
  /** Drops what is kept of a context, or of all. True where asking again may give another answer. */
  readonly forget: (context?: ParsedContext) => boolean
}

/** How long a lookup may take, and for how long what it found is kept; in milliseconds. */
type LookupOptions = { readonly ttlMs: number; readonly deadlineMs: number }

type Derive<Plan> = (found: readonly ParsedBinding[], context: ParsedContext) => Plan

/** @throws KeyfoldError where a fixed list is not valid, or ambiguous, or `bindingTtlMs` is no such time */
export function bindingSource<Plan>(
  bindings: readonly Binding[] | BindingLookup,
  { ttlMs, deadlineMs }: LookupOptions,
  derive: Derive<Plan>,
): BindingSource<Plan> {
  if (!Number.isInteger(ttlMs) || ttlMs < 0 || ttlMs > MAX_TTL_MS) {
    throw invalid(`bindingTtlMs is a whole number of milliseconds from 0 to ${MAX_TTL_MS}`)
  }
  if (!Number.isInteger(deadlineMs) || deadlineMs < 1 || deadlineMs > MAX_DEADLINE_MS) {
    throw invalid(`bindingDeadlineMs is a whole number of milliseconds from 1 to ${MAX_DEADLINE_MS}`)
  }
  if (typeof bindings === "function") return lookupSource(bindings, { ttlMs, deadlineMs }, derive)
  if (!Array.isArray(bindings))
    throw invalid("bindings is a list of bindings, or a function that looks them up")
  return fixedSource(Array.from(bindings, parseBinding), derive)
}

function fixedSource<Plan>(parsed: readonly ParsedBinding[], derive: Derive<Plan>): BindingSource<Plan> {
  const live = parsed.filter(({ binding }) => binding.state !== "removed")
  live.forEach((binding, i) => {
    for (const other of live.slice(i + 1)) checkOverlap(binding, other)
  })
  const plans = new WeakMap<ParsedContext, Plan>()
  const find = (context: ParsedContext): Plan => {
    const known = plans.get(context)
    if (known !== undefined) return known
    const plan = derive(relevant(parsed, context), context)
    plans.set(context, plan)
    return plan
  }
  return { find, forget: () => false }
}

function lookupSource<Plan>(
  lookup: BindingLookup,
  { ttlMs, deadlineMs }: LookupOptions,
  derive: Derive<Plan>,
): BindingSource<Plan> {
  // Made anew to forget all, so that a lookup under way then keeps nothing that is read any more.
  const empty = () => new LRUCache<string, { plan: Plan }>({ max: MAX_CACHED, ttl: Math.max(ttlMs, 1) })
  let cache = empty()
  return {
    find(context, { signal }) {
      const kept = cache
      const key = String.fromCharCode(...context.digest)
      const known = ttlMs === 0 ? undefined : kept.get(key)
      if (known !== undefined) return known.plan
      const start = performance.now() // what was found is as old as the question
      return ask(lookup, context.object, deadlineMs, signal).then((found) => {
        const plan = derive(relevant(parseFound(found), context), context)
        if (ttlMs > 0) kept.set(key, { plan }, { start })
        return plan
      })
    },
    forget(context) {
      if (context !== undefined) return cache.delete(String.fromCharCode(...context.digest))
      cache = empty()
      return true
    },
  }
}

async function ask(
  lookup: BindingLookup,
  context: KeyContext,
  deadlineMs: number,
  callers: AbortSignal | undefined,
): Promise<unknown> {
  const deadline = AbortSignal.timeout(deadlineMs)
  const signal = callers === undefined ? deadline : AbortSignal.any([callers, deadline])
  try {
    return await orAborted(lookup(context, { signal }), signal)
  } catch (error) {
    if (error instanceof KeyfoldError) throw error
    if (deadline.aborted && !callers?.aborted) {
      throw new KeyfoldError(
        "TIMEOUT",
        "the bindings of this key context were not found in time: try again",
        {
          cause: error,
        },
      )
    }
    throw new KeyfoldError(
      "UNAVAILABLE",
      "the bindings of this key context could not be looked up: try again",
      {
        cause: error,
      },
    )
  }
}

/** A list that cannot be read whole is not read at all: a binding left out would mean "no binding". */
function parseFound(found: unknown): readonly ParsedBinding[] {
  if (!Array.isArray(found)) throw corrupt("a binding lookup must give a list of bindings", undefined)
  return Array.from(found, (binding: unknown, i) => {
    try {
      return parseBinding(binding)
    } catch (error) {
      const why = error instanceof KeyfoldError ? error.message : "it cannot be read"
      throw corrupt(`binding ${i + 1} of those looked up is not valid: ${why}`, error)
    }
  })
}

function relevant(parsed: readonly ParsedBinding[], { pairs }: ParsedContext): readonly ParsedBinding[] {
  return parsed.filter(({ match }) => isIn(match, pairs))
}

function corrupt(message: string, cause: unknown): KeyfoldError {
  return new KeyfoldError("STORE_CORRUPT", message, { cause })
}

/** As for the engine's own deadline. */
const MAX_DEADLINE_MS = 600_000
/** Contexts whose plans are kept. */
const MAX_CACHED = 10_000
/** A binding that was disabled elsewhere is obeyed within this time at the latest. */
const MAX_TTL_MS = 60_000
