import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, expect, test } from "vitest"
import { createManagedProvider, memoryStore } from "../src/index.ts"
import { backupSqliteStore, checkSqliteStore, sqliteStore } from "../src/sqlite-store.ts"
import { kekStoreSuite } from "./kek-store-suite.ts"

const folder = mkdtempSync(join(tmpdir(), "keyfold-stores-"))
afterAll(() => rmSync(folder, { recursive: true }))
let count = 0
const fresh = () => join(folder, `${++count}.db`)
const root = { key: new Uint8Array(32).fill(1) }
const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })

kekStoreSuite("memory store", memoryStore)
kekStoreSuite("SQLite store", () => sqliteStore(fresh()))

test("what is written is there for another handle and after closing, for the owner alone", () => {
  const path = fresh()
  const one = sqliteStore(path)
  one.putMeta({ change: 1, text: "x" })
  const two = sqliteStore(path)
  expect({ ...two.meta() }).toEqual({ change: 1, text: "x" })
  one.close()
  two.close()
  expect({ ...sqliteStore(path).meta() }).toEqual({ change: 1, text: "x" })
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

test("what is no store is named, and a newer one is left alone", () => {
  const path = fresh()
  writeFileSync(path, "no database".repeat(1000))
  expect(() => sqliteStore(path)).toThrow(code("STORE_CORRUPT"))
  expect(() => checkSqliteStore(path)).toThrow(code("STORE_CORRUPT"))
  expect(() => sqliteStore(join(folder, "no/where.db"))).toThrow(code("STORE_FAILED"))
  const newer = fresh()
  sqliteStore(newer).close()
  const db = new DatabaseSync(newer)
  db.exec("PRAGMA user_version = 99")
  db.close()
  expect(() => sqliteStore(newer)).toThrow(code("UNSUPPORTED_VERSION"))
})

test("a file that was cut anywhere is named, and no KEK of it is taken for one that was never made", async () => {
  const path = fresh()
  const managed = await createManagedProvider({ store: sqliteStore(path), root, environment: "test" })
  for (let i = 0; i < 40; i++) await managed.kekFor({ name: "n", value: String(i) })
  await managed.close()
  const whole = readFileSync(path)
  expect(whole.length).toBeGreaterThan(3 * 4096)
  const cut = fresh()
  for (let left = 1; left < whole.length; left += 331) {
    writeFileSync(cut, whole.subarray(0, left))
    expect(() => sqliteStore(cut).meta()).toThrow(code("STORE_CORRUPT"))
  }
  writeFileSync(cut, whole)
  expect(sqliteStore(cut).list("", 100)).toHaveLength(40)
})

test("another program's database is refused, and left as it was", () => {
  const path = fresh()
  const db = new DatabaseSync(path)
  db.exec("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
  expect(() => sqliteStore(path)).toThrow(code("STORE_CORRUPT"))
  expect(db.prepare("SELECT count(*) AS n FROM sqlite_schema").get()).toMatchObject({ n: 1 })
  db.close()
})

test("a folder in the place of the file is named", () => {
  const path = fresh()
  mkdirSync(path)
  expect(() => sqliteStore(path)).toThrow(code("STORE_FAILED"))
})

test("a folder that may not be written is named", (context) => {
  if (process.getuid?.() === 0) context.skip("root may write everywhere")
  const path = fresh()
  mkdirSync(path, { mode: 0o500 })
  expect(() => sqliteStore(join(path, "keks.db"))).toThrow(code("STORE_FAILED"))
})

test("every column that is changed in the file is noticed", async () => {
  const path = fresh()
  const open = () => createManagedProvider({ store: sqliteStore(path), root, environment: "test" })
  const managed = await open()
  const { keyId } = await managed.kekFor({ name: "a", value: "1" })
  await managed.close()
  const db = new DatabaseSync(path)
  const columns = {
    key_id: "lower(hex(randomblob(16)))",
    pair_index: "lower(hex(randomblob(32)))",
    version: "version + 1",
    state: "'disabled'",
    closed: "1 - closed",
    created_at: "created_at + 1",
    rotated_at: "rotated_at + 1",
    deletion_at: "deletion_at + 1",
    change: "change + 1",
    sealed: "randomblob(length(sealed))",
  }
  for (const [column, value] of Object.entries(columns)) {
    db.exec("BEGIN; CREATE TABLE kept AS SELECT * FROM keks; COMMIT")
    db.exec(`UPDATE keks SET ${column} = ${value}`)
    const tampered = await open()
    const listing = async () => {
      for await (const _ of tampered.list());
    }
    await expect(listing(), column).rejects.toEqual(code("STORE_CORRUPT"))
    if (column !== "pair_index") {
      const finding = async () => tampered.findKek({ name: "a", value: "1" })
      await expect(finding(), column).rejects.toEqual(code("STORE_CORRUPT"))
    }
    await tampered.close()
    db.exec("BEGIN; DELETE FROM keks; INSERT INTO keks SELECT * FROM kept; DROP TABLE kept; COMMIT")
  }
  db.close()
  const intact = await open()
  expect((await intact.findKek({ name: "a", value: "1" }))?.keyId).toBe(keyId)
  await intact.close()
})

test("a backup that cannot be written leaves no file", (context) => {
  const small = join(folder, "full")
  mkdirSync(small)
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", small], { stdio: "ignore" })
  } catch {
    context.skip("no permission to mount a small tmpfs")
  }
  try {
    const path = fresh()
    sqliteStore(path).close()
    expect(() => backupSqliteStore(path, join(small, "backup.db"))).toThrow(code("STORE_FULL"))
    expect(readdirSync(small)).toEqual([])
  } finally {
    execFileSync("umount", [small])
  }
})

test("a backup is one file that opens with the same root key; it replaces nothing", async () => {
  const path = fresh()
  const managed = await createManagedProvider({ store: sqliteStore(path), root, environment: "test" })
  const kek = await managed.kekFor({ name: "a", value: "1" })
  const copy = fresh()
  backupSqliteStore(path, copy)
  expect(() => backupSqliteStore(path, copy)).toThrow(code("INVALID_ARGUMENT"))
  expect(statSync(copy).mode & 0o777).toBe(0o600)
  checkSqliteStore(copy)
  const restored = await createManagedProvider({ store: sqliteStore(copy), root, environment: "test" })
  expect((await restored.findKek({ name: "a", value: "1" }))?.keyId).toBe(kek.keyId)
  await restored.close()
  await managed.close()
})

test("a destroyed key is in none of the files any more", async () => {
  const path = fresh()
  const store = sqliteStore(path)
  const managed = await createManagedProvider({ store, root, environment: "test" })
  const { keyId } = await managed.kekFor({ name: "a", value: "1" })
  const sealed = Buffer.from((await store.get(keyId))?.sealed as Uint8Array)
  const files = () => Buffer.concat([path, `${path}-wal`].map((file) => readFileSync(file)))
  expect(files().includes(sealed)).toBe(true)
  await managed.scheduleDeletion(keyId)
  const waiting = Buffer.from((await store.get(keyId))?.sealed as Uint8Array)
  // The row is sealed with its time, so only the clock can really move.
  const later = Date.now() + 31 * 86_400_000
  const { now } = Date
  Date.now = () => later
  try {
    expect(await managed.destroyDue()).toEqual([keyId])
  } finally {
    Date.now = now
  }
  expect(files().includes(sealed)).toBe(false)
  expect(files().includes(waiting)).toBe(false)
  const wrapping = async () =>
    managed.kek(keyId).wrap(new Uint8Array(32), { binding: new Uint8Array(71), covered: [], owner: "" }, {})
  await expect(wrapping()).rejects.toEqual(code("KEY_NOT_FOUND"))
  await managed.close()
})

test("a full disk is named, loses nothing, and is over when there is room", async (context) => {
  const small = join(folder, "small")
  mkdirSync(small)
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", small], { stdio: "ignore" })
  } catch {
    context.skip("no permission to mount a small tmpfs")
  }
  try {
    const managed = await createManagedProvider({
      store: sqliteStore(join(small, "keks.db")),
      root,
      environment: "test",
    })
    const made = new Map<string, string>()
    const fill = async () => {
      for (let i = 0; i < 5000; i++)
        made.set(`${i}`, (await managed.kekFor({ name: "n", value: `${i}` })).keyId)
    }
    await expect(fill()).rejects.toEqual(code("STORE_FULL"))
    expect(made.size).toBeGreaterThan(10)
    for (const [value, keyId] of made)
      expect((await managed.findKek({ name: "n", value }))?.keyId).toBe(keyId)
    execFileSync("mount", ["-o", "remount,size=8m", small])
    await managed.kekFor({ name: "n", value: "after" })
    await managed.close()
  } finally {
    execFileSync("umount", [small])
  }
})
