import { fillRandom } from "@keyfold/core/crypto"
import { AwsError, invalid } from "./aws-error.ts"
import { type AwsKey, decrypt, type EncryptionContext, encrypt, keyIdOf, SYMMETRIC } from "./key-store.ts"
import { type KmsCall, type Operations, text } from "./kms-call.ts"
import { checkState } from "./state-table.ts"

/** The operations that use key material. */
export const CRYPTO_OPERATIONS: Operations = {
  Encrypt(call) {
    const key = usableKey(call, "Encrypt", call.input.KeyId)
    const plaintext = bytesOf(call.input.Plaintext, "plaintext", MAX_PLAINTEXT_BYTES)
    finishDryRun(call)
    const blob = encrypt(key, plaintext, contextOf(call.input.EncryptionContext))
    return { CiphertextBlob: base64(blob), KeyId: key.arn, EncryptionAlgorithm: SYMMETRIC }
  },

  Decrypt(call) {
    const { input } = call
    const modifiers = Array.isArray(input.DryRunModifiers) ? input.DryRunModifiers : []
    if (input.DryRun === true && modifiers.includes("IGNORE_CIPHERTEXT")) {
      usableKey(call, "Decrypt", input.KeyId)
      finishDryRun(call)
    }
    const { key, plaintext } = decryptBlob(call, "Decrypt", call.input.KeyId, call.input.EncryptionContext)
    finishDryRun(call)
    return { Plaintext: base64(plaintext), KeyId: key.arn, EncryptionAlgorithm: SYMMETRIC }
  },

  GenerateDataKey(call) {
    const { input } = call
    const key = usableKey(call, "GenerateDataKey", input.KeyId)
    const length =
      input.KeySpec === "AES_128" ? 16 : input.KeySpec === "AES_256" ? 32 : Number(input.NumberOfBytes)
    if (!(length >= 1 && length <= 1024)) throw invalid("Please specify either number of bytes or key spec.")
    finishDryRun(call)
    const plaintext = new Uint8Array(length)
    fillRandom(plaintext)
    const blob = encrypt(key, plaintext, contextOf(input.EncryptionContext))
    return { CiphertextBlob: base64(blob), Plaintext: base64(plaintext), KeyId: key.arn }
  },

  ReEncrypt(call) {
    const { input } = call
    const source = decryptBlob(call, "ReEncryptFrom", input.SourceKeyId, input.SourceEncryptionContext)
    const key = usableKey(call, "ReEncryptTo", input.DestinationKeyId)
    finishDryRun(call)
    const blob = encrypt(key, source.plaintext, contextOf(input.DestinationEncryptionContext))
    return {
      CiphertextBlob: base64(blob),
      SourceKeyId: source.key.arn,
      KeyId: key.arn,
      SourceEncryptionAlgorithm: SYMMETRIC,
      DestinationEncryptionAlgorithm: SYMMETRIC,
    }
  },
}

/** The key of a call, permitted, in a state that allows it, and symmetric. */
function usableKey(call: KmsCall, action: string, keyId: unknown): AwsKey {
  const { store, access, caller, region, operation, input } = call
  const key = store.find(keyId, region, caller.accountId)
  access.check(caller, `kms:${action}`, key.arn, key)
  checkState(operation, key)
  if (key.usage !== "ENCRYPT_DECRYPT") {
    throw new AwsError(
      "InvalidKeyUsageException",
      `${key.arn} key usage is ${key.usage} which is not valid for ${operation}.`,
    )
  }
  const algorithm = text(input.EncryptionAlgorithm, SYMMETRIC)
  if (key.spec !== SYMMETRIC || algorithm !== SYMMETRIC) {
    throw invalid(`Algorithm ${algorithm} is incompatible with key spec ${key.spec}.`)
  }
  return key
}

/** With a key id the blob must be that key's; without one the blob names the key. */
function decryptBlob(call: KmsCall, action: string, keyId: unknown, encryptionContext: unknown) {
  const blob = bytesOf(call.input.CiphertextBlob, "ciphertextBlob", MAX_BLOB_BYTES)
  const blobKeyId = keyIdOf(blob)
  const key = usableKey(call, action, keyId ?? keyNamedBy(call, blobKeyId))
  if (blobKeyId === undefined) throw new AwsError("InvalidCiphertextException", "")
  if (blobKeyId !== key.id) {
    throw new AwsError(
      "IncorrectKeyException",
      "The key ID in the request does not identify a CMK that can perform this operation.",
    )
  }
  return { key, plaintext: decrypt(key, blob, contextOf(encryptionContext)) }
}

function keyNamedBy({ store, region }: KmsCall, blobKeyId: string | undefined): string {
  if (blobKeyId === undefined) throw new AwsError("InvalidCiphertextException", "")
  const key = [...store.keys.values()].find((known) => known.id === blobKeyId && known.region === region)
  if (key !== undefined) return key.arn
  throw new AwsError(
    "AccessDeniedException",
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, " +
      "or you are not allowed to access.",
  )
}

/** @throws AwsError a dry run always fails; this is how it says that the call would have succeeded */
function finishDryRun({ input }: KmsCall): void {
  if (input.DryRun !== true) return
  throw new AwsError(
    "DryRunOperationException",
    "The request would have succeeded, but the DryRun option is set.",
  )
}

function contextOf(value: unknown): EncryptionContext {
  if (value === undefined || value === null) return {}
  const context = value as EncryptionContext
  let length = 0
  for (const [name, content] of Object.entries(context)) {
    if (typeof content !== "string") throw new AwsError("SerializationException", "")
    if (name.startsWith("aws:")) throw invalid("The encryption context must not use the reserved prefix aws:")
    length += Buffer.byteLength(name) + Buffer.byteLength(content)
  }
  if (length > MAX_CONTEXT_BYTES) throw invalid("The encryption context is too long")
  return context
}

function bytesOf(value: unknown, field: string, maxBytes: number): Uint8Array {
  const bytes = typeof value === "string" ? Buffer.from(value, "base64") : Buffer.alloc(0)
  if (bytes.length >= 1 && bytes.length <= maxBytes) return bytes
  throw invalid(
    `1 validation error detected: Value at '${field}' failed to satisfy constraint: ` +
      `Member must have length between 1 and ${maxBytes}, inclusive`,
  )
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64")
}

/** AWS KMS API Reference: Encrypt, Decrypt. */
const MAX_PLAINTEXT_BYTES = 4_096
const MAX_BLOB_BYTES = 6_144
/** Of all names and values together, in UTF-8. */
const MAX_CONTEXT_BYTES = 4_096
