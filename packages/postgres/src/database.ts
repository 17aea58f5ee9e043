import { KeyfoldError } from "@keyfold/core"
import { ExponentialBackoff, handleWhen, retry } from "cockatiel"
import pg from "pg"

export type PostgresOptions = {
  /**
   * `postgres://user@host:5432/database`, with `?sslmode=verify-full` for a server elsewhere. What it leaves out comes
   * from PGPASSWORD and the other variables that libpq knows.
   */
  readonly connectionString?: string
  /** A pool of yours instead; it stays open when the store is closed. Set its time-outs and hear its `error` event. */
  readonly pool?: pg.Pool
  /** The schema that holds the tables, made where it is not there. Default `keyfold`. */
  readonly schema?: string
}

/** One row of an answer. `bigint` columns come as strings, `bytea` as Buffers. */
export type Found = Record<string, unknown>
export type Value = string | number | boolean | Uint8Array | null | readonly (string | number)[]

/** Runs one statement; its tables stand without their schema, as `{objects}`. */
export type Run = (
  text: string,
  values?: readonly Value[],
) => Promise<{ readonly rows: readonly Found[]; readonly count: number }>

/**
 * A schema of a database that is brought up to date before its first use. Deadlocks and serialization failures are tried
 * again; whatever else fails is a KeyfoldError without the database's own error, which can quote values.
 */
export class Database {
  readonly #pool: pg.Pool
  readonly #isOwn: boolean
  readonly #schema: string
  readonly #part: string
  readonly #migrations: readonly string[]
  #ready: Promise<void> | undefined

  /** @param part names these migrations among others in the same schema */
  constructor(options: PostgresOptions, part: string, migrations: readonly string[]) {
    const { pool, connectionString, schema = "keyfold" } = options
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
      throw new KeyfoldError("INVALID_ARGUMENT", "a schema's name has lower-case letters, digits and _")
    }
    this.#isOwn = pool === undefined
    this.#pool = pool ?? openPool(connectionString)
    this.#schema = schema
    this.#part = part
    this.#migrations = migrations
  }

  /** One statement, which is a transaction of its own. */
  readonly run: Run = async (text, values = []) => {
    await this.#migrated()
    return this.#trying(() => this.#send(this.#pool, text, values))
  }

  /** What a lookup by texts of others finds: PostgreSQL has no NUL in a text, so nothing has one. */
  async find(text: string, values: readonly Value[]): Promise<readonly Found[]> {
    if (values.some((value) => typeof value === "string" && value.includes("\0"))) return []
    return (await this.run(text, values)).rows
  }

  /** All of `work` or nothing; it may run more than once. */
  async transaction<T>(work: (run: Run) => Promise<T>): Promise<T> {
    await this.#migrated()
    return this.#trying(() => this.#transact(work))
  }

  async close(): Promise<void> {
    if (this.#isOwn && !this.#pool.ended && !this.#pool.ending) await this.#pool.end()
  }

  async #transact<T>(work: (run: Run) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect()
    // The statement under way fails by itself; without a listener the event would end the process.
    client.on("error", ignore)
    let failure: Error | undefined
    try {
      await client.query("BEGIN")
      const result = await work((text, values = []) => this.#send(client, text, values))
      await client.query("COMMIT")
      return result
    } catch (error) {
      failure = error as Error
      // Only who answered is asked again. Another connection is thrown away, and its transaction with it.
      if (error instanceof pg.DatabaseError) {
        await client.query("ROLLBACK").then(
          () => (failure = undefined),
          () => undefined,
        )
      }
      throw error
    } finally {
      client.off("error", ignore)
      client.release(failure)
    }
  }

  async #send(to: pg.Pool | pg.PoolClient, text: string, values: readonly Value[]) {
    const named = text.replaceAll(/\{(\w+)\}/g, `"${this.#schema}".$1`)
    const bound = values.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value))
    const { rows, rowCount } = await to.query(named, bound as unknown[])
    return { rows: rows as Found[], count: rowCount ?? 0 }
  }

  /** Once for each handle; one that failed is tried again with the next call. */
  async #migrated(): Promise<void> {
    this.#ready ??= this.#trying(() => this.#migrate())
    try {
      await this.#ready
    } catch (error) {
      this.#ready = undefined
      throw error
    }
  }

  /** Takes every step that this schema has not taken. Of several processes one does; the others wait for its commit. */
  async #migrate(): Promise<void> {
    const version = (await this.#version()) ?? (await this.#makeVersions())
    if (version > this.#migrations.length) {
      throw new KeyfoldError("UNSUPPORTED_VERSION", "this store was written by a newer keyfold: use that one")
    }
    for (let next = version + 1; next <= this.#migrations.length; next++) {
      await this.#transact(async (run) => {
        const step = "INSERT INTO {migrations} VALUES ($1, $2) ON CONFLICT DO NOTHING"
        const { count } = await run(step, [this.#part, next])
        if (count === 0) return
        for (const statement of (this.#migrations[next - 1] as string).split(";"))
          if (statement.trim() !== "") await run(statement)
      })
    }
  }

  /** Which step was taken last; undefined where there is no table of them. */
  async #version(): Promise<number | undefined> {
    try {
      const text = "SELECT coalesce(max(version), 0) AS version FROM {migrations} WHERE part = $1"
      return Number((await this.#send(this.#pool, text, [this.#part])).rows[0]?.version)
    } catch (error) {
      if ((error as { code?: string }).code === UNDEFINED_TABLE) return undefined
      throw error
    }
  }

  /** Makes the table of steps. A role that may make no schema can use one that is there. */
  async #makeVersions(): Promise<number> {
    const schema = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1"
    if ((await this.#send(this.#pool, schema, [this.#schema])).count === 0)
      await this.#pool.query(`CREATE SCHEMA IF NOT EXISTS "${this.#schema}"`)
    const table = "(part text NOT NULL, version int NOT NULL, PRIMARY KEY (part, version))"
    await this.#send(this.#pool, `CREATE TABLE IF NOT EXISTS {migrations} ${table}`, [])
    return (await this.#version()) ?? 0
  }

  async #trying<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await RETRY.execute(work)
    } catch (error) {
      throw named(error)
    }
  }
}

function openPool(connectionString: string | undefined): pg.Pool {
  const pool = new pg.Pool({
    ...(connectionString !== undefined && { connectionString }),
    ...{ max: 10, connectionTimeoutMillis: 5_000, statement_timeout: 10_000, query_timeout: 15_000 },
    ...{ application_name: "keyfold", keepAlive: true },
  })
  // A connection that is lost while nobody uses it; the next call opens another one.
  pool.on("error", ignore)
  return pool
}

const ignore = () => undefined

/** By SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html). */
function named(error: unknown): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  const { code = "no code" } = error as { code?: string }
  if (code === "ERR_INVALID_URL") {
    return new KeyfoldError(
      "INVALID_ARGUMENT",
      "the connection string is none: postgres://user@host:5432/database, its special characters percent-encoded",
    )
  }
  if (code === "53100") {
    return new KeyfoldError("STORE_FULL", "PostgreSQL has no room to write: free some and try again")
  }
  if (code === "XX001" || code === "XX002") {
    return new KeyfoldError("STORE_CORRUPT", `PostgreSQL found damage (${code}): restore it from a backup`)
  }
  return new KeyfoldError("STORE_FAILED", `PostgreSQL cannot be read or written (${code})`)
}

const UNDEFINED_TABLE = "42P01"
/** Serialization failure, deadlock; and what several processes that make one schema at once can meet. */
const AGAIN = new Set(["40001", "40P01", "42P06", "42P07", "42710", "23505"])
const RETRY = retry(
  handleWhen((error) => AGAIN.has((error as { code?: string }).code ?? "")),
  { maxAttempts: 8, backoff: new ExponentialBackoff({ initialDelay: 10, maxDelay: 500 }) },
)
