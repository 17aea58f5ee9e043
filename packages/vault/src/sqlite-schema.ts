import { closeSync, existsSync, fsyncSync, openSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { KeyfoldError } from "@keyfold/core"

/** Opens the database of a vault, made or brought up to date where need be; a new file is its owner's alone. */
export function openDatabase(path: string): DatabaseSync {
  if (!existsSync(path)) {
    closeSync(openSync(path, "a", 0o600))
    const folder = openSync(dirname(path), "r")
    fsyncSync(folder)
    closeSync(folder)
  }
  const db = new DatabaseSync(path)
  try {
    // Not as an option: Node 22.13 does not know it.
    db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`)
    checkWhole(path, db)
    migrate(db)
    db.exec(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF",
    )
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Writes a consistent copy of a vault, which may be in use, to a new file, its owner's alone. */
export function copyDatabase(path: string, to: string): void {
  closeSync(openSync(to, "wx", 0o600))
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`)
    db.prepare("VACUUM INTO ?").run(to)
  } finally {
    db.close()
  }
  for (const written of [to, dirname(to)]) {
    const file = openSync(written, "r")
    fsyncSync(file)
    closeSync(file)
  }
}

/** Whether a file is a whole vault. */
export function isWhole(path: string): boolean {
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    const found = db.prepare("PRAGMA integrity_check").get() as { integrity_check: string }
    return found.integrity_check === "ok" && numberOf(db, "PRAGMA application_id") === APPLICATION_ID
  } finally {
    db.close()
  }
}

/** SQLite fills the rest of a page that was cut with zeros. Only what a log still holds may be missing. */
function checkWhole(path: string, db: DatabaseSync): void {
  if (existsSync(`${path}-wal`) && statSync(`${path}-wal`).size > 0) return
  if (statSync(path).size % numberOf(db, "PRAGMA page_size") !== 0) {
    throw new KeyfoldError("STORE_CORRUPT", "the vault's file was cut short: restore it from a backup")
  }
}

/** Takes every step that this file has not taken, in one transaction: of several processes one does it. */
function migrate(db: DatabaseSync): void {
  db.exec("BEGIN IMMEDIATE")
  const ours = numberOf(db, "PRAGMA application_id") === APPLICATION_ID
  if (!ours && numberOf(db, "SELECT count(*) FROM sqlite_schema") > 0) {
    throw new KeyfoldError("STORE_CORRUPT", "the vault: it is another program's database; name another file")
  }
  const version = ours ? numberOf(db, "PRAGMA user_version") : 0
  if (version > MIGRATIONS.length) {
    throw new KeyfoldError("UNSUPPORTED_VERSION", "this vault was written by a newer keyfold: use that one")
  }
  for (const step of MIGRATIONS.slice(version)) db.exec(step)
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`)
  db.exec("COMMIT")
}

function numberOf(db: DatabaseSync, query: string): number {
  return Number(Object.values(db.prepare(query).get() ?? {})[0])
}

/** How long a call waits for other processes, in milliseconds. */
const BUSY_MS = 10_000
/** "KFVS" */
const APPLICATION_ID = 0x4b465653
/** One step for each version of the schema; a step that was released is never changed. */
const MIGRATIONS = [
  `
CREATE TABLE objects (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, name TEXT NOT NULL, context TEXT NOT NULL, version_id TEXT NOT NULL,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX objects_alive ON objects (environment, name) WHERE deleted_at = 0;
CREATE INDEX objects_by_time ON objects (environment, created_at, id);
CREATE INDEX objects_deleted ON objects (environment, deleted_at) WHERE deleted_at > 0;
CREATE TABLE pairs (
  object_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name, value, object_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_of_object ON pairs (object_id);
CREATE TABLE versions (
  object_id TEXT NOT NULL, version_id TEXT NOT NULL, ordinal INTEGER NOT NULL, created_at INTEGER NOT NULL,
  actor_id TEXT NOT NULL, actor_name TEXT NOT NULL, text INTEGER NOT NULL, size INTEGER NOT NULL,
  environment TEXT NOT NULL, change INTEGER NOT NULL, sealed_at INTEGER NOT NULL, claimed_until INTEGER NOT NULL,
  header BLOB NOT NULL, payload BLOB NOT NULL,
  PRIMARY KEY (object_id, version_id), UNIQUE (object_id, ordinal)
) STRICT;
CREATE INDEX versions_by_sealing ON versions (environment, sealed_at);
CREATE TABLE sweeps (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, kind TEXT NOT NULL, context TEXT NOT NULL, started_at INTEGER NOT NULL,
  UNIQUE (environment, kind, context)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, position INTEGER, hash BLOB
) STRICT;
CREATE UNIQUE INDEX events_in_order ON events (environment, position) WHERE position IS NOT NULL;
CREATE INDEX events_unlinked ON events (environment, at, id) WHERE position IS NULL;
CREATE TABLE event_details (
  event_id TEXT PRIMARY KEY, object_id TEXT, organization_id TEXT, salt BLOB NOT NULL, detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX event_details_of_object ON event_details (object_id);
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, name TEXT NOT NULL, hash BLOB NOT NULL, scope TEXT NOT NULL,
  created_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL, UNIQUE (environment, hash)
) STRICT, WITHOUT ROWID;
`,
  `
CREATE TABLE tokens (
  environment TEXT NOT NULL, kind TEXT NOT NULL, hash BLOB NOT NULL, content TEXT NOT NULL, expires_at INTEGER NOT NULL,
  PRIMARY KEY (environment, kind, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_end ON tokens (environment, expires_at);
`,
  `
CREATE TABLE webhooks (
  id TEXT PRIMARY KEY, environment TEXT NOT NULL, settings TEXT NOT NULL, secret BLOB NOT NULL, created_at INTEGER NOT NULL,
  change INTEGER NOT NULL, position INTEGER NOT NULL, due_at INTEGER NOT NULL, failures INTEGER NOT NULL,
  failing_since INTEGER NOT NULL, failure TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX webhooks_by_time ON webhooks (environment, created_at, id);
`,
]
