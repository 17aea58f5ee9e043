import {
  constants,
  createCipheriv,
  createDecipheriv,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from "node:crypto"
import { open, sealInto } from "@keyfold/core/crypto"
import { badParameter } from "./azure-error.ts"
import type { KeyVersion } from "./key-store.ts"
import type { CryptoOperation } from "./state-table.ts"

/**
 * Encrypts, decrypts, wraps or unwraps. The answer is a KeyOperationResult.
 * @throws AzureError `BadParameter` for an algorithm that the key or operation does not have, and for a ciphertext
 * that is not the key's
 */
export function runCrypto(
  operation: CryptoOperation,
  version: KeyVersion,
  input: Readonly<Record<string, unknown>>,
): object {
  const { kty, material } = version
  const algorithm = String(input.alg)
  const value = bytesOf(input, "value")
  const isMaking = operation === "encrypt" || operation === "wrapKey"
  if (kty.startsWith("RSA")) {
    const hash = OAEP_HASHES.get(algorithm)
    if (hash === undefined) throw unsupported(algorithm)
    const output = isMaking
      ? rsaEncrypt(material.secret, hash, value)
      : rsaDecrypt(material.secret, hash, value)
    return result(version, { value: output })
  }
  if (kty === "oct-HSM" && algorithm === "A256KW" && operation.endsWith("Key")) {
    return result(version, { value: aesKeyWrap(material.secret, value, isMaking) })
  }
  if (kty === "oct-HSM" && algorithm === "A256GCM" && operation.endsWith("crypt")) {
    const aad = input.aad === undefined ? new Uint8Array(0) : bytesOf(input, "aad")
    if (isMaking) return result(version, gcmEncrypt(material.secret, aad, value))
    const plaintext = open(
      material.secret,
      sized(bytesOf(input, "iv"), IV_BYTES),
      aad,
      Buffer.concat([value, sized(bytesOf(input, "tag"), TAG_BYTES)]),
    )
    if (plaintext === undefined) throw badParameter("The parameter is incorrect.")
    return result(version, { value: plaintext })
  }
  throw unsupported(algorithm)
}

/** What an answer for another key looks like, whatever was asked. */
export function answerOf(
  operation: CryptoOperation,
  version: KeyVersion,
  input: Readonly<Record<string, unknown>>,
) {
  const isMaking = operation === "encrypt" || operation === "wrapKey"
  if (isMaking) return runCrypto(operation, version, input)
  return result(version, { value: randomBytes(input.alg === "A256GCM" ? 32 : 64) })
}

function result({ kid }: KeyVersion, fields: Readonly<Record<string, Uint8Array>>): object {
  const encoded = Object.entries(fields).map(([name, bytes]) => [
    name,
    Buffer.from(bytes).toString("base64url"),
  ])
  return { kid, ...Object.fromEntries(encoded) }
}

function rsaEncrypt(key: KeyObject, oaepHash: string, value: Uint8Array): Uint8Array {
  try {
    return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, value)
  } catch {
    throw badParameter("Invalid length of 'value'.")
  }
}

function rsaDecrypt(key: KeyObject, oaepHash: string, value: Uint8Array): Uint8Array {
  try {
    return privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, value)
  } catch {
    throw badParameter("The parameter is incorrect.")
  }
}

/** RFC 3394. */
function aesKeyWrap(key: KeyObject, value: Uint8Array, isMaking: boolean): Uint8Array {
  try {
    const make = isMaking ? createCipheriv : createDecipheriv
    const cipher = make("id-aes256-wrap", key, KEY_WRAP_IV)
    return Buffer.concat([cipher.update(value), cipher.final()])
  } catch {
    throw badParameter("The parameter is incorrect.")
  }
}

/** The service draws the IV. */
function gcmEncrypt(key: KeyObject, aad: Uint8Array, plaintext: Uint8Array) {
  const iv = randomBytes(IV_BYTES)
  const sealed = new Uint8Array(plaintext.length + TAG_BYTES)
  sealInto(key, iv, aad, plaintext, sealed, 0)
  return { value: sealed.subarray(0, plaintext.length), iv, tag: sealed.subarray(plaintext.length), aad }
}

function bytesOf(input: Readonly<Record<string, unknown>>, name: string): Uint8Array {
  const text = input[name]
  if (typeof text !== "string" || !/^[\w-]*$/.test(text) || text === "") {
    throw badParameter(`Content of '${name}' is not base64url.\r\nProperty '${name}' is required.\r\n`)
  }
  return Buffer.from(text, "base64url")
}

function sized(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length !== length) throw badParameter("The parameter is incorrect.")
  return bytes
}

function unsupported(algorithm: string) {
  return badParameter(`Algorithm ${algorithm} is not supported for this key and operation.`)
}

const OAEP_HASHES: ReadonlyMap<string, string> = new Map([
  ["RSA-OAEP-256", "sha256"],
  ["RSA-OAEP", "sha1"],
])
/** RFC 3394 §2.2.3.1. */
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6)
const IV_BYTES = 12
const TAG_BYTES = 16
