import { createHash } from "node:crypto"
import { LRUCache } from "lru-cache"
import { RequestError } from "./failure.ts"

/** An answer without secrets: it is kept for a day. */
export type IdempotentAnswer = Readonly<Record<string, unknown>>

/**
 * Gives a request that is sent again the answer of the first: an SDK that lost the connection tries again with the same
 * idempotency key, and must not hear that its own object has taken the name. A failure is not kept. In memory, for the
 * latest 10,000.
 */
export class IdempotentAnswers {
  readonly #answers = new LRUCache<
    string,
    { readonly hash: string; readonly answer: Promise<IdempotentAnswer> }
  >({
    max: 10_000,
    ttl: 24 * 60 * 60 * 1000,
  })

  /** @throws RequestError 422 where the same key came with another request, or is too long */
  async once(
    owner: string,
    key: string,
    request: unknown,
    run: () => Promise<IdempotentAnswer>,
  ): Promise<IdempotentAnswer> {
    if (key.length > MAX_KEY_LENGTH)
      throw new RequestError(422, "invalid_request", "an idempotency key has at most 200 characters")
    const hash = createHash("sha256").update(JSON.stringify(request)).digest("base64")
    const name = `${owner} ${key}`
    const known = this.#answers.get(name)
    if (known === undefined) {
      const answer = run()
      this.#answers.set(name, { hash, answer })
      answer.catch(() => this.#answers.delete(name))
      return answer
    }
    if (known.hash !== hash)
      throw new RequestError(
        422,
        "idempotency_key_reused",
        "this idempotency key was used for another request",
      )
    return known.answer
  }
}

const MAX_KEY_LENGTH = 200
