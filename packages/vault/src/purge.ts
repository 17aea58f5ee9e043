import { type Actor, eventRow } from "./event.ts"
import type { VaultStore } from "./vault-store.ts"

export type PurgeOptions = {
  readonly store: VaultStore
  readonly actor: Actor
  /** How long a deleted object can be had back, in days. Default 30. */
  readonly recoveryDays?: number
}

/**
 * Removes for good every object that was deleted longer ago than the recovery window: its versions, and what events
 * tell of it in words. `scrubbed` says whether the bytes are out of the store's files, too: false where another process was
 * reading, and the next purge tries again; undefined where that is the database server's affair.
 */
export async function purgeDeleted({
  store,
  actor,
  recoveryDays = 30,
}: PurgeOptions): Promise<{ readonly purged: number; readonly scrubbed: boolean | undefined }> {
  const before = Date.now() - recoveryDays * DAY_MS
  let purged = 0
  for (;;) {
    const ids = await store.deletedBefore(before, BATCH)
    if (ids.length === 0) break
    for (const id of ids) {
      // An object that was brought back meanwhile stays.
      if (await store.purge(id, before, [eventRow("vault.data.purged", actor, { objectId: id })])) purged++
    }
  }
  return { purged, scrubbed: await store.scrub() }
}

const DAY_MS = 24 * 60 * 60 * 1000
const BATCH = 100
