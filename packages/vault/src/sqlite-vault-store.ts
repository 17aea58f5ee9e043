import type { DatabaseSync } from "node:sqlite"
import { KeyfoldError } from "@keyfold/core"
import { copyDatabase, isWhole, openDatabase } from "./sqlite-schema.ts"
import type {
  ApiKeyRow,
  Claimed,
  Due,
  EventQuery,
  EventRow,
  LinkedEvent,
  ListQuery,
  ObjectRow,
  TokenRow,
  VaultStore,
  VersionFacts,
  VersionHead,
  VersionRow,
  WebhookRow,
  Written,
} from "./vault-store.ts"

/**
 * A vault store in one SQLite file (WAL, synchronous=FULL), which several processes may open at once. A new file is
 * its owner's alone. @throws KeyfoldError `STORE_FAILED`, `STORE_FULL`, `STORE_CORRUPT`, `UNSUPPORTED_VERSION`
 */
export function sqliteVaultStore(
  path: string,
  { environment = "default" }: { readonly environment?: string } = {},
): VaultStore {
  const db = guard(() => openDatabase(path))
  const sql = prepare(db)
  let open = true
  const read = async <T>(work: () => T): Promise<T> => guard(work)
  const write = <T>(work: () => T, events: readonly EventRow[] = []) =>
    read(() => {
      db.exec("BEGIN IMMEDIATE")
      try {
        const result = work()
        if (result === "done" || result === true) for (const event of events) putEvent(event)
        db.exec("COMMIT")
        return result
      } catch (error) {
        rollBack(db)
        throw error
      }
    })
  const check = (id: string, expected: string | undefined): Written => {
    const found = toObject(sql.byId.get(id, environment))
    if (found === undefined || found.deletedAt !== 0) return "not-found"
    return expected === undefined || found.versionId === expected ? "done" : "version-conflict"
  }
  const putVersion = (v: VersionRow, ordinal: number) =>
    sql.putVersion.run(
      ...[v.objectId, v.versionId, ordinal, v.createdAt, v.actorId, v.actorName],
      ...[Number(v.text), v.size, environment, v.createdAt, v.header, v.payload],
    )
  const putEvent = (e: EventRow) => {
    sql.putEvent.run(e.id, environment, e.at, e.body)
    sql.putDetail.run(e.id, e.objectId ?? null, e.organizationId ?? null, e.salt, e.detail)
  }
  return {
    insert: (o, v, events) =>
      write(() => {
        if (sql.byName.get(o.name, environment) !== undefined) return "name-taken"
        sql.putObject.run(o.id, environment, o.name, o.context, o.versionId, o.createdAt, o.updatedAt)
        for (const [name, value] of Object.entries(JSON.parse(o.context) as Record<string, string>))
          sql.putPair.run(o.id, name, value)
        putVersion(v, 1)
        return "done"
      }, events),
    append: (v, expected, events) =>
      write(() => {
        const checked = check(v.objectId, expected)
        if (checked !== "done") return checked
        putVersion(v, Number(sql.lastOrdinal.get(v.objectId)?.ordinal) + 1)
        sql.setCurrent.run(v.versionId, v.createdAt, v.objectId)
        return "done"
      }, events),
    reseal: (versions) =>
      write(() =>
        versions.map(({ objectId, versionId, change, sealed: { header, payload }, at, events }) => {
          const keys = [objectId, versionId, change] as const
          const done = sql.reseal.run(header ?? null, payload ?? null, at, ...keys).changes === 1
          if (done) for (const event of events) putEvent(event)
          return done
        }),
      ),
    claim: (due, limit, now, until) => read(() => claim(db, environment, due, limit, now, until)),
    postpone: (claimed, until) =>
      write(() => {
        for (const { objectId, versionId } of claimed) sql.postpone.run(until, objectId, versionId)
      }),
    countDue: (due) =>
      read(() => {
        const { where, values } = dueOf(environment, due)
        return Number(
          db.prepare(`SELECT count(*) AS count FROM versions WHERE ${where}`).get(...values)?.count,
        )
      }),
    beginSweep: (sweep) =>
      read(() => {
        sql.beginSweep.run(sweep.id, environment, sweep.kind, sweep.context, sweep.startedAt)
        const found = sql.findSweep.get(environment, sweep.kind, sweep.context)
        return { ...sweep, id: String(found?.id), startedAt: Number(found?.started_at) }
      }),
    endSweep: (id) => read(() => void sql.endSweep.run(id, environment)),
    remove: (id, expected, deletedAt, events) =>
      write(() => {
        const checked = check(id, expected)
        if (checked === "done") sql.remove.run(deletedAt, id)
        return checked
      }, events),
    undelete: (id, name, events) =>
      write(() => {
        const found = toObject(sql.byId.get(id, environment))
        if (found === undefined || found.deletedAt === 0) return "not-found"
        if (sql.byName.get(name, environment) !== undefined) return "name-taken"
        sql.undelete.run(name, id)
        return "done"
      }, events),
    deletedBefore: (time, limit) =>
      read(() => sql.deletedBefore.all(environment, time, limit).map(({ id }) => String(id))),
    purge: (id, time, events) =>
      write(() => {
        const { deletedAt = 0 } = toObject(sql.byId.get(id, environment)) ?? {}
        if (deletedAt === 0 || deletedAt >= time) return false
        for (const statement of sql.purge) statement.run(id)
        return true
      }, events),
    scrub: () => read(() => sql.scrub.get()?.busy === 0),
    byId: (id) => read(() => toObject(sql.byId.get(id, environment))),
    byName: (name) => read(() => toObject(sql.byName.get(name, environment))),
    version: (objectId, versionId) => read(() => toVersion(sql.version.get(objectId, versionId))),
    head: (objectId, versionId) => read(() => toHead(sql.head.get(objectId, versionId))),
    versions: (objectId) => read(() => sql.versions.all(objectId).map(toFacts)),
    list: (query) => read(() => list(db, environment, query)),
    record: (events) => write(() => true, events).then(() => undefined),
    unlinked: (limit) =>
      read(() =>
        sql.unlinked.all(environment, limit).map(({ id, body }) => ({ id: String(id), body: String(body) })),
      ),
    lastLink: () =>
      read(() => {
        const last = sql.lastLink.get(environment)
        return last && { id: String(last.id), position: Number(last.position), hash: last.hash as Uint8Array }
      }),
    link: (after, links) =>
      write(() => {
        if (sql.lastLink.get(environment)?.id !== after?.id) return false
        for (const { id, position, hash } of links) sql.link.run(position, hash, id)
        return true
      }),
    events: (query) => read(() => events(db, environment, query)),
    eventPosition: (id) =>
      read(() => {
        const position = sql.eventPosition.get(id, environment)?.position ?? undefined
        return position === undefined ? undefined : Number(position)
      }),
    putApiKey: (k) =>
      read(() => {
        sql.putApiKey.run(k.id, environment, k.name, k.hash, k.scope, k.createdAt, k.revokedAt)
      }),
    findApiKey: (hash) => read(() => toApiKey(sql.findApiKey.get(hash, environment))),
    apiKeys: () => read(() => sql.apiKeys.all(environment).map((row) => toApiKey(row) as ApiKeyRow)),
    revokeApiKey: (id, revokedAt) =>
      read(() => sql.revokeApiKey.run(revokedAt, id, environment).changes === 1),
    putToken: ({ kind, hash, content, expiresAt }, now) =>
      write(() => {
        sql.dropTokens.run(environment, now)
        return sql.putToken.run(environment, kind, hash, content, expiresAt).changes === 1
      }),
    findToken: (kind, hash, now) => read(() => toToken(sql.findToken.get(environment, kind, hash, now))),
    takeToken: (kind, hash, now) => read(() => toToken(sql.takeToken.get(environment, kind, hash, now))),
    putWebhook: (w) =>
      read(() => {
        sql.putWebhook.run(
          ...[w.id, environment, w.settings, w.secret, w.createdAt, w.change],
          ...[w.position, w.dueAt, w.failures, w.failingSince, w.failure],
        )
      }),
    webhooks: () => read(() => sql.webhooks.all(environment).map(toWebhook)),
    moveWebhook: (id, change, { position, dueAt, failures, failingSince, failure }) =>
      read(
        () =>
          sql.moveWebhook.run(
            ...[position, dueAt, failures, failingSince, failure],
            ...[id, change, environment],
          ).changes === 1,
      ),
    removeWebhook: (id) => read(() => sql.removeWebhook.run(id, environment).changes === 1),
    close: () =>
      read(() => {
        if (open) db.close()
        open = false
      }),
  }
}

/**
 * Writes a consistent copy of a vault, which may be in use, to a new file. It is as sealed as the vault: the KEKs that open it
 * are not in it; copy their store afterwards, so that it has all of them.
 * @throws KeyfoldError `STORE_…`, also where `to` exists
 */
export function backupSqliteVault(path: string, to: string): void {
  guard(() => copyDatabase(path, to))
}

/** Whether a file is a whole, undamaged vault; for a restore. @throws KeyfoldError `STORE_CORRUPT` where it is none */
export function checkSqliteVault(path: string): void {
  if (guard(() => isWhole(path))) return
  throw new KeyfoldError("STORE_CORRUPT", "the vault's backup is damaged, or is none: take another one")
}

function list(db: DatabaseSync, environment: string, query: ListQuery): readonly ObjectRow[] | undefined {
  const { limit, order, after, before, search, updatedAfter, context = {}, deleted } = query
  const cursor = after ?? before
  // Towards an earlier page the rows are taken the other way round, nearest to the cursor first.
  const ascending = (order === "asc") === (after !== undefined || before === undefined)
  const where = ["environment = ?", deleted ? "deleted_at > 0" : "deleted_at = 0"]
  const values: (string | number)[] = [environment]
  const add = (condition: string, ...more: (string | number)[]) => {
    where.push(condition)
    values.push(...more)
  }
  if (cursor !== undefined) {
    const at = db.prepare("SELECT created_at FROM objects WHERE id = ?").get(cursor)
    if (at === undefined) return undefined
    add(`(created_at, id) ${ascending ? ">" : "<"} (?, ?)`, Number(at.created_at), cursor)
  }
  if (search !== undefined) add("instr(name, ?) > 0", search)
  if (updatedAfter !== undefined) add("updated_at > ?", updatedAfter)
  for (const [name, value] of Object.entries(context))
    add("id IN (SELECT object_id FROM pairs WHERE name = ? AND value = ?)", name, value)
  const direction = ascending ? "ASC" : "DESC"
  const found = db
    .prepare(
      `SELECT * FROM objects WHERE ${where.join(" AND ")} ORDER BY created_at ${direction}, id ${direction} LIMIT ?`,
    )
    .all(...values, limit)
    .map((row) => toObject(row) as ObjectRow)
  return ascending === (order === "asc") ? found : found.reverse()
}

function dueOf(environment: string, { sealedBefore, context = {} }: Due) {
  const pairs = Object.entries(context)
  const having = "object_id IN (SELECT object_id FROM pairs WHERE name = ? AND value = ?)"
  return {
    where: ["versions.environment = ?", "sealed_at < ?", ...pairs.map(() => having)].join(" AND "),
    values: [environment, sealedBefore, ...pairs.flat()],
  }
}

function claim(
  db: DatabaseSync,
  environment: string,
  due: Due,
  limit: number,
  now: number,
  until: number,
): readonly Claimed[] {
  const { where, values } = dueOf(environment, due)
  return db
    .prepare(
      `UPDATE versions SET claimed_until = ? WHERE rowid IN
       (SELECT rowid FROM versions WHERE ${where} AND claimed_until <= ? ORDER BY sealed_at LIMIT ?)
       RETURNING object_id, version_id, change, header,
       (SELECT context FROM objects WHERE id = object_id) AS context`,
    )
    .all(until, ...values, now, limit)
    .map((found) => ({
      objectId: String(found.object_id),
      versionId: String(found.version_id),
      context: String(found.context),
      change: Number(found.change),
      header: found.header as Uint8Array,
    }))
}

function events(db: DatabaseSync, environment: string, query: EventQuery): readonly LinkedEvent[] {
  const { limit, order, above, below, types, from, until, organizationId } = query
  const where = ["environment = ?", "position IS NOT NULL"]
  const values: (string | number)[] = [environment]
  const add = (condition: string, ...more: (string | number)[]) => {
    where.push(condition)
    values.push(...more)
  }
  if (above !== undefined) add("position > ?", above)
  if (below !== undefined) add("position < ?", below)
  if (types !== undefined) add(`body ->> '$.type' IN (${types.map(() => "?").join()})`, ...types)
  if (from !== undefined) add("at >= ?", from)
  if (until !== undefined) add("at <= ?", until)
  if (organizationId !== undefined) add("organization_id = ?", organizationId)
  return db
    .prepare(
      `SELECT * FROM events LEFT JOIN event_details ON event_id = id WHERE ${where.join(" AND ")}
       ORDER BY position ${order === "asc" ? "ASC" : "DESC"} LIMIT ?`,
    )
    .all(...values, limit)
    .map((row) => ({
      id: String(row.id),
      at: Number(row.at),
      body: String(row.body),
      position: Number(row.position),
      hash: row.hash as Uint8Array,
      detail: (row.detail as string | null) ?? undefined,
      salt: (row.salt as Uint8Array | null) ?? undefined,
    }))
}

function prepare(db: DatabaseSync) {
  const token = "environment = ? AND kind = ? AND hash = ? AND expires_at > ?"
  const facts = "version_id, created_at, actor_id, actor_name, text, size"
  return {
    byId: db.prepare("SELECT * FROM objects WHERE id = ? AND environment = ?"),
    byName: db.prepare("SELECT * FROM objects WHERE name = ? AND environment = ? AND deleted_at = 0"),
    putObject: db.prepare("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, 0)"),
    putPair: db.prepare("INSERT INTO pairs VALUES (?, ?, ?)"),
    setCurrent: db.prepare("UPDATE objects SET version_id = ?, updated_at = ? WHERE id = ?"),
    remove: db.prepare("UPDATE objects SET deleted_at = ? WHERE id = ?"),
    undelete: db.prepare("UPDATE objects SET deleted_at = 0, name = ? WHERE id = ?"),
    deletedBefore: db.prepare(
      "SELECT id FROM objects WHERE environment = ? AND deleted_at > 0 AND deleted_at < ? ORDER BY deleted_at LIMIT ?",
    ),
    purge: [
      db.prepare("DELETE FROM versions WHERE object_id = ?"),
      db.prepare("DELETE FROM pairs WHERE object_id = ?"),
      db.prepare("DELETE FROM event_details WHERE object_id = ?"),
      db.prepare("DELETE FROM objects WHERE id = ?"),
    ],
    scrub: db.prepare("PRAGMA wal_checkpoint(TRUNCATE)"),
    lastOrdinal: db.prepare("SELECT max(ordinal) AS ordinal FROM versions WHERE object_id = ?"),
    putVersion: db.prepare("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, 0, ?, ?)"),
    reseal: db.prepare(
      `UPDATE versions SET header = coalesce(?, header), payload = coalesce(?, payload), change = change + 1, sealed_at = ?, claimed_until = 0
       WHERE object_id = ? AND version_id = ? AND change = ?`,
    ),
    postpone: db.prepare("UPDATE versions SET claimed_until = ? WHERE object_id = ? AND version_id = ?"),
    beginSweep: db.prepare("INSERT INTO sweeps VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"),
    findSweep: db.prepare("SELECT * FROM sweeps WHERE environment = ? AND kind = ? AND context = ?"),
    endSweep: db.prepare("DELETE FROM sweeps WHERE id = ? AND environment = ?"),
    version: db.prepare("SELECT * FROM versions WHERE object_id = ? AND version_id = ?"),
    head: db.prepare(`SELECT ${facts}, change, header FROM versions WHERE object_id = ? AND version_id = ?`),
    versions: db.prepare(`SELECT ${facts} FROM versions WHERE object_id = ? ORDER BY ordinal DESC`),
    putEvent: db.prepare("INSERT INTO events VALUES (?, ?, ?, ?, NULL, NULL)"),
    putDetail: db.prepare("INSERT INTO event_details VALUES (?, ?, ?, ?, ?)"),
    unlinked: db.prepare(
      "SELECT id, body FROM events WHERE environment = ? AND position IS NULL ORDER BY at, id LIMIT ?",
    ),
    lastLink: db.prepare(
      "SELECT id, position, hash FROM events WHERE environment = ? AND position IS NOT NULL ORDER BY position DESC LIMIT 1",
    ),
    link: db.prepare("UPDATE events SET position = ?, hash = ? WHERE id = ?"),
    eventPosition: db.prepare("SELECT position FROM events WHERE id = ? AND environment = ?"),
    putApiKey: db.prepare("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?)"),
    findApiKey: db.prepare("SELECT * FROM api_keys WHERE hash = ? AND environment = ?"),
    apiKeys: db.prepare("SELECT * FROM api_keys WHERE environment = ? ORDER BY created_at, id"),
    revokeApiKey: db.prepare(
      "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND environment = ? AND revoked_at = 0",
    ),
    dropTokens: db.prepare("DELETE FROM tokens WHERE environment = ? AND expires_at <= ?"),
    putToken: db.prepare("INSERT INTO tokens VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"),
    findToken: db.prepare(`SELECT * FROM tokens WHERE ${token}`),
    takeToken: db.prepare(`DELETE FROM tokens WHERE ${token} RETURNING *`),
    putWebhook: db.prepare("INSERT INTO webhooks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    webhooks: db.prepare("SELECT * FROM webhooks WHERE environment = ? ORDER BY created_at, id"),
    moveWebhook: db.prepare(
      `UPDATE webhooks SET change = change + 1, position = ?, due_at = ?, failures = ?, failing_since = ?, failure = ?
       WHERE id = ? AND change = ? AND environment = ?`,
    ),
    removeWebhook: db.prepare("DELETE FROM webhooks WHERE id = ? AND environment = ?"),
  }
}

type Found = Record<string, unknown>

function toObject(found: Found | undefined): ObjectRow | undefined {
  if (found === undefined) return undefined
  return {
    id: String(found.id),
    name: String(found.name),
    context: String(found.context),
    versionId: String(found.version_id),
    createdAt: Number(found.created_at),
    updatedAt: Number(found.updated_at),
    deletedAt: Number(found.deleted_at),
  }
}

function toFacts(found: Found): VersionFacts {
  return {
    versionId: String(found.version_id),
    createdAt: Number(found.created_at),
    actorId: String(found.actor_id),
    actorName: String(found.actor_name),
    text: found.text === 1,
    size: Number(found.size),
  }
}

function toVersion(found: Found | undefined): VersionRow | undefined {
  if (found === undefined) return undefined
  const [header, payload] = [found.header as Uint8Array, found.payload as Uint8Array]
  return { ...toFacts(found), objectId: String(found.object_id), header, payload }
}

function toHead(found: Found | undefined): VersionHead | undefined {
  if (found === undefined) return undefined
  return { ...toFacts(found), header: found.header as Uint8Array, change: Number(found.change) }
}

function toApiKey(found: Found | undefined): ApiKeyRow | undefined {
  if (found === undefined) return undefined
  return {
    id: String(found.id),
    name: String(found.name),
    hash: found.hash as Uint8Array,
    scope: String(found.scope),
    createdAt: Number(found.created_at),
    revokedAt: Number(found.revoked_at),
  }
}

function toToken(found: Found | undefined): TokenRow | undefined {
  if (found === undefined) return undefined
  return {
    kind: String(found.kind),
    hash: found.hash as Uint8Array,
    content: String(found.content),
    expiresAt: Number(found.expires_at),
  }
}

function toWebhook(found: Found): WebhookRow {
  return {
    id: String(found.id),
    settings: String(found.settings),
    secret: found.secret as Uint8Array,
    createdAt: Number(found.created_at),
    change: Number(found.change),
    position: Number(found.position),
    dueAt: Number(found.due_at),
    failures: Number(found.failures),
    failingSince: Number(found.failing_since),
    failure: String(found.failure),
  }
}

/** Ends a transaction that failed, unless SQLite did so itself. */
function rollBack(db: DatabaseSync): void {
  try {
    db.exec("ROLLBACK")
  } catch {
    // There was none any more.
  }
}

/** Names whatever SQLite or the file system throws. */
function guard<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof KeyfoldError) throw error
    const { code, errcode = 0 } = error as { code?: string; errcode?: number }
    // The low byte of an extended result code (sqlite.org/rescode.html).
    const primary = errcode & 0xff
    if (primary === SQLITE_FULL || code === "ENOSPC" || code === "EDQUOT") {
      throw new KeyfoldError("STORE_FULL", "the vault has no room to write: free some and try again", {
        cause: error,
      })
    }
    if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB) {
      throw new KeyfoldError("STORE_CORRUPT", "the vault's file is damaged: restore it from a backup", {
        cause: error,
      })
    }
    throw new KeyfoldError("STORE_FAILED", `the vault cannot be read or written (${code ?? "no code"})`, {
      cause: error,
    })
  }
}

/** sqlite.org/rescode.html */
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_NOTADB = 26
