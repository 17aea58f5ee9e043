import type { FailureCode, Keyfold, KeyfoldError } from "@keyfold/core"
import { tryOpenSlots } from "./slots.ts"
import type { Slot } from "./slots-file.ts"
import { verifyWorkosKey, WORKOS_HOST } from "./workos.ts"

/** A slot that does not open, or whose value its service does not take. */
export type BrokenSlot = {
  readonly slot: Slot
  readonly error: KeyfoldError
  /**
   * Whether to ask for another value: not where a key or a service is out of reach, and not where the slot does not vouch
   * for a host that somebody may have put there to get the next key.
   */
  readonly isForAsking: boolean
}

/** Opens every slot, and asks WorkOS, where `online`, whether it still takes its keys. */
export async function brokenSlots(
  keyfold: Keyfold,
  slots: readonly Slot[],
  online: boolean,
): Promise<readonly BrokenSlot[]> {
  const broken: BrokenSlot[] = []
  const results = await tryOpenSlots(keyfold, slots)
  for (const [i, result] of results.entries()) {
    const slot = slots[i] as Slot
    if (!result.ok) {
      broken.push({ slot, error: result.error, isForAsking: isLost(slot, result.error) })
    } else if (online && slot.host !== undefined && slot.name === "WORKOS_API_KEY") {
      const error = await verifyWorkosKey(slot.host, result.value).then(
        () => undefined,
        (error: KeyfoldError) => error,
      )
      if (error !== undefined) broken.push({ slot, error, isForAsking: error.code === "PERMISSION_DENIED" })
    }
  }
  return broken
}

function isLost({ host }: Slot, { code }: KeyfoldError): boolean {
  return LOST.has(code) && (host === undefined || host === WORKOS_HOST)
}

/** What no waiting brings back. */
const LOST: ReadonlySet<FailureCode> = new Set(["DECRYPTION_FAILED", "MALFORMED_ENVELOPE", "KEY_NOT_FOUND"])
