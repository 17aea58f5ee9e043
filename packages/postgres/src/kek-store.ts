import type { KekRow, KekState, KekStore, KekUsage } from "@keyfold/kek-managed"
import { Database, type Found, type PostgresOptions, type Value } from "./database.ts"

/**
 * KEKs in PostgreSQL, for several processes and machines under one root key. Every answer is a promise.
 * @throws KeyfoldError `INVALID_ARGUMENT`; its calls `STORE_FAILED`, `STORE_FULL`, `STORE_CORRUPT`, `UNSUPPORTED_VERSION`
 */
export function postgresKekStore(options: PostgresOptions): KekStore {
  const db = new Database(options, "keks", MIGRATIONS)
  const one = async (where: string, value: string): Promise<KekRow | undefined> =>
    toRow((await db.find(`SELECT * FROM {keks} WHERE ${where}`, [value]))[0])
  return {
    async meta() {
      const [found] = await db.find("SELECT change, text FROM {kek_meta} WHERE id = 1", [])
      return found && { change: Number(found.change), text: String(found.text) }
    },
    putMeta: ({ change, text }) =>
      db.transaction(async (run) => {
        const written =
          change === 1
            ? await run("INSERT INTO {kek_meta} VALUES (1, 1, $1) ON CONFLICT DO NOTHING", [text])
            : await run("UPDATE {kek_meta} SET change = $1, text = $2 WHERE id = 1 AND change = $3", [
                ...[change, text, change - 1],
              ])
        if (written.count === 1) await run(BUMP)
        return written.count === 1
      }),
    revision: async () => Number((await db.find("SELECT revision FROM {kek_revision}", []))[0]?.revision),
    get: (keyId) => one("key_id = $1", keyId),
    find: (index) => one("pair_index = $1 AND current", index),
    async insert(row) {
      const text = `INSERT INTO {keks} (${COLUMNS}) VALUES (${PLACES}) ON CONFLICT DO NOTHING`
      return (await db.run(text, valuesOf(row))).count === 1
    },
    replace: (row) =>
      db.transaction(async (run) => {
        const { count } = await run(
          `UPDATE {keks} SET (${COLUMNS}) = (${PLACES}) WHERE key_id = $1 AND pair_index = $2 AND change = $12`,
          [...valuesOf(row), row.change - 1],
        )
        if (count === 1) await run(BUMP)
        return count === 1
      }),
    async list(after, limit) {
      const found = await db.find(
        `SELECT *, coalesce(wraps, 0) AS wraps, coalesce(unwraps, 0) AS unwraps, coalesce(last_used_at, 0) AS last_used_at
         FROM {keks} LEFT JOIN {kek_usage} USING (key_id) WHERE key_id > $1 ORDER BY key_id LIMIT $2`,
        [after, limit],
      )
      return found.map((row) => ({ ...(toRow(row) as KekRow), ...toUsage(row) }))
    },
    due: async (now) =>
      (
        await db.find("SELECT key_id FROM {keks} WHERE state = 'pending-deletion' AND deletion_at <= $1", [
          now,
        ])
      ).map(({ key_id }) => String(key_id)),
    async addUsage(usage) {
      if (usage.size === 0) return
      // In one order, so that two processes never wait for each other.
      const rows = [...usage].sort(([a], [b]) => (a < b ? -1 : 1))
      await db.run(
        `INSERT INTO {kek_usage} AS old SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
         ON CONFLICT (key_id) DO UPDATE SET wraps = old.wraps + excluded.wraps, unwraps = old.unwraps + excluded.unwraps,
         last_used_at = greatest(old.last_used_at, excluded.last_used_at)`,
        [
          rows.map(([keyId]) => keyId),
          rows.map(([, { wraps }]) => wraps),
          rows.map(([, { unwraps }]) => unwraps),
          rows.map(([, { lastUsedAt }]) => lastUsedAt),
        ],
      )
    },
    scrub: () => undefined,
    close: () => db.close(),
  }
}

const NAMES = [
  ...["key_id", "pair_index", "current", "version", "state", "closed"],
  ...["created_at", "rotated_at", "deletion_at", "change", "sealed"],
]
const COLUMNS = NAMES.join(", ")
const PLACES = NAMES.map((_, i) => `$${i + 1}`).join(", ")
const BUMP = "UPDATE {kek_revision} SET revision = revision + 1"

function valuesOf(row: KekRow): readonly Value[] {
  return [
    ...[row.keyId, row.index, row.current, row.version, row.state, row.closed],
    ...[row.createdAt, row.rotatedAt, row.deletionAt, row.change, row.sealed],
  ]
}

function toRow(found: Found | undefined): KekRow | undefined {
  if (found === undefined) return undefined
  return {
    keyId: String(found.key_id),
    index: String(found.pair_index),
    current: found.current === true,
    version: Number(found.version),
    state: String(found.state) as KekState,
    closed: found.closed === true,
    createdAt: Number(found.created_at),
    rotatedAt: Number(found.rotated_at),
    deletionAt: Number(found.deletion_at),
    change: Number(found.change),
    sealed: Uint8Array.from(found.sealed as Buffer),
  }
}

function toUsage(found: Found): KekUsage {
  return {
    wraps: Number(found.wraps),
    unwraps: Number(found.unwraps),
    lastUsedAt: Number(found.last_used_at),
  }
}

/** One step for each version of the schema; a step that was released is never changed. */
const MIGRATIONS = [
  `
CREATE TABLE {kek_meta} (id int PRIMARY KEY, change bigint NOT NULL, text text NOT NULL);
CREATE TABLE {kek_revision} (id int PRIMARY KEY, revision bigint NOT NULL);
INSERT INTO {kek_revision} VALUES (1, 0);
CREATE TABLE {keks} (
  key_id text PRIMARY KEY, pair_index text NOT NULL, current boolean NOT NULL, version int NOT NULL, state text NOT NULL,
  closed boolean NOT NULL, created_at bigint NOT NULL, rotated_at bigint NOT NULL, deletion_at bigint NOT NULL,
  change bigint NOT NULL, sealed bytea NOT NULL
);
CREATE UNIQUE INDEX keks_current ON {keks} (pair_index) WHERE current;
CREATE INDEX keks_due ON {keks} (deletion_at) WHERE state = 'pending-deletion';
CREATE TABLE {kek_usage} (
  key_id text PRIMARY KEY, wraps bigint NOT NULL, unwraps bigint NOT NULL, last_used_at bigint NOT NULL
)
`,
]
