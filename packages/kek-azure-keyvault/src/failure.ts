import { type FailureCode, type FailureDetails, KeyfoldError } from "@keyfold/core"
import type { ServiceErrorDetails } from "./vault-client.ts"

/**
 * Names an error of a call to Key Vault. Pure; a KeyfoldError passes through. The message is keyfold's own; the error
 * is the `cause`.
 * @param permission the key permission that the failed call needs, such as `unwrapKey`, where that is known
 */
export function toFailure(error: unknown, permission?: string): KeyfoldError {
  return error instanceof KeyfoldError ? error : failure(explain(read(error), permission), error)
}

/**
 * Names what a credential threw in place of a token. Only a refusal by Microsoft Entra is a denial: an outage there is
 * no word about the key.
 */
export function toTokenFailure(error: unknown): KeyfoldError {
  const { name, message, cause } = (error ?? {}) as Partial<Error>
  const text = typeof message === "string" ? message : ""
  if (ENTRA_REFUSALS.test(text)) return failure(NO_TOKEN, error)
  const isOut = name === "TimeoutError" || ENTRA_OUTAGES.test(text) || isOutage(cause)
  if (isOut) return failure(ENTRA_OUT, error)
  return failure(isUnavailable(error) ? NO_TOKEN : UNNAMED_TOKEN, error)
}

/** Of a credential that has nothing to ask with; `DefaultAzureCredential` gathers those of all it tried. */
function isUnavailable(error: unknown): boolean {
  const { name, errors } = (error ?? {}) as { readonly name?: unknown; readonly errors?: unknown }
  if (name !== "AggregateAuthenticationError") return String(name).startsWith("Credential")
  return Array.isArray(errors) && errors.every(isUnavailable)
}

/** Of MSAL: a status of the token endpoint or, for a minute after such a one, its own refusal to ask again. */
function isOutage(cause: unknown): boolean {
  const { name, status } = (cause ?? {}) as { readonly name?: unknown; readonly status?: unknown }
  return name === "ServerError" && (status === undefined || status === 429 || Number(status) >= 500)
}

export function timedOut(error: unknown): KeyfoldError {
  return failure(TIMED_OUT, error)
}

type Explanation = {
  readonly code: FailureCode
  readonly what: string
  readonly fix: string
  readonly side?: NonNullable<FailureDetails["side"]>
  readonly action?: string
  readonly retryAfterMs?: number
}

function failure({ code, what, fix, ...details }: Explanation, cause: unknown): KeyfoldError {
  return new KeyfoldError(code, `${what}: ${fix}`, { ...details, fix, cause })
}

function explain(error: VaultFailure, permission: string | undefined): Explanation {
  const { status, code, innerCode, retryAfterMs } = error
  if (status === undefined) return withoutAnswer(error)
  if (status === 401) return NO_ACCESS
  if (status === 429) return { ...THROTTLED, ...(retryAfterMs !== undefined && { retryAfterMs }) }
  // A proxy's own 403 or 404 is no word of the vault's.
  if (status >= 500 || status === 408 || code === undefined) return UNREACHABLE
  if (status === 403) return BY_INNER_CODE.get(innerCode ?? "") ?? denied(error, permission)
  if (status === 404) return NOT_FOUND
  if (status === 409) return GOING
  if (status === 400)
    return permission === "unwrapKey" || permission === "decrypt" ? WRONG_CIPHERTEXT : BAD_REQUEST
  return UNNAMED
}

function withoutAnswer({ name, code = "" }: VaultFailure): Explanation {
  if (name === "AbortError") return ABORTED
  if (CERTIFICATE_CODES.test(code)) return UNTRUSTED
  return name === "RestError" ? UNREACHABLE : UNNAMED
}

/** RBAC and access policies, which both stand on the customer's vault. Their messages name what was missing. */
function denied({ message, innerCode }: VaultFailure, permission: string | undefined): Explanation {
  const action =
    /Action: '([\w./]+)'/.exec(message)?.[1] ??
    /does not have keys (\w+) permission/.exec(message)?.[1] ??
    permission
  return {
    code: "PERMISSION_DENIED",
    what: `Key Vault denied ${action ?? "the call"}`,
    fix:
      innerCode === "AccessDenied"
        ? "allow it to the identity that keyfold runs as in the vault's access policies"
        : "assign that identity the role Key Vault Crypto Service Encryption User on the key; a new role takes minutes",
    side: "key-policy",
    ...(action !== undefined && { action }),
  }
}

type VaultFailure = {
  readonly name: string
  readonly message: string
  /** Of the HTTP reply; undefined where there was none. */
  readonly status: number | undefined
  /** The service's or, without a reply, the client's or Node's. */
  readonly code: string | undefined
  readonly innerCode: string | undefined
  readonly retryAfterMs: number | undefined
}

/** What a RestError carries; anything else reads as an error without a name. */
function read(error: unknown): VaultFailure {
  const { name, message, statusCode, code, details } = (error ?? {}) as Partial<RestErrorShape>
  return {
    name: typeof name === "string" ? name : "",
    message: typeof message === "string" ? message : "",
    status: typeof statusCode === "number" ? statusCode : undefined,
    code: typeof code === "string" ? code : undefined,
    innerCode: details?.innerCode,
    retryAfterMs: details?.retryAfterMs,
  }
}

type RestErrorShape = {
  readonly name: string
  readonly message: string
  readonly statusCode: number
  readonly code: string
  readonly details: ServiceErrorDetails
}

/** OAuth 2.0's words for a client that may not have a token (RFC 6749 §5.2), and Microsoft Entra's own. */
const ENTRA_REFUSALS =
  /\b(invalid_(client|grant|request|scope|resource)|unauthorized_client|access_denied|consent_required|interaction_required)\b/
/** What MSAL makes of broken connections, and what Microsoft Entra says when it is busy. */
const ENTRA_OUTAGES =
  /\b(network_error|endpoints_resolution_error|temporarily_unavailable|server_error|ECONN\w+|ENOTFOUND|EAI_AGAIN|ETIMEDOUT)\b/
/** Of OpenSSL, by way of Node. */
const CERTIFICATE_CODES = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/

const NOT_IN_ITS_DATES = "set other dates on the key, or bind a newer version of it and rewrap"
const BY_INNER_CODE: ReadonlyMap<string, Explanation> = new Map<string, Explanation>([
  [
    "KeyDisabled",
    {
      code: "KEY_DISABLED",
      what: "it is disabled",
      fix: "enable it in Key Vault to use this data again",
      side: "key",
    },
  ],
  [
    "KeyExpired",
    {
      code: "KEY_DISABLED",
      what: "it has expired, and only opens what it wrapped before",
      fix: NOT_IN_ITS_DATES,
      side: "key",
    },
  ],
  [
    "KeyNotYetValid",
    { code: "KEY_DISABLED", what: "it is not valid yet", fix: NOT_IN_ITS_DATES, side: "key" },
  ],
  [
    "KeyOperationForbidden",
    {
      code: "PERMISSION_DENIED",
      what: "the key itself does not permit the operation",
      fix: "add wrapKey and unwrapKey (encrypt and decrypt for A256GCM) to its permitted operations",
      side: "key",
      action: "key_ops",
    },
  ],
  ...["ForbiddenByFirewall", "ForbiddenByConnection"].map((innerCode): [string, Explanation] => [
    innerCode,
    {
      code: "PERMISSION_DENIED",
      what: "the firewall of the vault refused the address that keyfold calls from",
      fix: "allow that address or network in the vault's network settings",
      side: "network",
      action: innerCode,
    },
  ]),
])
const NO_ACCESS: Explanation = {
  code: "PERMISSION_DENIED",
  what: "Key Vault does not accept the token",
  fix: "name the tenant of the vault in the key's option tenantId, and set the clock of this machine",
  side: "caller-identity",
  action: "token",
}
const NO_TOKEN: Explanation = {
  code: "PERMISSION_DENIED",
  what: "Microsoft Entra gave no token for Key Vault",
  fix: "give the provider a valid credential, which may ask for tokens of the vault's tenant",
  side: "caller-identity",
  action: "token",
}
const ENTRA_OUT: Explanation = {
  code: "UNAVAILABLE",
  what: "Microsoft Entra cannot be reached, or has no such tenant",
  fix: "try again later, and check the tenant id",
  side: "network",
}
const UNNAMED_TOKEN: Explanation = {
  code: "UNKNOWN",
  what: "the credential failed with an error that keyfold cannot name",
  fix: "see the cause",
  side: "caller-identity",
}
const NOT_FOUND: Explanation = {
  code: "KEY_NOT_FOUND",
  what: "it does not exist in its vault, or was deleted",
  fix: "check the key id of the binding; a deleted key can be recovered until it is purged",
  side: "key",
}
const GOING: Explanation = {
  code: "KEY_PENDING_DELETION",
  what: "it is being deleted or recovered",
  fix: "recover it in Key Vault to use this data again",
  side: "key",
}
const WRONG_CIPHERTEXT: Explanation = {
  code: "DECRYPTION_FAILED",
  what: "wrong ciphertext or key",
  fix: "check that the envelope belongs to this key",
}
const BAD_REQUEST: Explanation = {
  code: "INVALID_ARGUMENT",
  what: "Key Vault refused the request",
  fix: "use an RSA key, or give the key's option `algorithm` for a symmetric one of a Managed HSM",
  side: "key",
}
const THROTTLED: Explanation = {
  code: "THROTTLED",
  what: "a request limit of the vault or its subscription is used up",
  fix: "try again later, or spread the load over more vaults",
  side: "key",
}
const TIMED_OUT: Explanation = {
  code: "TIMEOUT",
  what: "Key Vault, or Microsoft Entra before it, did not answer in time",
  fix: "try again later",
  side: "network",
}
const UNREACHABLE: Explanation = {
  code: "UNAVAILABLE",
  what: "Key Vault cannot be reached, or gave no readable answer",
  fix: "try again later; a vault that was deleted has no address any more",
  side: "network",
}
const UNTRUSTED: Explanation = {
  code: "UNAVAILABLE",
  what: "the certificate of the vault's address is not trusted",
  fix: "look for a proxy on the way, and add its authority to tlsOptions if it is yours",
  side: "network",
}
const ABORTED: Explanation = { code: "ABORTED", what: "the call was aborted", fix: "make it again" }
const UNNAMED: Explanation = {
  code: "UNKNOWN",
  what: "Key Vault failed with an error that keyfold cannot name",
  fix: "see the cause",
}
