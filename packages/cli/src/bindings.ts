import type { KeyContext } from "@keyfold/core"
import type { Binding, ChangeOptions } from "@keyfold/router"
import { readBindings, type StoredBinding, writeBindings } from "./bindings-file.ts"
import { printable } from "./failure.ts"
import { type HomeOptions, withLockedHome } from "./home.ts"

/** The bindings of a locked home, for one change of them. */
export type BindingsAtHand = {
  /** Every one, removed ones too; as they were before the change. */
  readonly bindings: readonly StoredBinding[]
  /** What the router's functions take; what they save gets these leases. */
  readonly change: (leaseTtlMs: number) => ChangeOptions
}

/** Runs one change of the home's bindings while no other process makes one. Gives the changed binding. */
export async function changeBindings(
  options: HomeOptions,
  work: (atHand: BindingsAtHand) => Promise<Binding>,
): Promise<StoredBinding> {
  return withLockedHome(options, async ({ paths, managed }) => {
    const bindings = await readBindings(paths)
    let current = bindings
    const save = async (saved: StoredBinding) => {
      const known = current.some(({ id }) => id === saved.id)
      current = known ? current.map((each) => (each.id === saved.id ? saved : each)) : [...current, saved]
      await writeBindings(paths, current)
    }
    const change = (leaseTtlMs: number): ChangeOptions => ({
      managed,
      save: (binding) => save({ ...binding, leaseTtlMs }),
    })
    const { id } = await work({ bindings, change })
    return current.find((each) => each.id === id) as StoredBinding
  })
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
export function factsOf(binding: StoredBinding): object {
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
