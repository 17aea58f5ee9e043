import type { KeyContext, Keyfold } from "@keyfold/core"
import { sealSlot } from "./slots.ts"
import type { Slot, SlotId } from "./slots-file.ts"
import { checkWorkosShape, verifyWorkosKey, WORKOS_NAMES } from "./workos.ts"

/** What is kept for WorkOS in one context, in the order in which it is asked for. */
export function workosIds(context: KeyContext): readonly SlotId[] {
  return WORKOS_NAMES.map((name) => ({ name, context }))
}

/**
 * The slots of both values, once they have the right shape and `host` takes the key.
 * @throws KeyfoldError where it does not, before anything is encrypted
 */
export async function sealWorkos(
  keyfold: Keyfold,
  { context, host }: { readonly context: KeyContext; readonly host: string },
  [apiKey = "", clientId = ""]: readonly string[],
): Promise<readonly Slot[]> {
  checkWorkosShape(apiKey, clientId)
  await verifyWorkosKey(host, apiKey)
  const values = [apiKey, clientId].map((value) => new TextEncoder().encode(value))
  return Promise.all(
    workosIds(context).map((id, i) => sealSlot(keyfold, { ...id, host }, values[i] as Uint8Array)),
  )
}
