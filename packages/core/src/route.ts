import type { Pair, ParsedContext } from "./context.ts"
import type { Kek } from "./kek.ts"

/** One wrap of a route: a KEK and the pairs it covers. */
export type RouteEntry = {
  readonly kek: Kek
  /** The pairs this entry covers, sorted by name. */
  readonly covered: readonly Pair[]
  /** The same pairs as a bitmap over the context's sorted pairs, bit 0 the first. */
  readonly mask: number
  /** Whose key it is; `""` for a managed KEK of a pair. */
  readonly owner: string
  /** The managed companion of a public-key entry, undefined for every other (design.md, law 2). */
  readonly companion: Kek | undefined
}

/** A route entry, or a former one, that may open a wrap. */
export type ReadCandidate = RouteEntry & {
  /** The highest key version this entry may open; undefined where there is no bound. */
  readonly lastVersion: number | undefined
}

export type RouteOptions = { readonly signal?: AbortSignal | undefined }

/** Picks the KEKs of a key context. An envelope never does (design.md, law 5). */
export interface Router {
  /**
   * The entries to write with: together they cover every pair exactly once. Makes managed KEKs just in time.
   * @throws KeyfoldError `NO_ROUTE`, `AMBIGUOUS_BINDING`, `KEY_DISABLED`, or what a lookup or store failed with
   */
  forWriting(
    context: ParsedContext,
    options: RouteOptions,
  ): readonly RouteEntry[] | Promise<readonly RouteEntry[]>
  /**
   * Every entry that may open a wrap of this context: the route, less specific bindings, and history. Never makes
   * a KEK, and answers for keys that are disabled too: their `unwrap` fails with its own code.
   */
  forReading(
    context: ParsedContext,
    options: RouteOptions,
  ): readonly ReadCandidate[] | Promise<readonly ReadCandidate[]>
}
