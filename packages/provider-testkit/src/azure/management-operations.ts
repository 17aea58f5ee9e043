import type { HttpReply } from "../http-service.ts"
import { AzureError, badParameter, jsonReply } from "./azure-error.ts"
import type { KeyCall, ManagementOperation } from "./key-call.ts"
import {
  type AzureKey,
  type AzureKeyType,
  type CreateKeyOptions,
  type KeyAttributes,
  type KeyStore,
  type KeyVersion,
  nowSeconds,
} from "./key-store.ts"

type Input = Readonly<Record<string, unknown>>

/**
 * What is done to keys, and not with them.
 * @throws AzureError as the service does
 */
export const MANAGEMENT_OPERATIONS: Readonly<
  Record<ManagementOperation, (call: KeyCall, input: Input) => HttpReply>
> = {
  listKeys: ({ store }) => list(store.list().map((key) => item(latest(key), withoutVersion))),
  listKeyVersions: ({ store, name }) => list(store.find(name).versions.map((version) => item(version))),
  getKey: ({ store, name, version }) => jsonReply(200, keyBundle(store.findVersion(name, version))),
  createKey: ({ store, name }, input) => jsonReply(200, keyBundle(store.create(name, readOptions(input)))),
  updateKey({ store, name, version }, input) {
    const found = store.findVersion(name, version)
    found.attributes = readAttributes(input.attributes, found.attributes)
    if (input.key_ops !== undefined) found.keyOps = stringsOf(input.key_ops, "key_ops")
    if (input.tags !== undefined) found.tags = tagsOf(input.tags)
    found.updatedAt = nowSeconds()
    return jsonReply(200, keyBundle(found))
  },
  rotateKey: ({ store, name }) => jsonReply(200, keyBundle(rotate(store, name))),
  deleteKey({ store, name }) {
    const key = store.find(name)
    key.deletedAt = nowSeconds()
    return jsonReply(200, deletedBundle(key, key.deletedAt))
  },
  listDeletedKeys: ({ store }) =>
    list(
      store.listDeleted().map((key) => ({
        ...item(latest(key), withoutVersion),
        ...deletion(key, key.deletedAt as number),
      })),
    ),
  getDeletedKey({ store, name }) {
    const key = store.findDeleted(name)
    return jsonReply(200, deletedBundle(key, key.deletedAt as number))
  },
  recoverDeletedKey({ store, name }) {
    const key = store.findDeleted(name)
    key.deletedAt = undefined
    return jsonReply(200, keyBundle(latest(key)))
  },
  purgeDeletedKey({ store, name }) {
    if (store.service.purgeProtection) {
      throw new AzureError(
        403,
        "Forbidden",
        'Operation "purge" is not allowed because purge protection is enabled.',
      )
    }
    store.purge(name)
    return { status: 204, headers: {}, body: "" }
  },
}

/** A new version like the latest one. */
export function rotate(store: KeyStore, name: string): KeyVersion {
  const { kty, keyOps, tags, material } = latest(store.find(name))
  const bits =
    material.publicJwk.n === undefined ? undefined : Buffer.from(material.publicJwk.n, "base64url").length * 8
  return store.create(name, { kty, keyOps, tags, ...(bits !== undefined && { bits }) })
}

/** A KeyBundle. */
export function keyBundle(version: KeyVersion): object {
  const { kid, kty, keyOps, material, tags } = version
  const { n, e, crv, x, y } = material.publicJwk
  return { key: { kid, kty, key_ops: keyOps, n, e, crv, x, y }, attributes: attributesOf(version), tags }
}

function deletedBundle(key: AzureKey, deletedAt: number): object {
  return { ...keyBundle(latest(key)), ...deletion(key, deletedAt) }
}

function deletion(key: AzureKey, deletedAt: number): object {
  return {
    recoveryId: latest(key).kid.replace(/\/keys\/([^/]+)\/.*$/, "/deletedkeys/$1"),
    deletedDate: deletedAt,
    scheduledPurgeDate: deletedAt + RECOVERABLE_DAYS * 86_400,
  }
}

/** A KeyItem. */
function item(version: KeyVersion, id = (kid: string) => kid): object {
  return { kid: id(version.kid), attributes: attributesOf(version), tags: version.tags }
}

function withoutVersion(kid: string): string {
  return kid.slice(0, kid.lastIndexOf("/"))
}

function list(value: readonly object[]): HttpReply {
  return jsonReply(200, { value, nextLink: null })
}

function latest(key: AzureKey): KeyVersion {
  return key.versions.at(-1) as KeyVersion
}

function attributesOf({ attributes, createdAt, updatedAt, recoveryLevel }: KeyVersion): object {
  return {
    ...attributes,
    created: createdAt,
    updated: updatedAt,
    recoveryLevel,
    recoverableDays: RECOVERABLE_DAYS,
  }
}

function readOptions(input: Input): CreateKeyOptions {
  const { kty, key_size: bits, key_ops: keyOps, attributes, tags } = input
  if (bits !== undefined && typeof bits !== "number") throw badParameter("Invalid key size.")
  return {
    kty: String(kty) as AzureKeyType, // the store refuses any other
    ...(bits !== undefined && { bits }),
    ...(keyOps !== undefined && { keyOps: stringsOf(keyOps, "key_ops") }),
    attributes: readAttributes(attributes, { enabled: true }),
    ...(tags !== undefined && { tags: tagsOf(tags) }),
  }
}

function readAttributes(value: unknown, before: KeyAttributes): KeyAttributes {
  if (value === undefined) return before
  const { enabled = before.enabled, nbf = before.nbf, exp = before.exp } = objectOf(value, "attributes")
  const isTime = (time: unknown): time is number | undefined => time === undefined || Number.isInteger(time)
  if (typeof enabled !== "boolean" || !isTime(nbf) || !isTime(exp)) throw badParameter("Invalid attributes.")
  return { enabled, ...(nbf !== undefined && { nbf }), ...(exp !== undefined && { exp }) }
}

function stringsOf(value: unknown, name: string): string[] {
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value
  throw badParameter(`Property '${name}' is not a list of strings.`)
}

function tagsOf(value: unknown): Record<string, string> {
  const tags = objectOf(value, "tags")
  if (Object.values(tags).every((tag) => typeof tag === "string")) return tags as Record<string, string>
  throw badParameter("Property 'tags' holds something that is not a string.")
}

function objectOf(value: unknown, name: string): Input {
  if (typeof value === "object" && value !== null) return value as Input
  throw badParameter(`Property '${name}' is not an object.`)
}

/** What a vault has unless its owner says less. */
const RECOVERABLE_DAYS = 90
