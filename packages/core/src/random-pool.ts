/**
 * Random bytes from a pool, one per thread, because a system call per IV costs forty times the copy.
 * A taken byte is zeroed in the pool at once, and what is older than a second is dropped, so that a copy of the
 * process (a restored snapshot) repeats nothing for long. Never filled while a start-up snapshot is built.
 */
export class RandomPool {
  readonly #fill: (target: Uint8Array) => void
  readonly #mayPool: () => boolean
  #pool: Uint8Array | undefined
  #next = POOL_BYTES
  #filledAt = 0

  constructor(fill: (target: Uint8Array) => void, mayPool: () => boolean = () => true) {
    this.#fill = fill
    this.#mayPool = mayPool
  }

  /** Fills `target`, whose length is in bytes, with fresh random bytes. */
  take(target: Uint8Array): void {
    const length = target.length
    if (length > POOL_BYTES / 4 || !this.#mayPool()) {
      this.#fill(target)
      return
    }
    let pool = this.#pool
    if (
      pool === undefined ||
      this.#next + length > POOL_BYTES ||
      performance.now() - this.#filledAt > MAX_AGE_MS
    ) {
      pool = this.#refill()
    }
    const start = this.#next
    const end = start + length
    // A loop beats subarray + set + fill below some 64 bytes, and no pooled secret is asked for longer.
    for (let from = start, to = 0; from < end; from++, to++) {
      target[to] = pool[from] as number
      pool[from] = 0
    }
    this.#next = end
  }

  /** Drops what is left: for a host that knows it was cloned or restored. */
  reseed(): void {
    this.#pool?.fill(0)
    this.#next = POOL_BYTES
  }

  #refill(): Uint8Array {
    this.#pool ??= new Uint8Array(POOL_BYTES)
    this.#fill(this.#pool)
    this.#next = 0
    this.#filledAt = performance.now()
    return this.#pool
  }
}

const POOL_BYTES = 4096
const MAX_AGE_MS = 1000
