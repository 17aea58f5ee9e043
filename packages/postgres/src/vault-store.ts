import type {
  ApiKeyRow,
  Due,
  EventQuery,
  EventRow,
  ListQuery,
  ObjectRow,
  TokenRow,
  VaultStore,
  VersionFacts,
  VersionHead,
  VersionRow,
  WebhookRow,
  Written,
} from "@keyfold/vault"
import { Database, type Found, type PostgresOptions, type Run, type Value } from "./database.ts"

/**
 * A vault in PostgreSQL, for several server processes and machines at once.
 * @throws KeyfoldError `INVALID_ARGUMENT`; its calls `STORE_FAILED`, `STORE_FULL`, `STORE_CORRUPT`, `UNSUPPORTED_VERSION`
 */
export function postgresVaultStore(
  options: PostgresOptions & {
    /** Keeps data apart. Default `default`. */
    readonly environment?: string
  },
): VaultStore {
  const { environment = "default", ...rest } = options
  const db = new Database(rest, "vault", MIGRATIONS)
  const first = async (text: string, values: readonly Value[]) => (await db.find(text, values))[0]
  /** A write that brings its events along where it is done. */
  const write = <T>(events: readonly EventRow[], work: (run: Run) => Promise<T>): Promise<T> =>
    db.transaction(async (run) => {
      const result = await work(run)
      if (result === "done" || result === true) await putEvents(run, environment, events)
      return result
    })
  /** The object, held until the transaction ends, so that its writers take turns. */
  const hold = async (run: Run, id: string): Promise<ObjectRow | undefined> =>
    toObject(
      (await run("SELECT * FROM {objects} WHERE id = $1 AND environment = $2 FOR UPDATE", [id, environment]))
        .rows[0],
    )
  const check = async (run: Run, id: string, expected: string | undefined): Promise<Written> => {
    const found = await hold(run, id)
    if (found === undefined || found.deletedAt !== 0) return "not-found"
    return expected === undefined || found.versionId === expected ? "done" : "version-conflict"
  }
  const isTaken = async (run: Run, name: string): Promise<boolean> =>
    (
      await run("SELECT 1 FROM {objects} WHERE name = $1 AND environment = $2 AND deleted_at = 0", [
        name,
        environment,
      ])
    ).count > 0
  const putVersion = (run: Run, v: VersionRow, ordinal: number) =>
    run("INSERT INTO {versions} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $4, 0, $10, $11)", [
      ...[v.objectId, v.versionId, ordinal, v.createdAt, v.actorId, v.actorName],
      ...[v.text, v.size, environment, v.header, v.payload],
    ])
  return {
    insert: (o, v, events) =>
      write(events, async (run) => {
        if (await isTaken(run, o.name)) return "name-taken"
        await run("INSERT INTO {objects} VALUES ($1, $2, $3, $4, $5, $6, $7, 0)", [
          ...[o.id, environment, o.name, o.context, o.versionId, o.createdAt, o.updatedAt],
        ])
        const pairs = Object.entries(JSON.parse(o.context) as Record<string, string>)
        await run("INSERT INTO {pairs} SELECT $1, * FROM unnest($2::text[], $3::text[])", [
          ...[o.id, pairs.map(([name]) => name), pairs.map(([, value]) => value)],
        ])
        await putVersion(run, v, 1)
        return "done"
      }),
    append: (v, expected, events) =>
      write(events, async (run) => {
        const checked = await check(run, v.objectId, expected)
        if (checked !== "done") return checked
        const { rows } = await run("SELECT max(ordinal) AS ordinal FROM {versions} WHERE object_id = $1", [
          v.objectId,
        ])
        await putVersion(run, v, Number(rows[0]?.ordinal) + 1)
        await run("UPDATE {objects} SET version_id = $1, updated_at = $2 WHERE id = $3", [
          ...[v.versionId, v.createdAt, v.objectId],
        ])
        return "done"
      }),
    reseal: (versions) =>
      db.transaction(async (run) => {
        const done = []
        for (const { objectId, versionId, change, sealed, at, events } of versions) {
          const { header = null, payload = null } = sealed
          const { count } = await run(
            `UPDATE {versions} SET header = coalesce($1, header), payload = coalesce($2, payload), change = change + 1,
             sealed_at = $3, claimed_until = 0 WHERE object_id = $4 AND version_id = $5 AND change = $6`,
            [header, payload, at, objectId, versionId, change],
          )
          if (count === 1) await putEvents(run, environment, events)
          done.push(count === 1)
        }
        return done
      }),
    async claim(due, limit, now, until) {
      const query = dueOf(environment, due)
      const [at, most, to] = [query.next(now), query.next(limit), query.next(until)]
      const { rows } = await db.run(
        `WITH due AS (SELECT object_id, version_id FROM {versions} v WHERE ${query.where} AND claimed_until <= ${at}
           ORDER BY sealed_at LIMIT ${most} FOR UPDATE SKIP LOCKED)
         UPDATE {versions} AS mine SET claimed_until = ${to} FROM due, {objects} o
         WHERE (mine.object_id, mine.version_id) = (due.object_id, due.version_id) AND o.id = mine.object_id
         RETURNING mine.object_id, mine.version_id, mine.change, mine.header, o.context`,
        query.values,
      )
      return rows.map((found) => ({
        objectId: String(found.object_id),
        versionId: String(found.version_id),
        context: String(found.context),
        change: Number(found.change),
        header: bytesOf(found.header),
      }))
    },
    async postpone(claimed, until) {
      await db.run(
        `UPDATE {versions} SET claimed_until = $1
         WHERE (object_id, version_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))`,
        [until, claimed.map(({ objectId }) => objectId), claimed.map(({ versionId }) => versionId)],
      )
    },
    async countDue(due) {
      const { where, values } = dueOf(environment, due)
      return Number((await first(`SELECT count(*) AS count FROM {versions} v WHERE ${where}`, values))?.count)
    },
    async beginSweep(sweep) {
      await db.run("INSERT INTO {sweeps} VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING", [
        ...[sweep.id, environment, sweep.kind, sweep.context, sweep.startedAt],
      ])
      const found = await first(
        "SELECT * FROM {sweeps} WHERE environment = $1 AND kind = $2 AND context = $3",
        [...[environment, sweep.kind, sweep.context]],
      )
      return found === undefined
        ? sweep
        : { ...sweep, id: String(found.id), startedAt: Number(found.started_at) }
    },
    async endSweep(id) {
      await db.run("DELETE FROM {sweeps} WHERE id = $1 AND environment = $2", [id, environment])
    },
    remove: (id, expected, deletedAt, events) =>
      write(events, async (run) => {
        const checked = await check(run, id, expected)
        if (checked === "done")
          await run("UPDATE {objects} SET deleted_at = $1 WHERE id = $2", [deletedAt, id])
        return checked
      }),
    undelete: (id, name, events) =>
      write(events, async (run) => {
        const found = await hold(run, id)
        if (found === undefined || found.deletedAt === 0) return "not-found"
        if (await isTaken(run, name)) return "name-taken"
        await run("UPDATE {objects} SET deleted_at = 0, name = $1 WHERE id = $2", [name, id])
        return "done"
      }),
    deletedBefore: async (time, limit) =>
      (
        await db.find(
          `SELECT id FROM {objects} WHERE environment = $1 AND deleted_at > 0 AND deleted_at < $2
           ORDER BY deleted_at LIMIT $3`,
          [environment, time, limit],
        )
      ).map(({ id }) => String(id)),
    purge: (id, time, events) =>
      write(events, async (run) => {
        const { deletedAt = 0 } = (await hold(run, id)) ?? {}
        if (deletedAt === 0 || deletedAt >= time) return false
        for (const table of ["versions", "pairs", "event_details"])
          await run(`DELETE FROM {${table}} WHERE object_id = $1`, [id])
        await run("DELETE FROM {objects} WHERE id = $1", [id])
        return true
      }),
    scrub: async () => undefined,
    byId: async (id) =>
      toObject(await first("SELECT * FROM {objects} WHERE id = $1 AND environment = $2", [id, environment])),
    byName: async (name) =>
      toObject(
        await first("SELECT * FROM {objects} WHERE name = $1 AND environment = $2 AND deleted_at = 0", [
          ...[name, environment],
        ]),
      ),
    version: async (objectId, versionId) =>
      toVersion(
        await first("SELECT * FROM {versions} WHERE object_id = $1 AND version_id = $2", [
          objectId,
          versionId,
        ]),
      ),
    head: async (objectId, versionId) =>
      toHead(
        await first(
          `SELECT ${FACTS}, change, header FROM {versions} WHERE object_id = $1 AND version_id = $2`,
          [objectId, versionId],
        ),
      ),
    versions: async (objectId) =>
      (
        await db.find(`SELECT ${FACTS} FROM {versions} WHERE object_id = $1 ORDER BY ordinal DESC`, [
          objectId,
        ])
      ).map(toFacts),
    list: (query) => list(db, environment, query),
    record: (events) => write(events, async () => true).then(() => undefined),
    unlinked: async (limit) =>
      (
        await db.find(
          "SELECT id, body FROM {events} WHERE environment = $1 AND position IS NULL ORDER BY at, id LIMIT $2",
          [environment, limit],
        )
      ).map(({ id, body }) => ({ id: String(id), body: String(body) })),
    async lastLink() {
      const last = await first(LAST_LINK, [environment])
      return last && { id: String(last.id), position: Number(last.position), hash: bytesOf(last.hash) }
    },
    link: (after, links) =>
      db.transaction(async (run) => {
        // An event that another process is linking is waited for, and then has its place, which it keeps.
        const held = await run(
          "SELECT id FROM {events} WHERE id = ANY($1) AND position IS NULL ORDER BY id FOR UPDATE",
          [links.map(({ id }) => id)],
        )
        if (held.count !== links.length) return false
        // Two that link other events after the same link write the same positions: one fails, and then sees the other's.
        if ((await run(LAST_LINK, [environment])).rows[0]?.id !== after?.id) return false
        await run(
          `UPDATE {events} AS event SET position = new.position, hash = decode(new.hash, 'hex')
           FROM unnest($1::text[], $2::bigint[], $3::text[]) AS new (id, position, hash) WHERE event.id = new.id`,
          [
            links.map(({ id }) => id),
            links.map(({ position }) => position),
            links.map(({ hash }) => Buffer.from(hash).toString("hex")),
          ],
        )
        return true
      }),
    events: (query) => events(db, environment, query),
    async eventPosition(id) {
      const found = await first("SELECT position FROM {events} WHERE id = $1 AND environment = $2", [
        id,
        environment,
      ])
      return found === undefined || found.position === null ? undefined : Number(found.position)
    },
    async putApiKey(k) {
      await db.run("INSERT INTO {api_keys} VALUES ($1, $2, $3, $4, $5, $6, $7)", [
        ...[k.id, environment, k.name, k.hash, k.scope, k.createdAt, k.revokedAt],
      ])
    },
    findApiKey: async (hash) =>
      toApiKey(
        await first("SELECT * FROM {api_keys} WHERE hash = $1 AND environment = $2", [hash, environment]),
      ),
    apiKeys: async () =>
      (
        await db.find("SELECT * FROM {api_keys} WHERE environment = $1 ORDER BY created_at, id", [
          environment,
        ])
      ).map((row) => toApiKey(row) as ApiKeyRow),
    revokeApiKey: async (id, revokedAt) =>
      (
        await db.run(
          "UPDATE {api_keys} SET revoked_at = $1 WHERE id = $2 AND environment = $3 AND revoked_at = 0",
          [revokedAt, id, environment],
        )
      ).count === 1,
    putToken: ({ kind, hash, content, expiresAt }, now) =>
      db.transaction(async (run) => {
        await run("DELETE FROM {tokens} WHERE environment = $1 AND expires_at <= $2", [environment, now])
        const put = "INSERT INTO {tokens} VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
        return (await run(put, [environment, kind, hash, content, expiresAt])).count === 1
      }),
    findToken: async (kind, hash, now) =>
      toToken(await first(`SELECT * FROM {tokens} WHERE ${TOKEN}`, [environment, kind, hash, now])),
    takeToken: async (kind, hash, now) =>
      toToken(await first(`DELETE FROM {tokens} WHERE ${TOKEN} RETURNING *`, [environment, kind, hash, now])),
    async putWebhook(w) {
      await db.run("INSERT INTO {webhooks} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", [
        ...[w.id, environment, w.settings, w.secret, w.createdAt, w.change],
        ...[w.position, w.dueAt, w.failures, w.failingSince, w.failure],
      ])
    },
    webhooks: async () =>
      (
        await db.find("SELECT * FROM {webhooks} WHERE environment = $1 ORDER BY created_at, id", [
          environment,
        ])
      ).map(toWebhook),
    moveWebhook: async (id, change, { position, dueAt, failures, failingSince, failure }) =>
      (
        await db.run(
          `UPDATE {webhooks} SET change = change + 1, position = $1, due_at = $2, failures = $3, failing_since = $4,
           failure = $5 WHERE id = $6 AND change = $7 AND environment = $8`,
          [position, dueAt, failures, failingSince, failure, id, change, environment],
        )
      ).count === 1,
    removeWebhook: async (id) =>
      (await db.run("DELETE FROM {webhooks} WHERE id = $1 AND environment = $2", [id, environment])).count ===
      1,
    close: () => db.close(),
  }
}

async function putEvents(run: Run, environment: string, events: readonly EventRow[]): Promise<void> {
  for (const { id, at, body, objectId, organizationId, salt, detail } of events) {
    await run("INSERT INTO {events} VALUES ($1, $2, $3, $4, NULL, NULL)", [id, environment, at, body])
    await run("INSERT INTO {event_details} VALUES ($1, $2, $3, $4, $5)", [
      ...[id, objectId ?? null, organizationId ?? null, salt, detail],
    ])
  }
}

/** Conditions and their values, numbered as they come. */
class Query {
  readonly values: Value[] = []
  readonly #conditions: string[] = []

  next(value: Value): string {
    this.values.push(value)
    return `$${this.values.length}`
  }

  /** `?` stands for the values in their order. */
  add(condition: string, ...values: Value[]): void {
    this.#conditions.push(condition.replaceAll("?", () => this.next(values.shift() as Value)))
  }

  get where(): string {
    return this.#conditions.join(" AND ")
  }
}

function dueOf(environment: string, { sealedBefore, context = {} }: Due): Query {
  const query = new Query()
  query.add("v.environment = ? AND sealed_at < ?", environment, sealedBefore)
  for (const [name, value] of Object.entries(context))
    query.add("object_id IN (SELECT object_id FROM {pairs} WHERE name = ? AND value = ?)", name, value)
  return query
}

async function list(
  db: Database,
  environment: string,
  { limit, order, after, before, search, updatedAfter, context = {}, deleted }: ListQuery,
): Promise<readonly ObjectRow[] | undefined> {
  const cursor = after ?? before
  // Towards an earlier page the rows are taken the other way round, nearest to the cursor first.
  const ascending = (order === "asc") === (after !== undefined || before === undefined)
  const query = new Query()
  query.add(
    deleted ? "environment = ? AND deleted_at > 0" : "environment = ? AND deleted_at = 0",
    environment,
  )
  if (cursor !== undefined) {
    const [at] = await db.find("SELECT created_at FROM {objects} WHERE id = $1", [cursor])
    if (at === undefined) return undefined
    query.add(`(created_at, id) ${ascending ? ">" : "<"} (?::bigint, ?)`, String(at.created_at), cursor)
  }
  if (search !== undefined) query.add("strpos(name, ?) > 0", search)
  if (updatedAfter !== undefined) query.add("updated_at > ?", updatedAfter)
  for (const [name, value] of Object.entries(context))
    query.add("id IN (SELECT object_id FROM {pairs} WHERE name = ? AND value = ?)", name, value)
  const direction = ascending ? "ASC" : "DESC"
  const most = query.next(limit)
  const found = await db.find(
    `SELECT * FROM {objects} WHERE ${query.where} ORDER BY created_at ${direction}, id ${direction} LIMIT ${most}`,
    query.values,
  )
  const objects = found.map((row) => toObject(row) as ObjectRow)
  return ascending === (order === "asc") ? objects : objects.reverse()
}

async function events(
  db: Database,
  environment: string,
  { limit, order, above, below, types, from, until, organizationId }: EventQuery,
) {
  const query = new Query()
  query.add("environment = ? AND position IS NOT NULL", environment)
  if (above !== undefined) query.add("position > ?", above)
  if (below !== undefined) query.add("position < ?", below)
  if (types !== undefined) query.add("(body::json ->> 'type') = ANY(?)", types)
  if (from !== undefined) query.add("at >= ?", from)
  if (until !== undefined) query.add("at <= ?", until)
  if (organizationId !== undefined) query.add("organization_id = ?", organizationId)
  const direction = order === "asc" ? "ASC" : "DESC"
  const most = query.next(limit)
  const found = await db.find(
    `SELECT * FROM {events} LEFT JOIN {event_details} ON event_id = id WHERE ${query.where}
     ORDER BY position ${direction} LIMIT ${most}`,
    query.values,
  )
  return found.map((row) => ({
    id: String(row.id),
    at: Number(row.at),
    body: String(row.body),
    position: Number(row.position),
    hash: bytesOf(row.hash),
    detail: row.detail === null ? undefined : String(row.detail),
    salt: row.salt === null ? undefined : bytesOf(row.salt),
  }))
}

const FACTS = "version_id, created_at, actor_id, actor_name, text, size"
const LAST_LINK =
  "SELECT id, position, hash FROM {events} WHERE environment = $1 AND position IS NOT NULL ORDER BY position DESC LIMIT 1"

const bytesOf = (value: unknown) => Uint8Array.from(value as Buffer)

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
    text: found.text === true,
    size: Number(found.size),
  }
}

function toVersion(found: Found | undefined): VersionRow | undefined {
  if (found === undefined) return undefined
  const [header, payload] = [bytesOf(found.header), bytesOf(found.payload)]
  return { ...toFacts(found), objectId: String(found.object_id), header, payload }
}

function toHead(found: Found | undefined): VersionHead | undefined {
  if (found === undefined) return undefined
  return { ...toFacts(found), header: bytesOf(found.header), change: Number(found.change) }
}

function toApiKey(found: Found | undefined): ApiKeyRow | undefined {
  if (found === undefined) return undefined
  return {
    id: String(found.id),
    name: String(found.name),
    hash: bytesOf(found.hash),
    scope: String(found.scope),
    createdAt: Number(found.created_at),
    revokedAt: Number(found.revoked_at),
  }
}

function toToken(found: Found | undefined): TokenRow | undefined {
  if (found === undefined) return undefined
  return {
    kind: String(found.kind),
    hash: bytesOf(found.hash),
    content: String(found.content),
    expiresAt: Number(found.expires_at),
  }
}

function toWebhook(found: Found): WebhookRow {
  return {
    id: String(found.id),
    settings: String(found.settings),
    secret: bytesOf(found.secret),
    createdAt: Number(found.created_at),
    change: Number(found.change),
    position: Number(found.position),
    dueAt: Number(found.due_at),
    failures: Number(found.failures),
    failingSince: Number(found.failing_since),
    failure: String(found.failure),
  }
}

/** One that has not expired. */
const TOKEN = "environment = $1 AND kind = $2 AND hash = $3 AND expires_at > $4"
/** One step for each version of the schema; a step that was released is never changed. */
const MIGRATIONS = [
  `
CREATE TABLE {objects} (
  id text PRIMARY KEY, environment text NOT NULL, name text NOT NULL, context text NOT NULL, version_id text NOT NULL,
  created_at bigint NOT NULL, updated_at bigint NOT NULL, deleted_at bigint NOT NULL
);
CREATE UNIQUE INDEX objects_alive ON {objects} (environment, name) WHERE deleted_at = 0;
CREATE INDEX objects_by_time ON {objects} (environment, created_at, id);
CREATE INDEX objects_deleted ON {objects} (environment, deleted_at) WHERE deleted_at > 0;
CREATE TABLE {pairs} (
  object_id text NOT NULL, name text NOT NULL, value text NOT NULL, PRIMARY KEY (name, value, object_id)
);
CREATE INDEX pairs_of_object ON {pairs} (object_id);
CREATE TABLE {versions} (
  object_id text NOT NULL, version_id text NOT NULL, ordinal int NOT NULL, created_at bigint NOT NULL,
  actor_id text NOT NULL, actor_name text NOT NULL, text boolean NOT NULL, size bigint NOT NULL,
  environment text NOT NULL, change bigint NOT NULL, sealed_at bigint NOT NULL, claimed_until bigint NOT NULL,
  header bytea NOT NULL, payload bytea NOT NULL,
  PRIMARY KEY (object_id, version_id), UNIQUE (object_id, ordinal)
);
CREATE INDEX versions_by_sealing ON {versions} (environment, sealed_at);
CREATE TABLE {sweeps} (
  id text PRIMARY KEY, environment text NOT NULL, kind text NOT NULL, context text NOT NULL, started_at bigint NOT NULL,
  UNIQUE (environment, kind, context)
);
CREATE TABLE {events} (
  id text PRIMARY KEY, environment text NOT NULL, at bigint NOT NULL, body text NOT NULL, position bigint, hash bytea
);
CREATE UNIQUE INDEX events_in_order ON {events} (environment, position) WHERE position IS NOT NULL;
CREATE INDEX events_unlinked ON {events} (environment, at, id) WHERE position IS NULL;
CREATE TABLE {event_details} (
  event_id text PRIMARY KEY, object_id text, organization_id text, salt bytea NOT NULL, detail text NOT NULL
);
CREATE INDEX event_details_of_object ON {event_details} (object_id);
CREATE TABLE {api_keys} (
  id text PRIMARY KEY, environment text NOT NULL, name text NOT NULL, hash bytea NOT NULL, scope text NOT NULL,
  created_at bigint NOT NULL, revoked_at bigint NOT NULL, UNIQUE (environment, hash)
)
`,
  `
CREATE TABLE {tokens} (
  environment text NOT NULL, kind text NOT NULL, hash bytea NOT NULL, content text NOT NULL, expires_at bigint NOT NULL,
  PRIMARY KEY (environment, kind, hash)
);
CREATE INDEX tokens_by_end ON {tokens} (environment, expires_at)
`,
  `
CREATE TABLE {webhooks} (
  id text PRIMARY KEY, environment text NOT NULL, settings text NOT NULL, secret bytea NOT NULL, created_at bigint NOT NULL,
  change bigint NOT NULL, position bigint NOT NULL, due_at bigint NOT NULL, failures bigint NOT NULL,
  failing_since bigint NOT NULL, failure text NOT NULL
);
CREATE INDEX webhooks_by_time ON {webhooks} (environment, created_at, id)
`,
]
