/** The vault on SQLite, and what only a file can show. */
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { purgeDeleted, verifyEvents } from "../src/index.ts"
import { sqliteVaultStore } from "../src/sqlite-vault-store.ts"
import { vaultSuite } from "./vault-suite.ts"
import { actor, context, startWorld, type World } from "./world.ts"

let folder: string
let path: string
let world: World

const makeFolder = () => {
  folder = mkdtempSync(join(tmpdir(), "vault-"))
  path = join(folder, "vault.db")
}
const removeFolder = async () => rmSync(folder, { recursive: true })

vaultSuite("SQLite", async () => {
  makeFolder()
  const file = path
  return { open: (environment = "default") => sqliteVaultStore(file, { environment }), end: removeFolder }
})

describe("a vault in a file", () => {
  beforeEach(async () => {
    makeFolder()
    world = await startWorld(sqliteVaultStore(path))
  })
  afterEach(async () => {
    await world.close()
    await removeFolder()
  })

  test("a purge leaves nothing of a ciphertext, a wrap or a name in any of its files", async () => {
    const { vault, store } = world
    const gone: Buffer[] = []
    for (let i = 0; i < 300; i++) {
      const name = `name canary ${i}`
      const { id } = await vault.create(
        name,
        { ...context, canary: `pair canary ${i}` },
        "v".repeat((i * 37) % 9000),
      )
      if (i % 3 === 0) await vault.update(id, "w".repeat(i))
      if (i % 5 === 0) await vault.rewrap(id)
      if (i % 2 === 0) {
        for (const { versionId } of await vault.versions(id)) {
          const { header, payload } = (await store.version(id, versionId)) as {
            header: Uint8Array
            payload: Uint8Array
          }
          gone.push(Buffer.from(header.subarray(-100)), Buffer.from(payload.subarray(-16)))
        }
        gone.push(Buffer.from(`${name}"`), Buffer.from(`pair canary ${i}"`))
        await vault.remove(id)
      }
    }
    const bytes = () => Buffer.concat(readdirSync(folder).map((file) => readFileSync(join(folder, file))))
    const before = bytes()
    expect(gone.filter((piece) => before.includes(piece))).toHaveLength(gone.length)
    expect(await purgeDeleted({ store, actor, recoveryDays: -1 })).toEqual({ purged: 150, scrubbed: true })
    const after = bytes()
    expect(gone.filter((piece) => after.includes(piece))).toEqual([])
    expect((await vault.list({ limit: 100, order: "asc" })).objects).toHaveLength(100)
  })

  test("a ciphertext of another version or object in the row is refused", async () => {
    const { vault } = world
    const one = await vault.create("n", context, "old")
    await vault.update(one.id, "new")
    const two = await vault.create("m", context, "foreign")
    const db = new DatabaseSync(path)
    for (const foreign of [one.versionId, two.versionId]) {
      db.prepare(
        `UPDATE versions SET (header, payload) = (SELECT header, payload FROM versions WHERE version_id = ?)
         WHERE object_id = ? AND ordinal = 2`,
      ).run(foreign, one.id)
      await expect(vault.read(one.id)).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
    }
    db.close()
  })

  test.each([
    ["an altered event", "UPDATE events SET body = replace(body, 'created', 'updated') WHERE position = 2"],
    ["an altered detail", "UPDATE event_details SET detail = replace(detail, 'n1', 'nx')"],
    ["a removed event", "DELETE FROM events WHERE position = 2"],
    [
      "two events in each other's place",
      "UPDATE events SET position = CASE position WHEN 1 THEN -2 ELSE -1 END WHERE position < 3; UPDATE events SET position = -position WHERE position < 0",
    ],
  ])("the audit chain shows %s", async (_name, change) => {
    const { vault, store } = world
    for (let i = 0; i < 3; i++) await vault.create(`n${i}`, context, "x")
    await verifyEvents(store)
    const db = new DatabaseSync(path)
    db.exec(change)
    db.close()
    await expect(verifyEvents(store)).rejects.toMatchObject({ code: "STORE_CORRUPT" })
  })

  test("where the end of the audit chain was cut off, its last hash is another", async () => {
    const { vault, store } = world
    for (let i = 0; i < 3; i++) await vault.create(`n${i}`, context, "x")
    const { hash } = await verifyEvents(store)
    const db = new DatabaseSync(path)
    db.exec("DELETE FROM events WHERE position = 3")
    db.close()
    expect((await verifyEvents(store)).hash).not.toEqual(hash)
  })

  test.each([
    [1, ["tokens", "webhooks"]],
    [2, ["webhooks"]],
  ])("one of version %i is brought up to date, and keeps what it holds", async (version, later) => {
    const { id } = await world.vault.create("n", context, "x")
    const db = new DatabaseSync(path)
    for (const table of later) db.exec(`DROP TABLE ${table}`)
    db.exec(`PRAGMA user_version = ${version}`)
    db.close()
    const store = sqliteVaultStore(path)
    expect((await world.view({ store }).read(id)).value).toBe("x")
    expect(await store.webhooks()).toEqual([])
    expect(await store.findToken("link", new Uint8Array(32), 0)).toBeUndefined()
    await store.close()
  })

  test("it is its owner's alone, and a foreign, newer or damaged one is refused", async () => {
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const foreign = join(folder, "foreign.db")
    const db = new DatabaseSync(foreign)
    db.exec("CREATE TABLE t (x)")
    db.close()
    const newer = join(folder, "newer.db")
    await sqliteVaultStore(newer).close()
    const raised = new DatabaseSync(newer)
    raised.exec("PRAGMA user_version = 1000")
    raised.close()
    const damaged = join(folder, "damaged.db")
    writeFileSync(damaged, "not a database, and long enough to be read as one ".repeat(20))
    const cut = join(folder, "cut.db")
    await sqliteVaultStore(cut).close()
    truncateSync(cut, statSync(cut).size - 100)
    const codes = {
      ...{ [foreign]: "STORE_CORRUPT", [newer]: "UNSUPPORTED_VERSION" },
      ...{ [damaged]: "STORE_CORRUPT", [cut]: "STORE_CORRUPT" },
    }
    for (const [file, code] of Object.entries(codes))
      expect(() => sqliteVaultStore(file)).toThrow(expect.objectContaining({ code }))
    await world.store.close()
    await expect(world.store.byId("x")).rejects.toMatchObject({ code: "STORE_FAILED" })
  })
})
