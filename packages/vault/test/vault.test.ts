import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { createKeyfold } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { afterEach, beforeEach, expect, test } from "vitest"
import { createVault, type Vault, type VaultStore } from "../src/index.ts"
import { sqliteVaultStore } from "../src/sqlite-vault-store.ts"

const actor = { id: "a", name: "A" }
const context = { user: "u" }
let folder: string
let path: string
let managed: Awaited<ReturnType<typeof createManagedProvider>>
let store: VaultStore
let vault: Vault

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "vault-"))
  path = join(folder, "vault.db")
  const root = { key: new Uint8Array(32).fill(1) }
  managed = await createManagedProvider({ store: memoryStore(), root, environment: "test" })
  store = sqliteVaultStore(path)
  vault = createVault({ keyfold: createKeyfold({ router: createRouter({ managed }) }), store })
})
afterEach(async () => {
  await store.close()
  await managed.close()
  rmSync(folder, { recursive: true })
})

test("reads what was written, by id, by name and by version", async () => {
  const one = await vault.create("n", context, "first", actor)
  const two = await vault.update(one.id, new Uint8Array([1, 2]), actor)
  expect((await vault.read(one.id)).value).toEqual(new Uint8Array([1, 2]))
  expect(await vault.readByName("n")).toMatchObject({ id: one.id, context, versionId: two.versionId })
  expect((await vault.readVersion(one.id, one.versionId)).value).toBe("first")
  expect(await vault.describe(one.id)).toEqual(two)
  expect(await vault.versions(one.id)).toMatchObject([
    { versionId: two.versionId, text: false, size: 2, actorId: "a" },
    { versionId: one.versionId, text: true, size: 5, actorName: "A" },
  ])
})

test("of writers racing for one version through two handles exactly one wins", async () => {
  const other = sqliteVaultStore(path)
  const second = createVault({ keyfold: createKeyfold({ router: createRouter({ managed }) }), store: other })
  const { id, versionId } = await vault.create("n", context, "0", actor)
  const race = Array.from({ length: 10 }, (_, i) =>
    (i % 2 ? vault : second).update(id, `${i}`, actor, versionId),
  )
  const settled = await Promise.allSettled(race)
  expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1)
  for (const each of settled)
    if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "VERSION_CONFLICT" })
  expect(await vault.versions(id)).toHaveLength(2)
  await other.close()
})

test("a deleted object is gone at once and its name is free", async () => {
  const { id, versionId } = await vault.create("n", context, "x", actor)
  await expect(vault.create("n", context, "y", actor)).rejects.toMatchObject({ code: "NAME_TAKEN" })
  await expect(vault.remove(id, "stale")).rejects.toMatchObject({ code: "VERSION_CONFLICT" })
  await vault.remove(id, versionId)
  const calls = [
    () => vault.read(id),
    () => vault.readByName("n"),
    () => vault.readVersion(id, versionId),
    () => vault.describe(id),
    () => vault.versions(id),
    () => vault.update(id, "x", actor),
    () => vault.remove(id),
  ]
  for (const call of calls) await expect(call()).rejects.toMatchObject({ code: "NOT_FOUND" })
  await vault.create("n", context, "y", actor)
})

test("a ciphertext of another version or object in the row is refused", async () => {
  const one = await vault.create("n", context, "old", actor)
  await vault.update(one.id, "new", actor)
  const two = await vault.create("m", context, "foreign", actor)
  const db = new DatabaseSync(path)
  for (const foreign of [one.versionId, two.versionId]) {
    db.prepare(
      "UPDATE versions SET envelope = (SELECT envelope FROM versions WHERE version_id = ?) WHERE object_id = ? AND ordinal = 2",
    ).run(foreign, one.id)
    await expect(vault.read(one.id)).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
  }
  db.close()
})

test("lists pages both ways in both orders, by part of the name and by time", async () => {
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await vault.create(`n${i}`, context, "x", actor)).id)
  const all = { limit: 100 }
  for (const order of ["asc", "desc"] as const) {
    const inOrder = (await vault.list({ ...all, order })).objects.map(({ id }) => id)
    expect([...inOrder].sort()).toEqual([...ids].sort())
    const first = await vault.list({ limit: 2, order })
    const second = await vault.list({ limit: 2, order, after: first.after })
    const third = await vault.list({ limit: 2, order, after: second.after })
    expect([first, second, third].flatMap(({ objects }) => objects.map(({ id }) => id))).toEqual(inOrder)
    expect([first.before, third.after]).toEqual([undefined, undefined])
    expect((await vault.list({ limit: 2, order, before: third.before })).objects).toEqual(second.objects)
    const back = await vault.list({ limit: 2, order, before: second.before })
    expect(back.objects).toEqual(first.objects)
    expect(back.before).toBeUndefined()
  }
  expect((await vault.list({ ...all, order: "asc", search: "3" })).objects.map(({ name }) => name)).toEqual([
    "n3",
  ])
  expect((await vault.list({ ...all, order: "asc", updatedAfter: Date.now() + 1000 })).objects).toEqual([])
})

test("bad arguments are refused with a code", async () => {
  const refused: (() => Promise<unknown>)[] = [
    () => vault.create("", context, "x", actor),
    () => vault.create("n".repeat(201), context, "x", actor),
    () => vault.create("n", context, 1 as never, actor),
    () => vault.create("n", context, "\ud800", actor),
    () => vault.create("n", context, new Uint8Array(64 * 1024 * 1024 + 1), actor),
    () => vault.list({ limit: 0, order: "asc" }),
    () => vault.list({ limit: 101, order: "asc" }),
    () => vault.list({ limit: 1, order: "asc", after: "a", before: "b" }),
    () => vault.list({ limit: 1, order: "asc", after: "unknown" }),
  ]
  for (const call of refused) await expect(call()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
  await expect(vault.create("n", {}, "x", actor)).rejects.toMatchObject({ code: "INVALID_CONTEXT" })
})

test("the file is its owner's alone, and a foreign, newer or damaged one is refused", async () => {
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const foreign = join(folder, "foreign.db")
  const db = new DatabaseSync(foreign)
  db.exec("CREATE TABLE t (x)")
  db.close()
  const newer = join(folder, "newer.db")
  await sqliteVaultStore(newer).close()
  const raised = new DatabaseSync(newer)
  raised.exec("PRAGMA user_version = 2")
  raised.close()
  const damaged = join(folder, "damaged.db")
  writeFileSync(damaged, "not a database, and long enough to be read as one ".repeat(20))
  const codes = { [foreign]: "STORE_CORRUPT", [newer]: "UNSUPPORTED_VERSION", [damaged]: "STORE_CORRUPT" }
  for (const [file, code] of Object.entries(codes))
    expect(() => sqliteVaultStore(file)).toThrow(expect.objectContaining({ code }))
  await store.close()
  await expect(store.byId("x")).rejects.toMatchObject({ code: "STORE_FAILED" })
})
