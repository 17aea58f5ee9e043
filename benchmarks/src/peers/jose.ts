import {
  type GeneralDecryptResult,
  GeneralEncrypt,
  type GeneralJWE,
  generalDecrypt,
  generateSecret,
} from "jose"
import { type Cipher, contextsOf } from "../variants.ts"
import { keksOf } from "./keks.ts"

/** A General JWE with a recipient for each pair, and the context as additional data. To decrypt, it opens the first. */
export async function jose(pairs: number, alg: "A256GCMKW" | "A256KW"): Promise<Cipher> {
  const aads = contextsOf(pairs).map((context) => new TextEncoder().encode(JSON.stringify(context)))
  const waiting = keksOf(pairs, () => generateSecret(alg))
  const keks = await Promise.all(aads.map((_, i) => Promise.all(waiting(i))))
  const keksFor = (i: number) => keks[i % keks.length] as CryptoKey[]
  const cipher: Cipher<GeneralJWE, GeneralDecryptResult> = {
    encrypt(plaintext, i) {
      const jwe = new GeneralEncrypt(plaintext)
        .setProtectedHeader({ enc: "A256GCM" })
        .setAdditionalAuthenticatedData(aads[i % aads.length] as Uint8Array)
      for (const kek of keksFor(i)) jwe.addRecipient(kek).setUnprotectedHeader({ alg })
      return jwe.encrypt()
    },
    decrypt: (jwe, i) => generalDecrypt(jwe, keksFor(i)[0] as CryptoKey),
    plaintextOf: ({ plaintext }) => plaintext,
    close: async () => undefined,
  }
  return cipher
}
