import { randomBytes } from "node:crypto"
import type { HttpCall } from "../http-service.ts"
import { AwsError } from "./aws-error.ts"
import { isSignedBy, type Signature } from "./sigv4.ts"

/** Who calls. */
export type Principal = { readonly arn: string; readonly accountId: string }

/** As SDKs take them; `sessionToken` only for a role's. */
export type AwsCredentials = {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** Where AWS looks for a permission. An explicit deny in the key policy beats both others. */
export type PolicyLayer = "identity-policy" | "key-policy" | "explicit-deny"

/** What a role needs to be assumed. */
export type Role = {
  readonly arn: string
  readonly accountId: string
  readonly externalId: string | undefined
}

/** Identities, their credentials and what they may do. Everybody may do everything in their own account at first. */
export class Access {
  readonly roles = new Map<string, Role>()
  readonly #issued = new Map<
    string,
    { credentials: AwsCredentials; principal: Principal; expiresAt: number }
  >()
  readonly #withheld = new Set<string>()

  /** Makes credentials for a principal. */
  issue(principal: Principal, lifetimeSeconds = Number.POSITIVE_INFINITY): AwsCredentials {
    const isSession = Number.isFinite(lifetimeSeconds)
    const credentials = {
      accessKeyId: `${isSession ? "ASIA" : "AKIA"}${randomText(8).toUpperCase()}`,
      secretAccessKey: randomText(20),
      ...(isSession && { sessionToken: randomText(32) }),
    }
    const expiresAt = Date.now() + lifetimeSeconds * 1000
    this.#issued.set(credentials.accessKeyId, { credentials, principal, expiresAt })
    return credentials
  }

  /** @throws AwsError where the credentials are unknown, expired or not those that signed */
  authenticate(call: HttpCall, signature: Signature): Principal {
    const issued = this.#issued.get(signature.accessKeyId)
    if (issued?.credentials.sessionToken !== call.headers["x-amz-security-token"] || issued === undefined) {
      throw new AwsError(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
      )
    }
    if (issued.expiresAt <= Date.now()) {
      throw new AwsError("ExpiredTokenException", "The security token included in the request is expired")
    }
    if (!isSignedBy(call, signature, issued.credentials.secretAccessKey)) {
      throw new AwsError(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. " +
          "Check your AWS Secret Access Key and signing method.",
      )
    }
    return issued.principal
  }

  /** Takes an action such as `kms:Decrypt` away, or denies it, for one key or for all. */
  withhold(layer: PolicyLayer, action: string, keyArn = ""): void {
    this.#withheld.add([layer, action, keyArn].join())
  }

  restore(layer: PolicyLayer, action: string, keyArn = ""): void {
    this.#withheld.delete([layer, action, keyArn].join())
  }

  /**
   * As IAM evaluates: an explicit deny, then the caller's own policy, then the key's, which lets its own account in,
   * and others only where it names them.
   * @throws AwsError `AccessDeniedException` with the tail that tells which
   */
  check(caller: Principal, action: string, resource: string, owner: ResourceOwner): void {
    const isWithheld = (layer: PolicyLayer) =>
      this.#withheld.has([layer, action, ""].join()) || this.#withheld.has([layer, action, resource].join())
    const isShared = caller.accountId === owner.accountId || owner.sharedWith.has(caller.accountId)
    if (isWithheld("explicit-deny")) {
      throw accessDenied(caller, action, resource, "with an explicit deny in a resource-based policy")
    }
    if (isWithheld("identity-policy")) {
      throw accessDenied(
        caller,
        action,
        resource,
        `because no identity-based policy allows the ${action} action`,
      )
    }
    if (isWithheld("key-policy") || !isShared) {
      throw accessDenied(
        caller,
        action,
        resource,
        `because no resource-based policy allows the ${action} action`,
      )
    }
  }
}

/** Whose a key is, and which other accounts its policy names. */
export type ResourceOwner = { readonly accountId: string; readonly sharedWith: ReadonlySet<string> }

export function accessDenied(caller: Principal, action: string, resource: string, tail: string): AwsError {
  return new AwsError(
    "AccessDeniedException",
    `User: ${caller.arn} is not authorized to perform: ${action} on resource: ${resource} ${tail}`,
  )
}

function randomText(bytes: number): string {
  return randomBytes(bytes).toString("hex")
}
