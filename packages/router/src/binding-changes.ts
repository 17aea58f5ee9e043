import { type Kek, type KeyContext, KeyfoldError, MANAGED_PROVIDER_ID, type Pair } from "@keyfold/core"
import {
  type Binding,
  checkPair,
  type HistoryEntry,
  invalid,
  type KeyEntry,
  parseBinding,
} from "./binding.ts"

/** What changes of bindings need of the managed provider, beside what routing does. */
export type ManagedPairs = {
  kekFor(pair: Pair): Kek | Promise<Kek>
  companionFor(owner: string, match: readonly Pair[]): Kek | Promise<Kek>
  closePair(pair: Pair): Promise<{ readonly keyId: string; readonly lastVersion: number } | undefined>
  reopenPair(pair: Pair): Promise<void>
}

/** A binding before it is added. */
export type NewBinding = {
  readonly id: string
  readonly match: KeyContext
  readonly owner: string
  readonly options?: Readonly<Record<string, unknown>>
  readonly expectedRegion?: string
  /** Default `active`. */
  readonly state?: "pending" | "active"
}

export type ChangeOptions = {
  readonly managed: ManagedPairs | undefined
  /** Keeps the binding; when it has resolved the binding is durable. Called again with the same id to change it. */
  readonly save: (binding: Binding) => void | Promise<void>
}

/**
 * Binds the contexts that hold `match` to a CMK, from now on. It asks the KMS whether the key has a public half, makes
 * the companion if so, records the managed KEKs that the binding displaces, closing that of a one-pair match, and then
 * saves it. Safe to run again after a crash: until it is saved, a closed pair has no route.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `AMBIGUOUS_BINDING`, `INVALID_ARGUMENT`, `INVALID_CONTEXT`, or what the KMS or a store fails with
 */
export async function addBinding(
  draft: NewBinding,
  kek: Kek,
  existing: readonly Binding[],
  { managed, save }: ChangeOptions,
): Promise<Binding> {
  if (draft.owner === "") throw invalid("a binding needs an owner")
  const entry = await entryOf(draft, kek, managed)
  const bare: Binding = {
    id: draft.id,
    match: draft.match,
    ...entry,
    state: draft.state ?? "active",
    expectedRegion: draft.expectedRegion,
    history: [],
  }
  const parsed = parseBinding(bare)
  const others = existing.map(parseBinding).filter(({ binding }) => binding.id !== draft.id)
  for (const other of others) if (other.binding.state !== "removed") checkPair(parsed, other)
  const former = existing.find(({ id }) => id === draft.id)?.history ?? []
  const binding: Binding = { ...bare, history: former }
  if (bare.state === "active") return activateBinding(binding, { managed, save })
  await save(binding)
  return binding
}

/**
 * Lets a pending or disabled binding route. Only now the managed KEKs that it displaces are recorded, and that of a
 * one-pair match closed: until then its contexts are served as if it were not there.
 */
export async function activateBinding(binding: Binding, { managed, save }: ChangeOptions): Promise<Binding> {
  if (binding.state === "removed") throw invalid("a removed binding has no key: add a new one")
  const { match } = parseBinding(binding)
  const displaced = managed === undefined ? [] : await displace(match, binding.match, managed)
  const known = new Set(binding.history.map(({ keyId }) => keyId))
  const history = [...binding.history, ...displaced.filter(({ keyId }) => !known.has(keyId))]
  const active: Binding = { ...binding, state: "active", history }
  await save(active)
  return active
}

/** Makes a binding match and fail: its data is shut, for reading and writing, until it is activated again. */
export async function disableBinding(
  binding: Binding,
  { save }: Pick<ChangeOptions, "save">,
): Promise<Binding> {
  if (binding.state !== "active") throw invalid("only an active binding is disabled")
  const disabled: Binding = { ...binding, state: "disabled" }
  await save(disabled)
  return disabled
}

/**
 * Ends a binding: its key goes whole into history, so that its data stays readable until it is rewrapped, and then the
 * pair may have a managed KEK again.
 */
export async function removeBinding(binding: Binding, { managed, save }: ChangeOptions): Promise<Binding> {
  const removed: Binding =
    binding.state === "removed"
      ? binding
      : { ...binding, state: "removed", history: [...binding.history, formerOf(binding)] }
  await save(removed)
  const { match } = parseBinding(removed)
  if (match.length === 1) await managed?.reopenPair(match[0] as Pair)
  return removed
}

/**
 * Moves a binding to another key of the same owner. The former key stays in history, the companion stays the same.
 * @throws KeyfoldError `INVALID_ARGUMENT`, or what the KMS or a store fails with
 */
export async function replaceKey(
  binding: Binding,
  kek: Kek,
  options: Readonly<Record<string, unknown>>,
  { managed, save }: ChangeOptions,
): Promise<Binding> {
  if (binding.state === "removed") throw invalid("a removed binding has no key: add a new one")
  const entry = await entryOf({ ...binding, options }, kek, managed)
  const replaced: Binding = { ...binding, ...entry, history: [...binding.history, formerOf(binding)] }
  await save(replaced)
  return replaced
}

async function entryOf(
  { match, owner, options = {} }: Pick<NewBinding, "match" | "owner" | "options">,
  kek: Kek,
  managed: ManagedPairs | undefined,
): Promise<KeyEntry> {
  const { publicKey } = await kek.describe({})
  if (publicKey && managed === undefined) {
    throw invalid(
      "a public-key CMK needs a managed companion, for anyone could wrap under its public half: add a managed provider",
    )
  }
  const pairs = Object.entries(match).map(([name, value]) => ({ name, value }))
  const companion = publicKey ? (await managed?.companionFor(owner, pairs))?.keyId : undefined
  return { provider: kek.providerId, keyId: kek.keyId, owner, options, publicKey, companion }
}

/** History entries of the managed KEKs that wrapped these pairs until now. */
async function displace(
  pairs: readonly Pair[],
  match: KeyContext,
  managed: ManagedPairs,
): Promise<HistoryEntry[]> {
  const closedAt = new Date().toISOString()
  const former = (keyId: string, pair: Pair, lastVersion: number | undefined): HistoryEntry => ({
    match,
    pairs: [pair.name],
    provider: MANAGED_PROVIDER_ID,
    keyId,
    owner: "",
    options: {},
    publicKey: false,
    companion: undefined,
    lastVersion,
    closedAt,
  })
  if (pairs.length === 1) {
    const [pair] = pairs as [Pair]
    const closed = await managed.closePair(pair)
    return closed === undefined ? [] : [former(closed.keyId, pair, closed.lastVersion)]
  }
  // Other contexts still use these KEKs, so they stay open. One that is not there yet is made, for another process
  // that does not know of the binding yet could make it.
  const displaced = await Promise.all(
    pairs.map(async (pair) => {
      const kek = await openKek(pair, managed)
      return kek === undefined ? [] : [former(kek.keyId, pair, undefined)]
    }),
  )
  return displaced.flat()
}

/** The managed KEK of a pair; undefined where a wider binding has closed it, whose history then speaks for it. */
async function openKek(pair: Pair, managed: ManagedPairs): Promise<Kek | undefined> {
  try {
    return await managed.kekFor(pair)
  } catch (error) {
    if (error instanceof KeyfoldError && error.code === "NO_ROUTE") return undefined
    throw error
  }
}

function formerOf({ match, provider, keyId, owner, options, publicKey, companion }: Binding): HistoryEntry {
  return {
    match,
    pairs: Object.keys(match),
    provider,
    keyId,
    owner,
    options,
    publicKey,
    companion,
    lastVersion: undefined,
    closedAt: new Date().toISOString(),
  }
}

/** A copy in which a former key no longer opens anything; for a key whose data was all rewrapped. */
export function withoutHistory(binding: Binding, keyId: string): Binding {
  if (!binding.history.some((entry) => entry.keyId === keyId)) {
    throw new KeyfoldError("KEY_NOT_FOUND", "no entry of this binding's history has that key id")
  }
  return { ...binding, history: binding.history.filter((entry) => entry.keyId !== keyId) }
}
