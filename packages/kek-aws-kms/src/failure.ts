import { type FailureCode, type FailureDetails, KeyfoldError } from "@keyfold/core"

/**
 * Names an error of the AWS SDK. Pure; a KeyfoldError passes through. The message is keyfold's own, for the
 * service's may quote the request; its error is the `cause`.
 * @param action the IAM action that the failed call needs, such as `kms:Decrypt`, where that is known
 */
export function toFailure(error: unknown, action?: string): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  const { code, what, fix, ...details } = explain(read(error), action)
  return new KeyfoldError(code, `${what}: ${fix}`, { ...details, fix, cause: error })
}

type Explanation = {
  readonly code: FailureCode
  readonly what: string
  readonly fix: string
  readonly side?: NonNullable<FailureDetails["side"]>
  readonly action?: string
  readonly retryAfterMs?: number
}

function explain(error: AwsFailure, action: string | undefined): Explanation {
  // A clock that was off: the SDK has corrected it by the reply, and the next try is signed right.
  if (error.clockSkewCorrected) return CLOCK_WAS_OFF
  const byName = Object.hasOwn(BY_NAME, error.name) ? BY_NAME[error.name] : undefined
  if (byName !== undefined) return byName(error, action)
  // The SDK gives Node's connection errors and its own time-outs one name and code; only Node says which call failed.
  if (error.name === "TimeoutError" && error.code === "ETIMEDOUT" && !error.isSystemError) return TIMED_OUT
  if (NETWORK_CODES.has(error.code)) return UNREACHABLE
  if (CERTIFICATE_CODES.test(error.code)) return UNTRUSTED
  if (error.name === "TimeoutError") return TIMED_OUT
  // An answer that is not of the service: the SDK could not parse it.
  if (error.name === "SyntaxError" || error.status >= 500) return UNREACHABLE
  if (error.status === 429) return throttled(error)
  return UNNAMED
}

const BY_NAME: Readonly<Record<string, (error: AwsFailure, action: string | undefined) => Explanation>> = {
  AccessDeniedException: denied,
  AccessDenied: roleDenied,
  DisabledException: unusable,
  KMSInvalidStateException: unusable,
  NotFoundException: () => NOT_FOUND,
  InvalidArnException: () => NOT_FOUND,
  InvalidCiphertextException: () => WRONG_CIPHERTEXT,
  IncorrectKeyException: () => WRONG_CIPHERTEXT,
  InvalidKeyUsageException: () => WRONG_KEY_TYPE,
  ValidationException: () => WRONG_KEY_TYPE,
  InvalidGrantTokenException: () => GRANT,
  ThrottlingException: throttled,
  Throttling: throttled,
  LimitExceededException: throttled,
  RequestLimitExceeded: throttled,
  DependencyTimeoutException: () => UNREACHABLE,
  KeyUnavailableException: () => UNREACHABLE,
  KMSInternalException: () => UNREACHABLE,
  UnrecognizedClientException: () => CREDENTIALS,
  InvalidClientTokenId: () => CREDENTIALS,
  InvalidSignatureException: () => CREDENTIALS,
  SignatureDoesNotMatch: () => CREDENTIALS,
  MissingAuthenticationTokenException: () => CREDENTIALS,
  ExpiredTokenException: () => CREDENTIALS,
  ExpiredToken: () => CREDENTIALS,
  RequestExpired: () => CREDENTIALS,
  CredentialsProviderError: () => CREDENTIALS,
  AbortError: () => ABORTED,
}

/** The end of the message tells whose policy it was (AWS IAM User Guide, "Access denied error messages"). */
function denied({ message }: AwsFailure, action: string | undefined): Explanation {
  const named = /not authorized to perform: ([\w:]+)/.exec(message)?.[1] ?? action
  const details = { code: "PERMISSION_DENIED" as const, ...(named !== undefined && { action: named }) }
  const what = `AWS KMS denied ${named ?? "the call"}`
  if (message.includes("explicit deny")) {
    const fix =
      "look for a Deny statement, often with a condition on the encryption context, and let this call through"
    const side = message.includes("identity-based") ? ("caller-identity" as const) : ("key-policy" as const)
    return { ...details, what, fix, side }
  }
  if (message.includes("no identity-based policy allows")) {
    const fix = "allow it on the key in the IAM policy of the identity that keyfold runs as"
    return { ...details, what, fix, side: "caller-identity" }
  }
  if (message.includes("no resource-based policy allows")) {
    return { ...details, what, fix: "allow it to that identity in the key policy", side: "key-policy" }
  }
  if (message.includes("service control policy") || message.includes("permissions boundary")) {
    return {
      ...details,
      what,
      fix: "lift the boundary on the identity that keyfold runs as",
      side: "caller-identity",
    }
  }
  if (message.includes("VPC endpoint policy")) {
    return { ...details, what, fix: "allow it in the policy of the VPC endpoint", side: "network" }
  }
  const fix = "allow it in the key policy and, for another account's key, in the caller's IAM policy as well"
  return { ...details, what: `${what}, or the key does not exist`, fix, side: "key-policy" }
}

/** STS speaks of the role and not of the key; an unknown role and a wrong external id look alike. */
function roleDenied({ message }: AwsFailure): Explanation {
  const isCallers = message.includes("no identity-based policy allows")
  return {
    code: "PERMISSION_DENIED",
    what: "AWS STS denied the role",
    fix: isCallers
      ? "allow sts:AssumeRole on the role in the IAM policy of the identity that keyfold runs as"
      : "check the role's ARN, and that its trust policy allows that identity with this external id",
    side: isCallers ? "caller-identity" : "key-policy",
    action: "sts:AssumeRole",
  }
}

/** Two exceptions share these messages: which of them comes for a state is left open (guide, "Key states"). */
function unusable({ name, message }: AwsFailure): Explanation {
  if (/pending (replica )?deletion/.test(message)) return GOING
  if (message.includes("pending import")) return NO_MATERIAL
  if (/is (unavailable|creating|updating)/i.test(message)) return BUSY
  return name === "DisabledException" ? DISABLED : UNUSABLE
}

function throttled({ retryAfterMs }: AwsFailure): Explanation {
  return { ...THROTTLED, ...(retryAfterMs !== undefined && { retryAfterMs }) }
}

type AwsFailure = {
  readonly name: string
  readonly message: string
  /** Node's, such as `ECONNRESET`. */
  readonly code: string
  readonly isSystemError: boolean
  /** Of the HTTP reply; 0 where there was none. */
  readonly status: number
  readonly clockSkewCorrected: boolean
  readonly retryAfterMs: number | undefined
}

/** What the SDK's errors carry; anything else reads as an error without a name. */
function read(error: unknown): AwsFailure {
  const { name, message, code, syscall, $metadata, $response } = (error ?? {}) as Partial<SdkError>
  const retryAfterSeconds = Number.parseInt(textOf($response?.headers?.["retry-after"]), 10)
  return {
    name: textOf(name),
    message: textOf(message),
    code: textOf(code),
    isSystemError: syscall !== undefined,
    status: Number($metadata?.httpStatusCode ?? $response?.statusCode ?? 0),
    clockSkewCorrected: $metadata?.clockSkewCorrected === true,
    retryAfterMs: retryAfterSeconds >= 0 ? retryAfterSeconds * 1000 : undefined,
  }
}

/** Anything can be thrown, and `String` of anything can throw. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : ""
}

type SdkError = {
  readonly name: string
  readonly message: string
  readonly code: string
  readonly syscall: string
  readonly $metadata: { readonly httpStatusCode?: number; readonly clockSkewCorrected?: boolean }
  readonly $response: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> }
}

/** Of OpenSSL, by way of Node. */
const CERTIFICATE_CODES = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/
const NETWORK_CODES: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EPROTO",
  "HPE_INVALID_CONSTANT",
])

const NOT_FOUND: Explanation = {
  code: "KEY_NOT_FOUND",
  what: "it does not exist in its account and region",
  fix: "check the ARN of the binding; data under a deleted key is lost",
  side: "key",
}
const DISABLED: Explanation = {
  code: "KEY_DISABLED",
  what: "it is disabled",
  fix: "enable it in AWS KMS to use this data again",
  side: "key",
}
const GOING: Explanation = {
  code: "KEY_PENDING_DELETION",
  what: "it is scheduled for deletion",
  fix: "cancel the deletion in AWS KMS and enable the key to use this data again",
  side: "key",
}
const NO_MATERIAL: Explanation = {
  code: "KEY_DISABLED",
  what: "its imported key material is missing or has expired",
  fix: "import the same key material again",
  side: "key",
}
const BUSY: Explanation = {
  code: "UNAVAILABLE",
  what: "it is being made or changed, or its custom key store is disconnected",
  fix: "connect the key store, or try again later",
  side: "key",
}
const UNUSABLE: Explanation = {
  code: "UNKNOWN",
  what: "its state or its custom key store does not allow the call",
  fix: "look up the key's state in AWS KMS; see the cause",
  side: "key",
}
const WRONG_CIPHERTEXT: Explanation = {
  code: "DECRYPTION_FAILED",
  what: "wrong ciphertext, key or encryption context",
  fix: "check that the envelope belongs to this key and context",
}
const WRONG_KEY_TYPE: Explanation = {
  code: "INVALID_ARGUMENT",
  what: "AWS KMS refused the request",
  fix: "use a symmetric key with the key usage ENCRYPT_DECRYPT",
  side: "key",
}
const GRANT: Explanation = {
  code: "PERMISSION_DENIED",
  what: "a grant token is not valid",
  fix: "make the grant again",
  side: "key-policy",
}
const CREDENTIALS: Explanation = {
  code: "PERMISSION_DENIED",
  what: "AWS does not accept the credentials",
  fix: "give the SDK's client valid credentials, and set the clock of this machine",
  side: "caller-identity",
  action: "token",
}
const THROTTLED: Explanation = {
  code: "THROTTLED",
  what: "the request quota of AWS KMS is used up",
  fix: "try again later, or raise the quota of cryptographic operations",
  side: "caller-identity",
}
const TIMED_OUT: Explanation = {
  code: "TIMEOUT",
  what: "AWS KMS did not answer in time",
  fix: "try again later",
  side: "network",
}
const UNREACHABLE: Explanation = {
  code: "UNAVAILABLE",
  what: "AWS KMS cannot be reached, or gave no readable answer",
  fix: "try again later",
  side: "network",
}
const UNTRUSTED: Explanation = {
  code: "UNAVAILABLE",
  what: "the certificate of AWS KMS's address is not trusted",
  fix: "look for a proxy on the way; if it is yours, give Node its authority, with NODE_EXTRA_CA_CERTS",
  side: "network",
}
const CLOCK_WAS_OFF: Explanation = {
  code: "UNAVAILABLE",
  what: "the clock of this machine is off",
  fix: "set it, and try again",
  side: "caller-identity",
}
const ABORTED: Explanation = { code: "ABORTED", what: "the call was aborted", fix: "make it again" }
const UNNAMED: Explanation = {
  code: "UNKNOWN",
  what: "AWS KMS failed with an error that keyfold cannot name",
  fix: "see the cause",
}
