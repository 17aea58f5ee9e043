/** What only a database server does: it is shared, it goes away and comes back, and others made its schema. */
import { execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { inspect, promisify } from "node:util"
import { createKeyfold, KeyfoldError } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { createVault, linkEvents, purgeDeleted, verifyEvents } from "@keyfold/vault"
import pg from "pg"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { postgresKekStore, postgresVaultStore } from "../src/index.ts"
import { type Server, startServer, unavailable } from "./server.ts"

const root = { key: new Uint8Array(32).fill(1) }
const actor = { id: "a", name: "A" }
const context = { organization_id: "canary_org" }

describe("PostgreSQL", () => {
  if (unavailable !== undefined) {
    test("is there", ({ skip }) => skip(unavailable))
    return
  }
  let server: Server
  let schemas = 0
  const fresh = () => ({ connectionString: server.connectionString, schema: `d${++schemas}` })
  const open = async (options = fresh()) => {
    const managed = await createManagedProvider({
      ...{ store: postgresKekStore(options), root, environment: "test", stateTtlMs: 0 },
    })
    const keyfold = createKeyfold({ router: createRouter({ managed }) })
    const store = postgresVaultStore(options)
    const close = async () => {
      await store.close()
      await managed.close()
    }
    return { options, managed, keyfold, store, vault: createVault({ keyfold, store, actor }), close }
  }
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server.stop())

  test("8 processes make each KEK once, and the tables too", { timeout: 60_000 }, async () => {
    const { connectionString, schema } = fresh()
    const args = [join(import.meta.dirname, "worker.ts"), connectionString, schema, "200"]
    const at = String(Date.now() + 2500)
    const runs = await Promise.all(
      Array.from({ length: 8 }, () => promisify(execFile)(process.execPath, [...args, at])),
    )
    const ids = runs.map(({ stdout }) => JSON.parse(stdout) as string[])
    for (const each of ids) expect(each).toEqual(ids[0])
    expect(new Set(ids[0]).size).toBe(200)
  })

  test("what was acknowledged is there after a crash; while it is down each call fails by its code, and then goes on", {
    timeout: 60_000,
  }, async () => {
    const world = await open()
    const { vault } = world
    const acknowledged: string[] = []
    const failures: unknown[] = []
    let down = false
    const write = async (writer: number) => {
      for (let i = 0; !down; i++) {
        const name = `${writer}-${i}`
        try {
          await vault.create(name, { ...context, user: name }, name)
          acknowledged.push(name)
        } catch (error) {
          failures.push(error)
          return
        }
      }
    }
    const writers = Promise.all([0, 1, 2, 3].map(write))
    await expect.poll(() => acknowledged.length, { timeout: 20_000 }).toBeGreaterThan(100)
    await server.crash()
    down = true
    await writers
    for (const error of failures) expect(error).toMatchObject({ code: "STORE_FAILED" })
    const started = performance.now()
    await expect(vault.readByName("0-0")).rejects.toMatchObject({ code: "STORE_FAILED" })
    expect(performance.now() - started).toBeLessThan(10_000)
    await server.start()
    for (const name of acknowledged) expect((await vault.readByName(name)).value).toBe(name)
    await vault.create("after", context, "x")
    await world.close()

    const later = await open(world.options)
    for (const name of acknowledged) expect((await later.vault.readByName(name)).value).toBe(name)
    let keks = 0
    for await (const _ of later.managed.list()) keks++
    // One for each user and the organization's; a write that was cut off may have left its own.
    expect(keks).toBeGreaterThanOrEqual(acknowledged.length + 1)
    expect(keks).toBeLessThanOrEqual(acknowledged.length + 1 + 4)
    await linkEvents(later.store)
    await verifyEvents(later.store)
    await later.close()
  })

  test("a change in one process holds for the next call of another", async () => {
    const one = await open()
    const two = await open(one.options)
    const { id, keyIds } = await one.vault.create("n", context, "v")
    expect((await two.vault.read(id)).value).toBe("v")
    await one.managed.disable(keyIds[0] as string)
    await expect(two.vault.read(id)).rejects.toMatchObject({ code: "KEY_DISABLED" })
    await one.close()
    await two.close()
  })

  test("of two processes that link at once, one moves no event that the other gave its place", async () => {
    const { options, store, close } = await open()
    const event = { at: 1, body: "{}", objectId: undefined, detail: "{}", organizationId: undefined }
    await store.record(["a", "x"].map((id) => ({ ...event, id, salt: new Uint8Array(1) })))
    const other = new pg.Client({ connectionString: server.connectionString })
    // Of its own, because a transaction sees the same activity as long as it lasts.
    const watcher = new pg.Client({ connectionString: server.connectionString })
    await Promise.all([other.connect(), watcher.connect()])
    const events = `${options.schema}.events`
    await other.query("BEGIN")
    await other.query(`UPDATE ${events} SET position = 1, hash = 'theirs' WHERE id = 'a'`)
    const hash = new Uint8Array(32)
    // It has heard of an event that is older than the other's, and of no link.
    const linked = store.link(undefined, [
      { id: "x", position: 1, hash },
      { id: "a", position: 2, hash },
    ])
    const waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
    const blocked = async () => (await watcher.query(waiting, [`%"${options.schema}".%`])).rowCount
    try {
      await expect.poll(blocked, { timeout: 8000 }).toBe(1)
    } finally {
      await other.query("COMMIT")
    }
    expect(await linked).toBe(false)
    const { rows } = await other.query(`SELECT id, position::int FROM ${events} ORDER BY id`)
    expect(rows).toEqual([
      { id: "a", position: 1 },
      { id: "x", position: null },
    ])
    await Promise.all([other.end(), watcher.end(), close()])
  })

  test("a schema of an earlier version is brought up to date, and keeps what it holds", async () => {
    const { options, vault, close } = await open()
    const { id } = await vault.create("n", context, "v")
    const admin = new pg.Client({ connectionString: server.connectionString })
    await admin.connect()
    await admin.query(`DROP TABLE ${options.schema}.webhooks, ${options.schema}.tokens;
      DELETE FROM ${options.schema}.migrations WHERE part = 'vault' AND version > 1`)
    const store = postgresVaultStore(options)
    expect(await store.webhooks()).toEqual([])
    expect(await store.findToken("link", new Uint8Array(32), 0)).toBeUndefined()
    await store.close()
    expect((await vault.read(id)).value).toBe("v")
    await Promise.all([admin.end(), close()])
  })

  test("a role that may make nothing uses what is there", async () => {
    const { options, vault, close } = await open()
    const { id } = await vault.create("n", context, "v")
    const admin = new pg.Client({ connectionString: server.connectionString })
    await admin.connect()
    await admin.query(`CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA ${options.schema} TO app;
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${options.schema} TO app`)
    const app = await open({
      ...options,
      connectionString: server.connectionString.replace("keyfold@", "app@"),
    })
    expect((await app.vault.read(id)).value).toBe("v")
    await app.vault.create("m", { organization_id: "another" }, "w")
    await Promise.all([admin.end(), app.close(), close()])
  })

  test("a server that falls silent in the middle is given up in one time-out, and then asked anew", async () => {
    const pool = new pg.Pool({ connectionString: server.connectionString, max: 1, query_timeout: 3000 })
    pool.on("error", () => undefined)
    const store = postgresVaultStore({ pool, schema: `d${++schemas}` })
    await store.record([])
    const { pid } = (await pool.query("SELECT pg_backend_pid() AS pid")).rows[0]
    process.kill(pid, "SIGSTOP")
    try {
      const started = performance.now()
      await expect(store.record([])).rejects.toMatchObject({ code: "STORE_FAILED" })
      expect(performance.now() - started).toBeLessThan(5500)
      expect(await store.byId("x")).toBeUndefined()
    } finally {
      process.kill(pid, "SIGCONT")
    }
    await store.close()
    await pool.end()
  })

  test("an error shows its SQLSTATE, and nothing that was sent", async () => {
    const world = await open()
    await world.vault.create("canary_name", context, "canary_value")
    const client = new pg.Client({ connectionString: server.connectionString })
    await client.connect()
    await client.query(`ALTER TABLE ${world.options.schema}.objects ADD CHECK (name <> 'canary_refused')`)
    const error = await world.vault.create("canary_refused", context, "canary_value").catch((error) => error)
    expect(error).toMatchObject({ code: "STORE_FAILED", message: expect.stringContaining("23514") })
    expect(inspect(error, { depth: 9 })).not.toContain("canary")
    await client.end()
    await world.close()
  })

  test("texts with NUL are not found, and cannot be names", async () => {
    const { vault, close } = await open()
    for (const find of [
      () => vault.read("a\0b"),
      () => vault.readByName("a\0b"),
      () =>
        vault
          .list({ limit: 1, order: "asc", search: "\0" })
          .then(({ objects }) => expect(objects).toEqual([])),
    ]) {
      await find().catch((error) => expect(error).toMatchObject({ code: "NOT_FOUND" }))
    }
    await expect(vault.create("a\0b", context, "x")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    const { id } = await vault.create("n", context, "a\0b")
    expect((await vault.read(id)).value).toBe("a\0b")
    await close()
  })

  test("a schema of a newer keyfold, one without rights, and a bad name of one are named", async () => {
    const world = await open()
    await world.vault.create("n", context, "v")
    const client = new pg.Client({ connectionString: server.connectionString })
    await client.connect()
    await client.query(`INSERT INTO ${world.options.schema}.migrations VALUES ('vault', 99)`)
    const newer = postgresVaultStore(world.options)
    await expect(newer.byName("n")).rejects.toMatchObject({ code: "UNSUPPORTED_VERSION" })
    await client.query("CREATE ROLE guest LOGIN")
    const guest = server.connectionString.replace("keyfold@", "guest@")
    const refused = postgresVaultStore({ connectionString: guest })
    await expect(refused.byName("n")).rejects.toMatchObject({
      code: "STORE_FAILED",
      message: expect.stringContaining("42501"),
    })
    for (const schema of ["", "A", 'x"; DROP', "x".repeat(64)]) {
      expect(() => postgresKekStore({ schema })).toThrow(KeyfoldError)
    }
    await Promise.all([client.end(), newer.close(), refused.close(), world.close()])
  })

  test("what is no connection string is named as such, without its password", async () => {
    for (const host of ["h:99999", "h:x"]) {
      const store = postgresKekStore({ connectionString: `postgres://u:canary@${host}/db` })
      const error = await Promise.resolve(store.get("k")).catch((error: unknown) => error)
      expect(error).toMatchObject({ name: "KeyfoldError", code: "INVALID_ARGUMENT" })
      expect(inspect(error, { depth: 9 })).not.toContain("canary")
    }
  })

  test("a purge leaves no row; the bytes are in the tables' files until VACUUM FULL, and in the log until it is recycled", async () => {
    const { vault, store, options, close } = await open()
    const { id, versionId } = await vault.create("n", context, randomBytes(3000))
    await vault.create("kept", context, randomBytes(3000))
    const { payload } = (await store.version(id, versionId)) as { payload: Uint8Array }
    // Within one chunk of what PostgreSQL keeps outside of the row.
    const canary = Buffer.from(payload.subarray(100, 200))
    const client = new pg.Client({ connectionString: server.connectionString })
    await client.connect()
    const hits = async (folder: string) => {
      await client.query("CHECKPOINT")
      const files = readdirSync(join(server.dataFolder, folder), { recursive: true, withFileTypes: true })
      return files.filter(
        (file) => file.isFile() && readFileSync(join(file.parentPath, file.name)).includes(canary),
      ).length
    }
    expect(await hits("base")).toBe(1)
    await vault.remove(id)
    expect(await purgeDeleted({ store, actor, recoveryDays: 0 })).toEqual({ purged: 1, scrubbed: undefined })
    for (const table of ["objects", "pairs", "versions"]) {
      const { rows } = await client.query(`SELECT count(*)::int AS count FROM ${options.schema}.${table}`)
      expect(rows).toEqual([{ count: 1 }])
    }
    const unvacuumed = await hits("base")
    await client.query(`VACUUM FULL ${options.schema}.versions`)
    expect([unvacuumed, await hits("base"), await hits("pg_wal")]).toEqual([1, 0, 1])
    await client.end()
    await close()
  })

  test("a pool of the caller's stays open", async () => {
    const pool = new pg.Pool({ connectionString: server.connectionString })
    const store = postgresKekStore({ pool, schema: `d${++schemas}` })
    expect(await store.meta()).toBeUndefined()
    await store.close()
    expect((await pool.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }])
    await pool.end()
  })
})
