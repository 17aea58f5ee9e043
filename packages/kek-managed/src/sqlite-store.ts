import { closeSync, existsSync, fsyncSync, openSync, rmSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync, type StatementSync } from "node:sqlite"
import { KeyfoldError } from "@keyfold/core"
import type { KekMeta, KekRow, KekState, KekStore, KekUsage } from "./kek-store.ts"

/**
 * The durable store: one SQLite file in WAL mode with synchronous=FULL, which several processes may open at once.
 * Answers are synchronous. @throws KeyfoldError `STORE_FAILED`, `STORE_FULL`, `STORE_CORRUPT`
 */
export function sqliteStore(path: string): KekStore {
  const db = guard(() => openDatabase(path))
  const sql = prepare(db)
  let open = true
  const transaction = <T>(work: () => T): T =>
    guard(() => {
      db.exec("BEGIN IMMEDIATE")
      try {
        const result = work()
        db.exec("COMMIT")
        return result
      } catch (error) {
        rollBack(db)
        throw error
      }
    })
  return {
    meta: () => guard(() => sql.meta.get() as KekMeta | undefined),
    putMeta: (meta) =>
      transaction(() => {
        const stored = sql.meta.get() as KekMeta | undefined
        if ((stored?.change ?? 0) !== meta.change - 1) return false
        sql.putMeta.run(meta.change, meta.text)
        sql.bumpRevision.run()
        return true
      }),
    revision: () => guard(() => (sql.revision.get() as { revision: number }).revision),
    get: (keyId) => guard(() => toRow(sql.get.get(keyId))),
    find: (index) => guard(() => toRow(sql.find.get(index))),
    insert: (row) =>
      transaction(() => {
        if (row.current && sql.find.get(row.index) !== undefined) return false
        return sql.insert.run(...columns(row)).changes === 1
      }),
    replace: (row) =>
      transaction(() => {
        const [keyId, index, ...rest] = columns(row)
        if (sql.replace.run(...rest, keyId, index, row.change - 1).changes !== 1) return false
        sql.bumpRevision.run()
        return true
      }),
    list: (after, limit) =>
      guard(() =>
        sql.list.all(after, limit).map((found) => ({ ...(toRow(found) as KekRow), ...toUsage(found) })),
      ),
    due: (now) => guard(() => sql.due.all(now).map(({ key_id }) => String(key_id))),
    addUsage: (usage) =>
      transaction(() => {
        for (const [keyId, { wraps, unwraps, lastUsedAt }] of usage)
          sql.addUsage.run(keyId, wraps, unwraps, lastUsedAt)
      }),
    // secure_delete has zeroed the pages; this moves them into the file and empties the log.
    scrub: () =>
      guard(() => {
        const until = performance.now() + BUSY_MS
        let busy: boolean
        do busy = (sql.scrub.get() as { busy: number }).busy !== 0
        while (busy && performance.now() < until)
        return !busy
      }),
    close: () =>
      guard(() => {
        if (open) db.close()
        open = false
      }),
  }
}

/**
 * Writes a consistent copy of an open or closed store to one new file. The copy is as sealed as the store: it opens
 * with the root key of that moment, which is not in it.
 * @throws KeyfoldError `INVALID_ARGUMENT` where `to` exists, `STORE_…`
 */
export function backupSqliteStore(path: string, to: string): void {
  if (!existsSync(path)) throw new KeyfoldError("STORE_FAILED", "there is no store to back up")
  guard(() => {
    createFile(to)
    try {
      const db = connect(path, true)
      try {
        db.prepare("VACUUM INTO ?").run(to)
      } finally {
        db.close()
      }
      syncFile(to)
      syncFile(dirname(to))
    } catch (error) {
      rmSync(to, { force: true })
      throw error
    }
  })
}

/** Whether the file is a whole, undamaged store; for a restore. @throws KeyfoldError `STORE_…` */
export function checkSqliteStore(path: string): void {
  if (!existsSync(path)) throw new KeyfoldError("STORE_FAILED", "there is no such store file")
  guard(() => {
    const db = connect(path, true)
    try {
      const { integrity_check } = db.prepare("PRAGMA integrity_check").get() as { integrity_check: string }
      if (integrity_check !== "ok" || numberOf(db, "PRAGMA application_id") !== APPLICATION_ID)
        throw corrupt("it is not a sound KEK store")
    } finally {
      db.close()
    }
  })
}

function openDatabase(path: string): DatabaseSync {
  const created = !existsSync(path)
  if (created) {
    closeSync(openSync(path, "a", 0o600))
    syncFile(dirname(path))
  }
  const db = connect(path)
  try {
    checkWhole(path, db)
    if (numberOf(db, "PRAGMA application_id") !== APPLICATION_ID) createSchema(db)
    if (numberOf(db, "PRAGMA user_version") > SCHEMA_VERSION) {
      throw new KeyfoldError("UNSUPPORTED_VERSION", "this store was written by a newer keyfold: use that one")
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

function connect(path: string, readOnly = false): DatabaseSync {
  const db = new DatabaseSync(path, { readOnly })
  // Not as an option: Node 22.13 does not know it.
  db.exec(`PRAGMA busy_timeout = ${SPELL_MS}`)
  return db
}

/**
 * SQLite fills the rest of a page that was cut with zeros, and a KEK there would be taken for one that was never made.
 * Only what a log still holds may be missing.
 */
function checkWhole(path: string, db: DatabaseSync): void {
  if (existsSync(`${path}-wal`) && statSync(`${path}-wal`).size > 0) return
  if (statSync(path).size % numberOf(db, "PRAGMA page_size") !== 0) throw corrupt("its file was cut short")
}

/** Makes a store of an empty file, and nothing of another program's database. */
function createSchema(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE")
  // Another process may have been first.
  const ours = numberOf(db, "PRAGMA application_id") === APPLICATION_ID
  if (!ours && numberOf(db, "SELECT count(*) FROM sqlite_schema") > 0) {
    throw new KeyfoldError(
      "STORE_CORRUPT",
      "the KEK store: it is another program's database; name another file",
    )
  }
  if (!ours) db.exec(SCHEMA)
  db.exec("COMMIT")
}

/** Ends a transaction that failed, unless SQLite did so itself. */
function rollBack(db: DatabaseSync): void {
  try {
    db.exec("ROLLBACK")
  } catch {
    // There was none any more.
  }
}

function numberOf(db: DatabaseSync, query: string): number {
  return Number(Object.values(db.prepare(query).get() ?? {})[0])
}

/** A new file that only its owner may read. */
function createFile(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600))
  } catch (error) {
    if ((error as { code?: string }).code !== "EEXIST") throw error
    throw new KeyfoldError("INVALID_ARGUMENT", "the backup file exists already: name a new one")
  }
}

function prepare(db: DatabaseSync) {
  const names =
    "key_id, pair_index, current, version, state, closed, created_at, rotated_at, deletion_at, change, sealed"
  return {
    meta: db.prepare("SELECT change, text FROM meta"),
    putMeta: db.prepare(
      "INSERT INTO meta (id, change, text) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET change = excluded.change, text = excluded.text",
    ),
    scrub: db.prepare("PRAGMA wal_checkpoint(TRUNCATE)"),
    revision: db.prepare("SELECT revision FROM revision"),
    bumpRevision: db.prepare("UPDATE revision SET revision = revision + 1"),
    get: db.prepare(`SELECT ${names} FROM keks WHERE key_id = ?`),
    find: db.prepare(`SELECT ${names} FROM keks WHERE pair_index = ? AND current = 1`),
    insert: db.prepare(`INSERT INTO keks (${names}) VALUES (${"?, ".repeat(10)}?) ON CONFLICT DO NOTHING`),
    replace: db.prepare(
      `UPDATE keks SET current = ?, version = ?, state = ?, closed = ?, created_at = ?, rotated_at = ?, deletion_at = ?, change = ?, sealed = ?
       WHERE key_id = ? AND pair_index = ? AND change = ?`,
    ),
    list: db.prepare(
      `SELECT ${names}, coalesce(wraps, 0) AS wraps, coalesce(unwraps, 0) AS unwraps, coalesce(last_used_at, 0) AS last_used_at
       FROM keks LEFT JOIN usage USING (key_id) WHERE key_id > ? ORDER BY key_id LIMIT ?`,
    ),
    due: db.prepare("SELECT key_id FROM keks WHERE state = 'pending-deletion' AND deletion_at <= ?"),
    addUsage: db.prepare(
      `INSERT INTO usage (key_id, wraps, unwraps, last_used_at) VALUES (?, ?, ?, ?) ON CONFLICT (key_id) DO UPDATE SET
       wraps = wraps + excluded.wraps, unwraps = unwraps + excluded.unwraps, last_used_at = max(last_used_at, excluded.last_used_at)`,
    ),
  } satisfies Record<string, StatementSync>
}

type Column = string | number | Uint8Array

function columns(row: KekRow): [string, string, ...Column[]] {
  const { keyId, index, current, version, state, closed, createdAt, rotatedAt, deletionAt, change, sealed } =
    row
  return [
    keyId,
    index,
    Number(current),
    version,
    state,
    Number(closed),
    createdAt,
    rotatedAt,
    deletionAt,
    change,
    sealed,
  ]
}

function toRow(found: Record<string, unknown> | undefined): KekRow | undefined {
  if (found === undefined) return undefined
  return {
    keyId: String(found.key_id),
    index: String(found.pair_index),
    current: found.current === 1,
    version: Number(found.version),
    state: String(found.state) as KekState,
    closed: found.closed === 1,
    createdAt: Number(found.created_at),
    rotatedAt: Number(found.rotated_at),
    deletionAt: Number(found.deletion_at),
    change: Number(found.change),
    sealed: found.sealed instanceof Uint8Array ? found.sealed : new Uint8Array(0),
  }
}

function toUsage(found: Record<string, unknown>): KekUsage {
  return {
    wraps: Number(found.wraps),
    unwraps: Number(found.unwraps),
    lastUsedAt: Number(found.last_used_at),
  }
}

/** Waits for other processes, and names whatever SQLite or the file system throws. `work` is all or nothing. */
function guard<T>(work: () => T): T {
  for (let until: number | undefined; ; ) {
    try {
      return work()
    } catch (error) {
      until ??= performance.now() + BUSY_MS
      if (primaryCode(error) !== SQLITE_BUSY || performance.now() > until) throw named(error)
    }
  }
}

/** The low byte of an extended result code (sqlite.org/rescode.html); 0 where it is no error of SQLite. */
function primaryCode(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) & 0xff
}

function named(error: unknown): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  const { code } = error as { code?: string }
  const primary = primaryCode(error)
  if (primary === SQLITE_FULL || code === "ENOSPC" || code === "EDQUOT") {
    return new KeyfoldError("STORE_FULL", "the KEK store has no room to write: free some and try again", {
      cause: error,
    })
  }
  if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB) return corrupt("it is damaged", error)
  const why = { [SQLITE_BUSY]: "it is locked by another process", [SQLITE_READONLY]: "it is read-only" }[
    primary
  ]
  const what = why ?? `it cannot be read or written (${code ?? "no code"})`
  return new KeyfoldError("STORE_FAILED", `the KEK store: ${what}`, { cause: error })
}

function corrupt(what: string, cause?: unknown): KeyfoldError {
  return new KeyfoldError("STORE_CORRUPT", `the KEK store: ${what}; restore it from a backup`, { cause })
}

function syncFile(path: string): void {
  const file = openSync(path, "r")
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** sqlite.org/rescode.html */
const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_NOTADB = 26
/** How long a call waits for other processes, in milliseconds. */
const BUSY_MS = 10_000
/** How long SQLite itself waits before we ask it again: later it would sleep for 100 ms at a time, and starve. */
const SPELL_MS = 20
const SCHEMA_VERSION = 1
/** "KFKS" */
const APPLICATION_ID = 0x4b464b53
const SCHEMA = `
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), change INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE revision (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL) STRICT;
INSERT INTO revision VALUES (1, 0);
CREATE TABLE keks (
  key_id TEXT PRIMARY KEY, pair_index TEXT NOT NULL, current INTEGER NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL,
  closed INTEGER NOT NULL, created_at INTEGER NOT NULL, rotated_at INTEGER NOT NULL, deletion_at INTEGER NOT NULL,
  change INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keks_current ON keks (pair_index) WHERE current = 1;
CREATE INDEX keks_due ON keks (deletion_at) WHERE state = 'pending-deletion';
CREATE TABLE usage (
  key_id TEXT PRIMARY KEY, wraps INTEGER NOT NULL, unwraps INTEGER NOT NULL, last_used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`
