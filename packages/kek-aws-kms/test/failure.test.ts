import { KeyfoldError } from "@keyfold/core"
import { expect, test } from "vitest"
import { toFailure } from "../src/failure.ts"

const ARN = "arn:aws:kms:eu-central-1:111122223333:key/11111111-2222-3333-4444-555555555555"

function sdkError(name: string, message = "", extra: object = {}): Error {
  return Object.assign(new Error(message), { name, ...extra })
}

test.for<[string, string, string]>([
  ["DisabledException", `${ARN} is disabled.`, "KEY_DISABLED"],
  ["DisabledException", `${ARN} is pending deletion (or pending replica deletion).`, "KEY_PENDING_DELETION"],
  ["KMSInvalidStateException", `${ARN} is pending deletion.`, "KEY_PENDING_DELETION"],
  ["KMSInvalidStateException", `${ARN} is pending replica deletion.`, "KEY_PENDING_DELETION"],
  ["KMSInvalidStateException", `${ARN} is pending import.`, "KEY_DISABLED"],
  ["KMSInvalidStateException", `${ARN} is unavailable.`, "UNAVAILABLE"],
  ["KMSInvalidStateException", `${ARN} is creating.`, "UNAVAILABLE"],
  ["KMSInvalidStateException", "the key store says something else", "UNKNOWN"],
  ["NotFoundException", `Key '${ARN}' does not exist`, "KEY_NOT_FOUND"],
  ["InvalidArnException", "", "KEY_NOT_FOUND"],
  ["InvalidCiphertextException", "", "DECRYPTION_FAILED"],
  ["IncorrectKeyException", "", "DECRYPTION_FAILED"],
  ["InvalidKeyUsageException", "", "INVALID_ARGUMENT"],
  ["ValidationException", "", "INVALID_ARGUMENT"],
  ["AccessDeniedException", "", "PERMISSION_DENIED"],
  ["InvalidGrantTokenException", "", "PERMISSION_DENIED"],
  ["UnrecognizedClientException", "", "PERMISSION_DENIED"],
  ["InvalidSignatureException", "", "PERMISSION_DENIED"],
  ["ExpiredTokenException", "", "PERMISSION_DENIED"],
  ["CredentialsProviderError", "Could not load credentials from any providers", "PERMISSION_DENIED"],
  ["ThrottlingException", "", "THROTTLED"],
  ["LimitExceededException", "", "THROTTLED"],
  ["KMSInternalException", "", "UNAVAILABLE"],
  ["DependencyTimeoutException", "", "UNAVAILABLE"],
  ["KeyUnavailableException", "", "UNAVAILABLE"],
  ["SyntaxError", "Unexpected token '<'", "UNAVAILABLE"],
  ["TimeoutError", "", "TIMEOUT"],
  ["AbortError", "", "ABORTED"],
  ["TypeError", "", "UNKNOWN"],
  ["constructor", "", "UNKNOWN"],
])("%s %s is %s", ([name, message, code]) => {
  expect(toFailure(sdkError(name, message)).code).toBe(code)
})

test.for([
  null,
  undefined,
  0,
  "DisabledException",
  {},
  Object.create(null),
  { name: Object.create(null) },
  [],
  Symbol("x"),
])("what is no error at all is UNKNOWN", (thrown) => {
  expect(toFailure(thrown).code).toBe("UNKNOWN")
})

test("a connection that fails is an outage, whatever the SDK calls it", () => {
  for (const code of ["ECONNRESET", "ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"]) {
    expect(toFailure(sdkError("TimeoutError", "", { code })).code).toBe("UNAVAILABLE")
  }
  expect(toFailure(sdkError("TimeoutError", "", { code: "ETIMEDOUT", syscall: "connect" })).code).toBe(
    "UNAVAILABLE",
  )
  expect(toFailure(sdkError("TimeoutError", "", { code: "ETIMEDOUT" })).code).toBe("TIMEOUT")
  expect(toFailure(sdkError("Error", "", { $metadata: { httpStatusCode: 503 } })).code).toBe("UNAVAILABLE")
  expect(toFailure(sdkError("Error", "", { $metadata: { httpStatusCode: 429 } })).code).toBe("THROTTLED")
})

test("a clock that the SDK has corrected is worth another try", () => {
  const error = sdkError("InvalidSignatureException", "", { $metadata: { clockSkewCorrected: true } })
  expect(toFailure(error)).toMatchObject({ code: "UNAVAILABLE", retryable: true })
})

test.for<[string, string]>([
  ["because no identity-based policy allows the kms:Decrypt action", "caller-identity"],
  ["because no resource-based policy allows the kms:Decrypt action", "key-policy"],
  ["with an explicit deny in a resource-based policy", "key-policy"],
  ["with an explicit deny in an identity-based policy", "caller-identity"],
  ["because no permissions boundary allows the kms:Decrypt action", "caller-identity"],
  ["because no service control policy allows the kms:Decrypt action", "caller-identity"],
  ["because no VPC endpoint policy allows the kms:Decrypt action", "network"],
])("a denial %s", ([tail, side]) => {
  const message = `User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on resource: ${ARN} ${tail}`
  expect(toFailure(sdkError("AccessDeniedException", message))).toMatchObject({ side, action: "kms:Decrypt" })
})

test("a denial without a tail names the action that was asked for", () => {
  const message =
    "The ciphertext refers to a customer master key that does not exist, or you are not allowed to access."
  expect(toFailure(sdkError("AccessDeniedException", message), "kms:Decrypt")).toMatchObject({
    action: "kms:Decrypt",
    side: "key-policy",
  })
})

test("the message is keyfold's own, and the SDK's error its cause", () => {
  const error = sdkError("ValidationException", "the request said org_1")
  const failure = toFailure(error)
  expect(failure.cause).toBe(error)
  expect(failure.message).not.toContain("org_1")
  const own = new KeyfoldError("UNKNOWN", "own")
  expect(toFailure(own)).toBe(own)
})
