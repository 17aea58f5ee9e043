import { gcm } from "@noble/ciphers/aes.js"
import { randomBytes } from "@noble/ciphers/utils.js"
import { type Cipher, contextsOf } from "../variants.ts"
import { keksOf } from "./keks.ts"

type Sealed = { readonly nonce: Uint8Array; readonly sealed: Uint8Array }

/** By hand: AES-256-GCM under a fresh DEK, and the DEK under each KEK with the context as additional data. */
export function noble(pairs: number): Cipher {
  const aads = contextsOf(pairs).map((context) => new TextEncoder().encode(JSON.stringify(context)))
  const keks = keksOf(pairs, (key) => Uint8Array.from(key))
  const seal = (key: Uint8Array, plaintext: Uint8Array, aad?: Uint8Array): Sealed => {
    const nonce = randomBytes(12)
    return { nonce, sealed: gcm(key, nonce, aad).encrypt(plaintext) }
  }
  const open = (key: Uint8Array, { nonce, sealed }: Sealed, aad?: Uint8Array) =>
    gcm(key, nonce, aad).decrypt(sealed)
  const cipher: Cipher<{ payload: Sealed; wraps: Sealed[] }, Uint8Array> = {
    encrypt(plaintext, i) {
      const dek = randomBytes(32)
      const wraps = keks(i).map((kek) => seal(kek, dek, aads[i % aads.length]))
      return { payload: seal(dek, plaintext), wraps }
    },
    decrypt({ payload, wraps }, i) {
      const deks = keks(i).map((kek, pair) => open(kek, wraps[pair] as Sealed, aads[i % aads.length]))
      return open(deks[0] as Uint8Array, payload)
    },
    plaintextOf: (plaintext) => plaintext,
    close: async () => undefined,
  }
  return cipher
}
