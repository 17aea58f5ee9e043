import {
  type FailureCode,
  type Kek,
  type KekCallOptions,
  type KekFacts,
  KeyfoldError,
  type WrapContext,
  type WrapRecord,
} from "@keyfold/core"
import {
  BrokenCircuitError,
  BulkheadRejectedError,
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  DelegateBackoff,
  handleWhen,
  type IPolicy,
  retry,
  TaskCancelledError,
  wrap,
} from "cockatiel"
import { orAborted } from "./or-aborted.ts"
import { invalid } from "./plain-data.ts"

/** How calls to one key of a remote KMS are bounded. */
export type ResilienceOptions = {
  /** Bound of a call with all its tries, in milliseconds; 5,000 unless told. */
  readonly deadlineMs?: number
  /** Tries after the first; 2 unless told, 0 for none. */
  readonly maxRetries?: number
  /** Calls at a time; 100 unless told. Others wait for their turn, within their deadline. */
  readonly maxConcurrent?: number
  /** Calls that wait; 10,000 unless told. */
  readonly maxQueued?: number
  /** Outages in a row after which the key is left alone; 5 unless told. */
  readonly breakAfter?: number
  /** For how long, before one call tries it, in milliseconds; 10,000 unless told. */
  readonly breakMs?: number
}

/**
 * Puts retries with full jitter, an overall deadline, a circuit breaker and a limit of calls at a time before one key.
 * Only what can pass by itself is tried again: an outage, and a throttled call where its `Retry-After` fits into the
 * deadline. A denial counts as an answer; an open breaker is `UNAVAILABLE`, and so never looks like one.
 * @throws KeyfoldError `INVALID_ARGUMENT` for an option out of range
 */
export function resilient(kek: Kek, options: ResilienceOptions = {}): Kek {
  return new ResilientKek(kek, { ...DEFAULTS, ...options })
}

class ResilientKek implements Kek {
  readonly providerId: string
  readonly keyId: string
  readonly #kek: Kek
  readonly #deadlineMs: number
  readonly #maxRetries: number
  readonly #breakMs: number
  /** Shared by all calls: they know how the key has been lately. */
  readonly #guard: IPolicy

  constructor(kek: Kek, options: Required<ResilienceOptions>) {
    for (const [name, [least, most]] of Object.entries(RANGES)) {
      const value = options[name as keyof ResilienceOptions]
      if (!Number.isInteger(value) || value < least || value > most) {
        throw invalid(`${name} is a whole number from ${least} to ${most}`)
      }
    }
    const { deadlineMs, maxRetries, maxConcurrent, maxQueued, breakAfter, breakMs } = options
    this.#kek = kek
    this.providerId = kek.providerId
    this.keyId = kek.keyId
    this.#deadlineMs = deadlineMs
    this.#maxRetries = maxRetries
    this.#breakMs = breakMs
    const breaker = circuitBreaker(
      handleWhen((error) => this.#isOutage(error)),
      { breaker: new ConsecutiveBreaker(breakAfter), halfOpenAfter: breakMs },
    )
    this.#guard = wrap(breaker, bulkhead(maxConcurrent, maxQueued))
  }

  wrap(secret: Uint8Array, context: WrapContext, options: KekCallOptions): Promise<WrapRecord> {
    return this.#call(options.signal, (signal) =>
      this.#kek.wrap(secret, context, { signal, onRequest: options.onRequest }),
    )
  }

  unwrap(record: WrapRecord, context: WrapContext, options: KekCallOptions): Promise<Uint8Array> {
    return this.#call(
      options.signal,
      (signal) => this.#kek.unwrap(record, context, { signal, onRequest: options.onRequest }),
      wipe,
    )
  }

  describe(options: KekCallOptions): Promise<KekFacts> {
    return this.#call(options.signal, (signal) =>
      this.#kek.describe({ signal, onRequest: options.onRequest }),
    )
  }

  classify(error: unknown): FailureCode {
    return error instanceof KeyfoldError ? error.code : this.#kek.classify(error)
  }

  /** @param discard is given what comes after the call was given up */
  async #call<T>(
    callers: AbortSignal | undefined,
    call: (signal: AbortSignal) => T | Promise<T>,
    discard: (late: T) => void = () => {},
  ): Promise<T> {
    const endsAt = performance.now() + this.#deadlineMs
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(this.#timedOut()), this.#deadlineMs)
    const signal = callers === undefined ? deadline.signal : AbortSignal.any([callers, deadline.signal])
    // The breaker's half-open state loses the signal that a policy is given: this one is our own.
    const attempt = async () => {
      signal.throwIfAborted()
      return orAborted(call(signal), signal, discard)
    }
    const tries = retry(
      handleWhen((error) => !signal.aborted && this.#maySucceedBy(endsAt, error)),
      { maxAttempts: this.#maxRetries, backoff: new DelegateBackoff(pauseBefore) },
    )
    try {
      return await orAborted(wrap(tries, this.#guard).execute(attempt, signal), signal, discard)
    } catch (error) {
      throw this.#named(error, signal)
    } finally {
      clearTimeout(timer)
    }
  }

  #maySucceedBy(endsAt: number, error: unknown): boolean {
    if (isOfPolicy(error)) return false
    const code = this.#codeOf(error)
    const wait = error instanceof KeyfoldError ? (error.retryAfterMs ?? 0) : 0
    return (code === "UNAVAILABLE" || code === "THROTTLED") && performance.now() + wait < endsAt
  }

  /** A call that its caller gave up for its own deadline counts too: the KMS hung. */
  #isOutage(error: unknown): boolean {
    const code = isOfPolicy(error) ? undefined : this.#codeOf(error)
    return code === "UNAVAILABLE" || code === "TIMEOUT"
  }

  #codeOf(error: unknown): FailureCode {
    try {
      return this.classify(error)
    } catch {
      return "UNKNOWN"
    }
  }

  #named(error: unknown, signal: AbortSignal): unknown {
    if (signal.aborted) {
      const { reason } = signal
      return reason instanceof KeyfoldError
        ? reason
        : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: reason })
    }
    if (error instanceof BrokenCircuitError) {
      return new KeyfoldError(
        "UNAVAILABLE",
        `its KMS failed time and again and is left alone for up to ${this.#breakMs} ms: try again later`,
        { side: "network", retryAfterMs: this.#breakMs },
      )
    }
    if (error instanceof BulkheadRejectedError) {
      return new KeyfoldError("THROTTLED", "too many calls wait for this key: send fewer at a time", {
        side: "caller-identity",
      })
    }
    return error
  }

  #timedOut(): KeyfoldError {
    return new KeyfoldError(
      "TIMEOUT",
      `its KMS did not answer within ${this.#deadlineMs} ms: try again later`,
      {
        side: "network",
      },
    )
  }
}

function isOfPolicy(error: unknown): boolean {
  return (
    error instanceof BrokenCircuitError ||
    error instanceof BulkheadRejectedError ||
    error instanceof TaskCancelledError
  )
}

/** Full jitter, so that many callers do not come back at once; on top of what the KMS asked for. In milliseconds. */
function pauseBefore({ attempt, result }: { attempt: number; result: object }): number {
  const error = "error" in result ? result.error : undefined
  const asked = error instanceof KeyfoldError ? (error.retryAfterMs ?? 0) : 0
  return asked + Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS)
}

function wipe(secret: unknown): void {
  if (secret instanceof Uint8Array) secret.fill(0)
}

const DEFAULTS: Required<ResilienceOptions> = {
  deadlineMs: 5_000,
  maxRetries: 2,
  maxConcurrent: 100,
  maxQueued: 10_000,
  breakAfter: 5,
  breakMs: 10_000,
}
const RANGES: Readonly<Record<keyof ResilienceOptions, readonly [least: number, most: number]>> = {
  deadlineMs: [1, 600_000],
  maxRetries: [0, 10],
  maxConcurrent: [1, 10_000],
  maxQueued: [0, 1_000_000],
  breakAfter: [1, 1_000],
  breakMs: [1, 600_000],
}
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2_000
