import type { FailureCode, FailureDetails } from "@keyfold/core"
import type { Canary } from "@keyfold/router"

/** What a validation looks at, in the order in which it does. */
export type CheckId =
  | "key-id"
  | "authenticate"
  | "describe"
  | "state"
  | "usage"
  | "region"
  | "expiry"
  | "purge-protection"
  | "rotation"
  | "permissions"
  | "wrap"
  | "unwrap"
  | "binding"
  | "reply-key"
  | "latency"
  | "external-id"
  | "former-versions"

/** Why a check ended as it did; stable. `OK` for one that passed, `NOT_CHECKED` for one that was skipped. */
export type Reason =
  | "OK"
  | "NOT_CHECKED"
  | "MALFORMED_KEY_ID"
  | "INVALID_KEY_OPTION"
  | "CREDENTIALS_REFUSED"
  | "ROLE_DENIED"
  | "API_DISABLED"
  | "NETWORK_DENIED"
  | "PERMISSION_MISSING"
  | "KEY_NOT_FOUND"
  | "KEY_DISABLED"
  | "KEY_EXPIRED"
  | "KEY_NOT_YET_VALID"
  | "KEY_PENDING_DELETION"
  | "KEY_MATERIAL_MISSING"
  | "KEY_DESTROYED"
  | "KEY_UNAVAILABLE"
  | "KEY_STATE_UNKNOWN"
  | "KEY_UNUSABLE"
  | "KEY_OPERATION_FORBIDDEN"
  | "WRONG_KEY_USAGE"
  | "WRONG_REGION"
  | "REGION_UNKNOWN"
  | "EXPIRES_SOON"
  | "NO_PURGE_PROTECTION"
  | "NO_ROTATION"
  | "REQUEST_REFUSED"
  | "CANARY_LOST"
  | "BINDING_NOT_ENFORCED"
  | "ANOTHER_KEY_ANSWERED"
  | "SLOW"
  | "EXTERNAL_ID_MISSING"
  | "EXTERNAL_ID_NOT_ENFORCED"
  | "FORMER_VERSION_SHUT"
  | "FORMER_KEY_UNPROVEN"
  | "THROTTLED"
  | "UNREACHABLE"
  | "TIMED_OUT"
  | "UNNAMED"

/** Who can mend it, as of a KeyfoldError. */
export type Side = NonNullable<FailureDetails["side"]>

/** What one check found. Plain data, without a secret and without a value of the key context but in `policy`. */
export type Check = {
  readonly id: CheckId
  readonly status: "pass" | "warn" | "fail" | "skipped"
  readonly reason: Reason
  /** One sentence: what was found, or why it was skipped. */
  readonly message: string
  /** The permission that was denied, in the cloud's own words. */
  readonly action: string | null
  readonly side: Side | null
  /** What to do next, in one sentence. */
  readonly fix: string | null
  /** The exact text to add, JSON; for whom and where stands in `fix`. */
  readonly policy: string | null
  /** How long such a change can take to be seen, in seconds. */
  readonly propagationSeconds: number | null
  /** Where a key has several; null where it has one. */
  readonly region: string | null
  /** keyfold's own code of the failure; null where nothing failed. */
  readonly code: FailureCode | null
}

/** What a validation found. */
export type Report = {
  /** `fail` where a check failed, `warn` where one warns. */
  readonly result: "pass" | "warn" | "fail"
  /** In its normal form, where the id that was given is a name that stands for it. */
  readonly keyId: string
  readonly checks: readonly Check[]
  /** Requests that the KMS got, and how many it was to get at most. */
  readonly calls: number
  readonly maxCalls: number
  /** A wrap that proves control of the key: keep it with the binding. Undefined unless it was opened again. */
  readonly canary: Canary | undefined
}

/**
 * The failure that a report tells first: what is refused before what is temporary, for trying again does not mend it.
 * Undefined where nothing failed.
 */
export function worstCheck({ checks }: Pick<Report, "checks">): Check | undefined {
  const failed = checks.filter(({ status }) => status === "fail")
  return failed.find(({ code }) => code === null || !TEMPORARY.has(code)) ?? failed[0]
}

/** Whether this failure says nothing about the key: an outage is no revocation. */
export function isOutage({ code }: Pick<Check, "code">): boolean {
  return code !== null && TEMPORARY.has(code)
}

const TEMPORARY: ReadonlySet<FailureCode> = new Set(["THROTTLED", "UNAVAILABLE", "TIMEOUT"])
