import { randomBytes, randomUUID } from "node:crypto"
import { fillRandom, importLongLivedKey, open, type SecretKey, sealInto } from "@keyfold/core/crypto"
import { AwsError, invalid, keyNotFound } from "./aws-error.ts"

/** `KeyState` of DescribeKey. A key that was deleted is not there any more. */
export type AwsKeyState =
  | "Creating"
  | "Enabled"
  | "Disabled"
  | "PendingDeletion"
  | "PendingImport"
  | "PendingReplicaDeletion"
  | "Unavailable"
  | "Updating"

/** One key in one region. The replicas of a multi-Region key share their id and their generations, nothing else. */
export type AwsKey = {
  readonly id: string
  readonly arn: string
  readonly accountId: string
  readonly region: string
  readonly spec: string
  readonly usage: string
  readonly origin: string
  readonly description: string
  readonly createdAt: Date
  /** Accounts other than its own that its key policy lets in. */
  readonly sharedWith: ReadonlySet<string>
  readonly multiRegion: { readonly primaryArn: string } | undefined
  /** Newest last; rotation adds one. */
  readonly generations: SecretKey[]
  state: AwsKeyState
  deletionAt: Date | undefined
  rotates: boolean
}

export type AwsKeyOptions = {
  readonly region: string
  readonly accountId: string
  readonly spec?: string
  readonly usage?: string
  readonly origin?: string
  readonly description?: string
  readonly multiRegion?: boolean
  readonly sharedWith?: readonly string[]
}

/** The keys and aliases of all accounts and regions, and what their key material does. */
export class KeyStore {
  readonly keys = new Map<string, AwsKey>()
  /** Alias ARN to key ARN. */
  readonly aliases = new Map<string, string>()

  create(options: AwsKeyOptions): AwsKey {
    const id = options.multiRegion ? `mrk-${randomBytes(16).toString("hex")}` : randomUUID()
    const arn = arnOf(options.region, options.accountId, `key/${id}`)
    const origin = options.origin ?? "AWS_KMS"
    return this.#add({
      id,
      arn,
      accountId: options.accountId,
      region: options.region,
      spec: options.spec ?? SYMMETRIC,
      usage: options.usage ?? "ENCRYPT_DECRYPT",
      origin,
      description: options.description ?? "",
      createdAt: new Date(),
      sharedWith: new Set(options.sharedWith),
      multiRegion: options.multiRegion ? { primaryArn: arn } : undefined,
      generations: [newGeneration()],
      state: origin === "EXTERNAL" ? "PendingImport" : "Enabled",
      deletionAt: undefined,
      rotates: false,
    })
  }

  /** @throws AwsError where the key is not a multi-Region key, or has a replica there */
  replicate(key: AwsKey, region: string): AwsKey {
    if (key.multiRegion?.primaryArn !== key.arn) {
      throw new AwsError("UnsupportedOperationException", `${key.arn} is not a multi-Region primary key.`)
    }
    const arn = arnOf(region, key.accountId, `key/${key.id}`)
    if (this.keys.has(arn)) throw new AwsError("AlreadyExistsException", `${arn} already exists`)
    return this.#add({ ...key, arn, region, state: "Enabled", deletionAt: undefined, createdAt: new Date() })
  }

  rotate(key: AwsKey): void {
    key.generations.push(newGeneration())
  }

  /**
   * The key that a request to one region names by id, ARN, alias or alias ARN.
   * @throws AwsError `NotFoundException`
   */
  find(keyId: unknown, region: string, accountId: string): AwsKey {
    if (typeof keyId !== "string" || keyId.length === 0 || keyId.length > 2048) {
      throw invalid("1 validation error detected: Value at 'keyId' failed to satisfy constraint")
    }
    if (keyId.startsWith("arn:") && keyId.split(":")[3] !== region) {
      throw new AwsError("NotFoundException", `Invalid arn ${keyId.split(":")[3]}`)
    }
    const isAlias = /^(arn:.*:)?alias\//.test(keyId)
    const arn = keyId.startsWith("arn:") ? keyId : arnOf(region, accountId, isAlias ? keyId : `key/${keyId}`)
    const target = isAlias ? this.aliases.get(arn) : arn
    const key = target === undefined ? undefined : this.keys.get(target)
    if (key === undefined) {
      throw isAlias ? new AwsError("NotFoundException", `Alias ${arn} is not found.`) : keyNotFound(arn)
    }
    return key
  }

  delete(key: AwsKey): void {
    this.keys.delete(key.arn)
    for (const [alias, target] of this.aliases) if (target === key.arn) this.aliases.delete(alias)
  }

  #add(key: AwsKey): AwsKey {
    this.keys.set(key.arn, key)
    return key
  }
}

/** Name/value pairs that Encrypt binds and Decrypt must repeat. */
export type EncryptionContext = Readonly<Record<string, string>>

/** A CiphertextBlob: key id, generation, IV, ciphertext, tag; everything before the IV and the context is its AAD. */
export function encrypt(key: AwsKey, plaintext: Uint8Array, context: EncryptionContext): Uint8Array {
  const header = Buffer.from(`${key.id}\0${key.generations.length - 1}`)
  const blob = new Uint8Array(1 + header.length + IV_BYTES + plaintext.length + TAG_BYTES)
  blob[0] = header.length
  blob.set(header, 1)
  const iv = blob.subarray(1 + header.length, 1 + header.length + IV_BYTES)
  fillRandom(iv)
  const generation = key.generations.at(-1) as SecretKey
  sealInto(generation, iv, additionalData(header, context), plaintext, blob, 1 + header.length + IV_BYTES)
  return blob
}

/** The key id that a blob names; undefined where it names none. */
export function keyIdOf(blob: Uint8Array): string | undefined {
  const header = Buffer.from(blob.subarray(1, 1 + (blob[0] ?? 0))).toString()
  return /^([\w-]+)\0\d{1,6}$/.exec(header)?.[1]
}

/** @throws AwsError `InvalidCiphertextException` for another context or a changed blob */
export function decrypt(key: AwsKey, blob: Uint8Array, context: EncryptionContext): Uint8Array {
  const end = 1 + (blob[0] ?? 0)
  const header = blob.subarray(1, end)
  const [, number = ""] = Buffer.from(header).toString().split("\0")
  const generation = key.generations[Number(number)]
  const plaintext =
    generation === undefined || blob.length < end + IV_BYTES
      ? undefined
      : open(
          generation,
          blob.subarray(end, end + IV_BYTES),
          additionalData(header, context),
          blob.subarray(end + IV_BYTES),
        )
  // As the service does, without a message.
  if (plaintext === undefined) throw new AwsError("InvalidCiphertextException", "")
  return plaintext
}

export function arnOf(region: string, accountId: string, resource: string): string {
  return `arn:aws:kms:${region}:${accountId}:${resource}`
}

function additionalData(header: Uint8Array, context: EncryptionContext): Uint8Array {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1))
  return Buffer.concat([header, Buffer.from(JSON.stringify(pairs))])
}

function newGeneration(): SecretKey {
  const bytes = new Uint8Array(32)
  fillRandom(bytes)
  const key = importLongLivedKey(bytes)
  bytes.fill(0)
  return key
}

export const SYMMETRIC = "SYMMETRIC_DEFAULT"
const IV_BYTES = 12
const TAG_BYTES = 16
