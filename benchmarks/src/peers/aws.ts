import {
  AlgorithmSuiteIdentifier,
  buildClient,
  CommitmentPolicy,
  MultiKeyringNode,
  RawAesKeyringNode,
  RawAesWrappingSuiteIdentifier,
} from "@aws-crypto/client-node"
import { type Cipher, contextsOf } from "../variants.ts"
import { keksOf } from "./keks.ts"

type Encrypted = Awaited<ReturnType<ReturnType<typeof buildClient>["encrypt"]>>
type Decrypted = Awaited<ReturnType<ReturnType<typeof buildClient>["decrypt"]>>

/** The default suite commits and signs with P-384; the other commits alone, as keyfold does. */
const SUITES = {
  signed: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384,
  unsigned: AlgorithmSuiteIdentifier.ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY,
}

/** The AWS Encryption SDK, with a raw AES keyring for each pair in one multi-keyring. To decrypt, it opens the first. */
export function aws(pairs: number, suite: keyof typeof SUITES, frameLength: number): Cipher {
  const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
  const contexts = contextsOf(pairs)
  let keys = 0
  const keks = keksOf(
    pairs,
    (key) =>
      new RawAesKeyringNode({
        keyNamespace: "bench",
        keyName: `key_${keys++}`,
        // Not a view of a larger pool, which the keyring refuses.
        unencryptedMasterKey: new Uint8Array(key),
        wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
      }),
  )
  const keyrings = contexts.map((_, i) => {
    const [generator, ...children] = keks(i) as [RawAesKeyringNode, ...RawAesKeyringNode[]]
    return new MultiKeyringNode({ generator, children })
  })
  const cipher: Cipher<Encrypted, Decrypted> = {
    encrypt: (plaintext, i) =>
      encrypt(keyrings[i % keyrings.length] as MultiKeyringNode, plaintext, {
        suiteId: SUITES[suite],
        frameLength,
        encryptionContext: { ...contexts[i % contexts.length] },
      }),
    // The loop over the context is what its README asks for.
    async decrypt({ result }, i) {
      const opened = await decrypt(keyrings[i % keyrings.length] as MultiKeyringNode, result)
      for (const [name, value] of Object.entries(contexts[i % contexts.length] as object)) {
        if (opened.messageHeader.encryptionContext[name] !== value) throw new Error("another context")
      }
      return opened
    },
    plaintextOf: ({ plaintext }) => plaintext,
    close: async () => undefined,
  }
  return cipher
}
