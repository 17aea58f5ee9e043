import type { KeyContext } from "@keyfold/core"
import type { Binding, ChangeOptions } from "@keyfold/router"
import { readBindings, writeBindings } from "./bindings-file.ts"
import { printable } from "./failure.ts"
import { type Home, type HomeOptions, whileHomeLocked, withLockedHome } from "./home.ts"

/** The bindings of a locked home, for one change of them. */
export type BindingsAtHand = {
  /** Every one, removed ones too; as they were before the change. */
  readonly bindings: readonly Binding[]
  /** For the router's functions. */
  readonly change: ChangeOptions
}

/** Runs one change of the home's bindings while no other process makes one. */
export async function changeBindings(
  options: HomeOptions,
  work: (atHand: BindingsAtHand) => Promise<Binding>,
): Promise<Binding> {
  return withLockedHome(options, (home) => changeHeld(home, work))
}

/** The same of a home that is open already. */
export async function changeBindingsOf(
  home: Pick<Home, "paths" | "managed">,
  work: (atHand: BindingsAtHand) => Promise<Binding>,
): Promise<Binding> {
  return whileHomeLocked({ home: home.paths.folder }, () => changeHeld(home, work))
}

async function changeHeld(
  { paths, managed }: Pick<Home, "paths" | "managed">,
  work: (atHand: BindingsAtHand) => Promise<Binding>,
): Promise<Binding> {
  const bindings = await readBindings(paths)
  let current = bindings
  const save = async (saved: Binding) => {
    const known = current.some(({ id }) => id === saved.id)
    current = known ? current.map((each) => (each.id === saved.id ? saved : each)) : [...current, saved]
    await writeBindings(paths, current)
  }
  return work({ bindings, change: { managed, save } })
}

export function isSameMatch(a: KeyContext, b: KeyContext): boolean {
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  )
}

/** A match for people to read. */
export function matchText(match: KeyContext): string {
  return Object.entries(match)
    .map(([name, value]) => printable(`${name}=${value}`))
    .join(", ")
}

/** A binding as `--json` shows it. */
export function factsOf(binding: Binding): object {
  const { id, state, match, provider, keyId, owner, options, publicKey, leaseTtlMs, history } = binding
  return {
    id,
    state,
    match,
    provider,
    keyId,
    owner,
    options,
    publicKey,
    leaseTtlSeconds: leaseTtlMs / 1000,
    history: history.map((former) => ({
      provider: former.provider,
      keyId: former.keyId,
      pairs: former.pairs,
      lastVersion: former.lastVersion,
      closedAt: former.closedAt,
    })),
  }
}
