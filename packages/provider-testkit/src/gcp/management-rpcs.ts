import {
  type CryptoKey,
  type GcpProtectionLevel,
  type KeyStore,
  type KeyVersion,
  SYMMETRIC,
} from "./key-store.ts"
import { type Named, nameOf, type Parented, parentOf, type Rpc, rpc } from "./rpc.ts"
import { RpcError } from "./rpc-error.ts"

/** The methods of `google.cloud.kms.v1.KeyManagementService` that manage key rings, keys and versions. */
export function managementRpcs(store: KeyStore): Readonly<Record<string, Rpc>> {
  return {
    CreateKeyRing: rpc<Parented & { keyRingId: string }>("keyRings.create", parentOf, (request) => {
      const ring = `${request.parent}/keyRings/${request.keyRingId}`
      return ringMessage(ring, store.createRing(ring))
    }),
    GetKeyRing: rpc<Named>("keyRings.get", nameOf, (request) => {
      const createTime = store.rings.get(request.name)
      if (createTime === undefined) throw new RpcError("NOT_FOUND", `KeyRing ${request.name} not found.`)
      return ringMessage(request.name, createTime)
    }),
    ListKeyRings: rpc<Parented & Paged>("keyRings.list", parentOf, (request) => {
      const rings = [...store.rings].filter(([ring]) => ring.startsWith(`${request.parent}/keyRings/`))
      const { items, ...rest } = page(rings, request)
      return { keyRings: items.map(([ring, createTime]) => ringMessage(ring, createTime)), ...rest }
    }),

    CreateCryptoKey: rpc<CreateKeyRequest>("cryptoKeys.create", parentOf, (request) => {
      const { purpose, versionTemplate, labels, rotationPeriod } = request.cryptoKey ?? {}
      if (purpose === "CRYPTO_KEY_PURPOSE_UNSPECIFIED") {
        throw new RpcError("INVALID_ARGUMENT", "CryptoKey.purpose must be specified.")
      }
      const key = store.createKey(`${request.parent}/cryptoKeys/${request.cryptoKeyId}`, {
        purpose: purpose ?? SYMMETRIC,
        protectionLevel: protectionLevel(versionTemplate?.protectionLevel),
        labels,
        rotationPeriodSeconds: seconds(rotationPeriod),
        withoutVersion: request.skipInitialVersionCreation,
      })
      return keyMessage(key)
    }),
    GetCryptoKey: rpc<Named>("cryptoKeys.get", nameOf, (request) => keyMessage(store.key(request.name))),
    ListCryptoKeys: rpc<Parented & Paged>("cryptoKeys.list", parentOf, (request) => {
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
      nameOf,
      (request) => {
        const key = store.key(request.name)
        key.primary = store.version(`${key.name}/cryptoKeyVersions/${request.cryptoKeyVersionId}`).version
        return keyMessage(key)
      },
    ),

    CreateCryptoKeyVersion: rpc<Parented>("cryptoKeyVersions.create", parentOf, (request) => {
      const key = store.key(request.parent)
      return versionMessage(key, store.createVersion(key))
    }),
    GetCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.get", nameOf, (request) => {
      const { key, version } = store.version(request.name)
      return versionMessage(key, version)
    }),
    ListCryptoKeyVersions: rpc<Parented & Paged>("cryptoKeyVersions.list", parentOf, (request) => {
      const key = store.key(request.parent)
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
    DestroyCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.destroy", nameOf, (request) => {
      const { key, version } = store.version(request.name)
      if (!SWITCHABLE.has(version.state)) {
        throw new RpcError("FAILED_PRECONDITION", `${version.name} is ${version.state}.`)
      }
      store.setState(version, "DESTROY_SCHEDULED")
      return versionMessage(key, version)
    }),
    RestoreCryptoKeyVersion: rpc<Named>("cryptoKeyVersions.restore", nameOf, (request) => {
      const { key, version } = store.version(request.name)
      if (version.state !== "DESTROY_SCHEDULED") {
        throw new RpcError("FAILED_PRECONDITION", `${version.name} is not scheduled for destruction.`)
      }
      store.setState(version, "DISABLED")
      return versionMessage(key, version)
    }),
  }
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

type Paged = { readonly pageSize: number; readonly pageToken: string }
type Mask = { readonly paths: readonly string[] } | null
type Duration = { readonly seconds: string } | null | undefined
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
