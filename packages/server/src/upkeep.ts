import type { Keyfold } from "@keyfold/core"
import { type Actor, linkEvents, purgeDeleted, type VaultStore } from "@keyfold/vault"
import type { Metrics } from "./metrics.ts"
import { WebhookSender } from "./webhook-sender.ts"

export type UpkeepOptions = {
  readonly store: VaultStore
  /** How long a deleted object can be had back, in days. Default 30. */
  readonly recoveryDays?: number
  /** Opens the secrets of webhooks. Without it none is sent anything. */
  readonly keyfold?: Keyfold
  /** Counts webhooks. */
  readonly metrics?: Metrics
  /** Told of what failed; it is tried again. */
  readonly onError?: (error: unknown) => void
}

/**
 * What a running server does beside answering: gives events their place in the audit chain every 5 seconds, sends them
 * to webhooks, and purges what was deleted long enough ago at once and every hour. `stop` it before the store is closed.
 */
export function startUpkeep({ store, recoveryDays, keyfold, metrics, onError }: UpkeepOptions): {
  readonly stop: () => Promise<void>
} {
  const sender = keyfold && new WebhookSender({ store, keyfold, metrics, onError })
  let running = Promise.resolve()
  const enqueue = (work: () => Promise<unknown>) => {
    running = running.then(work).then(
      () => undefined,
      (error) => onError?.(error),
    )
  }
  const link = () => enqueue(() => linkEvents(store))
  const linkAndSend = () => {
    link()
    enqueue(async () => sender?.wake())
  }
  const purge = () =>
    enqueue(() => purgeDeleted({ store, actor: UPKEEP, ...(recoveryDays !== undefined && { recoveryDays }) }))
  const timers = [setInterval(linkAndSend, LINK_MS), setInterval(purge, PURGE_MS)]
  purge()
  linkAndSend()
  return {
    async stop() {
      for (const timer of timers) clearInterval(timer)
      link()
      await running
      await sender?.stop()
    },
  }
}

const UPKEEP: Actor = { id: "upkeep", name: "keyfold", source: "system" }
const LINK_MS = 5000
const PURGE_MS = 60 * 60 * 1000
