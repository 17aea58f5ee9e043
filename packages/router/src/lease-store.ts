import type { SecretKey } from "@keyfold/core/crypto"
import { LRUCache } from "lru-cache"

/** A lease key for whose use a CMK has vouched. */
export type Lease = {
  /** The CMK: its provider id and key id. */
  readonly cmk: string
  readonly key: SecretKey
  /** The version of the CMK that wrapped the lease key. */
  readonly keyVersion: number
  /** What a leased wrap under it begins with: salt, length, wrapped lease key (docs/format.md, "Leased wraps"). */
  readonly prefix: Uint8Array
  /** Wraps that it may still make. */
  usesLeft: number
  /** When the call to the CMK that vouched for it began, by the monotonic clock, in milliseconds. */
  readonly provedAt: number
  /** When to ask the CMK again, ahead of the end, by the same clock. */
  refreshAt: number
  /** The end by the wall clock, which goes on while a machine sleeps. */
  readonly wallEnd: number
}

/**
 * The leases of this process: bounded, gone when their time is over, and all of a CMK's at once when it denies. A denial
 * is a fact about the CMK, whoever heard it.
 */
class LeaseStore {
  /** The time-outs that end leases keep no process alive. */
  readonly #leases = new LRUCache<string, Lease>({ max: MAX_LEASES, ttlAutopurge: true, ttl: 1 })
  readonly #asking = new Set<{ readonly cmk: string; denied: boolean }>()

  get(key: string): Lease | undefined {
    const lease = this.#leases.get(key)
    return lease !== undefined && Date.now() < lease.wallEnd ? lease : undefined
  }

  delete(key: string): void {
    this.#leases.delete(key)
  }

  /**
   * Asks a CMK for a lease and keeps it for `ttlMs` from the beginning of the call, unless the CMK has denied something
   * meanwhile: then it serves those who asked, and nobody after them.
   */
  async ask(key: string, cmk: string, ttlMs: number, call: () => Promise<Lease>): Promise<Lease> {
    const question = { cmk, denied: false }
    this.#asking.add(question)
    try {
      const lease = await call()
      if (!question.denied) this.#leases.set(key, lease, { ttl: ttlMs, start: lease.provedAt })
      return lease
    } finally {
      this.#asking.delete(question)
    }
  }

  /** Ends every lease of a CMK. */
  drop(cmk: string): void {
    for (const [key, lease] of this.#leases.entries()) if (lease.cmk === cmk) this.#leases.delete(key)
    for (const question of this.#asking) if (question.cmk === cmk) question.denied = true
  }
}

/** About half a kilobyte each. */
const MAX_LEASES = 10_000

export const leaseStore = new LeaseStore()
