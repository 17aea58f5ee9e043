import { crc32c } from "./crc32c.ts"
import {
  type CryptoKey,
  decryptUnder,
  encryptUnder,
  type KeyStore,
  type KeyVersion,
  SYMMETRIC,
} from "./key-store.ts"
import { type Named, nameOf, type Rpc, rpc } from "./rpc.ts"
import { RpcError } from "./rpc-error.ts"

/** Encrypt and Decrypt of `google.cloud.kms.v1.KeyManagementService`, over one store. */
export function cryptoRpcs(store: KeyStore): Readonly<Record<string, Rpc>> {
  return {
    Encrypt: rpc<EncryptRequest>("cryptoKeyVersions.useToEncrypt", nameOf, (request) =>
      encrypt(store, request),
    ),
    Decrypt: rpc<DecryptRequest>("cryptoKeyVersions.useToDecrypt", nameOf, (request) =>
      decrypt(store, request),
    ),
  }
}

function encrypt(store: KeyStore, request: EncryptRequest): object {
  const plaintext = request.plaintext
  const additionalData = request.additionalAuthenticatedData
  const verifiedPlaintextCrc32c = checkCrc("plaintext", plaintext, request.plaintextCrc32c)
  const verifiedAdditionalAuthenticatedDataCrc32c = checkCrc(
    "additional_authenticated_data",
    additionalData,
    request.additionalAuthenticatedDataCrc32c,
  )
  const { key, version } = toEncryptWith(store, request.name)
  const ciphertext = encryptUnder(key, version, plaintext, additionalData)
  return {
    name: version.name,
    ciphertext,
    ciphertextCrc32c: { value: crc32c(ciphertext) },
    verifiedPlaintextCrc32c,
    verifiedAdditionalAuthenticatedDataCrc32c,
    protectionLevel: key.protectionLevel,
  }
}

function decrypt(store: KeyStore, request: DecryptRequest): object {
  const ciphertext = request.ciphertext
  const additionalData = request.additionalAuthenticatedData
  checkCrc("ciphertext", ciphertext, request.ciphertextCrc32c)
  checkCrc("additional_authenticated_data", additionalData, request.additionalAuthenticatedDataCrc32c)
  const key = symmetric(store.key(request.name))
  const { version, plaintext } = decryptUnder(key, ciphertext, additionalData)
  return {
    plaintext,
    plaintextCrc32c: { value: crc32c(plaintext) },
    usedPrimary: version === key.primary,
    protectionLevel: key.protectionLevel,
  }
}

function toEncryptWith(store: KeyStore, resource: string): { key: CryptoKey; version: KeyVersion } {
  if (resource.includes("/cryptoKeyVersions/")) {
    const { key, version } = store.version(resource)
    return { key: symmetric(key), version }
  }
  const key = symmetric(store.key(resource))
  if (key.primary === undefined) {
    throw new RpcError("FAILED_PRECONDITION", `CryptoKey ${key.name} has no primary version.`)
  }
  return { key, version: key.primary }
}

function symmetric(key: CryptoKey): CryptoKey {
  if (key.purpose !== SYMMETRIC) {
    throw new RpcError("FAILED_PRECONDITION", `CryptoKey ${key.name} has purpose ${key.purpose}.`)
  }
  return key
}

/** Whether the sender gave a checksum. @throws RpcError `INVALID_ARGUMENT` if it gave a wrong one */
function checkCrc(field: string, data: Uint8Array, sent: Crc): boolean {
  if (sent === null) return false
  if (Number(sent.value) !== crc32c(data)) {
    throw new RpcError(
      "INVALID_ARGUMENT",
      `The checksum in field ${field}_crc32c did not match the data in field ${field}.`,
    )
  }
  return true
}

type Crc = { readonly value: string } | null
type EncryptRequest = Named & {
  readonly plaintext: Uint8Array
  readonly additionalAuthenticatedData: Uint8Array
  readonly plaintextCrc32c: Crc
  readonly additionalAuthenticatedDataCrc32c: Crc
}
type DecryptRequest = Named & {
  readonly ciphertext: Uint8Array
  readonly additionalAuthenticatedData: Uint8Array
  readonly ciphertextCrc32c: Crc
  readonly additionalAuthenticatedDataCrc32c: Crc
}
