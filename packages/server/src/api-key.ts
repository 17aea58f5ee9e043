import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto"

/** An API key as a server keeps it: what opens it cannot be found from it. */
export type ApiKey = {
  /** Names the key in what was written with it; not secret. */
  readonly id: string
  readonly name: string
  /** SHA-256 of the key. 256 random bits need no slower hash. */
  readonly hash: Uint8Array
}

/** A fresh API key: the text for its user, to be shown once, and what a server keeps. */
export function createApiKey(name: string): { readonly text: string; readonly key: ApiKey } {
  const text = `sk_${randomBytes(32).toString("base64url")}`
  return { text, key: { id: `key_${randomUUID()}`, name, hash: hashOf(text) } }
}

/** The key that an `Authorization` header presents, if it is one of these. */
export function findApiKey(keys: readonly ApiKey[], authorization: string | undefined): ApiKey | undefined {
  const text = /^Bearer (sk_[\w-]{1,200})$/.exec(authorization ?? "")?.[1]
  if (text === undefined) return undefined
  const hash = hashOf(text)
  return keys.find((key) => timingSafeEqual(key.hash, hash))
}

function hashOf(text: string): Uint8Array {
  return createHash("sha256").update(text).digest()
}
