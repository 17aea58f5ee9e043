import { type FailureCode, type FailureDetails, KeyfoldError } from "@keyfold/core"

/**
 * Names an error of `@google-cloud/kms`: a gRPC status, often with `google.rpc` details. Pure; a KeyfoldError passes
 * through. The message is keyfold's own, for the service's may quote the request; its error is the `cause`.
 * @param permission the IAM permission that the failed call needs, where that is known
 */
export function toFailure(error: unknown, permission?: string): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  const { code, what, fix, ...details } = explain(statusOf(error), permission)
  return new KeyfoldError(code, `${what}: ${fix}`, { ...details, fix, cause: error })
}

/** The denial of a permission that the service said is missing. */
export function missingPermission(permission: string): KeyfoldError {
  const { code, what, fix, ...details } = denied(statusOf({}), permission)
  return new KeyfoldError(code, `${what}: ${fix}`, { ...details, fix })
}

/** What a reply is whose checksums do not hold. */
export function damagedReply(): KeyfoldError {
  const { code, what, fix, ...details } = DAMAGED_REPLY
  return new KeyfoldError(code, `${what}: ${fix}`, { ...details, fix, cause: DAMAGED_REPLY })
}

/** Whether a checksum told, here or there, that what was sent is not what came. */
export function isDamage(error: unknown): boolean {
  if (error instanceof KeyfoldError) return error.cause === DAMAGED_REPLY
  const status = statusOf(error)
  return status.code === GRPC.invalidArgument && isDamagedRequest(status)
}

type Explanation = {
  readonly code: FailureCode
  readonly what: string
  readonly fix: string
  readonly side?: NonNullable<FailureDetails["side"]>
  readonly action?: string
  readonly retryAfterMs?: number
}

function explain(status: Status, permission: string | undefined): Explanation {
  switch (status.code) {
    case GRPC.invalidArgument:
      return refusedArgument(status, permission)
    case GRPC.failedPrecondition:
      return isApiOff(status) ? API_OFF : unusableVersion(status)
    case GRPC.permissionDenied:
      return isApiOff(status) ? API_OFF : denied(status, permission)
    case GRPC.resourceExhausted:
      return { ...THROTTLED, ...(status.retryAfterMs !== undefined && { retryAfterMs: status.retryAfterMs }) }
    case GRPC.unauthenticated:
      return NO_CREDENTIALS
    case GRPC.notFound:
      return NOT_FOUND
    case GRPC.deadlineExceeded:
      return TIMED_OUT
    // A cancelled call is here one that the service or the network gave up: bounded-call.ts knows our own.
    case GRPC.unavailable:
    case GRPC.internal:
    case GRPC.cancelled:
      return UNREACHABLE
    default:
      return withoutStatus(status)
  }
}

/** What fails before a call leaves: the SDK could not get a token. An outage there must not look like a denial. */
function withoutStatus(status: Status): Explanation {
  if (BAD_CREDENTIALS.test(status.message)) return NO_CREDENTIALS
  return status.message.includes("Getting metadata from plugin failed") ? NO_TOKEN : UNNAMED
}

function isDamagedRequest({ message }: Status): boolean {
  return message.includes("The checksum in field")
}

function refusedArgument(status: Status, permission: string | undefined): Explanation {
  if (isDamagedRequest(status)) return DAMAGED_REQUEST
  // The key's name and all lengths are ours, so what Decrypt can refuse is the ciphertext or the binding.
  const onDecrypt = permission === "cloudkms.cryptoKeyVersions.useToDecrypt"
  return onDecrypt || status.message.includes("Decryption failed") ? WRONG_CIPHERTEXT : BAD_REQUEST
}

/** The service names the state of the version that the call needed. */
function unusableVersion(status: Status): Explanation {
  const state = /current state is: ([A-Z_]+)/.exec(status.message)?.[1] ?? ""
  const explanation = Object.hasOwn(OF_STATE, state) ? OF_STATE[state] : undefined
  return explanation === undefined
    ? NO_VERSION
    : { side: "key", ...explanation, what: `its version is ${state}` }
}

function denied(status: Status, permission: string | undefined): Explanation {
  const action = status.permission ?? permission
  if (status.reason === "SECURITY_POLICY_VIOLATED" || status.message.includes("VPC Service Controls")) {
    return { ...OUTSIDE_PERIMETER, ...(action !== undefined && { action }) }
  }
  const role =
    action === "cloudkms.cryptoKeys.get"
      ? "roles/cloudkms.viewer"
      : "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  return {
    code: "PERMISSION_DENIED",
    what: `Cloud KMS denied ${action ?? "the call"}, or the key does not exist`,
    fix: `check the key id and grant ${role} on the key to the identity that keyfold runs as`,
    side: "key-policy",
    ...(action !== undefined && { action }),
  }
}

function isApiOff(status: Status): boolean {
  return status.reason === "SERVICE_DISABLED" || status.message.includes("has not been used in project")
}

type Status = {
  readonly code: unknown
  readonly message: string
  readonly reason: unknown
  readonly permission: string | undefined
  readonly retryAfterMs: number | undefined
}

/** What the SDK's GoogleError carries; anything else reads as a status without a code. */
function statusOf(error: unknown): Status {
  const { code, message, reason, errorInfoMetadata, statusDetails } = (error ??
    {}) as Partial<GoogleErrorShape>
  const text = typeof message === "string" ? message : ""
  const delay = Array.isArray(statusDetails)
    ? statusDetails.find((detail) => detail?.retryDelay !== undefined)?.retryDelay
    : undefined
  return {
    code,
    message: text,
    reason,
    permission: errorInfoMetadata?.permission ?? /Permission '([\w.]+)' denied/.exec(text)?.[1],
    retryAfterMs:
      delay == null ? undefined : Number(delay.seconds ?? 0) * 1000 + Number(delay.nanos ?? 0) / 1e6,
  }
}

type GoogleErrorShape = {
  readonly code: number
  readonly message: string
  readonly reason: string
  readonly errorInfoMetadata: { readonly permission?: string } | null
  readonly statusDetails: readonly { readonly retryDelay?: { seconds?: unknown; nanos?: unknown } | null }[]
}

/** gRPC status codes (grpc/grpc, doc/statuscodes.md), here without loading the SDK. */
const GRPC = {
  cancelled: 1,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const

/** google-auth-library without credentials, and the refusals of a token endpoint (RFC 6749 §5.2, and Google's own). */
const BAD_CREDENTIALS =
  /Could not load the default credentials|(invalid|deleted|disabled|unauthorized)_client|invalid_grant/

const NOT_FOUND: Explanation = {
  code: "KEY_NOT_FOUND",
  what: "it does not exist",
  fix: "check the key id of the binding",
  side: "key",
}
const THROTTLED: Explanation = {
  code: "THROTTLED",
  what: "a quota of Cloud KMS is used up",
  fix: "try again later, or raise the quota of cryptographic requests",
}
const TIMED_OUT: Explanation = {
  code: "TIMEOUT",
  what: "Cloud KMS did not answer in time",
  fix: "try again later",
  side: "network",
}
const UNREACHABLE: Explanation = {
  code: "UNAVAILABLE",
  what: "Cloud KMS cannot be reached, or gave no readable answer",
  fix: "try again later",
  side: "network",
}
const DAMAGED_REQUEST: Explanation = {
  code: "UNAVAILABLE",
  what: "the request was damaged on its way to Cloud KMS",
  fix: "try again later, and look for a proxy that changes the traffic",
  side: "network",
}
const DAMAGED_REPLY: Explanation = {
  ...DAMAGED_REQUEST,
  what: "a checksum of Cloud KMS's answer does not hold",
}
const NO_TOKEN: Explanation = {
  code: "UNAVAILABLE",
  what: "no access token for Cloud KMS could be fetched",
  fix: "try again later, and check the way to the token endpoint",
  side: "network",
}
const NO_CREDENTIALS: Explanation = {
  code: "PERMISSION_DENIED",
  what: "Cloud KMS does not know who is calling",
  fix: "give the SDK's client valid credentials",
  side: "caller-identity",
  action: "token",
}
const API_OFF: Explanation = {
  code: "PERMISSION_DENIED",
  what: "the Cloud KMS API is off in the project that is billed for the call",
  fix: "enable cloudkms.googleapis.com there",
  side: "caller-identity",
  action: "serviceusage.services.enable",
}
const OUTSIDE_PERIMETER: Explanation = {
  code: "PERMISSION_DENIED",
  what: "VPC Service Controls keep the call out",
  fix: "let the identity or the network that keyfold runs in into the perimeter of the key's project",
  side: "network",
}
const WRONG_CIPHERTEXT: Explanation = {
  code: "DECRYPTION_FAILED",
  what: "wrong ciphertext or binding",
  fix: "check that the envelope belongs to this key and context",
}
const BAD_REQUEST: Explanation = {
  code: "INVALID_ARGUMENT",
  what: "Cloud KMS refused the request",
  fix: "check that the purpose of the key is ENCRYPT_DECRYPT",
  side: "key",
}
const NO_VERSION: Explanation = {
  code: "UNKNOWN",
  what: "it cannot be used as it is",
  fix: "check that its purpose is ENCRYPT_DECRYPT and that its primary version is enabled",
  side: "key",
}
const UNNAMED: Explanation = {
  code: "UNKNOWN",
  what: "Cloud KMS failed with an error that keyfold cannot name",
  fix: "see the cause",
}

const DISABLED = { code: "KEY_DISABLED", fix: "enable that version to use this data again" } as const
const GOING = { code: "KEY_PENDING_DELETION", fix: "restore that version to use this data again" } as const
const GONE = {
  code: "KEY_NOT_FOUND",
  fix: "data under that version is lost; make another version the primary one",
} as const
const NEVER = { code: "KEY_DISABLED", fix: "make an enabled version the primary one" } as const
const SOON = { code: "UNAVAILABLE", fix: "try again later" } as const

/** By `CryptoKeyVersionState`, in the SDK's resources.proto. */
const OF_STATE: Readonly<Record<string, Pick<Explanation, "code" | "fix">>> = {
  DISABLED,
  DESTROY_SCHEDULED: GOING,
  PENDING_EXTERNAL_DESTRUCTION: GOING,
  DESTROYED: GONE,
  EXTERNAL_DESTRUCTION_FAILED: GONE,
  PENDING_GENERATION: SOON,
  PENDING_IMPORT: NEVER,
  IMPORT_FAILED: NEVER,
  GENERATION_FAILED: NEVER,
}
