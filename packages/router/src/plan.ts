import type { Pair, ParsedContext, ReadCandidate, RouteEntry } from "@keyfold/core"
import { checkOverlap, isIn, type KeyEntry, matches, type ParsedBinding } from "./binding.ts"
import { disabledKek, type EntryKeks, RefusingKek } from "./entry-keks.ts"

/** What bindings make of one context. Managed KEKs of pairs come on top, at every call. */
export type Plan = {
  /** One for each binding that routes. */
  readonly entries: readonly RouteEntry[]
  /** The KEK of the first of them that cannot be used, if any. */
  readonly refusing: RefusingKek | undefined
  /** Those entries, less specific bindings, and history. */
  readonly candidates: readonly ReadCandidate[]
  /** Pairs that no routing binding covers, sorted by name. */
  readonly uncovered: readonly Pair[]
  /** `entries`, and those of managed KEKs. */
  readonly toWrite: Kept<RouteEntry>
  /** `candidates`, likewise. */
  readonly toRead: Kept<ReadCandidate>
}

/** What was true while the managed provider had this `generation`; nothing where that is undefined. */
export type Kept<Entry> = { generation: number | undefined; entries: readonly (Entry | ReadCandidate)[] }

/**
 * @param found the bindings, in any state, whose match the context contains
 * @throws KeyfoldError `AMBIGUOUS_BINDING`
 */
export function planOf(found: readonly ParsedBinding[], context: ParsedContext, keks: EntryKeks): Plan {
  if (found.length === 0)
    return { ...NO_BINDINGS, uncovered: context.pairs, toWrite: nothingKept(), toRead: nothingKept() }
  const matching = found.filter(({ binding }) => matches(binding))
  matching.forEach((binding, i) => {
    for (const other of matching.slice(i + 1)) checkOverlap(binding, other)
  })
  const entries: RouteEntry[] = []
  const candidates: ReadCandidate[] = []
  for (const { binding, match } of matching) {
    const candidate = candidateOf(binding, match, undefined, context, keks)
    const { state } = binding
    const usable = state === "disabled" ? { ...candidate, kek: disabledKek(binding, match) } : candidate
    candidates.push(usable)
    const isDisplaced = matching.some(
      (other) => other.match.length > match.length && isIn(match, other.match),
    )
    if (!isDisplaced) entries.push(usable)
  }
  for (const { history } of found) {
    for (const { entry, match, covered } of history) {
      if (isIn(match, context.pairs)) {
        candidates.push(candidateOf(entry, covered, entry.lastVersion, context, keks))
      }
    }
  }
  const seen = entries.reduce((mask, entry) => mask | entry.mask, 0)
  return {
    entries,
    refusing: entries
      .flatMap(({ kek, companion }) => [kek, companion])
      .find((kek) => kek instanceof RefusingKek),
    candidates,
    uncovered: context.pairs.filter((_, i) => (seen & (1 << i)) === 0),
    toWrite: nothingKept(),
    toRead: nothingKept(),
  }
}

function candidateOf(
  entry: KeyEntry,
  covered: readonly Pair[],
  lastVersion: number | undefined,
  context: ParsedContext,
  keks: EntryKeks,
): ReadCandidate {
  const { owner, companion } = entry
  let mask = 0
  for (const { name } of covered) mask |= 1 << context.pairs.findIndex((pair) => pair.name === name)
  return {
    kek: keks.of(entry, covered),
    covered,
    mask,
    owner,
    companion: companion === undefined ? undefined : keks.managed(companion, covered),
    lastVersion,
  }
}

function nothingKept<Entry>(): Kept<Entry> {
  return { generation: undefined, entries: [] }
}

const NO_BINDINGS: Pick<Plan, "entries" | "refusing" | "candidates"> = Object.freeze({
  entries: Object.freeze([]),
  refusing: undefined,
  candidates: Object.freeze([]),
})
