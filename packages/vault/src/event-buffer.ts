import type { EventRow, VaultStore } from "./vault-store.ts"

/** Takes events that no write brings along. */
export interface EventSink {
  record(events: readonly EventRow[]): Promise<void>
}

/**
 * Stores events of reads together, because a store can make far fewer writes a second than reads: each is written within
 * `delayMs`, or when `flush` or `close` resolves; a crash loses those of that time. Where storing fails they are kept
 * and tried again, and from `limit` events on a read has to wait for it and fails with it.
 */
export class EventBuffer implements EventSink {
  #events: EventRow[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #writing: Promise<void> | undefined
  readonly #store: VaultStore
  readonly #delayMs: number
  readonly #limit: number

  constructor(store: VaultStore, { delayMs = 100, limit = 10_000 } = {}) {
    this.#store = store
    this.#delayMs = delayMs
    this.#limit = limit
  }

  async record(events: readonly EventRow[]): Promise<void> {
    this.#events.push(...events)
    if (this.#events.length > this.#limit) return this.flush()
    this.#timer ??= setTimeout(() => void this.flush().catch(() => undefined), this.#delayMs)
  }

  /** Stores what is there. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#events.length > 0) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined
      })
      await this.#writing
    }
  }

  async #write(): Promise<void> {
    const batch = this.#events.slice(0, BATCH)
    await this.#store.record(batch)
    this.#events.splice(0, batch.length)
  }
}

/** Events in one write. */
const BATCH = 1000
