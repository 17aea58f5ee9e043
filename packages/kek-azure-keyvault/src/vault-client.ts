import type { TokenCredential } from "@azure/core-auth"
import {
  createDefaultHttpClient,
  createEmptyPipeline,
  createHttpHeaders,
  createPipelineRequest,
  type HttpClient,
  type Pipeline,
  type ProxySettings,
  proxyPolicy,
  RestError,
  type TlsSettings,
  tlsPolicy,
} from "@azure/core-rest-pipeline"
import { KeyfoldError } from "@keyfold/core"
import { timedOut, toFailure } from "./failure.ts"
import { TokenSource } from "./token-source.ts"

/** How to reach vaults, as the Azure SDKs' clients take it. */
export type ConnectionOptions = {
  /** For TLS, such as `{ ca }` with the PEM of an authority to trust. */
  readonly tlsOptions?: TlsSettings
  /** Of a proxy on the way; none unless told, whatever the environment says. */
  readonly proxyOptions?: ProxySettings
}

/** One call on a key: with a body it is a POST, without one a GET. */
export type VaultCall<Result> = {
  /** Without a query. */
  readonly url: string
  /** What the token is for. */
  readonly resource: string
  readonly tenantId: string | undefined
  readonly body?: Readonly<Record<string, string>>
  /** The key permission that it needs, as access policies name it. */
  readonly permission: string
  readonly signal: AbortSignal | undefined
  readonly onRequest?: (() => void) | undefined
  /** Reads the reply. What it throws is the failure of the call. */
  readonly read: (reply: VaultReply) => Result
}

/** A reply's members. */
export type VaultReply = Readonly<Record<string, unknown>>

/**
 * The Key Vault REST API, over the Azure SDKs' own HTTP client. `CryptographyClient` will not do: it asks for the key
 * before it uses it, refuses to unwrap with an expired key, and tells the caller's key id instead of the reply's.
 */
export class VaultClient {
  readonly #tokens: TokenSource
  readonly #timeoutMs: number
  readonly #http: HttpClient = createDefaultHttpClient()
  readonly #pipeline: Pipeline = createEmptyPipeline()

  constructor(
    credential: TokenCredential,
    { tlsOptions, proxyOptions }: ConnectionOptions,
    timeoutMs: number,
  ) {
    // A little less, so that a token endpoint that hangs is named, and not the vault.
    this.#tokens = new TokenSource(credential, Math.ceil(timeoutMs * 0.9))
    this.#timeoutMs = timeoutMs
    if (tlsOptions !== undefined) this.#pipeline.addPolicy(tlsPolicy(tlsOptions))
    if (proxyOptions !== undefined) this.#pipeline.addPolicy(proxyPolicy(proxyOptions))
  }

  /**
   * Makes a call, once: trying again is up to the caller (`resilient` of `@keyfold/router`).
   * @throws KeyfoldError the failure, with the denied action, who can mend it and how
   */
  async call<Result>(call: VaultCall<Result>): Promise<Result> {
    const timeout = AbortSignal.timeout(this.#timeoutMs)
    const signal = call.signal === undefined ? timeout : AbortSignal.any([call.signal, timeout])
    try {
      signal.throwIfAborted()
      const token = await this.#tokens.get(call.resource, call.tenantId, signal)
      call.onRequest?.()
      return call.read(await this.#send(call, token, signal))
    } catch (error) {
      if (call.signal?.aborted) throw aborted(call.signal)
      throw timeout.aborted ? timedOut(error) : toFailure(error, call.permission)
    }
  }

  /** @throws RestError with the service's codes in `details`, or without a `statusCode` where no answer came */
  async #send(
    { url, body }: Pick<VaultCall<unknown>, "url" | "body">,
    token: string,
    abortSignal: AbortSignal,
  ): Promise<VaultReply> {
    const headers = createHttpHeaders({ accept: "application/json", authorization: `Bearer ${token}` })
    if (body !== undefined) headers.set("content-type", "application/json")
    const request = createPipelineRequest({
      url: `${url}?api-version=${API_VERSION}`,
      method: body === undefined ? "GET" : "POST",
      headers,
      abortSignal,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    try {
      const response = await this.#pipeline.sendRequest(this.#http, request)
      const reply = parse(response.bodyAsText ?? "")
      if (response.status === 200 && reply !== undefined) return reply
      throw serviceError(response.status, reply, response.headers.get("retry-after"))
    } finally {
      // An error of the client holds the request, and the caller gets the error.
      delete request.body
      headers.delete("authorization")
    }
  }
}

/** The engine aborts with the failure to report; another caller with any reason. */
function aborted(signal: AbortSignal): KeyfoldError {
  return signal.reason instanceof KeyfoldError
    ? signal.reason
    : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: signal.reason })
}

/** What the service says of its refusal. */
export type ServiceErrorDetails = {
  /** Undefined where the answer was not the service's. */
  readonly code: string | undefined
  readonly innerCode: string | undefined
  readonly retryAfterMs: number | undefined
}

function serviceError(
  statusCode: number,
  reply: VaultReply | undefined,
  retryAfter: string | undefined,
): RestError {
  const { code, message, innererror } = (reply?.error ?? {}) as VaultReply
  const seconds = Number.parseInt(retryAfter ?? "", 10)
  const details: ServiceErrorDetails = {
    code: typeof code === "string" ? code : undefined,
    innerCode: (innererror as { readonly code?: string } | undefined)?.code,
    retryAfterMs: seconds >= 0 ? seconds * 1000 : undefined,
  }
  const text = typeof message === "string" ? message : `unreadable answer with HTTP status ${statusCode}`
  const error = new RestError(text, { statusCode, ...(details.code !== undefined && { code: details.code }) })
  error.details = details
  return error
}

function parse(text: string): VaultReply | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === "object" && value !== null ? (value as VaultReply) : undefined
  } catch {
    return undefined
  }
}

/** The first one that Managed HSM and Key Vault share all that is used here. */
const API_VERSION = "7.4"
