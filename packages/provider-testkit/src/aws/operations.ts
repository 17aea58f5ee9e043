import { fillRandom } from "@keyfold/core/crypto"
import type { Access, Principal } from "./access.ts"
import { AwsError, invalid } from "./aws-error.ts"
import {
  type AwsKey,
  arnOf,
  decrypt,
  type EncryptionContext,
  encrypt,
  type KeyStore,
  keyIdOf,
  SYMMETRIC,
} from "./key-store.ts"
import { checkState } from "./state-table.ts"

/** One call of AWS KMS, authenticated. */
export type KmsCall = {
  readonly operation: string
  readonly input: Readonly<Record<string, unknown>>
  readonly region: string
  readonly caller: Principal
}

/**
 * Answers a call of AWS KMS.
 * @throws AwsError as the service does: the key, then the permission, then its state, then the arguments
 */
export function answer(store: KeyStore, access: Access, call: KmsCall): object {
  const run = OPERATIONS[call.operation]
  if (run === undefined) throw new AwsError("UnknownOperationException", "")
  return run({ store, access, ...call })
}

/** The ARN of the key that a call is about, if there is one: for the record of calls and for faults. */
export function keyArnOf(store: KeyStore, { input, region, caller }: KmsCall): string {
  const named = input.KeyId ?? input.TargetKeyId ?? input.DestinationKeyId
  try {
    return store.find(named, region, caller.accountId).arn
  } catch {
    return typeof named === "string" ? named : ""
  }
}

type Context = KmsCall & { readonly store: KeyStore; readonly access: Access }

const OPERATIONS: Readonly<Record<string, (context: Context) => object>> = {
  Encrypt(context) {
    const key = usableKey(context, "Encrypt", context.input.KeyId)
    const plaintext = bytesOf(context.input.Plaintext, "plaintext", MAX_PLAINTEXT_BYTES)
    finishDryRun(context)
    const blob = encrypt(key, plaintext, contextOf(context.input.EncryptionContext))
    return { CiphertextBlob: base64(blob), KeyId: key.arn, EncryptionAlgorithm: SYMMETRIC }
  },

  Decrypt(context) {
    const { key, plaintext } = decryptBlob(
      context,
      "Decrypt",
      context.input.KeyId,
      context.input.EncryptionContext,
    )
    finishDryRun(context)
    return { Plaintext: base64(plaintext), KeyId: key.arn, EncryptionAlgorithm: SYMMETRIC }
  },

  GenerateDataKey(context) {
    const { input } = context
    const key = usableKey(context, "GenerateDataKey", input.KeyId)
    const length =
      input.KeySpec === "AES_128" ? 16 : input.KeySpec === "AES_256" ? 32 : Number(input.NumberOfBytes)
    if (!(length >= 1 && length <= 1024)) throw invalid("Please specify either number of bytes or key spec.")
    finishDryRun(context)
    const plaintext = new Uint8Array(length)
    fillRandom(plaintext)
    const blob = encrypt(key, plaintext, contextOf(input.EncryptionContext))
    return { CiphertextBlob: base64(blob), Plaintext: base64(plaintext), KeyId: key.arn }
  },

  ReEncrypt(context) {
    const { input } = context
    const source = decryptBlob(context, "ReEncryptFrom", input.SourceKeyId, input.SourceEncryptionContext)
    const key = usableKey(context, "ReEncryptTo", input.DestinationKeyId)
    finishDryRun(context)
    const blob = encrypt(key, source.plaintext, contextOf(input.DestinationEncryptionContext))
    return {
      CiphertextBlob: base64(blob),
      SourceKeyId: source.key.arn,
      KeyId: key.arn,
      SourceEncryptionAlgorithm: SYMMETRIC,
      DestinationEncryptionAlgorithm: SYMMETRIC,
    }
  },

  CreateKey({ store, access, caller, region, input }) {
    const owner = { accountId: caller.accountId, sharedWith: new Set<string>() }
    access.check(caller, "kms:CreateKey", "*", owner)
    const key = store.create({
      region,
      accountId: caller.accountId,
      spec: text(input.KeySpec, SYMMETRIC),
      usage: text(input.KeyUsage, "ENCRYPT_DECRYPT"),
      origin: text(input.Origin, "AWS_KMS"),
      description: text(input.Description, ""),
      multiRegion: input.MultiRegion === true,
    })
    return { KeyMetadata: metadata(store, key) }
  },

  DescribeKey: (context) => ({ KeyMetadata: metadata(context.store, managedKey(context)) }),

  ListKeys({ store, caller, region }) {
    const keys = [...store.keys.values()].filter(
      (key) => key.accountId === caller.accountId && key.region === region,
    )
    return { Keys: keys.map((key) => ({ KeyId: key.id, KeyArn: key.arn })), Truncated: false }
  },

  EnableKey: (context) => become(context, "Enabled"),
  DisableKey: (context) => become(context, "Disabled"),

  ScheduleKeyDeletion(context) {
    const key = managedKey(context)
    const days = Number(context.input.PendingWindowInDays ?? MAX_WINDOW_DAYS)
    if (!(days >= MIN_WINDOW_DAYS && days <= MAX_WINDOW_DAYS)) {
      throw invalid(
        "1 validation error detected: Value at 'pendingWindowInDays' failed to satisfy constraint",
      )
    }
    const hasReplicas = replicasOf(context.store, key).length > 0
    key.state = hasReplicas ? "PendingReplicaDeletion" : "PendingDeletion"
    key.deletionAt = hasReplicas ? undefined : new Date(Date.now() + days * 86_400_000)
    return {
      KeyId: key.arn,
      KeyState: key.state,
      DeletionDate: seconds(key.deletionAt),
      PendingWindowInDays: days,
    }
  },

  CancelKeyDeletion(context) {
    const key = managedKey(context)
    key.state = "Disabled" // and so it stays until EnableKey
    key.deletionAt = undefined
    return { KeyId: key.arn }
  },

  CreateAlias(context) {
    const { store, input } = context
    const key = managedKey(context, input.TargetKeyId)
    const alias = aliasArn(context)
    if (store.aliases.has(alias))
      throw new AwsError("AlreadyExistsException", `An alias with the name ${alias} already exists`)
    store.aliases.set(alias, key.arn)
    return {}
  },

  UpdateAlias(context) {
    const { store, input } = context
    const key = managedKey(context, input.TargetKeyId)
    const alias = aliasArn(context)
    if (!store.aliases.has(alias)) throw new AwsError("NotFoundException", `Alias ${alias} is not found.`)
    store.aliases.set(alias, key.arn)
    return {}
  },

  DeleteAlias(context) {
    const alias = aliasArn(context)
    if (!context.store.aliases.delete(alias))
      throw new AwsError("NotFoundException", `Alias ${alias} is not found.`)
    return {}
  },

  ListAliases({ store, caller, region }) {
    const prefix = arnOf(region, caller.accountId, "")
    const aliases = [...store.aliases].filter(([alias]) => alias.startsWith(prefix))
    return {
      Aliases: aliases.map(([alias, target]) => ({
        AliasName: alias.slice(prefix.length),
        AliasArn: alias,
        TargetKeyId: target.slice(target.indexOf("key/") + 4),
      })),
      Truncated: false,
    }
  },

  EnableKeyRotation: (context) => setRotation(context, true),
  DisableKeyRotation: (context) => setRotation(context, false),

  GetKeyRotationStatus(context) {
    const key = managedKey(context)
    return {
      KeyId: key.arn,
      KeyRotationEnabled: key.rotates,
      ...(key.rotates && { RotationPeriodInDays: 365 }),
    }
  },

  RotateKeyOnDemand(context) {
    const key = managedKey(context)
    context.store.rotate(key)
    return { KeyId: key.arn }
  },

  ReplicateKey(context) {
    const key = managedKey(context)
    const replica = context.store.replicate(key, text(context.input.ReplicaRegion, ""))
    return { ReplicaKeyMetadata: metadata(context.store, replica) }
  },
}

/** The key of a management call, permitted and in a state that allows it. */
function managedKey(context: Context, keyId: unknown = context.input.KeyId): AwsKey {
  const { store, access, caller, region, operation } = context
  const key = store.find(keyId, region, caller.accountId)
  access.check(caller, `kms:${operation}`, key.arn, key)
  checkState(operation, key)
  return key
}

/** The key of a cryptographic call: as above, and symmetric. */
function usableKey(context: Context, action: string, keyId: unknown): AwsKey {
  const { store, access, caller, region, operation, input } = context
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
function decryptBlob(context: Context, action: string, keyId: unknown, encryptionContext: unknown) {
  const { store, region, caller, input } = context
  const blob = bytesOf(input.CiphertextBlob, "ciphertextBlob", MAX_BLOB_BYTES)
  const blobKeyId = keyIdOf(blob)
  if (keyId === undefined) {
    const key = [...store.keys.values()].find((known) => known.id === blobKeyId && known.region === region)
    if (blobKeyId === undefined) throw new AwsError("InvalidCiphertextException", "")
    if (key === undefined) {
      throw new AwsError(
        "AccessDeniedException",
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, " +
          "or you are not allowed to access.",
      )
    }
    return decryptBlob(context, action, key.arn, encryptionContext)
  }
  const key = usableKey(context, action, store.find(keyId, region, caller.accountId).arn)
  if (blobKeyId === undefined) throw new AwsError("InvalidCiphertextException", "")
  if (blobKeyId !== key.id) {
    throw new AwsError(
      "IncorrectKeyException",
      "The key ID in the request does not identify a CMK that can perform this operation.",
    )
  }
  return { key, plaintext: decrypt(key, blob, contextOf(encryptionContext)) }
}

/** @throws AwsError a dry run always fails; this is how it says that the call would have succeeded */
function finishDryRun({ input }: Context): void {
  if (input.DryRun !== true) return
  throw new AwsError(
    "DryRunOperationException",
    "The request would have succeeded, but the DryRun option is set.",
  )
}

function become(context: Context, state: "Enabled" | "Disabled"): object {
  managedKey(context).state = state
  return {}
}

function setRotation(context: Context, rotates: boolean): object {
  const key = managedKey(context)
  if (key.spec !== SYMMETRIC || key.origin !== "AWS_KMS") {
    throw new AwsError("UnsupportedOperationException", `${key.arn} does not support automatic rotation.`)
  }
  key.rotates = rotates
  return {}
}

function aliasArn({ input, region, caller }: Context): string {
  const name = text(input.AliasName, "")
  if (!/^alias\/(?!aws\/)[\w/-]{1,250}$/.test(name))
    throw new AwsError("InvalidAliasNameException", "Invalid alias name")
  return arnOf(region, caller.accountId, name)
}

function replicasOf(store: KeyStore, key: AwsKey): AwsKey[] {
  if (key.multiRegion?.primaryArn !== key.arn) return []
  return [...store.keys.values()].filter((other) => other.id === key.id && other.arn !== key.arn)
}

function metadata(store: KeyStore, key: AwsKey): object {
  const primary = key.multiRegion && store.keys.get(key.multiRegion.primaryArn)
  return {
    AWSAccountId: key.accountId,
    KeyId: key.id,
    Arn: key.arn,
    CreationDate: seconds(key.createdAt),
    Description: key.description,
    Enabled: key.state === "Enabled",
    KeyState: key.state,
    KeyUsage: key.usage,
    KeySpec: key.spec,
    CustomerMasterKeySpec: key.spec,
    EncryptionAlgorithms: key.spec === SYMMETRIC ? [SYMMETRIC] : ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"],
    KeyManager: "CUSTOMER",
    Origin: key.origin,
    DeletionDate: seconds(key.deletionAt),
    MultiRegion: key.multiRegion !== undefined,
    ...(primary && {
      MultiRegionConfiguration: {
        MultiRegionKeyType: primary === key ? "PRIMARY" : "REPLICA",
        PrimaryKey: { Arn: primary.arn, Region: primary.region },
        ReplicaKeys: replicasOf(store, primary).map(({ arn, region }) => ({ Arn: arn, Region: region })),
      },
    }),
  }
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

function text(value: unknown, fallback: string): string {
  return typeof value === "string" ? value : fallback
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64")
}

/** Dates of AWS JSON 1.1 are seconds since 1970. */
function seconds(date: Date | undefined): number | undefined {
  return date && date.getTime() / 1000
}

/** AWS KMS API Reference: Encrypt, Decrypt, ScheduleKeyDeletion. */
const MAX_PLAINTEXT_BYTES = 4_096
const MAX_BLOB_BYTES = 6_144
const MIN_WINDOW_DAYS = 7
const MAX_WINDOW_DAYS = 30
/** Of all names and values together, in UTF-8. */
const MAX_CONTEXT_BYTES = 4_096
