import { type Keyfold, KeyfoldError } from "@keyfold/core"
import { readEvent, type VaultStore, type WebhookProgress, type WebhookRow } from "@keyfold/vault"
import type { Metrics } from "./metrics.ts"
import { FRESH, NEVER, openSecret, settingsOf, signatureOf, stateOf, webhookBody } from "./webhook.ts"

export type WebhookSenderOptions = {
  readonly store: VaultStore
  /** Opens the secrets that sign. */
  readonly keyfold: Keyfold
  readonly metrics?: Pick<Metrics, "onWebhooks" | "onWebhookTry"> | undefined
  /** Told of what is no receiver's failure, and of a webhook that is given up. */
  readonly onError?: ((error: unknown) => void) | undefined
  /** How long one try may take, in milliseconds. Default 10 s. */
  readonly timeoutMs?: number
}

/**
 * Sends linked events to webhooks, to each in order and at least once: a receiver that does not answer 2xx holds its own
 * webhook up, and no other. Of several processes one works on a webhook at a time, by the compare-and-swap of its row.
 */
export class WebhookSender {
  readonly #options: WebhookSenderOptions
  readonly #working = new Map<string, Promise<void>>()
  readonly #stopped = new AbortController()

  constructor(options: WebhookSenderOptions) {
    this.#options = options
  }

  /** Begins work on every webhook that has some and that nobody works on; does not wait for it. */
  async wake(): Promise<void> {
    const { store, metrics, onError } = this.#options
    const last = (await store.lastLink())?.position ?? 0
    const rows = await store.webhooks()
    metrics?.onWebhooks(rows.map(stateOf))
    for (const row of rows) {
      const { id, dueAt, position } = row
      if (dueAt > Date.now() || position >= last || this.#working.has(id) || this.#stopped.signal.aborted)
        continue
      const work = this.#work(row).catch((error) => onError?.(error))
      this.#working.set(
        id,
        work.finally(() => this.#working.delete(id)),
      )
    }
  }

  /** Resolves when what it began has ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#working.values())
  }

  /** Ends tries under way; another process, or the next, makes them again. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    await this.idle()
  }

  async #work(row: WebhookRow): Promise<void> {
    let claimed = await this.#move(row, { dueAt: Date.now() + CLAIM_MS })
    if (claimed === undefined) return
    let secret: Uint8Array | undefined
    try {
      secret = await openSecret(this.#options.keyfold, claimed)
      while (claimed !== undefined) claimed = await this.#sendBatch(claimed, secret)
    } catch (error) {
      // A key that is shut, a store that failed. What was sent is known by the position.
      if (claimed === undefined) throw error
      await this.#fail(claimed, error instanceof KeyfoldError ? error.code : "UNKNOWN")
      throw error
    } finally {
      secret?.fill(0)
    }
  }

  /** Gives the row to go on with, if this process still may and something is left. */
  async #sendBatch(row: WebhookRow, secret: Uint8Array): Promise<WebhookRow | undefined> {
    const { store, metrics } = this.#options
    const settings = settingsOf(row)
    // Before the events, so that none which is linked meanwhile is passed over.
    const last = (await store.lastLink())?.position ?? 0
    const { types } = settings
    const events = await store.events({ limit: BATCH, order: "asc", above: row.position, types })
    if (events.length === 0) {
      await this.#move(row, { position: Math.max(row.position, last), ...FRESH })
      return undefined
    }
    let claimed: WebhookRow | undefined = row
    for (const event of events) {
      if (this.#stopped.signal.aborted) return this.#release(claimed)
      const failure = await this.#send(settings.url, webhookBody(readEvent(event), settings), secret)
      if (failure !== undefined && this.#stopped.signal.aborted) return this.#release(claimed)
      metrics?.onWebhookTry(failure === undefined ? "delivered" : "failed")
      if (failure !== undefined) return this.#fail(claimed, failure)
      const dueAt = Date.now() + CLAIM_MS
      claimed = await this.#move(claimed, { ...FRESH, position: event.position, dueAt })
      // It was removed, or this took so long that another process goes on with it.
      if (claimed === undefined) return undefined
    }
    return claimed
  }

  /** Tells what went wrong; never what was sent, or where. */
  async #send(url: string, body: string, secret: Uint8Array): Promise<string | undefined> {
    const { timeoutMs = TRY_MS } = this.#options
    try {
      const response = await fetch(url, {
        method: "POST",
        redirect: "manual",
        headers: {
          "content-type": "application/json",
          "user-agent": "keyfold-webhooks",
          "workos-signature": signatureOf(secret, body, Date.now()),
        },
        body,
        signal: AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(timeoutMs)]),
      })
      await response.body?.cancel().catch(() => undefined)
      return response.ok ? undefined : `HTTP ${response.status}`
    } catch (error) {
      if (error instanceof DOMException && error.name === "TimeoutError") return "no answer in time"
      const code = (error as { cause?: { code?: unknown } }).cause?.code
      return typeof code === "string" && /^[A-Z0-9_]{1,50}$/.test(code) ? code : "cannot be reached"
    }
  }

  async #release(row: WebhookRow): Promise<undefined> {
    const { failures, failingSince, failure } = row
    await this.#move(row, { dueAt: 0, failures, failingSince, failure })
    return undefined
  }

  async #fail(row: WebhookRow, failure: string): Promise<undefined> {
    const now = Date.now()
    const failures = row.failures + 1
    const failingSince = row.failures === 0 ? now : row.failingSince
    const givesUp = now - failingSince >= GIVE_UP_MS
    const dueAt = givesUp ? NEVER : now + retryDelayMs(failures)
    await this.#move(row, { dueAt, failures, failingSince, failure })
    if (givesUp) {
      const message = `${row.id} took nothing for three days (${failure}): keyfold webhook resume tries again`
      this.#options.onError?.(new KeyfoldError("UNAVAILABLE", message))
    }
    return undefined
  }

  /** The row as it is then; undefined where somebody else moved or removed it. */
  async #move(row: WebhookRow, change: Partial<WebhookProgress>): Promise<WebhookRow | undefined> {
    const moved = { ...row, ...change }
    const done = await this.#options.store.moveWebhook(row.id, row.change, moved)
    return done ? { ...moved, change: row.change + 1 } : undefined
  }
}

/** Doubles from 5 seconds to an hour, less up to a fifth by chance, so that receivers are not all asked at once. */
export function retryDelayMs(failures: number): number {
  const delay = Math.min(FIRST_RETRY_MS * 2 ** (failures - 1), LAST_RETRY_MS)
  return Math.round(delay * (1 - Math.random() / 5))
}

const TRY_MS = 10_000
/** How long a webhook is left to the process that works on it, from each event on; more than a try and two writes take. */
const CLAIM_MS = 60_000
const FIRST_RETRY_MS = 5000
const LAST_RETRY_MS = 3_600_000
const GIVE_UP_MS = 3 * 86_400_000
/** Events in one read. */
const BATCH = 100
