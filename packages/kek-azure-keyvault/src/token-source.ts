import type { TokenCredential } from "@azure/core-auth"
import { LRUCache } from "lru-cache"
import { toTokenFailure } from "./failure.ts"

/**
 * Tokens of one credential, kept until shortly before they expire: asking `@azure/identity` each time costs most of a
 * millisecond. Concurrent callers share one request for a token, which outlives any of them.
 */
export class TokenSource {
  readonly #credential: TokenCredential
  readonly #timeoutMs: number
  readonly #tokens = new LRUCache<string, { readonly token: string; readonly expiresAt: number }>({
    max: MAX_TOKENS,
  })
  readonly #requests = new Map<string, Promise<string>>()

  /** @param timeoutMs bound of a request for a token, in milliseconds */
  constructor(credential: TokenCredential, timeoutMs: number) {
    this.#credential = credential
    this.#timeoutMs = timeoutMs
  }

  /**
   * @param resource such as `https://vault.azure.net`
   * @param tenantId where it is not the credential's own
   * @throws KeyfoldError where there is no token to be had, and the signal's reason once that has fired
   */
  async get(resource: string, tenantId: string | undefined, signal: AbortSignal): Promise<string> {
    const key = `${tenantId ?? ""} ${resource}`
    const kept = this.#tokens.get(key)
    if (kept !== undefined && kept.expiresAt - Date.now() > RENEW_MS) return kept.token
    let request = this.#requests.get(key)
    if (request === undefined) {
      request = this.#request(key, resource, tenantId).finally(() => this.#requests.delete(key))
      this.#requests.set(key, request)
    }
    return orAborted(request, signal)
  }

  async #request(key: string, resource: string, tenantId: string | undefined): Promise<string> {
    const abortSignal = AbortSignal.timeout(this.#timeoutMs)
    try {
      const options = { abortSignal, ...(tenantId !== undefined && { tenantId }) }
      const answer = this.#credential.getToken(`${resource}/.default`, options)
      // Not every credential listens to the signal.
      const granted = await orAborted(answer, abortSignal)
      if (granted === null) throw new TypeError("the credential gave no token")
      this.#tokens.set(key, { token: granted.token, expiresAt: granted.expiresOnTimestamp })
      return granted.token
    } catch (error) {
      // An outage of the token endpoint is none of the vault's as long as the last token is good.
      const kept = this.#tokens.get(key)
      if (kept !== undefined && kept.expiresAt > Date.now()) return kept.token
      throw toTokenFailure(error)
    }
  }
}

/** Settles with the promise, or rejects with the signal's reason if that fires first. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener("abort", onAbort)
    if (signal.aborted) onAbort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort))
  })
}

/** One for each tenant and kind of service. */
const MAX_TOKENS = 1_000
/** `@azure/identity` itself gives the same token until five minutes before its end. */
const RENEW_MS = 5 * 60_000
