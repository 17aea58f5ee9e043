import {
  type Kek,
  type KekProvider,
  KeyfoldError,
  MANAGED_PROVIDER_ID,
  type Pair,
  type ParsedContext,
  type ReadCandidate,
  type RouteEntry,
  type Router,
} from "@keyfold/core"
import { type Binding, checkPair, isIn, type KeyEntry, type ParsedBinding } from "./binding.ts"
import { type BindingLookup, bindingSource } from "./binding-source.ts"

/** What routing needs of the managed provider. */
export type ManagedKeks = {
  kek(keyId: string): Kek
  kekFor(pair: Pair): Kek | Promise<Kek>
  findKek(pair: Pair): Kek | undefined | Promise<Kek | undefined>
}

export type RouterOptions = {
  /** Serves the pairs that no binding matches. Without it such a context has no route. */
  readonly managed?: ManagedKeks
  /** Where the bindings' CMKs are. */
  readonly providers?: readonly KekProvider[]
  /** A fixed list, or a lookup in a database. Default: none. */
  readonly bindings?: readonly Binding[] | BindingLookup
  /** How long what a lookup found may be used again, in milliseconds; its failures never are. Default 1,000, at most 60,000. */
  readonly bindingTtlMs?: number
  /** Puts a decorator, such as a lease, before each CMK. */
  readonly decorate?: (kek: Kek, entry: KeyEntry) => Kek
}

/**
 * Routes key contexts. A binding that matches is used or fails; only where none matches is a managed KEK
 * (design.md, law 4). Reading never makes one.
 * @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT`, `AMBIGUOUS_BINDING` for a fixed list
 */
export function createRouter(options: RouterOptions): Router {
  const { managed, providers = [], decorate = (kek) => kek } = options
  const source = bindingSource(options.bindings ?? [], options.bindingTtlMs ?? 1000)
  const cmks = new WeakMap<KeyEntry, Kek>()

  const cmkOf = (entry: KeyEntry): Kek => {
    const known = cmks.get(entry)
    if (known !== undefined) return known
    const kek = entry.provider === MANAGED_PROVIDER_ID ? managedKek(entry.keyId) : providerKek(entry)
    cmks.set(entry, kek)
    return kek
  }
  const providerKek = (entry: KeyEntry): Kek => {
    const provider = providers.find(({ id }) => id === entry.provider)
    if (provider === undefined) {
      throw new KeyfoldError(
        "NO_ROUTE",
        `a binding uses the provider "${entry.provider}": give it to createRouter`,
      )
    }
    return decorate(provider.kek(entry.keyId, entry.options), entry)
  }
  const managedKek = (keyId: string): Kek => {
    if (managed === undefined) {
      throw new KeyfoldError("NO_ROUTE", "a managed KEK is needed: give createRouter the managed provider")
    }
    return managed.kek(keyId)
  }
  const entryOf = (entry: KeyEntry, pairs: readonly Pair[], context: ParsedContext): RouteEntry => ({
    kek: cmkOf(entry),
    covered: pairs,
    mask: maskOf(context, pairs),
    owner: entry.owner,
    companion: entry.companion === undefined ? undefined : managedKek(entry.companion),
  })

  return {
    forWriting: (context, options) =>
      after(source(context, options), (found) => {
        const { routing, uncovered } = select(found, context)
        const entries = routing.map(({ binding, match }): RouteEntry => {
          if (binding.state === "disabled") throw disabled(binding)
          return entryOf(binding, match, context)
        })
        if (uncovered.length === 0) return entries
        if (managed === undefined) throw noRoute(uncovered)
        return addManaged(entries, uncovered, context, (pair) => managed.kekFor(pair))
      }),

    forReading: (context, options) =>
      after(source(context, options), (found) => {
        const { matching, uncovered } = select(found, context)
        const candidates: ReadCandidate[] = matching.map(({ binding, match }) => {
          const entry = { ...entryOf(binding, match, context), lastVersion: undefined }
          return binding.state === "disabled"
            ? { ...entry, kek: refusing(entry.kek, disabled(binding)) }
            : entry
        })
        for (const { history } of found) {
          for (const former of history) {
            if (!isIn(former.parsedMatch, context.pairs)) continue
            const pairs = former.parsedMatch.filter(({ name }) => former.pairs.includes(name))
            candidates.push({ ...entryOf(former, pairs, context), lastVersion: former.lastVersion })
          }
        }
        if (managed === undefined || uncovered.length === 0) return candidates
        return addManaged(candidates, uncovered, context, (pair) => managed.findKek(pair))
      }),
  }
}

type Selected = {
  /** Active and disabled bindings whose match the context contains. */
  readonly matching: readonly ParsedBinding[]
  /** Those of them that no more specific one displaces. */
  readonly routing: readonly ParsedBinding[]
  /** Pairs that no routing binding covers. */
  readonly uncovered: readonly Pair[]
}

/** @throws KeyfoldError `AMBIGUOUS_BINDING` */
function select(found: readonly ParsedBinding[], context: ParsedContext): Selected {
  if (found.length === 0) return { matching: NONE, routing: NONE, uncovered: context.pairs }
  const matching = found.filter(
    ({ binding, match }) =>
      (binding.state === "active" || binding.state === "disabled") && isIn(match, context.pairs),
  )
  matching.forEach((binding, i) => {
    for (const other of matching.slice(i + 1)) checkPair(binding, other)
  })
  const routing = matching.filter(
    ({ match }) => !matching.some((other) => other.match.length > match.length && isIn(match, other.match)),
  )
  const uncovered = context.pairs.filter((pair) => !routing.some(({ match }) => isIn([pair], match)))
  return { matching, routing, uncovered }
}

/** Adds an entry for each pair that has a managed KEK; at once, as long as every answer is there at once. */
function addManaged<Entry extends RouteEntry>(
  entries: (Entry | ReadCandidate)[],
  pairs: readonly Pair[],
  context: ParsedContext,
  find: (pair: Pair) => Kek | undefined | Promise<Kek | undefined>,
): (Entry | ReadCandidate)[] | Promise<(Entry | ReadCandidate)[]> {
  for (let i = 0; i < pairs.length; i++) {
    const pair = pairs[i] as Pair
    const kek = find(pair)
    if (kek instanceof Promise) {
      return Promise.all([kek, ...pairs.slice(i + 1).map(find)]).then((keks) => {
        keks.forEach((kek, j) => {
          if (kek !== undefined) entries.push(managedEntry(kek, pairs[i + j] as Pair, context))
        })
        return entries
      })
    }
    if (kek !== undefined) entries.push(managedEntry(kek, pair, context))
  }
  return entries
}

/** The entry of a pair's managed KEK, kept as long as its context is and the KEK stays the same. */
function managedEntry(kek: Kek, pair: Pair, context: ParsedContext): ReadCandidate {
  const known = managedEntries.get(pair)
  if (known?.kek === kek) return known
  const entry: ReadCandidate = Object.freeze({
    kek,
    covered: Object.freeze([pair]),
    mask: 1 << context.pairs.indexOf(pair),
    owner: "",
    companion: undefined,
    lastVersion: undefined,
  })
  managedEntries.set(pair, entry)
  return entry
}

const NONE: readonly ParsedBinding[] = Object.freeze([])
const managedEntries = new WeakMap<Pair, ReadCandidate>()

/** A candidate that is there to be matched, and refuses to open. */
function refusing(kek: Kek, error: KeyfoldError): Kek {
  const refuse = () => {
    throw error
  }
  return {
    providerId: kek.providerId,
    keyId: kek.keyId,
    wrap: refuse,
    unwrap: refuse,
    describe: (options) => kek.describe(options),
    classify: (error) => kek.classify(error),
  }
}

function disabled({ id, provider, keyId, match }: Binding): KeyfoldError {
  return new KeyfoldError(
    "KEY_DISABLED",
    `the binding ${id} to the ${provider} key ${keyId} is disabled: activate it to use data of ${Object.keys(match).join(", ")}`,
    { providerId: provider, keyId, pairNames: Object.keys(match) },
  )
}

function noRoute(uncovered: readonly Pair[]): KeyfoldError {
  return new KeyfoldError(
    "NO_ROUTE",
    `no binding matches ${uncovered.map(({ name }) => name).join(", ")}, and there is no managed provider: ` +
      "give createRouter one, or add a binding",
  )
}

function maskOf(context: ParsedContext, pairs: readonly Pair[]): number {
  return pairs.reduce(
    (mask, { name }) => mask | (1 << context.pairs.findIndex((pair) => pair.name === name)),
    0,
  )
}

/** Goes on at once where there is no promise to wait for. */
function after<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
