import { randomUUID } from "node:crypto"
import { type FailureCode, type KeyContext, type Keyfold, KeyfoldError } from "@keyfold/core"
import PQueue from "p-queue"
import { type Actor, eventRow } from "./event.ts"
import { reencryptVersion } from "./object-cipher.ts"
import type { Claimed, Resealing, Sealed, VaultStore } from "./vault-store.ts"

export type SweepOptions = {
  readonly keyfold: Keyfold
  readonly store: VaultStore
  readonly actor: Actor
  /** `rewrap` leaves payloads as they are; `reencrypt` also shuts out who kept old headers and their KEKs. */
  readonly kind: "rewrap" | "reencrypt"
  /** Only objects whose key context has all these pairs. Default: all objects. */
  readonly context?: KeyContext
  /** Versions at work at once. Default 8. */
  readonly concurrency?: number
  /** Versions begun in a second, to stay below a KMS's quota. Default: no limit. */
  readonly perSecond?: number
  /** After so long the versions that a killed process had in hand are free for others, in milliseconds. Default 30,000. */
  readonly claimMs?: number
  /** Told after each batch. */
  readonly onProgress?: (progress: SweepProgress) => void
  readonly signal?: AbortSignal
}

export type SweepProgress = {
  /** Versions that this process moved. */
  readonly done: number
  /** Versions that are still to be moved, by whatever process. */
  readonly remaining: number
}

export type SweepResult = {
  readonly done: number
  /** Versions that could not be moved, by the code of their failure. They open as before. */
  readonly failed: Readonly<Partial<Record<FailureCode, number>>>
  /** Everything that was sealed before is moved; what changed the routes later needs another sweep. In milliseconds since 1970. */
  readonly startedAt: number
}

/**
 * Moves every version of every object, deleted ones too, to today's routes, after a rotation or a new binding. Several
 * processes may work on it at once; one that is killed loses nothing, and the next call of the same kind and context
 * goes on where it was. What fails for a while is tried again, five times in all.
 * @throws KeyfoldError `ABORTED`, `STORE_…`
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  const { keyfold, store, actor, kind, context = {}, onProgress, signal } = options
  const { concurrency = 8, perSecond, claimMs = 30_000 } = options
  const { id, startedAt } = await store.beginSweep({
    id: randomUUID(),
    kind,
    context: JSON.stringify(Object.fromEntries(Object.entries(context).sort())),
    startedAt: Date.now(),
  })
  const due = { sealedBefore: startedAt, context }
  const queue = new PQueue({
    concurrency,
    ...(perSecond !== undefined && { interval: 1000, intervalCap: perSecond }),
  })
  const attempts = new Map<string, number>()
  const failed = new Map<string, Claimed & { readonly code: FailureCode }>()
  let done = 0

  const seal = async (claimed: Claimed): Promise<Partial<Sealed>> => {
    const keyContext = JSON.parse(claimed.context) as KeyContext
    const how = { context: keyContext, ...(signal !== undefined && { signal }) }
    if (kind === "rewrap") return { header: await keyfold.rewrap(claimed.header, how) }
    const version = await store.version(claimed.objectId, claimed.versionId)
    if (version === undefined) throw new KeyfoldError("STORE_FAILED", "a version was purged meanwhile")
    return reencryptVersion(keyfold, version, keyContext)
  }
  const move = async (claimed: Claimed): Promise<Resealing | undefined> => {
    const { objectId, versionId, change } = claimed
    try {
      const sealed = await seal(claimed)
      const events = [eventRow("vault.data.rewrapped", actor, { objectId, versionId })]
      return { objectId, versionId, change, sealed, at: Date.now(), events }
    } catch (error) {
      if (signal?.aborted || !(error instanceof KeyfoldError)) throw error
      const name = `${objectId} ${versionId}`
      const tries = (attempts.get(name) ?? 0) + 1
      attempts.set(name, tries)
      const again = error.retryable && tries < ATTEMPTS
      if (!again) failed.set(name, { ...claimed, code: error.code })
      const wait = again ? Math.max(error.retryAfterMs ?? 0, RETRY_MS * 2 ** tries) : GIVEN_UP_MS
      await store.postpone([claimed], Date.now() + wait)
      return undefined
    }
  }

  for (;;) {
    if (signal?.aborted) throw new KeyfoldError("ABORTED", "interrupted: run it again to go on")
    const now = Date.now()
    const claimed = await store.claim(due, BATCH, now, now + claimMs)
    const moves = await Promise.all(claimed.map((each) => queue.add(() => move(each))))
    const moved = moves.filter((each) => each !== undefined)
    if (moved.length > 0) done += (await store.reseal(moved)).filter(Boolean).length
    const remaining = await store.countDue(due)
    onProgress?.({ done, remaining })
    if (remaining <= failed.size) break
    // The rest is claimed by other processes, or waits for its next try.
    if (claimed.length === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  await store.endSweep(id)
  await store.postpone([...failed.values()], 0)
  const byCode: Partial<Record<FailureCode, number>> = {}
  for (const { code } of failed.values()) byCode[code] = (byCode[code] ?? 0) + 1
  return { done, failed: byCode, startedAt }
}

/** Versions in one write. */
const BATCH = 100
const POLL_MS = 500
const RETRY_MS = 500
const ATTEMPTS = 5
/** So long no process tries what cannot be moved. */
const GIVEN_UP_MS = 600_000
