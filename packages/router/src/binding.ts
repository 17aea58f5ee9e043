import { type KeyContext, KeyfoldError, type Pair, parseContext } from "@keyfold/core"

/** A key of a provider, with whose it is and how it is reached. */
export type KeyEntry = {
  /** Provider id, such as `aws-kms`. */
  readonly provider: string
  readonly keyId: string
  /** Whose key it is: not empty, and never changed. */
  readonly owner: string
  /** What the provider needs to reach the key: region, endpoint, role, authority; typed by the provider. */
  readonly options: Readonly<Record<string, unknown>>
  /** Whether the key has a public half, and so a managed companion (design.md, law 2). */
  readonly publicKey: boolean
  /** Key id of the companion; set if and only if `publicKey`. */
  readonly companion: string | undefined
}

/** A former entry. It only unwraps. */
export type HistoryEntry = KeyEntry & {
  /** It may open contexts that hold these pairs. */
  readonly match: KeyContext
  /** Names of the pairs its wraps cover, all in `match`. */
  readonly pairs: readonly string[]
  /** Highest key version it opens; undefined where there is no bound. */
  readonly lastVersion: number | undefined
  /** ISO 8601. */
  readonly closedAt: string
}

/** "Contexts that hold these pairs use this CMK." Its wraps cover the whole match. Plain data: keep it as JSON. */
export type Binding = KeyEntry & {
  readonly id: string
  readonly match: KeyContext
  /** `pending` does not match; `disabled` matches and fails; `removed` only has history. */
  readonly state: "pending" | "active" | "disabled" | "removed"
  /** Where the key must be; checked by validation. */
  readonly expectedRegion: string | undefined
  readonly history: readonly HistoryEntry[]
}

/** A binding as routing uses it, validated. */
export type ParsedBinding = {
  readonly binding: Binding
  readonly match: readonly Pair[]
  readonly history: readonly (HistoryEntry & { readonly parsedMatch: readonly Pair[] })[]
}

/** @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT` */
export function parseBinding(binding: Binding): ParsedBinding {
  checkEntry(binding)
  if (typeof binding.id !== "string" || binding.id === "") throw invalid("a binding needs an id")
  if (!["pending", "active", "disabled", "removed"].includes(binding.state)) {
    throw invalid("a binding's state is pending, active, disabled or removed")
  }
  return {
    binding,
    match: parseContext(binding.match).pairs,
    history: binding.history.map((entry) => {
      checkEntry(entry)
      const parsedMatch = parseContext(entry.match).pairs
      const names = parsedMatch.map(({ name }) => name)
      if (entry.pairs.length === 0 || !entry.pairs.every((name) => names.includes(name))) {
        throw invalid("a history entry covers pairs of its own match, one at least")
      }
      return { ...entry, parsedMatch }
    }),
  }
}

/** Whether all of these pairs stand in the context. */
export function isIn(match: readonly Pair[], context: readonly Pair[]): boolean {
  return match.every(({ name, value }) => context.some((pair) => pair.name === name && pair.value === value))
}

/**
 * Two bindings that can match one context and share a pair must be nested and of one owner (design.md, law 4).
 * @throws KeyfoldError `AMBIGUOUS_BINDING`, naming both by their ids
 */
export function checkPair(a: ParsedBinding, b: ParsedBinding): void {
  const names = new Map(a.match.map(({ name, value }) => [name, value]))
  const apart = b.match.some(({ name, value }) => names.has(name) && names.get(name) !== value)
  const shared = b.match.some(({ name, value }) => names.get(name) === value)
  if (apart || !shared) return
  const nested = a.match.length !== b.match.length && (isIn(a.match, b.match) || isIn(b.match, a.match))
  if (nested && a.binding.owner === b.binding.owner) return
  throw new KeyfoldError(
    "AMBIGUOUS_BINDING",
    `the bindings ${a.binding.id} and ${b.binding.id} can both claim the pair ${shownNames(a, b)} of one context: ` +
      "only bindings of one owner may overlap, and one must hold every pair of the other",
  )
}

function shownNames(a: ParsedBinding, b: ParsedBinding): string {
  return b.match
    .filter((pair) => isIn([pair], a.match))
    .map(({ name }) => name)
    .join(", ")
}

function checkEntry({ provider, keyId, owner, publicKey, companion }: KeyEntry): void {
  if (typeof provider !== "string" || typeof keyId !== "string" || keyId === "") {
    throw invalid("a binding names a provider and a key id")
  }
  if (typeof owner !== "string") throw invalid("a binding has an owner")
  if (publicKey !== (companion !== undefined)) {
    throw invalid("a public-key binding has a companion, and no other has")
  }
}

export function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}
