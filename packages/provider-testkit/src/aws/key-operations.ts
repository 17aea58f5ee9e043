import { AwsError, invalid } from "./aws-error.ts"
import { type AwsKey, arnOf, type KeyStore, SYMMETRIC } from "./key-store.ts"
import { type KmsCall, type Operations, text } from "./kms-call.ts"
import { checkState } from "./state-table.ts"

/** The operations that make, show and change keys and aliases. */
export const KEY_OPERATIONS: Operations = {
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

  DescribeKey: (call) => ({ KeyMetadata: metadata(call.store, managedKey(call)) }),

  ListKeys({ store, caller, region }) {
    const keys = [...store.keys.values()].filter(
      (key) => key.accountId === caller.accountId && key.region === region,
    )
    return { Keys: keys.map((key) => ({ KeyId: key.id, KeyArn: key.arn })), Truncated: false }
  },

  EnableKey: (call) => become(call, "Enabled"),
  DisableKey: (call) => become(call, "Disabled"),

  ScheduleKeyDeletion(call) {
    const key = managedKey(call)
    const days = Number(call.input.PendingWindowInDays ?? MAX_WINDOW_DAYS)
    if (!(days >= MIN_WINDOW_DAYS && days <= MAX_WINDOW_DAYS)) {
      throw invalid(
        "1 validation error detected: Value at 'pendingWindowInDays' failed to satisfy constraint",
      )
    }
    const hasReplicas = replicasOf(call.store, key).length > 0
    key.state = hasReplicas ? "PendingReplicaDeletion" : "PendingDeletion"
    key.deletionAt = hasReplicas ? undefined : new Date(Date.now() + days * 86_400_000)
    return {
      KeyId: key.arn,
      KeyState: key.state,
      DeletionDate: seconds(key.deletionAt),
      PendingWindowInDays: days,
    }
  },

  CancelKeyDeletion(call) {
    const key = managedKey(call)
    key.state = "Disabled" // and so it stays until EnableKey
    key.deletionAt = undefined
    return { KeyId: key.arn }
  },

  CreateAlias(call) {
    const { store, input } = call
    const key = managedKey(call, input.TargetKeyId)
    const alias = aliasArn(call)
    if (store.aliases.has(alias))
      throw new AwsError("AlreadyExistsException", `An alias with the name ${alias} already exists`)
    store.aliases.set(alias, key.arn)
    return {}
  },

  UpdateAlias(call) {
    const { store, input } = call
    const key = managedKey(call, input.TargetKeyId)
    const alias = aliasArn(call)
    if (!store.aliases.has(alias)) throw new AwsError("NotFoundException", `Alias ${alias} is not found.`)
    store.aliases.set(alias, key.arn)
    return {}
  },

  DeleteAlias(call) {
    const alias = aliasArn(call)
    if (!call.store.aliases.delete(alias))
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

  EnableKeyRotation: (call) => setRotation(call, true),
  DisableKeyRotation: (call) => setRotation(call, false),

  GetKeyRotationStatus(call) {
    const key = managedKey(call)
    return {
      KeyId: key.arn,
      KeyRotationEnabled: key.rotates,
      ...(key.rotates && { RotationPeriodInDays: 365 }),
    }
  },

  RotateKeyOnDemand(call) {
    const key = managedKey(call)
    call.store.rotate(key)
    return { KeyId: key.arn }
  },

  ReplicateKey(call) {
    const key = managedKey(call)
    const replica = call.store.replicate(key, text(call.input.ReplicaRegion, ""))
    return { ReplicaKeyMetadata: metadata(call.store, replica) }
  },
}

/** The key of a management call, permitted and in a state that allows it. */
function managedKey(call: KmsCall, keyId: unknown = call.input.KeyId): AwsKey {
  const { store, access, caller, region, operation } = call
  const key = store.find(keyId, region, caller.accountId)
  access.check(caller, `kms:${operation}`, key.arn, key)
  checkState(operation, key)
  return key
}

function become(call: KmsCall, state: "Enabled" | "Disabled"): object {
  managedKey(call).state = state
  return {}
}

function setRotation(call: KmsCall, rotates: boolean): object {
  const key = managedKey(call)
  if (key.spec !== SYMMETRIC || key.origin !== "AWS_KMS") {
    throw new AwsError("UnsupportedOperationException", `${key.arn} does not support automatic rotation.`)
  }
  key.rotates = rotates
  return {}
}

function aliasArn({ input, region, caller }: KmsCall): string {
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

/** Dates of AWS JSON 1.1 are seconds since 1970. */
function seconds(date: Date | undefined): number | undefined {
  return date && date.getTime() / 1000
}

/** AWS KMS API Reference, ScheduleKeyDeletion. */
const MIN_WINDOW_DAYS = 7
const MAX_WINDOW_DAYS = 30
