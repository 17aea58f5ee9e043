import type { FailureCode, KekFacts, KeyfoldError } from "@keyfold/core"
import type { Reason } from "./report.ts"

/** Names a failure of a KMS call; pure. */
export function reasonOf({ code, side, action }: KeyfoldError): Reason {
  switch (code) {
    case "PERMISSION_DENIED":
      if (action !== undefined && Object.hasOwn(BY_ACTION, action)) return BY_ACTION[action] as Reason
      return side === "network" ? "NETWORK_DENIED" : "PERMISSION_MISSING"
    case "KEY_NOT_FOUND":
    case "KEY_DISABLED":
    case "KEY_PENDING_DELETION":
    case "THROTTLED":
      return code
    case "UNAVAILABLE":
      return side === "key" ? "KEY_UNAVAILABLE" : "UNREACHABLE"
    case "TIMEOUT":
      return "TIMED_OUT"
    case "INVALID_ARGUMENT":
      return "REQUEST_REFUSED"
    case "DECRYPTION_FAILED":
      return "CANARY_LOST"
    case "UNKNOWN":
      // Of a provider, the one failure without a name that is the network's.
      if (side === "network") return "ANOTHER_KEY_ANSWERED"
      return side === "key" ? "KEY_UNUSABLE" : "UNNAMED"
    default:
      return "UNNAMED"
  }
}

/** Denied actions that are no permission on the key. */
const BY_ACTION: Readonly<Record<string, Reason>> = {
  "sts:AssumeRole": "ROLE_DENIED",
  token: "CREDENTIALS_REFUSED",
  "serviceusage.services.enable": "API_DISABLED",
  key_ops: "KEY_OPERATION_FORBIDDEN",
}

/** After one of these about a key no other call of it can tell more. */
export const FINAL: ReadonlySet<Reason> = new Set<Reason>([
  "CREDENTIALS_REFUSED",
  "ROLE_DENIED",
  "API_DISABLED",
  "NETWORK_DENIED",
  "KEY_NOT_FOUND",
  "ANOTHER_KEY_ANSWERED",
  "THROTTLED",
  "UNREACHABLE",
  "TIMED_OUT",
])

/** What is wrong with a key in a state in which it does not wrap; undefined for `enabled` and `unknown`. */
export function stateProblem(providerId: string, state: KekFacts["state"]): StateProblem | undefined {
  const found = OF_STATE[state]
  if (found === undefined) return undefined
  const [reason, code, what, fix] = found
  const isVersion = providerId === "gcp-kms"
  const own = isVersion ? OF_VERSION[state] : undefined
  return {
    reason,
    code,
    message: `${isVersion ? "its primary version" : "the key"} ${what}`,
    fix: own ?? fix,
  }
}

export type StateProblem = {
  readonly reason: Reason
  readonly code: FailureCode
  readonly message: string
  readonly fix: string
}

const OF_STATE: Readonly<
  Partial<Record<KekFacts["state"], readonly [reason: Reason, code: FailureCode, what: string, fix: string]>>
> = {
  disabled: ["KEY_DISABLED", "KEY_DISABLED", "is disabled", "enable it"],
  expired: [
    "KEY_EXPIRED",
    "KEY_DISABLED",
    "has expired: it opens what it wrapped, and wraps nothing",
    "move its expiry date, or make a new version and bind that",
  ],
  "not-yet-valid": [
    "KEY_NOT_YET_VALID",
    "KEY_DISABLED",
    "is not valid yet",
    "move its activation date, or wait for it",
  ],
  "pending-deletion": [
    "KEY_PENDING_DELETION",
    "KEY_PENDING_DELETION",
    "is scheduled for deletion, or deleted and recoverable",
    "cancel its deletion, or recover it, and enable it",
  ],
  "pending-import": [
    "KEY_MATERIAL_MISSING",
    "KEY_DISABLED",
    "has no key material",
    "import its key material",
  ],
  destroyed: [
    "KEY_DESTROYED",
    "KEY_NOT_FOUND",
    "is destroyed",
    "bind another key; data under this one is lost",
  ],
  unavailable: [
    "KEY_UNAVAILABLE",
    "UNAVAILABLE",
    "is being made or changed, or its key store is disconnected",
    "connect its key store, or try again later",
  ],
}
/** Of Google, where the primary version has the state. */
const OF_VERSION: Readonly<Partial<Record<KekFacts["state"], string>>> = {
  "pending-deletion": "restore that version, and enable it",
  destroyed: "make an enabled version the primary one; data under the destroyed one is lost",
  unavailable: "make an enabled version the primary one, or try again later",
}
