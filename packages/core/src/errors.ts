/** Every way a keyfold call can fail. Switch on the code, never on the message. */
export type FailureCode =
  | "INVALID_CONTEXT"
  | "INVALID_ARGUMENT"
  | "MALFORMED_ENVELOPE"
  | "UNSUPPORTED_VERSION"
  | "DECRYPTION_FAILED"
  | "NO_ROUTE"
  | "AMBIGUOUS_BINDING"
  | "KEY_NOT_FOUND"
  | "KEY_DISABLED"
  | "KEY_PENDING_DELETION"
  | "PERMISSION_DENIED"
  | "THROTTLED"
  | "UNAVAILABLE"
  | "TIMEOUT"
  | "ABORTED"
  | "STORE_FAILED"
  | "STORE_FULL"
  | "STORE_CORRUPT"
  | "UNKNOWN"

/** What an error may say beside its code and message. It never holds a context value, a key or plaintext. */
export type FailureDetails = {
  /** The provider of the KEK that failed, such as `aws-kms`. */
  readonly providerId?: string
  /** The native key id of the KEK that failed. */
  readonly keyId?: string
  /** Names (never values) of the pairs which that KEK covers. */
  readonly pairNames?: readonly string[]
  /** The permission that was denied, in the cloud's own words, such as `kms:Decrypt`. */
  readonly action?: string
  /** Who can mend it. */
  readonly side?: "caller-identity" | "key-policy" | "network" | "key"
  /** What to do next, in one sentence. */
  readonly fix?: string
  /** How long the KMS asked us to wait before another try, in milliseconds. */
  readonly retryAfterMs?: number
  /** The error underneath, untouched, such as the cloud SDK's own. */
  readonly cause?: unknown
}

/** The one error class of keyfold. `code` is stable; `message` says what to do next and holds no secret. */
export class KeyfoldError extends Error {
  /** Why it failed; see {@link FailureCode}. */
  readonly code: FailureCode
  /** True where the same call may succeed later without any change: throttled, unavailable, timed out. */
  readonly retryable: boolean
  readonly providerId: string | undefined
  readonly keyId: string | undefined
  readonly pairNames: readonly string[] | undefined
  readonly action: string | undefined
  readonly side: FailureDetails["side"]
  readonly fix: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: FailureCode, message: string, details: FailureDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = "KeyfoldError"
    this.code = code
    this.retryable = TEMPORARY.has(code)
    this.providerId = details.providerId
    this.keyId = details.keyId
    this.pairNames = details.pairNames
    this.action = details.action
    this.side = details.side
    this.fix = details.fix
    this.retryAfterMs = details.retryAfterMs
  }
}

const TEMPORARY: ReadonlySet<FailureCode> = new Set(["THROTTLED", "UNAVAILABLE", "TIMEOUT"])

/** The one failure a stranger sees (law 7): nothing in it tells which check refused. */
export function decryptionFailed(): KeyfoldError {
  return new KeyfoldError(
    "DECRYPTION_FAILED",
    "decryption failed: the envelope, its key context, its additional data or its keys do not belong together",
  )
}
