import { WorkOS } from "@workos-inc/node"
import { type Cipher, contextsOf } from "../variants.ts"

/**
 * `encrypt` and `decrypt` of the WorkOS vault client, which encrypt here and let the service wrap. A stub answers in its
 * place, so that no wrap and no network is measured. It takes text: `plaintext` is read as UTF-8, once for each array.
 */
export function workos(pairs: number): Cipher {
  const { vault } = new WorkOS("sk_bench", { fetchFn: stubbedService })
  const contexts = contextsOf(pairs)
  let last: { bytes?: Uint8Array; text: string } = { text: "" }
  const cipher: Cipher<string, string> = {
    encrypt(plaintext, i) {
      if (last.bytes !== plaintext) last = { bytes: plaintext, text: new TextDecoder().decode(plaintext) }
      return vault.encrypt(last.text, { ...contexts[i % contexts.length] })
    },
    decrypt: (sealed) => vault.decrypt(sealed),
    plaintextOf: (text) => new TextEncoder().encode(text),
    close: async () => undefined,
  }
  return cipher
}

/** Gives one data key to all, already as text: the service would make, wrap and unwrap one for each call. */
const stubbedService: typeof fetch = async () =>
  new Response(ANSWER, { headers: { "content-type": "application/json" } })

const ANSWER = JSON.stringify({
  id: "key_1",
  context: {},
  data_key: Buffer.alloc(32, 7).toString("base64"),
  encrypted_keys: Buffer.alloc(100, 7).toString("base64"),
})
