import type { Pair } from "./context.ts"
import { decryptionFailed, type FailureCode, KeyfoldError } from "./errors.ts"
import type { Kek, KekCallOptions, WrapContext, WrapRecord } from "./kek.ts"

/** The methods of a keyfold, as events name them. */
export type OperationName =
  | "encrypt"
  | "decrypt"
  | "rewrap"
  | "reencrypt"
  | "generateDataKey"
  | "decryptDataKey"
  | "rekeyDataKey"
  | "encryptStream"
  | "decryptStream"
  | "decryptRange"

/** What an observer is told: one event for each KEK call, and one for each operation. Never a value. */
export type KeyfoldEvent =
  | {
      readonly type: "kek"
      readonly operation: OperationName
      readonly action: "wrap" | "unwrap"
      readonly providerId: string
      readonly keyId: string
      /** Undefined where the call succeeded. */
      readonly code: FailureCode | undefined
      readonly durationMs: number
      /** Whether a lease answered without its CMK; undefined where there is no lease. */
      readonly leaseHit: boolean | undefined
    }
  | {
      readonly type: "operation"
      readonly operation: OperationName
      readonly code: FailureCode | undefined
      /** For a stream: until its first byte can be read. */
      readonly durationMs: number
    }

/** What the KEK calls of one operation share. */
export type Operation = {
  readonly name: OperationName
  /** Bound of each KEK call, its retries included, in milliseconds. */
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  readonly onEvent: ((event: KeyfoldEvent) => void) | undefined
  /** Unwraps in flight that equal ones may share (`decryptMany`). */
  readonly inFlight: Map<string, Promise<Uint8Array>> | undefined
}

/** Wraps under its deadline and the operation's signal. Never throws: a failure is returned, wrapped once. */
export function callWrap(
  operation: Operation,
  kek: Kek,
  secret: Uint8Array,
  context: WrapContext,
): WrapRecord | KeyfoldError | Promise<WrapRecord | KeyfoldError> {
  if (operation.signal?.aborted) return aborted(operation.signal)
  const report = reporter(operation, "wrap", kek)
  const options = new CallOptions(report)
  try {
    const answer = kek.wrap(secret, context, options)
    if (isThenable(answer)) {
      return settle(operation, kek, context, answer, options, report, takeRecord, noSecret)
    }
    report?.done(undefined)
    return answer
  } catch (error) {
    return failed(kek, context, error, report)
  }
}

/** Unwraps, likewise. A secret that comes too late is wiped. */
export function callUnwrap(
  operation: Operation,
  kek: Kek,
  record: WrapRecord,
  context: WrapContext,
): Uint8Array | KeyfoldError | Promise<Uint8Array | KeyfoldError> {
  if (operation.signal?.aborted) return aborted(operation.signal)
  const report = reporter(operation, "unwrap", kek)
  const options = new CallOptions(report)
  try {
    const answer = kek.unwrap(record, context, options)
    if (isThenable(answer)) {
      return settle(operation, kek, context, answer, options, report, takeSecret, wipe)
    }
    report?.done(undefined)
    return checkSecret(answer)
  } catch (error) {
    return failed(kek, context, error, report)
  }
}

/** @throws KeyfoldError `ABORTED` if the caller's signal has fired */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal)
}

export function aborted(signal: AbortSignal): KeyfoldError {
  return new KeyfoldError("ABORTED", "the operation was aborted by its caller", { cause: signal.reason })
}

/** Tells an observer; whatever it throws is its own affair and never changes the operation. */
export function emit(onEvent: Operation["onEvent"], event: KeyfoldEvent): void {
  // An observer cannot make a decryption fail, and has no way to be told; an async one may reject later.
  try {
    const answer: unknown = onEvent?.(event)
    if (answer instanceof Promise) answer.catch(() => undefined)
  } catch {}
}

/** The abort controller is made only for a KEK that asks for the signal: a local one never does. */
class CallOptions implements KekCallOptions {
  readonly onLease: ((hit: boolean) => void) | undefined
  #controller: AbortController | undefined

  constructor(report: Reporter | undefined) {
    this.onLease = report?.onLease
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    return this.#controller.signal
  }

  /** Also for a KEK that asks for the signal only later. */
  cancel(reason: KeyfoldError): void {
    this.#controller ??= new AbortController()
    this.#controller.abort(reason)
  }
}

function settle<T>(
  operation: Operation,
  kek: Kek,
  { covered }: WrapContext,
  answer: PromiseLike<T>,
  options: CallOptions,
  report: Reporter | undefined,
  take: (value: T) => T | KeyfoldError,
  discard: (late: T) => void,
): Promise<T | KeyfoldError> {
  const { deadlineMs, signal } = operation
  return new Promise((resolve) => {
    let open = true
    const finish = (result: T | KeyfoldError) => {
      open = false
      clearTimeout(timer)
      signal?.removeEventListener("abort", onAbort)
      report?.done(result instanceof KeyfoldError ? result.code : undefined)
      resolve(result)
    }
    const cancel = (failure: KeyfoldError) => {
      options.cancel(failure)
      finish(failure)
    }
    const onAbort = () => cancel(aborted(signal as AbortSignal))
    const timer = setTimeout(
      () => cancel(keyFailure("TIMEOUT", kek, covered, `no answer within ${deadlineMs} ms`)),
      deadlineMs,
    )
    signal?.addEventListener("abort", onAbort)
    if (signal?.aborted) onAbort()
    const fail = (error: unknown) => {
      if (open) finish(kekFailure(kek, covered, error))
    }
    // What cannot even be looked at, such as a proxy whose traps throw, must not leave a rejection that nobody awaits.
    const settled = (value: T) => {
      let result: T | KeyfoldError
      try {
        if (!open) return discard(value)
        result = take(value)
      } catch (error) {
        result = kekFailure(kek, covered, error)
      }
      if (open) finish(result)
    }
    // A promise of another kind may lead to further ones, and asking it may throw: this waits for all, and rejects then.
    Promise.resolve(answer).then(settled, fail)
  })
}

function failed(
  kek: Kek,
  { covered }: WrapContext,
  error: unknown,
  report: Reporter | undefined,
): KeyfoldError {
  const failure = kekFailure(kek, covered, error)
  report?.done(failure.code)
  return failure
}

/** Wraps what a KEK threw, once. Never throws, whatever that was. */
function kekFailure(kek: Kek, covered: readonly Pair[], error: unknown): KeyfoldError {
  try {
    return namedFailure(kek, covered, error)
  } catch {
    return keyFailure("UNKNOWN", kek, covered, "it failed with an error that cannot be looked at")
  }
}

/** A wrong binding and the like become the one failure without a name (law 7). */
function namedFailure(kek: Kek, covered: readonly Pair[], error: unknown): KeyfoldError {
  const code = error instanceof KeyfoldError ? error.code : classified(kek, error)
  if (code === "DECRYPTION_FAILED") return decryptionFailed()
  if (error instanceof KeyfoldError && error.providerId !== undefined) return error
  const what = error instanceof KeyfoldError ? error.message : SAYS[code]
  return keyFailure(code, kek, covered, what, error)
}

function keyFailure(
  code: FailureCode,
  kek: Kek,
  covered: readonly Pair[],
  what: string,
  error?: unknown,
): KeyfoldError {
  const pairNames = covered.map((pair) => pair.name)
  const details = error instanceof KeyfoldError ? error : undefined
  const shown = pairNames.join(", ").replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, "?")
  const message = `the ${kek.providerId} key ${kek.keyId} for ${shown}: ${what}`
  return new KeyfoldError(code, message, {
    providerId: kek.providerId,
    keyId: kek.keyId,
    pairNames,
    ...(details?.action !== undefined && { action: details.action }),
    ...(details?.side !== undefined && { side: details.side }),
    ...(details?.fix !== undefined && { fix: details.fix }),
    ...(details?.retryAfterMs !== undefined && { retryAfterMs: details.retryAfterMs }),
    cause: details?.cause ?? error,
  })
}

const SAYS: Readonly<Record<FailureCode, string>> = {
  INVALID_CONTEXT: "it refused the key context",
  INVALID_ARGUMENT: "it refused an argument",
  MALFORMED_ENVELOPE: "it refused the wrap as malformed",
  UNSUPPORTED_VERSION: "it does not know the wrap's version",
  DECRYPTION_FAILED: "decryption failed",
  NO_ROUTE: "it has no route",
  AMBIGUOUS_BINDING: "two bindings claim it",
  KEY_NOT_FOUND: "it does not exist: check the key id of the binding, and that the key was not destroyed",
  KEY_DISABLED: "it is disabled: enable it in its KMS to use this data again",
  KEY_PENDING_DELETION: "it is scheduled for deletion: cancel the deletion to use this data again",
  PERMISSION_DENIED: "its KMS denied the call: grant the missing permission",
  THROTTLED: "its KMS is throttling: try again later, or raise its quota",
  UNAVAILABLE: "its KMS cannot be reached: try again later",
  TIMEOUT: "its KMS did not answer in time: try again later",
  ABORTED: "the call was aborted",
  STORE_FAILED: "its store failed",
  STORE_FULL: "its store is full: make room and try again",
  STORE_CORRUPT: "its store is damaged: restore it from a backup",
  UNKNOWN: "it failed with an error that keyfold cannot name; see the cause",
}

type Reporter = {
  readonly onLease: (hit: boolean) => void
  readonly done: (code: FailureCode | undefined) => void
}

function reporter(operation: Operation, action: "wrap" | "unwrap", kek: Kek): Reporter | undefined {
  if (operation.onEvent === undefined) return undefined
  const startedAt = performance.now()
  let leaseHit: boolean | undefined
  return {
    onLease: (hit) => {
      leaseHit = hit
    },
    done: (code) =>
      emit(operation.onEvent, {
        type: "kek",
        operation: operation.name,
        action,
        providerId: kek.providerId,
        keyId: kek.keyId,
        code,
        durationMs: performance.now() - startedAt,
        leaseHit,
      }),
  }
}

/** A record of our own: a promise is never resolved with what a provider may have given a `then`. */
function takeRecord({ keyVersion, leased, wrapped }: WrapRecord): WrapRecord {
  return { keyVersion, leased, wrapped }
}

/** Likewise a copy of the secret; the provider's is wiped. */
function takeSecret(secret: Uint8Array): Uint8Array | KeyfoldError {
  const checked = checkSecret(secret)
  if (checked instanceof KeyfoldError) return checked
  const own = Uint8Array.from(checked)
  wipe(secret)
  return own
}

/** A wrap that comes late holds no secret. */
function noSecret(): void {}

function wipe(secret: unknown): void {
  if (secret instanceof Uint8Array) secret.fill(0)
}

/** What a faulty KEK gives as a secret opens nothing. */
function checkSecret(secret: Uint8Array): Uint8Array | KeyfoldError {
  if (secret instanceof Uint8Array && secret.length === SECRET_BYTES) return secret
  wipe(secret)
  return decryptionFailed()
}

/** A code of the closed union, whatever a provider's `classify` does. */
function classified(kek: Kek, error: unknown): FailureCode {
  try {
    const code = kek.classify(error)
    return Object.hasOwn(SAYS, code) ? code : "UNKNOWN"
  } catch {
    return "UNKNOWN"
  }
}

function isThenable<T>(answer: T | PromiseLike<T>): answer is PromiseLike<T> {
  return typeof (answer as { then?: unknown } | undefined | null)?.then === "function"
}

/** A DEK, or a share of one. */
const SECRET_BYTES = 32
