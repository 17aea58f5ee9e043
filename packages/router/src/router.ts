import {
  type Kek,
  type KekProvider,
  KeyfoldError,
  type Pair,
  type ParsedContext,
  type ReadCandidate,
  type RouteEntry,
  type Router,
} from "@keyfold/core"
import type { Binding } from "./binding.ts"
import { type BindingLookup, bindingSource } from "./binding-source.ts"
import { EntryKeks } from "./entry-keks.ts"
import type { ManagedKeks } from "./managed-keks.ts"
import { invalid, ownFields, shown } from "./plain-data.ts"
import { type Kept, type Plan, planOf } from "./plan.ts"
import type { ResilienceOptions } from "./resilient.ts"

export type RouterOptions = {
  /** Serves the pairs that no binding matches. Without it such a context has no route. */
  readonly managed?: ManagedKeks | undefined
  /** Where the bindings' CMKs are. */
  readonly providers?: readonly KekProvider[]
  /** A fixed list, or a lookup in a database. Default: none. */
  readonly bindings?: readonly Binding[] | BindingLookup
  /**
   * How long what a lookup found may be used again, in milliseconds; its failures never are. Default 1,000, at most
   * 60,000; 0 asks every time.
   */
  readonly bindingTtlMs?: number
  /** Bound of one lookup, in milliseconds; 5,000 unless told. */
  readonly bindingDeadlineMs?: number
  /** How calls to each CMK are bounded; `false` leaves that to the provider. */
  readonly resilience?: ResilienceOptions | false
  /** Keeps leased data apart; only where there is no managed provider, whose own counts. Default `default`. */
  readonly environment?: string
}

export interface BindingRouter extends Router {
  /** Looks bindings up anew from the next call on: call it when one was changed in this process. */
  forgetBindings(): void
}

/**
 * Routes key contexts. A binding that matches is used or fails; only where none matches is a managed KEK
 * (design.md, law 4). Reading never makes one.
 * @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT`, `AMBIGUOUS_BINDING` for a fixed list
 */
export function createRouter(options: RouterOptions): BindingRouter {
  const own = ownFields(options, "what createRouter is given") as RouterOptions
  const { managed, providers = [], bindings = [], resilience = {} } = own
  const lookup = { ttlMs: own.bindingTtlMs ?? 1000, deadlineMs: own.bindingDeadlineMs ?? 5000 }
  const environment = managed?.environment ?? own.environment ?? "default"
  if (own.environment !== undefined && own.environment !== environment)
    throw invalid("the environment is that of the managed provider: leave it out")
  const keks = new EntryKeks(managed, providers, environment, resilience)
  const source = bindingSource(bindings, lookup, (found, context) => planOf(found, context, keks))
  const needsCompanion = ({ publicKey, state }: Binding) => publicKey && state !== "removed"
  if (managed === undefined && typeof bindings !== "function" && bindings.some(needsCompanion)) {
    throw invalid("a public-key binding needs a companion: give createRouter the managed provider")
  }

  const write = (plan: Plan, context: ParsedContext) => {
    const { entries, refusing, uncovered } = plan
    if (refusing !== undefined) refusing.wrap()
    if (uncovered.length === 0) return entries
    if (managed === undefined) throw noRoute(uncovered)
    return withManaged(plan.toWrite, entries, plan, context, managed, (pair) => managed.kekFor(pair))
  }
  const read = (plan: Plan, context: ParsedContext) =>
    managed === undefined || plan.uncovered.length === 0
      ? plan.candidates
      : withManaged(plan.toRead, plan.candidates, plan, context, managed, (pair) => managed.findKek(pair))

  return {
    forWriting(context, options) {
      const route = () => after(source.find(context, options), (plan) => write(plan, context))
      return orElse(route, (error) => {
        // A pair without a route: perhaps one that another process has closed for a binding not seen here yet.
        if (isNoRoute(error) && source.forget(context)) return route()
        throw error
      })
    },
    forReading(context, options) {
      let missing = false
      const route = () =>
        after(source.find(context, options), (plan) =>
          after(read(plan, context), (entries) => {
            missing = entries.length < plan.candidates.length + plan.uncovered.length
            return entries
          }),
        )
      // A pair without a KEK: perhaps likewise.
      return after(route(), (entries) => (missing && source.forget(context) ? route() : entries))
    },
    forgetBindings: () => void source.forget(),
  }
}

/** What bindings give and the managed KEKs of the other pairs; kept until the provider may know of a change. */
function withManaged<Entry extends RouteEntry>(
  kept: Kept<Entry>,
  given: readonly Entry[],
  { uncovered }: Plan,
  context: ParsedContext,
  managed: ManagedKeks,
  find: (pair: Pair) => Kek | undefined | Promise<Kek | undefined>,
): readonly (Entry | ReadCandidate)[] | Promise<readonly (Entry | ReadCandidate)[]> {
  const { generation } = managed
  if (generation !== undefined && generation === kept.generation) return kept.entries
  const entries = addManaged<Entry>([...given], uncovered, context, find)
  // A pair without a KEK may have one any time. What looking itself found changed is kept under a number that is gone.
  if (!(entries instanceof Promise) && entries.length === given.length + uncovered.length) {
    kept.generation = generation
    kept.entries = entries
  }
  return entries
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
      const rest = pairs.slice(i + 1).map(async (pair) => find(pair))
      return Promise.all([kek, ...rest]).then((keks) => {
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

function managedEntry(kek: Kek, pair: Pair, context: ParsedContext): ReadCandidate {
  return Object.freeze({
    kek,
    covered: Object.freeze([pair]),
    mask: 1 << context.pairs.findIndex(({ name }) => name === pair.name),
    owner: "",
    companion: undefined,
    lastVersion: undefined,
  })
}

function noRoute(uncovered: readonly Pair[]): KeyfoldError {
  const pairNames = uncovered.map(({ name }) => name)
  return new KeyfoldError(
    "NO_ROUTE",
    `no binding matches ${shown(pairNames)}, and there is no managed provider: give createRouter one, or add a binding`,
    { pairNames },
  )
}

function isNoRoute(error: unknown): boolean {
  return error instanceof KeyfoldError && error.code === "NO_ROUTE"
}

/** Goes on at once where there is no promise to wait for. */
function after<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

function orElse<T>(run: () => T | Promise<T>, recover: (error: unknown) => T | Promise<T>): T | Promise<T> {
  try {
    const result = run()
    return result instanceof Promise ? result.catch(recover) : result
  } catch (error) {
    return recover(error)
  }
}
