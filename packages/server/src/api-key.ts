import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto"
import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import type { ApiKeyRow, VaultStore } from "@keyfold/vault"
import { LRUCache } from "lru-cache"

/**
 * What an API key may do: `read` values; `write` them, which includes deleting; `list` names, metadata and versions; use
 * data `keys`; read `events`, which only a key without a context may; make links to the admin `portal`.
 */
export const ACTIONS = ["read", "write", "list", "keys", "events", "portal"] as const
export type Action = (typeof ACTIONS)[number]

/** Where an API key may act. What lacks one of these pairs in its key context is not there for it. */
export type ApiKeyScope = { readonly context: KeyContext; readonly actions: readonly Action[] }

/** An API key as a server keeps it: what opens it cannot be found from it. */
export type ApiKey = {
  /** Names the key in what was written with it; not secret. */
  readonly id: string
  readonly name: string
  /** SHA-256 of the key. 256 random bits need no slower hash. */
  readonly hash: Uint8Array
  readonly scope: ApiKeyScope
}

/**
 * A fresh API key: the text for its user, to be shown once, and what a server keeps. By default it may do everything.
 * @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT`
 */
export function createApiKey(
  name: string,
  { context = {}, actions = ACTIONS }: Partial<ApiKeyScope> = {},
): { readonly text: string; readonly key: ApiKey } {
  if (typeof name !== "string" || name === "" || name.length > 200) {
    throw new KeyfoldError("INVALID_ARGUMENT", "the name of an API key has 1 to 200 characters")
  }
  if (actions.length === 0 || actions.some((action) => !ACTIONS.includes(action))) {
    throw new KeyfoldError("INVALID_ARGUMENT", `an API key may do some of: ${ACTIONS.join(", ")}`)
  }
  const pairs = Object.keys(context).length === 0 ? {} : parseContext(context).object
  const text = `sk_${randomBytes(32).toString("base64url")}`
  const key = { id: `key_${randomUUID()}`, name, hash: hashOf(text), scope: { context: pairs, actions } }
  return { text, key }
}

/** The same, kept in a store: every server over it takes the key within a second. @throws KeyfoldError */
export async function storeApiKey(
  store: VaultStore,
  name: string,
  scope: Partial<ApiKeyScope> = {},
): Promise<{ readonly text: string; readonly key: ApiKey }> {
  const made = createApiKey(name, scope)
  const { id, hash } = made.key
  const row = { id, name, hash, scope: JSON.stringify(made.key.scope), createdAt: Date.now(), revokedAt: 0 }
  await store.putApiKey(row)
  return made
}

/** The stored API keys that are good, the oldest first. @throws KeyfoldError `STORE_…` */
export async function listApiKeys(
  store: VaultStore,
): Promise<readonly (ApiKey & { readonly createdAt: number })[]> {
  const rows = await store.apiKeys()
  return rows
    .filter(({ revokedAt }) => revokedAt === 0)
    .map((row) => ({ ...keyOf(row), createdAt: row.createdAt }))
}

/** Finds the keys that requests present: given ones, and those of a store, which it asks once a second at most. */
export class ApiKeyFinder {
  readonly #given: readonly ApiKey[]
  readonly #store: VaultStore
  readonly #stored = new LRUCache<string, { readonly key: ApiKey | undefined }>({ max: 10_000, ttl: 1000 })

  constructor(store: VaultStore, given: readonly ApiKey[]) {
    this.#store = store
    this.#given = given
  }

  /** The key of an `Authorization` header, if it is a good one. */
  async find(authorization: string | undefined): Promise<ApiKey | undefined> {
    const text = /^Bearer (sk_[\w-]{1,200})$/.exec(authorization ?? "")?.[1]
    if (text === undefined) return undefined
    const hash = hashOf(text)
    const given = this.#given.find((key) => timingSafeEqual(key.hash, hash))
    if (given !== undefined) return given
    const name = Buffer.from(hash).toString("base64")
    const known = this.#stored.get(name)
    if (known !== undefined) return known.key
    const row = await this.#store.findApiKey(hash)
    const key = row === undefined || row.revokedAt !== 0 ? undefined : keyOf(row)
    this.#stored.set(name, { key })
    return key
  }
}

function keyOf({ id, name, hash, scope }: ApiKeyRow): ApiKey {
  try {
    return { id, name, hash, scope: JSON.parse(scope) as ApiKeyScope }
  } catch {
    throw new KeyfoldError("STORE_CORRUPT", "the scope of an API key is damaged: revoke it and make another")
  }
}

function hashOf(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest())
}
