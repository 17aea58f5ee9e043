import { randomUUID } from "node:crypto"
import { type KeyContext, type Keyfold, KeyfoldError, parseContext } from "@keyfold/core"
import { type Actor, type EventSubject, type EventType, eventRow } from "./event.ts"
import type { EventSink } from "./event-buffer.ts"
import { keyIdsOf, openVersion, reencryptVersion, sealVersion, type Value } from "./object-cipher.ts"
import { VaultError } from "./vault-error.ts"
import type {
  ListQuery,
  ObjectRow,
  Sealed,
  VaultStore,
  VersionFacts,
  VersionHead,
  Written,
} from "./vault-store.ts"

/** What is known of an object without decrypting it. Times are milliseconds since 1970. */
export type Description = {
  readonly id: string
  readonly name: string
  readonly context: KeyContext
  /** The current version, or the one that was asked for. */
  readonly versionId: string
  readonly createdAt: number
  readonly updatedAt: number
  /** Undefined while it is alive. */
  readonly deletedAt: number | undefined
}

/** A description with who wrote the version, and which KEKs wrap it. */
export type Details = Description & {
  readonly updatedBy: { readonly id: string; readonly name: string }
  /** In the order of the pairs they serve; at least one. */
  readonly keyIds: readonly string[]
}

/** A decrypted object. Its value is a string where a string was written. */
export type VaultObject = Details & { readonly value: Value }

/** One page of a list; give `after` or `before` back for the next or the previous one. */
export type Page = {
  readonly objects: readonly Description[]
  readonly before: string | undefined
  readonly after: string | undefined
}

export type ReadOptions = {
  /** Refuses an object of any other key context, with `CONTEXT_MISMATCH`, before a key is used. */
  readonly expectContext?: KeyContext
}

export type VaultOptions = {
  readonly keyfold: Keyfold
  readonly store: VaultStore
  /** Who uses this vault; it stands in versions and events. */
  readonly actor: Actor
  /**
   * Pairs that a key context must have. Whatever lacks one of them is not there for this caller, and cannot be made.
   * Default: none.
   */
  readonly scope?: KeyContext
  /** Where events of reads go; default is the store, one write for each read. @see EventBuffer */
  readonly events?: EventSink
}

/** A data key in plain and sealed. Wipe `key` after use. */
export type VaultDataKey = {
  readonly key: Uint8Array
  readonly sealed: Uint8Array
  readonly keyIds: readonly string[]
}

/** Versioned encrypted objects. Every method rejects with a {@link VaultError} or a KeyfoldError. */
export type Vault = ReturnType<typeof createVault>

/** A vault over a store, for one caller. The ids of object and version are bound into each ciphertext. */
export function createVault(options: VaultOptions) {
  const { keyfold, store, actor, scope = {}, events = store } = options
  const inScope = (context: KeyContext): boolean =>
    Object.entries(scope).every(([name, value]) => Object.hasOwn(context, name) && context[name] === value)
  const checkScope = (context: KeyContext): void => {
    if (!inScope(context)) throw new VaultError("OUT_OF_SCOPE")
  }
  const event = (type: EventType, subject: EventSubject) => [eventRow(type, actor, subject)]
  const about = ({ id, name, context, versionId, keyIds }: Details): EventSubject => ({
    ...{ objectId: id, versionId, keyIds, name, context },
  })
  const visible = (row: ObjectRow | undefined): row is ObjectRow =>
    row !== undefined && inScope(contextOf(row))
  const found = (row: ObjectRow | undefined): ObjectRow => {
    if (!visible(row) || row.deletedAt !== 0) throw new VaultError("NOT_FOUND")
    return row
  }
  const alive = async (id: string): Promise<ObjectRow> => found(await store.byId(id))
  const detailed = (row: ObjectRow, version: VersionFacts & { readonly header: Uint8Array }): Details => ({
    ...describe(row),
    versionId: version.versionId,
    updatedBy: { id: version.actorId, name: version.actorName },
    keyIds: keyIdsOf(keyfold, version.header),
  })
  const open = async (row: ObjectRow, { expectContext }: ReadOptions, versionId = row.versionId) => {
    const context = contextOf(row)
    if (expectContext !== undefined && !equalContexts(context, expectContext)) {
      throw new VaultError("CONTEXT_MISMATCH")
    }
    const version = await store.version(row.id, versionId)
    if (version === undefined) throw new VaultError("NOT_FOUND")
    const value = await openVersion(keyfold, row.id, versionId, context, version)
    return { ...detailed(row, version), value }
  }
  const read = async (row: ObjectRow, how: ReadOptions, versionId?: string): Promise<VaultObject> => {
    const object = await open(row, how, versionId)
    await events.record(event("vault.data.read", about(object)))
    return object
  }
  const tell = async (row: ObjectRow): Promise<Details> => {
    const head = await store.head(row.id, row.versionId)
    if (head === undefined) throw new VaultError("NOT_FOUND")
    const details = detailed(row, head)
    await events.record(event("vault.metadata.read", about(details)))
    return details
  }
  const append = async (row: ObjectRow, value: Value, expected: string | undefined): Promise<Details> => {
    const version = await sealVersion(keyfold, row.id, contextOf(row), value, actor)
    const details = detailed({ ...row, updatedAt: version.createdAt }, version)
    settle(await store.append(version, expected, event("vault.data.updated", about(details))))
    return details
  }
  /** Seals every version anew; one that another process sealed meanwhile is tried again. */
  const reseal = async (
    id: string,
    seal: (context: KeyContext, head: VersionHead) => Promise<Partial<Sealed>>,
  ): Promise<number> => {
    const row = await alive(id)
    const context = contextOf(row)
    const versions = await store.versions(id)
    for (const { versionId } of versions) {
      let done: boolean | undefined = false
      while (!done) {
        const head = await store.head(id, versionId)
        if (head === undefined) throw new VaultError("NOT_FOUND")
        const sealed = await seal(context, head)
        const told = event("vault.data.rewrapped", { objectId: id, versionId, name: row.name })
        const { change } = head
        const resealing = { objectId: id, versionId, change, sealed, at: Date.now(), events: told }
        done = (await store.reseal([resealing]))[0]
      }
    }
    return versions.length
  }

  const create = async (id: string, name: string, context: KeyContext, value: Value): Promise<Details> => {
    checkName(name)
    const { object } = parseContext(context)
    checkScope(object)
    const version = await sealVersion(keyfold, id, object, value, actor)
    const { versionId, createdAt } = version
    const text = JSON.stringify(object)
    const row = {
      ...{ id, name, context: text, versionId, createdAt, updatedAt: createdAt, deletedAt: 0 },
    }
    const details = detailed(row, version)
    settle(await store.insert(row, version, event("vault.data.created", about(details))))
    return details
  }
  /** The first version of an object, if it is what this caller would have made. */
  const repeated = async (
    row: ObjectRow,
    name: string,
    context: KeyContext,
    value: Value,
  ): Promise<Details> => {
    const first = (await store.versions(row.id)).at(-1)
    const version = first && (await store.version(row.id, first.versionId))
    if (!visible(row) || version === undefined) throw new VaultError("ID_TAKEN")
    if (row.name !== name || !equalContexts(contextOf(row), context)) throw new VaultError("ID_TAKEN")
    const before = await openVersion(keyfold, row.id, version.versionId, contextOf(row), version)
    if (!equalValues(before, value)) throw new VaultError("ID_TAKEN")
    return detailed({ ...row, updatedAt: version.createdAt }, version)
  }

  return {
    /** Adds an object. A name is unique among the living. Rejects with `NAME_TAKEN` where it is not. */
    create: (name: string, context: KeyContext, value: Value): Promise<Details> =>
      create(randomUUID(), name, context, value),
    /**
     * The same under an id of the caller's, a random UUID, so that a call which is made again gives what the first one
     * made. Rejects with `ID_TAKEN` where that was something else.
     */
    async createOnce(id: string, name: string, context: KeyContext, value: Value): Promise<Details> {
      const row = await store.byId(id)
      if (row !== undefined) return repeated(row, name, context, value)
      try {
        return await create(id, name, context, value)
      } catch (error) {
        // Another call with the same id was quicker.
        const made = await store.byId(id)
        if (made === undefined) throw error
        return repeated(made, name, context, value)
      }
    },
    /** The current value. */
    read: async (id: string, how: ReadOptions = {}): Promise<VaultObject> => read(await alive(id), how),
    /** The current value of the living object of a name. */
    readByName: async (name: string, how: ReadOptions = {}): Promise<VaultObject> =>
      read(found(await store.byName(name)), how),
    /** An earlier value, or the current one. */
    readVersion: async (id: string, versionId: string, how: ReadOptions = {}): Promise<VaultObject> =>
      read(await alive(id), how, versionId),
    /** Everything but the value; no key is used. */
    describe: async (id: string): Promise<Details> => tell(await alive(id)),
    /** The same for the living object of a name. */
    describeByName: async (name: string): Promise<Details> => tell(found(await store.byName(name))),
    /** All versions, the newest first. */
    async versions(id: string): Promise<readonly VersionFacts[]> {
      await alive(id)
      return store.versions(id)
    },
    /** Writes a new version; with `expected`, only while that is the current one (else `VERSION_CONFLICT`). */
    update: async (id: string, value: Value, expected?: string): Promise<Details> =>
      append(await alive(id), value, expected),
    /** Writes an earlier value as a new version. */
    async restore(id: string, versionId: string, expected?: string): Promise<Details> {
      const row = await alive(id)
      const { value } = await open(row, {}, versionId)
      return append(row, value, expected)
    },
    /** Takes an object out of use at once, frees its name, and gives it. `undelete` has it back until it is purged. */
    async remove(id: string, expected?: string): Promise<string> {
      const { name } = await alive(id)
      const told = event("vault.data.deleted", { objectId: id, name })
      settle(await store.remove(id, expected, Date.now(), told))
      return name
    },
    /** Brings a deleted object back, under another name where its own was taken (`NAME_TAKEN`). */
    async undelete(id: string, name?: string): Promise<Description> {
      const row = await store.byId(id)
      if (!visible(row) || row.deletedAt === 0) throw new VaultError("NOT_FOUND")
      const alive = { ...row, name: name ?? row.name, deletedAt: 0 }
      checkName(alive.name)
      const told = event("vault.data.undeleted", { objectId: id, name: alive.name })
      settle(await store.undelete(id, alive.name, told))
      return describe(alive)
    },
    /**
     * Wraps every version's DEK under today's routes, after a rotation or a new binding; no payload is touched. Gives
     * the number of versions.
     */
    rewrap: (id: string): Promise<number> =>
      reseal(id, async (context, { header }) => ({ header: await keyfold.rewrap(header, { context }) })),
    /** Encrypts every version anew under new DEKs, which also shuts out who kept an old header and its KEKs. */
    reencrypt: (id: string): Promise<number> =>
      reseal(id, async (context, { versionId }) => {
        const version = await store.version(id, versionId)
        if (version === undefined) throw new VaultError("NOT_FOUND")
        return reencryptVersion(keyfold, version, context)
      }),
    /** One page of objects. `limit` is 1 to 100. */
    async list(query: ListQuery): Promise<Page> {
      const { limit, after, before } = query
      if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) {
        throw new KeyfoldError("INVALID_ARGUMENT", "limit is a whole number from 1 to 100")
      }
      if (after !== undefined && before !== undefined) {
        throw new KeyfoldError("INVALID_ARGUMENT", "give after or before, not both")
      }
      const cursor = after ?? before
      const known = cursor === undefined || visible(await store.byId(cursor))
      const context = { ...query.context, ...scope }
      // What asks for pairs outside the scope finds nothing.
      const none = !inScope({ ...scope, ...query.context })
      const rows = none ? [] : known && (await store.list({ ...query, context, limit: limit + 1 }))
      if (!rows) throw new KeyfoldError("INVALID_ARGUMENT", "after and before are ids of objects")
      await events.record(event("vault.names.listed", {}))
      const more = rows.length > limit
      const backward = before !== undefined
      // The row too many lies at the far end from where the page began.
      const objects = (backward && more ? rows.slice(1) : rows.slice(0, limit)).map(describe)
      const first = (backward ? more : after !== undefined) ? objects[0]?.id : undefined
      const last = backward || more ? objects.at(-1)?.id : undefined
      return { objects, before: first, after: last }
    },
    /** A data key for the caller's own use, and a sealed blob that gives it back. */
    async createDataKey(context: KeyContext): Promise<VaultDataKey> {
      const { object } = parseContext(context)
      checkScope(object)
      const { key, sealed } = await keyfold.generateDataKey({ context: object })
      const keyIds = keyIdsOf(keyfold, sealed)
      await events.record(event("vault.dek.read", { keyIds, context: object }))
      return { key, sealed, keyIds }
    },
    /** Opens a sealed data key whose context is in scope. */
    async decryptDataKey(sealed: Uint8Array): Promise<VaultDataKey> {
      const { key } = await keyfold.decryptDataKey(sealed, { authorize: inScope })
      const keyIds = keyIdsOf(keyfold, sealed)
      await events.record(event("vault.dek.decrypted", { keyIds }))
      return { key, sealed, keyIds }
    },
    /** Seals the same data key under another context. Both have to be in scope. */
    async rekeyDataKey(sealed: Uint8Array, newContext: KeyContext): Promise<VaultDataKey> {
      const { object } = parseContext(newContext)
      checkScope(object)
      const rekeyed = await keyfold.rekeyDataKey(sealed, { authorize: inScope, newContext: object })
      const { key } = await keyfold.decryptDataKey(rekeyed, { context: object })
      const keyIds = keyIdsOf(keyfold, rekeyed)
      await events.record(event("vault.dek.read", { keyIds, context: object }))
      return { key, sealed: rekeyed, keyIds }
    },
  }
}

function describe(row: ObjectRow): Description {
  const { id, name, versionId, createdAt, updatedAt, deletedAt } = row
  const context = contextOf(row)
  return { id, name, context, versionId, createdAt, updatedAt, deletedAt: deletedAt || undefined }
}

function contextOf(row: ObjectRow): KeyContext {
  try {
    return parseContext(JSON.parse(row.context) as KeyContext).object
  } catch {
    // Not as its cause: the parser's message would quote the context.
    throw new KeyfoldError("STORE_CORRUPT", "the context of an object is damaged: restore it from a backup")
  }
}

/** Whether two values are the same, and of the same kind. */
export function equalValues(a: Value, b: Value): boolean {
  return typeof a === "string" || typeof b === "string" ? a === b : Buffer.compare(a, b) === 0
}

export function equalContexts(a: KeyContext, b: KeyContext): boolean {
  const [one, other] = [parseContext(a), parseContext(b)]
  return Buffer.compare(one.canonical, other.canonical) === 0
}

function checkName(name: string): void {
  const fits = typeof name === "string" && name !== "" && name.length <= MAX_NAME
  if (!fits || !name.isWellFormed() || name.includes("\0")) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "a name is a well-formed string of 1 to 200 UTF-16 units, without NUL",
    )
  }
}

function settle(written: Written): void {
  if (written === "not-found") throw new VaultError("NOT_FOUND")
  if (written === "name-taken") throw new VaultError("NAME_TAKEN")
  if (written === "version-conflict") throw new VaultError("VERSION_CONFLICT")
}

const MAX_NAME = 200
const MAX_PAGE = 100
