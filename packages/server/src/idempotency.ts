import { createHash, randomUUID } from "node:crypto"
import type { VaultStore } from "@keyfold/vault"
import { RequestError } from "./failure.ts"

/**
 * The object id that belongs to an idempotency key, for a day, whichever server is asked: an SDK that lost the connection
 * tries again with the same key, and must not hear that its own object has taken the name. The key itself is not kept.
 * @throws RequestError 422 where it is too long
 */
export async function idOfKey(store: VaultStore, owner: string, key: string): Promise<string> {
  if (key.length > MAX_KEY_LENGTH)
    throw new RequestError(422, "invalid_request", "an idempotency key has at most 200 characters")
  const hash = createHash("sha256")
    .update(JSON.stringify([owner, key]))
    .digest()
  for (;;) {
    const now = Date.now()
    const id = randomUUID()
    const token = { kind: KIND, hash, content: JSON.stringify({ id }), expiresAt: now + DAY_MS }
    if (await store.putToken(token, now)) return id
    const known = await store.findToken(KIND, hash, now)
    // It can have expired in between.
    if (known !== undefined) return (JSON.parse(known.content) as { id: string }).id
  }
}

const KIND = "idempotency-key"
const MAX_KEY_LENGTH = 200
const DAY_MS = 24 * 60 * 60 * 1000
