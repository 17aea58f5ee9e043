import { closeSync, existsSync, openSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { KeyfoldError } from "@keyfold/core"
import type {
  ListQuery,
  ObjectRow,
  VaultStore,
  VersionFacts,
  VersionHead,
  VersionRow,
  Written,
} from "./vault-store.ts"

/**
 * A vault store in one SQLite file (WAL, synchronous=FULL), which several processes may open at once. A new file is
 * its owner's alone. @throws KeyfoldError `STORE_FAILED`, `STORE_FULL`, `STORE_CORRUPT`, `UNSUPPORTED_VERSION`
 */
export function sqliteVaultStore(path: string): VaultStore {
  const db = guard(() => openDatabase(path))
  const sql = prepare(db)
  const read = async <T>(work: () => T): Promise<T> => guard(work)
  const write = (work: () => Written) =>
    read(() => {
      db.exec("BEGIN IMMEDIATE")
      try {
        const result = work()
        db.exec("COMMIT")
        return result
      } catch (error) {
        if (db.isTransaction) db.exec("ROLLBACK")
        throw error
      }
    })
  const check = (id: string, expected: string | undefined): Written => {
    const found = sql.byId.get(id)
    if (found === undefined) return "not-found"
    return expected === undefined || found.version_id === expected ? "done" : "version-conflict"
  }
  const putVersion = (v: VersionRow, ordinal: number) =>
    sql.putVersion.run(
      v.objectId,
      v.versionId,
      ordinal,
      v.createdAt,
      v.actorId,
      v.actorName,
      Number(v.text),
      v.size,
      v.envelope,
    )
  return {
    insert: (o, v) =>
      write(() => {
        if (sql.byName.get(o.name) !== undefined) return "name-taken"
        sql.putObject.run(o.id, o.name, o.context, o.versionId, o.createdAt, o.updatedAt)
        putVersion(v, 1)
        return "done"
      }),
    append: (v, expected) =>
      write(() => {
        const checked = check(v.objectId, expected)
        if (checked !== "done") return checked
        putVersion(v, Number(sql.lastOrdinal.get(v.objectId)?.ordinal) + 1)
        sql.setCurrent.run(v.versionId, v.createdAt, v.objectId)
        return "done"
      }),
    remove: (id, expected, deletedAt) =>
      write(() => {
        const checked = check(id, expected)
        if (checked === "done") sql.remove.run(deletedAt, id)
        return checked
      }),
    byId: (id) => read(() => toObject(sql.byId.get(id))),
    byName: (name) => read(() => toObject(sql.byName.get(name))),
    version: (objectId, versionId) => read(() => toVersion(sql.version.get(objectId, versionId))),
    head: (objectId, versionId) => read(() => toHead(sql.head.get(objectId, versionId))),
    versions: (objectId) => read(() => sql.versions.all(objectId).map(toFacts)),
    list: (query) => read(() => list(db, query)),
    close: () =>
      read(() => {
        if (db.isOpen) db.close()
      }),
  }
}

function list(db: DatabaseSync, query: ListQuery): readonly ObjectRow[] | undefined {
  const { limit, order, after, before, search, updatedAfter } = query
  const cursor = after ?? before
  // Towards an earlier page the rows are taken the other way round, nearest to the cursor first.
  const ascending = (order === "asc") === (after !== undefined || before === undefined)
  const where = ["deleted_at = 0"]
  const values: (string | number)[] = []
  if (cursor !== undefined) {
    const at = db.prepare("SELECT created_at FROM objects WHERE id = ?").get(cursor)
    if (at === undefined) return undefined
    where.push(`(created_at, id) ${ascending ? ">" : "<"} (?, ?)`)
    values.push(Number(at.created_at), cursor)
  }
  if (search !== undefined) {
    where.push("instr(name, ?) > 0")
    values.push(search)
  }
  if (updatedAfter !== undefined) {
    where.push("updated_at > ?")
    values.push(updatedAfter)
  }
  const direction = ascending ? "ASC" : "DESC"
  const found = db
    .prepare(
      `SELECT * FROM objects WHERE ${where.join(" AND ")} ORDER BY created_at ${direction}, id ${direction} LIMIT ?`,
    )
    .all(...values, limit)
    .map((row) => toObject(row) as ObjectRow)
  return ascending === (order === "asc") ? found : found.reverse()
}

function openDatabase(path: string): DatabaseSync {
  if (!existsSync(path)) closeSync(openSync(path, "a", 0o600))
  const db = new DatabaseSync(path, { timeout: BUSY_MS })
  try {
    db.exec("BEGIN IMMEDIATE")
    const ours = numberOf(db, "PRAGMA application_id") === APPLICATION_ID
    if (!ours && numberOf(db, "SELECT count(*) FROM sqlite_schema") > 0) {
      throw new KeyfoldError(
        "STORE_CORRUPT",
        "the vault: it is another program's database; name another file",
      )
    }
    if (!ours) db.exec(SCHEMA)
    db.exec("COMMIT")
    if (numberOf(db, "PRAGMA user_version") > SCHEMA_VERSION) {
      throw new KeyfoldError("UNSUPPORTED_VERSION", "this vault was written by a newer keyfold: use that one")
    }
    db.exec(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF",
    )
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

function numberOf(db: DatabaseSync, query: string): number {
  return Number(Object.values(db.prepare(query).get() ?? {})[0])
}

function prepare(db: DatabaseSync) {
  const facts = "version_id, created_at, actor_id, actor_name, text, size"
  return {
    byId: db.prepare("SELECT * FROM objects WHERE id = ? AND deleted_at = 0"),
    byName: db.prepare("SELECT * FROM objects WHERE name = ? AND deleted_at = 0"),
    putObject: db.prepare("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, 0)"),
    setCurrent: db.prepare("UPDATE objects SET version_id = ?, updated_at = ? WHERE id = ?"),
    remove: db.prepare("UPDATE objects SET deleted_at = ? WHERE id = ?"),
    lastOrdinal: db.prepare("SELECT max(ordinal) AS ordinal FROM versions WHERE object_id = ?"),
    putVersion: db.prepare("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
    version: db.prepare("SELECT * FROM versions WHERE object_id = ? AND version_id = ?"),
    head: db.prepare(
      `SELECT ${facts}, substr(envelope, 1, 65536) AS head, length(envelope) AS bytes FROM versions WHERE object_id = ? AND version_id = ?`,
    ),
    versions: db.prepare(`SELECT ${facts} FROM versions WHERE object_id = ? ORDER BY ordinal DESC`),
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
  return { ...toFacts(found), objectId: String(found.object_id), envelope: found.envelope as Uint8Array }
}

function toHead(found: Found | undefined): VersionHead | undefined {
  if (found === undefined) return undefined
  return { ...toFacts(found), head: found.head as Uint8Array, envelopeBytes: Number(found.bytes) }
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
/** How long a call waits for other processes, in milliseconds. */
const BUSY_MS = 10_000
const SCHEMA_VERSION = 1
/** "KFVS" */
const APPLICATION_ID = 0x4b465653
const SCHEMA = `
CREATE TABLE objects (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, context TEXT NOT NULL, version_id TEXT NOT NULL,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX objects_alive ON objects (name) WHERE deleted_at = 0;
CREATE INDEX objects_by_time ON objects (created_at, id) WHERE deleted_at = 0;
CREATE TABLE versions (
  object_id TEXT NOT NULL, version_id TEXT NOT NULL, ordinal INTEGER NOT NULL, created_at INTEGER NOT NULL,
  actor_id TEXT NOT NULL, actor_name TEXT NOT NULL, text INTEGER NOT NULL, size INTEGER NOT NULL, envelope BLOB NOT NULL,
  PRIMARY KEY (object_id, version_id), UNIQUE (object_id, ordinal)
) STRICT;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`
