import { type FailureCode, KeyfoldError } from "@keyfold/core"
import { VaultError, type VaultErrorCode } from "@keyfold/vault"

/** An answer that is not a success. `code` is for programs, `message` says what to do; neither holds a value. */
export type Failure = {
  readonly status: number
  readonly code: string
  readonly message: string
  /** When to try again, in seconds. */
  readonly retryAfter?: number
}

/** Thrown where a request cannot be served; nothing but its failure is told. */
export class RequestError extends Error {
  readonly failure: Failure

  constructor(status: number, code: string, message: string, retryAfter?: number) {
    super(message)
    this.failure = { status, code, message, ...(retryAfter !== undefined && { retryAfter }) }
  }
}

/** The failure for whatever was thrown. What has no name is told as such: its text may quote anything. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RequestError) return error.failure
  if (error instanceof VaultError) {
    return { status: VAULT_STATUS[error.code], code: error.code.toLowerCase(), message: error.message }
  }
  if (error instanceof KeyfoldError) {
    const status = STATUS[error.code]
    const retryAfter =
      status === 429 || status === 503 ? Math.ceil((error.retryAfterMs ?? 1000) / 1000) : undefined
    return {
      status,
      code: error.code.toLowerCase(),
      message: status === 500 ? "the server could not do this; its operator has the details" : error.message,
      ...(retryAfter !== undefined && { retryAfter }),
    }
  }
  return {
    status: 500,
    code: "unknown",
    message: "the server could not do this; its operator has the details",
  }
}

const VAULT_STATUS: Readonly<Record<VaultErrorCode, number>> = {
  NOT_FOUND: 404,
  NAME_TAKEN: 409,
  ID_TAKEN: 409,
  VERSION_CONFLICT: 409,
  CONTEXT_MISMATCH: 409,
  OUT_OF_SCOPE: 403,
}

/** A key that its owner has shut is not a fault of the server: SDKs try a 5xx again. */
const STATUS: Readonly<Record<FailureCode, number>> = {
  INVALID_CONTEXT: 422,
  INVALID_ARGUMENT: 400,
  MALFORMED_ENVELOPE: 400,
  UNSUPPORTED_VERSION: 400,
  DECRYPTION_FAILED: 500,
  NO_ROUTE: 403,
  AMBIGUOUS_BINDING: 403,
  KEY_NOT_FOUND: 403,
  KEY_DISABLED: 403,
  KEY_PENDING_DELETION: 403,
  PERMISSION_DENIED: 403,
  THROTTLED: 429,
  UNAVAILABLE: 503,
  TIMEOUT: 503,
  ABORTED: 503,
  STORE_FAILED: 500,
  STORE_FULL: 500,
  STORE_CORRUPT: 500,
  UNKNOWN: 500,
}
