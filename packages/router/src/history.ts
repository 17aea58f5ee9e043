import { type KeyContext, MANAGED_PROVIDER_ID, type Pair } from "@keyfold/core"
import {
  type Binding,
  type HistoryEntry,
  isIn,
  type KeyEntry,
  matches,
  type ParsedBinding,
  parseBinding,
} from "./binding.ts"
import type { ManagedKeks } from "./managed-keks.ts"

/** History with the present key of a binding, which takes its place there whole. */
export function withFormerKey(binding: Binding): readonly HistoryEntry[] {
  const { match, provider, keyId, owner, options, publicKey, companion, leaseTtlMs, history } = binding
  return withEntry(history, {
    match,
    pairs: Object.keys(match),
    provider,
    keyId,
    owner,
    options,
    publicKey,
    companion,
    leaseTtlMs,
    lastVersion: undefined,
    closedAt: new Date().toISOString(),
  })
}

/**
 * History with the managed KEKs that wrapped the pairs of a pending binding until now.
 *
 * That of a one-pair match is closed, for good. `keep` is called before that with the history as it then is, so that no
 * reader misses the KEK in between. Those of several pairs stay open, for other contexts still use them.
 */
export async function displace(
  { binding, match }: ParsedBinding,
  existing: readonly Binding[],
  managed: ManagedKeks,
  keep: (history: readonly HistoryEntry[]) => Promise<unknown>,
): Promise<readonly HistoryEntry[]> {
  let { history } = binding
  const record = (keyId: string, pair: Pair, lastVersion: number | undefined) => {
    history = withEntry(history, managedEntry(binding.match, keyId, pair, lastVersion))
  }
  const [pair, ...more] = match as [Pair, ...Pair[]]
  if (more.length > 0) {
    // One that is not there yet is made: a process that does not know of the binding yet could make it.
    for (const pair of uncovered(match, existing)) record((await managed.kekFor(pair)).keyId, pair, undefined)
    return history
  }
  const open = await managed.findKek(pair)
  if (open !== undefined) {
    record(open.keyId, pair, undefined)
    await keep(history)
  }
  const closed = await managed.closePair(pair)
  if (closed !== undefined) record(closed.keyId, pair, closed.lastVersion)
  return history
}

export function isSameKey(a: KeyEntry, b: KeyEntry): boolean {
  return a.provider === b.provider && a.keyId === b.keyId
}

/** The pairs that wrapped under managed KEKs until now, and not under the CMK of a wider binding. */
function uncovered(match: readonly Pair[], existing: readonly Binding[]): readonly Pair[] {
  const wider = existing
    .map(parseBinding)
    .filter((other) => matches(other.binding) && isIn(other.match, match))
  return match.filter((pair) => !wider.some((other) => isIn([pair], other.match)))
}

/** A key of the same pairs that is there already gets its newest entry only. */
function withEntry(history: readonly HistoryEntry[], entry: HistoryEntry): readonly HistoryEntry[] {
  const isSame = (known: HistoryEntry) =>
    isSameKey(known, entry) &&
    known.pairs.length === entry.pairs.length &&
    known.pairs.every((name) => entry.pairs.includes(name))
  return [...history.filter((known) => !isSame(known)), entry]
}

function managedEntry(
  match: KeyContext,
  keyId: string,
  pair: Pair,
  lastVersion: number | undefined,
): HistoryEntry {
  return {
    match,
    pairs: [pair.name],
    provider: MANAGED_PROVIDER_ID,
    keyId,
    owner: "",
    options: {},
    publicKey: false,
    companion: undefined,
    leaseTtlMs: 0,
    lastVersion,
    closedAt: new Date().toISOString(),
  }
}
