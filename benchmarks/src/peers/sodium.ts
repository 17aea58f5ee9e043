import sodium from "sodium-native"
import { type Cipher, contextsOf } from "../variants.ts"
import { keksOf } from "./keks.ts"

type Sealed = { readonly nonce: Buffer; readonly sealed: Buffer }

const {
  crypto_aead_xchacha20poly1305_ietf_ABYTES: TAG_BYTES,
  crypto_aead_xchacha20poly1305_ietf_KEYBYTES: KEY_BYTES,
  crypto_aead_xchacha20poly1305_ietf_NPUBBYTES: NONCE_BYTES,
} = sodium

/**
 * By hand: XChaCha20-Poly1305 under a fresh DEK, and the DEK under each KEK with the context as additional data. It is
 * the only AEAD that sodium-native 5 offers; libsodium's AES-256-GCM is not among its methods.
 */
export function sodiumNative(pairs: number): Cipher {
  const aads = contextsOf(pairs).map((context) => Buffer.from(JSON.stringify(context)))
  const keks = keksOf(pairs, (key) => key)
  const seal = (key: Buffer, plaintext: Buffer, aad: Buffer | null): Sealed => {
    const nonce = Buffer.allocUnsafe(NONCE_BYTES)
    sodium.randombytes_buf(nonce)
    const sealed = Buffer.allocUnsafe(plaintext.length + TAG_BYTES)
    sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, plaintext, aad, null, nonce, key)
    return { nonce, sealed }
  }
  const open = (key: Buffer, { nonce, sealed }: Sealed, aad: Buffer | null) => {
    const plaintext = Buffer.allocUnsafe(sealed.length - TAG_BYTES)
    sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(plaintext, null, sealed, aad, nonce, key)
    return plaintext
  }
  const cipher: Cipher<{ payload: Sealed; wraps: Sealed[] }, Buffer> = {
    encrypt(plaintext, i) {
      const dek = Buffer.allocUnsafe(KEY_BYTES)
      sodium.randombytes_buf(dek)
      const wraps = keks(i).map((kek) => seal(kek, dek, aads[i % aads.length] as Buffer))
      return { payload: seal(dek, plaintext as Buffer, null), wraps }
    },
    decrypt({ payload, wraps }, i) {
      const deks = keks(i).map((kek, pair) =>
        open(kek, wraps[pair] as Sealed, aads[i % aads.length] as Buffer),
      )
      return open(deks[0] as Buffer, payload, null)
    },
    plaintextOf: (plaintext) => plaintext,
    close: async () => undefined,
  }
  return cipher
}
