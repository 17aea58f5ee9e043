import { randomBytes, randomUUID } from "node:crypto"
import type { HttpCall, HttpReply } from "../http-service.ts"
import { AzureError, jsonReply } from "./azure-error.ts"

/** Who calls, and in which tenant the token was issued. */
export type Caller = { readonly clientId: string; readonly tenantId: string }

/** What a client needs for a token, as `ClientSecretCredential` takes it. */
export type AzureClient = {
  readonly tenantId: string
  readonly clientId: string
  readonly clientSecret: string
}

export type TokenOperation = "openIdConfiguration" | "token"

/**
 * The part of Microsoft Entra ID that a client with a secret uses. The client is known in every tenant, as an
 * application that many of them have consented to; its tokens are good in the one they were issued in.
 */
export class TokenEndpoint {
  readonly client: AzureClient = {
    tenantId: randomUUID(),
    clientId: randomUUID(),
    clientSecret: randomBytes(24).toString("base64url"),
  }
  readonly #issued = new Map<string, { tenantId: string; resource: string; expiresAt: number }>()

  /** What a call asks of it; undefined for one that it has no answer to. */
  operationOf({ path }: HttpCall): TokenOperation | undefined {
    const [, , rest = ""] = PATH.exec(path) ?? []
    return OPERATIONS.get(rest)
  }

  /** @throws AzureError to be told by `oauthError` */
  answer(operation: TokenOperation, call: HttpCall): HttpReply {
    const [, tenantId = ""] = PATH.exec(call.path) ?? []
    if (operation === "openIdConfiguration") return configuration(call, tenantId)
    return this.#issue(tenantId, new URLSearchParams(Buffer.from(call.body).toString()))
  }

  /** @throws AzureError 401 where there is no valid token, with the challenge that tells how to get one */
  authenticate(call: HttpCall, resource: string): Caller {
    const [, token] = /^Bearer (\S+)$/i.exec(call.headers.authorization ?? "") ?? []
    const refuse = (message: string) => {
      const authority = `https://${call.headers.host}/${this.client.tenantId}`
      const challenge = `Bearer authorization="${authority}", resource="${resource}"`
      return new AzureError(401, "Unauthorized", message, undefined, { "www-authenticate": challenge })
    }
    if (token === undefined) throw refuse("AKV10000: Request is missing a Bearer or PoP token.")
    const issued = this.#issued.get(token)
    if (issued === undefined) throw refuse("AKV10021: Invalid token.")
    if (issued.expiresAt <= Date.now()) throw refuse("AKV10045: The token is expired.")
    if (issued.resource !== resource) throw refuse("AKV10022: Invalid audience.")
    if (issued.tenantId !== this.client.tenantId) throw refuse("AKV10032: Invalid issuer.")
    return { clientId: this.client.clientId, tenantId: issued.tenantId }
  }

  /** OAuth 2.0 client credentials (RFC 6749 §4.4). */
  #issue(tenantId: string, form: URLSearchParams): HttpReply {
    const scope = form.get("scope") ?? ""
    const resource = scope.split(" ").find((each) => each.endsWith("/.default"))
    if (form.get("client_id") !== this.client.clientId) {
      throw new AzureError(
        400,
        "unauthorized_client",
        "AADSTS700016: Application was not found in the directory.",
      )
    }
    if (form.get("client_secret") !== this.client.clientSecret) {
      throw new AzureError(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
    }
    if (form.get("grant_type") !== "client_credentials" || resource === undefined) {
      throw new AzureError(
        400,
        "invalid_request",
        "AADSTS900144: The request body must contain a scope of a resource.",
      )
    }
    const token = randomBytes(32).toString("base64url")
    const expiresAt = Date.now() + LIFETIME_SECONDS * 1000
    this.#issued.set(token, { tenantId, resource: resource.slice(0, -"/.default".length), expiresAt })
    return jsonReply(200, {
      token_type: "Bearer",
      expires_in: LIFETIME_SECONDS,
      ext_expires_in: LIFETIME_SECONDS,
      access_token: token,
    })
  }
}

/** A failure as a token endpoint puts it (RFC 6749 §5.2). */
export function oauthError({ status, code, message, headers }: AzureError): HttpReply {
  const isTemporary = status === 429 || status >= 500
  const error = isTemporary ? "temporarily_unavailable" : code
  const description = isTemporary ? "AADSTS90033: A transient error has occurred. Please try again." : message
  const [, number] = /^AADSTS(\d+)/.exec(description) ?? []
  const body = { error, error_description: description, error_codes: [Number(number)] }
  return jsonReply(status, body, headers)
}

function configuration(call: HttpCall, tenantId: string): HttpReply {
  const authority = `https://${call.headers.host}/${tenantId}`
  return jsonReply(200, {
    issuer: `${authority}/v2.0`,
    authorization_endpoint: `${authority}/oauth2/v2.0/authorize`,
    token_endpoint: `${authority}/oauth2/v2.0/token`,
    jwks_uri: `${authority}/discovery/v2.0/keys`, // clients insist on it, and never ask there
  })
}

const PATH = /^\/([0-9a-f-]{36})\/([^?]+)/
const OPERATIONS: ReadonlyMap<string, TokenOperation> = new Map([
  ["v2.0/.well-known/openid-configuration", "openIdConfiguration"],
  ["oauth2/v2.0/token", "token"],
])
/** What Entra ID gives at least. */
const LIFETIME_SECONDS = 3_600
