/** Calls in flight that equal callers share. What a call gives is not kept: see the caller's own cache. */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>()

  /**
   * Joins the call under `key`, unless it is older than `maxAgeMs`, or starts one. A caller's signal ends its own
   * waiting; when nobody waits any more, the call itself is aborted.
   * @param signal read only when the caller has to wait
   */
  run(
    key: string,
    signal: AbortSignal | undefined,
    maxAgeMs: number,
    start: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    let flight = this.#flights.get(key)
    if (flight === undefined || performance.now() - flight.startedAt >= maxAgeMs) {
      flight = this.#start(key, start)
    }
    return join(flight, signal)
  }

  /** Whether a call under `key` is in flight. */
  has(key: string): boolean {
    return this.#flights.has(key)
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController()
    const end = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
    }
    const flight: Flight<T> = {
      startedAt: performance.now(),
      answer: start(controller.signal).finally(end),
      waiters: 0,
      leave(reason) {
        flight.waiters--
        if (flight.waiters > 0) return
        end() // nobody joins a call that is about to fail for an abort
        controller.abort(reason)
      },
    }
    this.#flights.set(key, flight)
    return flight
  }
}

type Flight<T> = {
  /** By the monotonic clock, in milliseconds. */
  readonly startedAt: number
  readonly answer: Promise<T>
  waiters: number
  readonly leave: (reason: unknown) => void
}

function join<T>(flight: Flight<T>, signal: AbortSignal | undefined): Promise<T> {
  flight.waiters++
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      flight.leave(signal?.reason)
      reject(signal?.reason)
    }
    const settle = (done: () => void) => {
      signal?.removeEventListener("abort", onAbort)
      done()
    }
    flight.answer.then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error)),
    )
    if (signal?.aborted) onAbort()
    else signal?.addEventListener("abort", onAbort, { once: true })
  })
}
