import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import {
  exportObjects,
  importObjects,
  type Offered,
  readArchive,
  type Transferred,
  writeArchive,
} from "../src/index.ts"
import { sqliteVaultStore } from "../src/sqlite-vault-store.ts"
import { startWorld, type World } from "./world.ts"

const folder = mkdtempSync(join(tmpdir(), "keyfold-transfer-"))
const opened: World[] = []
afterAll(async () => {
  for (const world of opened) await world.close()
  rmSync(folder, { recursive: true })
})
const world = async () => {
  const store = sqliteVaultStore(join(folder, `${opened.length}.db`))
  opened.push(await startWorld(store))
  return opened.at(-1) as World
}
const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
const offering = async function* (
  objects: readonly Transferred[],
  read: string[] = [],
): AsyncGenerator<Offered> {
  for (const { name, ...rest } of objects) {
    yield {
      name,
      read: async () => {
        read.push(name)
        return rest
      },
    }
  }
}

test("a vault goes through an archive into another one, and again into itself without a change", async () => {
  const [from, to] = [await world(), await world()]
  const values = ["", "text\u2028\n\u0000", new Uint8Array([0, 10, 255]), "x".repeat(200_000)]
  for (const [i, value] of values.entries()) await from.vault.create(`n${i}`, { user: `u${i % 2}` }, value)
  for (let i = 0; i < 205; i++) await from.vault.create(`more${i}`, { user: "v" }, "v")
  await from.vault.remove((await from.vault.describeByName("n0")).id)

  const archive = await all(writeArchive(exportObjects(from.vault)))
  // However the stream is cut into chunks.
  const bytes = Buffer.concat(archive)
  const chunks = async function* () {
    for (let at = 0; at < bytes.length; at += 7001) yield bytes.subarray(at, at + 7001)
  }
  expect(await importObjects(to.vault, readArchive(chunks()))).toEqual({
    ...{ created: 208, updated: 0, kept: 0, conflicting: 0 },
  })
  for (const [i, value] of values.entries()) {
    if (i > 0)
      expect(await to.vault.readByName(`n${i}`)).toMatchObject({ value, context: { user: `u${i % 2}` } })
  }
  expect(await all(exportObjects(to.vault, { context: { user: "u1" } }))).toMatchObject([
    { name: "n1" },
    { name: "n3" },
  ])
  expect(await importObjects(from.vault, readArchive(chunks()), { update: true })).toMatchObject({
    kept: 208,
  })
})

test("an import that was cut off goes on, and reads nothing twice; with update it takes new values over", async () => {
  const { vault } = await world()
  const objects = ["a", "b", "c"].map((name) => ({ name, context: { user: "u" }, value: name }))
  const stop = new AbortController()
  const interrupted = importObjects(vault, offering(objects), {
    onProgress: ({ created }) => created === 2 && stop.abort(),
    signal: stop.signal,
  })
  await expect(interrupted).rejects.toMatchObject({ code: "ABORTED" })
  const read: string[] = []
  expect(await importObjects(vault, offering(objects, read))).toMatchObject({ created: 1, kept: 2 })
  expect(read).toEqual(["c"])

  const later = [
    { name: "a", context: { user: "u" }, value: "new" },
    { name: "b", context: { user: "other" }, value: "b" },
    { name: "c", context: { user: "u" }, value: "c" },
  ]
  expect(await importObjects(vault, offering(later), { update: true })).toEqual({
    ...{ created: 0, updated: 1, kept: 1, conflicting: 1 },
  })
  expect((await vault.readByName("a")).value).toBe("new")
  expect((await vault.readByName("b")).context).toEqual({ user: "u" })
})

test.each([
  ["nothing", ""],
  ["no JSON", "secret\n"],
  ["another file", '{"archive":"something","version":1}\n'],
  ["a later version", '{"archive":"keyfold vault","version":2}\n'],
  ["a line without a value", '{"archive":"keyfold vault","version":1}\n{"name":"n","context":{}}\n'],
  ["a last line that was cut", '{"archive":"keyfold vault","version":1}\n{"name":"n","con'],
])("an archive that is %s is refused", async (_, text) => {
  const archive = ReadableStream.from([Buffer.from(text)])
  await expect(all(readArchive(archive))).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.not.stringContaining("secret"),
  })
})
