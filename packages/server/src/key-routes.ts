import { createHash } from "node:crypto"
import { KeyfoldError } from "@keyfold/core"
import type { VaultDataKey } from "@keyfold/vault"
import type { Hono } from "hono"
import { vaultFor } from "./allowed.ts"
import type { Env } from "./app.ts"
import { RequestError } from "./failure.ts"
import { bodyOf, dataKeyBody, decryptBody, rekeyBody } from "./requests.ts"
import { base64, uuidText } from "./wire.ts"

/** The three endpoints under /vault/v1/keys. */
export function addKeyRoutes(app: Hono<Env>): void {
  app.post("/vault/v1/keys/data-key", async (context) => {
    const vault = vaultFor(context, "keys")
    const { context: keyContext } = await bodyOf(context, dataKeyBody, 422)
    return answer(vault.createDataKey(keyContext), (dataKey) =>
      context.json({ ...textsOf(dataKey), encrypted_keys: base64(dataKey.sealed), context: keyContext }),
    )
  })
  app.post("/vault/v1/keys/decrypt", async (context) => {
    const vault = vaultFor(context, "keys")
    const { keys } = await bodyOf(context, decryptBody, 400)
    return answer(vault.decryptDataKey(keys), (dataKey) => context.json(textsOf(dataKey)))
  })
  app.post("/vault/v1/keys/rekey", async (context) => {
    const vault = vaultFor(context, "keys")
    const { context: newContext, encrypted_keys } = await bodyOf(context, rekeyBody, 422)
    return answer(vault.rekeyDataKey(encrypted_keys, newContext), (dataKey) =>
      context.json({ ...textsOf(dataKey), encrypted_keys: base64(dataKey.sealed), context: newContext }),
    )
  })
}

/** Wipes the key when its answer is made. A blob that its sender brought and that does not open is its sender's fault. */
async function answer(
  opening: Promise<VaultDataKey>,
  make: (dataKey: VaultDataKey) => Response,
): Promise<Response> {
  let dataKey: VaultDataKey
  try {
    dataKey = await opening
  } catch (error) {
    if (!(error instanceof KeyfoldError && error.code === "DECRYPTION_FAILED")) throw error
    throw new RequestError(400, "decryption_failed", "these keys do not open here, or were altered")
  }
  try {
    return make(dataKey)
  } finally {
    dataKey.key.fill(0)
  }
}

/** The id says which blob it is, and nothing of the key in it. */
function textsOf({ key, sealed }: VaultDataKey): { readonly id: string; readonly data_key: string } {
  const id = createHash("sha256").update(sealed).digest("hex").slice(0, 32)
  return { id: uuidText(id), data_key: base64(key) }
}
