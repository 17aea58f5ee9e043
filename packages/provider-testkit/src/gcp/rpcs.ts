import { crc32c } from "./crc32c.ts"
import {
  type CryptoKey,
  decryptUnder,
  encryptUnder,
  type GcpProtectionLevel,
  type KeyStore,
  type KeyVersion,
  SYMMETRIC,
} from "./key-store.ts"
import { RpcError } from "./rpc-error.ts"

/** One method of KeyManagementService. */
export type Rpc = {
  /** The IAM permission it needs; undefined for one that everybody may call. */
  readonly permission: string | undefined
  /** The name in the request that the permission is asked for: a project's location, a ring, a key or a version. */
  readonly resource: (request: object) => string
  /** @throws RpcError */
  readonly answer: (request: object) => object
}

/** The methods of `google.cloud.kms.v1.KeyManagementService` that are emulated, over one store. */
export function kmsRpcs(store: KeyStore): Readonly<Record<string, Rpc>> {
  return {
    Encrypt: rpc<EncryptRequest>("cryptoKeyVersions.useToEncrypt", name, (request) =>
      encrypt(store, request),
    ),
    Decrypt: rpc<DecryptRequest>("cryptoKeyVersions.useToDecrypt", name, (request) =>
      decrypt(store, request),
    ),

    CreateKeyRing: rpc<Parented & { keyRingId: string }>("keyRings.create", parent, (request) => {
      const ring = `${request.parent}/keyRings/${request.keyRingId}`
      return ringMessage(ring, store.createRing(ring))
    }),
    GetKeyRing: rpc<Named>("keyRings.get", name, (request) => {
      const createTime = store.rings.get(name(request))
      if (createTime === undefined) throw new RpcError("NOT_FOUND", `KeyRing ${request.name} not found.`)
      return ringMessage(name(request), createTime)
    }),
    ListKeyRings: rpc<Parented & Paged>("keyRings.list", parent, (request) => {
      const rings = [...store.rings].filter(([ring]) => ring.startsWith(`${request.parent}/keyRings/`))
      const { items, ...rest } = page(rings, request)
      return { keyRings: items.map(([ring, createTime]) => ringMessage(ring, createTime)), ...rest }
    }),

    CreateCryptoKey: rpc<CreateKeyRequest>("cryptoKeys.create", parent, (request) => {
      const { purpose, versionTemplate, labels, rotationPeriod } = request.cryptoKey ?? {}
      if (purpose === "CRYPTO_KEY_PURPOSE_UNSPECIFIED") {
        throw new RpcError("INVALID_ARGUMENT", "CryptoKey.purpose must be specified.")
      }
      const key = store.createKey(`${request.parent}/cryptoKeys/${request.cryptoKeyId}`, {
        purpose: purpose ?? SYMMETRIC,
        protectionLevel: protectionLevel(versionTemplate?.protectionLevel),
        labels: labels ?? {},
        rotationPeriodSeconds: seconds(rotationPeriod),
        withoutVersion: request.skipInitialVersionCreation,
      })
      return keyMessage(key)
    }),
    GetCryptoKey: rpc<Named>("cryptoKeys.get", name, (request) => keyMessage(store.key(name(request)))),
    ListCryptoKeys: rpc<Parented & Paged>("cryptoKeys.list", parent, (request) => {
      const keys = [...store.keys.values()].filter((key) =>
        key.name.startsWith(`${request.parent}/cryptoKeys/`),
      )
      const { items, ...rest } = page(keys, request)
      return { cryptoKeys: items.map(keyMessage), ...rest }
    }),
    UpdateCryptoKey: rpc<UpdateKeyRequest>(
      "cryptoKeys.update",
      ({ cryptoKey }) => cryptoKey?.name ?? "",
      ({ cryptoKey, updateMask }) => {
        const key = store.key(cryptoKey?.name ?? "")
        for (const path of paths(updateMask, ["rotation_period", "labels"])) {
          if (path === "labels") key.labels = { ...cryptoKey?.labels }
          else key.rotationPeriodSeconds = seconds(cryptoKey?.rotationPeriod)
        }
        return keyMessage(key)
      },
    ),
    UpdateCryptoKeyPrimaryVersion: rpc<Named & { cryptoKeyVersionId: string }>(
      "cryptoKeys.update",
      name,
      (request) => {
        const key = store.key(name(request))
        key.primary = store.version(`${key.name}/cryptoKeyVersions/${request.cryptoKeyVersionId}`).version
        return keyMessage(key)
      },
    ),

    CreateCryptoKeyVersion: rpc<Parented>("cryptoKeyVersions.create", parent, (request) => {
      const key = store.key(parent(request))
      return versionMessage(key, store.createVersion(key))
    }),
    GetCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.get", name, (request) => {
      const { key, version } = store.version(name(request))
      return versionMessage(key, version)
    }),
    ListCryptoKeyVersions: rpc<Parented & Paged>("cryptoKeyVersions.list", parent, (request) => {
      const key = store.key(parent(request))
      const { items, ...rest } = page(key.versions, request)
      return { cryptoKeyVersions: items.map((version) => versionMessage(key, version)), ...rest }
    }),
    UpdateCryptoKeyVersion: rpc<UpdateVersionRequest>(
      "cryptoKeyVersions.update",
      ({ cryptoKeyVersion }) => cryptoKeyVersion?.name ?? "",
      ({ cryptoKeyVersion, updateMask }) => {
        const { key, version } = store.version(cryptoKeyVersion?.name ?? "")
        paths(updateMask, ["state"])
        const state = cryptoKeyVersion?.state
        if ((state !== "ENABLED" && state !== "DISABLED") || !SWITCHABLE.has(version.state)) {
          throw new RpcError(
            "FAILED_PRECONDITION",
            `${version.name} cannot go from ${version.state} to ${state}.`,
          )
        }
        store.setState(version, state)
        return versionMessage(key, version)
      },
    ),
    DestroyCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.destroy", name, (request) => {
      const { key, version } = store.version(name(request))
      if (!SWITCHABLE.has(version.state)) {
        throw new RpcError("FAILED_PRECONDITION", `${version.name} is ${version.state}.`)
      }
      store.setState(version, "DESTROY_SCHEDULED")
      return versionMessage(key, version)
    }),
    RestoreCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.restore", name, (request) => {
      const { key, version } = store.version(name(request))
      if (version.state !== "DESTROY_SCHEDULED") {
        throw new RpcError("FAILED_PRECONDITION", `${version.name} is not scheduled for destruction.`)
      }
      store.setState(version, "DISABLED")
      return versionMessage(key, version)
    }),
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
  const { key, version } = toEncryptWith(store, name(request))
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
  const key = symmetric(store.key(name(request)))
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

function ringMessage(ring: string, createTime: Date): object {
  return { name: ring, createTime: timestamp(createTime) }
}

function keyMessage(key: CryptoKey): object {
  return {
    name: key.name,
    primary: key.primary === undefined ? null : versionMessage(key, key.primary),
    purpose: key.purpose,
    createTime: timestamp(key.createTime),
    ...(key.rotationPeriodSeconds !== undefined && {
      rotationPeriod: { seconds: key.rotationPeriodSeconds },
    }),
    versionTemplate: { protectionLevel: key.protectionLevel, algorithm: algorithmOf(key) },
    labels: key.labels,
  }
}

function versionMessage(key: CryptoKey, version: KeyVersion): object {
  return {
    name: version.name,
    state: version.state,
    protectionLevel: key.protectionLevel,
    algorithm: algorithmOf(key),
    createTime: timestamp(version.createTime),
    generateTime: timestamp(version.createTime),
    ...(version.destroyTime !== undefined && { destroyTime: timestamp(version.destroyTime) }),
    ...(version.destroyEventTime !== undefined && { destroyEventTime: timestamp(version.destroyEventTime) }),
  }
}

function algorithmOf(key: CryptoKey): string {
  return key.purpose === SYMMETRIC
    ? "GOOGLE_SYMMETRIC_ENCRYPTION"
    : "CRYPTO_KEY_VERSION_ALGORITHM_UNSPECIFIED"
}

function protectionLevel(asked: string | undefined): GcpProtectionLevel {
  if (asked === "HSM") return "HSM"
  if (asked === undefined || asked === "SOFTWARE" || asked === "PROTECTION_LEVEL_UNSPECIFIED")
    return "SOFTWARE"
  throw new RpcError("UNIMPLEMENTED", `This emulator has no keys of protection level ${asked}.`)
}

/** One page of a listing; the token is the index of the next item. */
function page<Item>(
  items: readonly Item[],
  request: Paged,
): { items: readonly Item[]; nextPageToken: string } {
  const from = Number(request.pageToken || 0)
  const to = from + (request.pageSize || MAX_PAGE)
  return { items: items.slice(from, to), nextPageToken: to < items.length ? String(to) : "" }
}

/** The paths of an update mask. @throws RpcError `INVALID_ARGUMENT` for one that cannot be updated here */
function paths(mask: Mask, known: readonly string[]): readonly string[] {
  const asked = mask?.paths ?? []
  const unknown = asked.find((path) => !known.includes(path))
  if (asked.length === 0 || unknown !== undefined) {
    throw new RpcError("INVALID_ARGUMENT", `update_mask: only ${known.join(", ")} can be updated.`)
  }
  return asked
}

function rpc<Request extends object>(
  permission: string,
  resource: (request: Request) => string,
  answer: (request: Request) => object,
): Rpc {
  return {
    permission: `cloudkms.${permission}`,
    resource: (request) => resource(request as Request),
    answer: (request) => answer(request as Request),
  }
}

function name(request: Named): string {
  return request.name
}

function parent(request: Parented): string {
  return request.parent
}

function seconds(duration: Duration): number | undefined {
  return duration == null ? undefined : Number(duration.seconds)
}

function timestamp(date: Date): { seconds: number; nanos: number } {
  const ms = date.getTime()
  return { seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1_000_000 }
}

/** States that DISABLED, ENABLED and destruction can be reached from by a call. */
const SWITCHABLE: ReadonlySet<string> = new Set(["ENABLED", "DISABLED"])
/** As many as the cloud gives on a page at most. */
const MAX_PAGE = 1000

/** What the proto loader makes of requests: absent strings are empty, absent messages null, int64 is text. */
type Named = { readonly name: string }
type Parented = { readonly parent: string }
type Paged = { readonly pageSize: number; readonly pageToken: string }
type Mask = { readonly paths: readonly string[] } | null
type Duration = { readonly seconds: string } | null | undefined
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
type KeyFields = {
  readonly purpose: string
  readonly versionTemplate: { readonly protectionLevel: string } | null
  readonly labels: Readonly<Record<string, string>>
  readonly rotationPeriod: Duration
}
type CreateKeyRequest = Parented & {
  readonly cryptoKeyId: string
  readonly cryptoKey: KeyFields | null
  readonly skipInitialVersionCreation: boolean
}
type UpdateKeyRequest = { readonly cryptoKey: (Named & KeyFields) | null; readonly updateMask: Mask }
type UpdateVersionRequest = {
  readonly cryptoKeyVersion: (Named & { readonly state: string }) | null
  readonly updateMask: Mask
}
