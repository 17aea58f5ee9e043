import { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { type BindingsAtHand, changeBindings, factsOf, isSameMatch, matchText } from "../bindings.ts"
import { readBindings } from "../bindings-file.ts"
import { recordByok } from "../byok-events.ts"
import { contextOf } from "../context.ts"
import { printable } from "../failure.ts"
import { existingHome, type HomeOptions } from "../home.ts"

export async function list(options: HomeOptions & { json?: true }): Promise<void> {
  const bindings = await readBindings(existingHome(options))
  if (options.json) return console.log(JSON.stringify({ bindings: bindings.map(factsOf) }))
  if (bindings.length === 0) return console.log("no binding")
  const { default: Table } = await import("cli-table3")
  const table = new Table({
    head: ["id", "state", "match", "provider", "key id", "owner", "history", "lease"],
    style: { head: [], border: [] },
  })
  for (const binding of bindings) {
    const { id, state, match, provider, keyId, owner, history, leaseTtlMs } = binding
    const lease = leaseTtlMs === 0 ? "off" : `${leaseTtlMs / 1000} s`
    table.push([id, state, matchText(match), provider, keyId, printable(owner), history.length, lease])
  }
  console.log(table.toString())
}

type RemoveOptions = HomeOptions & { match?: string[]; id?: string; json?: true }

/** Also for a binding that is removed already: a removal that was cut off is then finished. */
export async function remove(options: RemoveOptions): Promise<void> {
  const { removeBinding } = await import("@keyfold/router")
  const removed = await changed(options, ({ change }, found) => removeBinding(found, change))
  await recordByok(options, "vault.byok_key.deleted", removed)
  if (options.json) return console.log(JSON.stringify(factsOf(removed)))
  const pairs = Object.keys(removed.match).length
  const next = pairs === 1 ? "The pair gets a new managed KEK" : "The pairs go back to their managed KEKs"
  console.log(
    `Removed the binding of ${matchText(removed.match)} to ${removed.keyId}.\n` +
      "Data under that key still opens through it, as long as the key's owner lets it, until keyfold rewrap moves it.\n" +
      `${next} when something is encrypted.`,
  )
}

/** Closes one entry of a binding's history. */
export async function forget(options: RemoveOptions & { former: string }): Promise<void> {
  const { withoutHistory } = await import("@keyfold/router")
  const closed = await changed(options, async ({ change }, found) => {
    const without = withoutHistory(found, options.former)
    await change.save(without)
    return without
  })
  if (options.json) return console.log(JSON.stringify(factsOf(closed)))
  console.log(
    `The binding of ${matchText(closed.match)} reads no more under ${options.former}: what was not rewrapped from it is shut.`,
  )
}

/** Shuts the data of a binding, without a word to its key. */
export async function disable(options: RemoveOptions): Promise<void> {
  const { disableBinding } = await import("@keyfold/router")
  const disabled = await changed(options, ({ change }, found) => disableBinding(found, change))
  if (options.json) return console.log(JSON.stringify(factsOf(disabled)))
  console.log(
    `Disabled the binding of ${matchText(disabled.match)} to ${disabled.keyId}.\n` +
      "Nothing whose context holds these pairs can be encrypted or decrypted now, until keyfold binding enable.",
  )
}

export async function enable(options: RemoveOptions): Promise<void> {
  const { activateVerified } = await import("@keyfold/byok")
  const enabled = await changed(options, ({ bindings, change }, found) =>
    activateVerified(found, bindings, change),
  )
  if (options.json) return console.log(JSON.stringify(factsOf(enabled)))
  console.log(`Enabled the binding of ${matchText(enabled.match)} to ${enabled.keyId}.`)
}

/** Changes the binding that is meant. @throws KeyfoldError `INVALID_ARGUMENT` where there is none */
function changed(
  options: RemoveOptions,
  work: (atHand: BindingsAtHand, found: Binding) => Promise<Binding>,
): Promise<Binding> {
  const isMeant = pickOf(options)
  return changeBindings(options, async (atHand) => {
    const found = atHand.bindings.find(isMeant)
    if (found !== undefined) return work(atHand, found)
    throw new KeyfoldError("INVALID_ARGUMENT", "there is no such binding: keyfold binding list shows them")
  })
}

function pickOf({ match, id }: RemoveOptions): (binding: Binding) => boolean {
  if ((match === undefined) === (id === undefined)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "name the binding by its --match name=value, or by its --id")
  }
  if (id !== undefined) return (binding) => binding.id === id
  const wanted = contextOf(match, "--match")
  return (binding) => isSameMatch(binding.match, wanted)
}
