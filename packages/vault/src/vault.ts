import { randomUUID } from "node:crypto"
import { type KeyContext, type Keyfold, KeyfoldError, parseContext } from "@keyfold/core"
import { VaultError } from "./vault-error.ts"
import type { ListQuery, ObjectRow, VaultStore, VersionFacts, VersionRow, Written } from "./vault-store.ts"

/** Who writes. */
export type Actor = { readonly id: string; readonly name: string }

/** What is known of an object without decrypting it. Times are milliseconds since 1970. */
export type Description = {
  readonly id: string
  readonly name: string
  readonly context: KeyContext
  /** The current version, or the one that was asked for. */
  readonly versionId: string
  readonly createdAt: number
  readonly updatedAt: number
}

/** A description with who wrote the version, and which KEKs wrap it. */
export type Details = Description & {
  readonly updatedBy: Actor
  /** In the order of the pairs they serve; at least one. */
  readonly keyIds: readonly string[]
}

/** A decrypted object. Its value is a string where a string was written. */
export type VaultObject = Details & { readonly value: string | Uint8Array }

/** One page of a list; give `after` or `before` back for the next or the previous one. */
export type Page = {
  readonly objects: readonly Description[]
  readonly before: string | undefined
  readonly after: string | undefined
}

/** Versioned encrypted objects. Every method rejects with a {@link VaultError} or a KeyfoldError. */
export type Vault = ReturnType<typeof createVault>

/** A vault over a store. The ids of object and version are bound into each ciphertext. */
export function createVault({ keyfold, store }: { readonly keyfold: Keyfold; readonly store: VaultStore }) {
  const seal = async (
    id: string,
    context: KeyContext,
    value: string | Uint8Array,
    actor: Actor,
  ): Promise<VersionRow> => {
    const size = sizeOf(value)
    const versionId = randomUUID()
    const envelope = await keyfold.encrypt(value, { context, aad: aadOf(id, versionId) })
    return {
      objectId: id,
      versionId,
      createdAt: Date.now(),
      actorId: actor.id,
      actorName: actor.name,
      text: typeof value === "string",
      size,
      envelope,
    }
  }
  const open = async (row: ObjectRow, versionId = row.versionId): Promise<VaultObject> => {
    const version = await store.version(row.id, versionId)
    if (version === undefined) throw new VaultError("NOT_FOUND")
    const description = detailed(row, version, version.envelope, version.envelope.length)
    // The ids that were asked for, not those beside the ciphertext: a moved ciphertext does not open.
    const aad = aadOf(row.id, versionId)
    const { plaintext } = await keyfold.decrypt(version.envelope, { context: description.context, aad })
    return { ...description, value: version.text ? UTF8.decode(plaintext) : plaintext }
  }
  const detailed = (
    row: ObjectRow,
    { versionId, actorId, actorName }: VersionFacts,
    head: Uint8Array,
    envelopeBytes: number,
  ): Details => ({
    ...describe(row),
    versionId,
    updatedBy: { id: actorId, name: actorName },
    keyIds: keyfold.inspect(head, envelopeBytes).wraps.map(({ keyId }) => keyId),
  })
  const alive = async (id: string): Promise<ObjectRow> => found(await store.byId(id))
  return {
    /** Adds an object. A name is unique among the living. Rejects with `NAME_TAKEN` where it is not. */
    async create(
      name: string,
      context: KeyContext,
      value: string | Uint8Array,
      actor: Actor,
    ): Promise<Details> {
      checkName(name)
      const { object } = parseContext(context)
      const id = randomUUID()
      const version = await seal(id, object, value, actor)
      const { versionId, createdAt } = version
      const text = JSON.stringify(object)
      const row: ObjectRow = { id, name, context: text, versionId, createdAt, updatedAt: createdAt }
      settle(await store.insert(row, version))
      return detailed(row, version, version.envelope, version.envelope.length)
    },
    /** The current value. */
    read: async (id: string): Promise<VaultObject> => open(await alive(id)),
    /** The current value of the living object of a name. */
    readByName: async (name: string): Promise<VaultObject> => open(found(await store.byName(name))),
    /** An earlier value, or the current one. */
    readVersion: async (id: string, versionId: string): Promise<VaultObject> =>
      open(await alive(id), versionId),
    /** Everything but the value; no key is used. */
    async describe(id: string): Promise<Details> {
      const row = await alive(id)
      const version = await store.head(id, row.versionId)
      if (version === undefined) throw new VaultError("NOT_FOUND")
      return detailed(row, version, version.head, version.envelopeBytes)
    },
    /** All versions, the newest first. */
    async versions(id: string): Promise<readonly VersionFacts[]> {
      await alive(id)
      return store.versions(id)
    },
    /** Writes a new version; with `expected`, only while that is the current one (else `VERSION_CONFLICT`). */
    async update(id: string, value: string | Uint8Array, actor: Actor, expected?: string): Promise<Details> {
      const row = await alive(id)
      const version = await seal(id, contextOf(row), value, actor)
      settle(await store.append(version, expected))
      const updated = { ...row, updatedAt: version.createdAt }
      return detailed(updated, version, version.envelope, version.envelope.length)
    },
    /** Takes an object out of use at once, frees its name, and gives it. Its rows stay: there is no purge yet. */
    async remove(id: string, expected?: string): Promise<string> {
      const { name } = await alive(id)
      settle(await store.remove(id, expected, Date.now()))
      return name
    },
    /** One page of the living objects. `limit` is 1 to 100. */
    async list(query: ListQuery): Promise<Page> {
      const { limit, after, before } = query
      if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) {
        throw new KeyfoldError("INVALID_ARGUMENT", "limit is a whole number from 1 to 100")
      }
      if (after !== undefined && before !== undefined) {
        throw new KeyfoldError("INVALID_ARGUMENT", "give after or before, not both")
      }
      const rows = await store.list({ ...query, limit: limit + 1 })
      if (rows === undefined)
        throw new KeyfoldError("INVALID_ARGUMENT", "after and before are ids of objects")
      const more = rows.length > limit
      const backward = before !== undefined
      // The row too many lies at the far end from where the page began.
      const objects = (backward && more ? rows.slice(1) : rows.slice(0, limit)).map(describe)
      const first = (backward ? more : after !== undefined) ? objects[0]?.id : undefined
      const last = backward || more ? objects.at(-1)?.id : undefined
      return { objects, before: first, after: last }
    },
  }
}

function describe(row: ObjectRow): Description {
  const { id, name, versionId, createdAt, updatedAt } = row
  return { id, name, context: contextOf(row), versionId, createdAt, updatedAt }
}

function contextOf(row: ObjectRow): KeyContext {
  try {
    return JSON.parse(row.context) as KeyContext
  } catch {
    // Not as its cause: the parser's message would quote the context.
    throw new KeyfoldError("STORE_CORRUPT", "the context of an object is damaged: restore it from a backup")
  }
}

function found(row: ObjectRow | undefined): ObjectRow {
  if (row === undefined) throw new VaultError("NOT_FOUND")
  return row
}

function aadOf(id: string, versionId: string): Uint8Array {
  return new TextEncoder().encode(`keyfold/vault/v1\0${id}\0${versionId}`)
}

function checkName(name: string): void {
  if (typeof name !== "string" || name === "" || name.length > MAX_NAME || !name.isWellFormed()) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a name is a well-formed string of 1 to 200 UTF-16 units")
  }
}

function sizeOf(value: string | Uint8Array): number {
  const isText = typeof value === "string"
  if (!isText && !(value instanceof Uint8Array)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a value is a string or a Uint8Array")
  }
  const size = isText ? Buffer.byteLength(value) : value.byteLength
  if (size > MAX_BYTES) throw new KeyfoldError("INVALID_ARGUMENT", "a value has at most 64 MiB")
  if (isText && !value.isWellFormed()) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a string must be well-formed: it holds half a surrogate pair")
  }
  return size
}

function settle(written: Written): void {
  if (written === "not-found") throw new VaultError("NOT_FOUND")
  if (written === "name-taken") throw new VaultError("NAME_TAKEN")
  if (written === "version-conflict") throw new VaultError("VERSION_CONFLICT")
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const MAX_NAME = 200
const MAX_PAGE = 100
/** 64 MiB. */
const MAX_BYTES = 64 * 1024 * 1024
