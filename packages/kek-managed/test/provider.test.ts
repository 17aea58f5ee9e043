import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { type Kek, type Pair, scopedBinding } from "@keyfold/core"
import { fillRandom } from "@keyfold/core/crypto"
import { afterAll, describe, expect, test } from "vitest"
import {
  createManagedProvider,
  type KekRow,
  type KekStore,
  type ManagedProvider,
  memoryStore,
  rootKindOf,
} from "../src/index.ts"
import { sqliteStore } from "../src/sqlite-store.ts"

const folder = mkdtempSync(join(tmpdir(), "keyfold-managed-"))
afterAll(() => rmSync(folder, { recursive: true }))
let count = 0
const root = { key: new Uint8Array(32).fill(1) }
const pair: Pair = { name: "organization_id", value: "org_canary" }
const context = { binding: new Uint8Array(71).fill(5), covered: [pair], owner: "" }
const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const secret = () => {
  const bytes = new Uint8Array(32)
  fillRandom(bytes)
  return bytes
}
const wrap = async (kek: Kek, bytes = secret()) => ({ bytes, record: await kek.wrap(bytes, context, {}) })
const unwrap = async (kek: Kek, wrapped: Awaited<ReturnType<typeof wrap>>) =>
  kek.unwrap(wrapped.record, context, {})

describe.each([
  ["memory", memoryStore],
  ["SQLite", () => sqliteStore(join(folder, `${++count}.db`))],
] as const)("the managed provider on the %s store", (_, newStore) => {
  const open = (store: KekStore = newStore(), more = {}) =>
    createManagedProvider({ store, root, environment: "test", ...more })

  test("makes a KEK for a pair once, and finds but never makes when reading", async () => {
    const managed = await open()
    expect(await managed.findKek(pair)).toBeUndefined()
    expect(await managed.describePair(pair)).toBeUndefined()
    const kek = await managed.kekFor(pair)
    expect(await managed.kekFor({ ...pair })).toBe(kek)
    expect((await managed.findKek({ ...pair }))?.keyId).toBe(kek.keyId)
    expect((await managed.kekFor({ ...pair, value: "other" })).keyId).not.toBe(kek.keyId)
    expect(kek.keyId).toMatch(/^[0-9a-f]{32}$/)
    await managed.close()
  })

  test("unwraps what it wrapped, under the same binding, version and bytes only", async () => {
    const managed = await open()
    const kek = await managed.kekFor(pair)
    const wrapped = await wrap(kek)
    expect(await unwrap(kek, wrapped)).toEqual(wrapped.bytes)
    expect((await wrap(kek, wrapped.bytes)).record.wrapped).not.toEqual(wrapped.record.wrapped)
    const other = { ...context, binding: new Uint8Array(71) }
    const refused = (record: object, at = context) =>
      expect((async () => kek.unwrap({ ...wrapped.record, ...record }, at, {}))()).rejects.toEqual(
        code("DECRYPTION_FAILED"),
      )
    await refused({}, other)
    await refused({ keyVersion: 2 })
    await refused({ keyVersion: 0 })
    await refused({ leased: true })
    await refused({ wrapped: wrapped.record.wrapped.subarray(1) })
    for (let i = 0; i < 76; i++)
      await refused({ wrapped: wrapped.record.wrapped.map((byte, j) => (i === j ? byte ^ 1 : byte)) })
    await managed.close()
  })

  test("a change of state holds for the next call", async () => {
    const managed = await open()
    const kek = await managed.kekFor(pair)
    const old = await wrap(kek)
    expect(await managed.rotate(kek.keyId)).toMatchObject({ version: 2 })
    const current = await wrap(kek)
    expect(current.record.keyVersion).toBe(2)
    expect(await unwrap(kek, old)).toEqual(old.bytes)
    await managed.disable(kek.keyId)
    await expect(unwrap(kek, old)).rejects.toEqual(code("KEY_DISABLED"))
    await expect(wrap(kek)).rejects.toEqual(code("KEY_DISABLED"))
    await expect(managed.rotate(kek.keyId)).rejects.toEqual(code("INVALID_ARGUMENT"))
    expect((await kek.describe({})).state).toBe("disabled")
    await managed.enable(kek.keyId)
    expect(await unwrap(kek, current)).toEqual(current.bytes)
    await managed.scheduleDeletion(kek.keyId, 7)
    await expect(unwrap(kek, old)).rejects.toEqual(code("KEY_PENDING_DELETION"))
    await expect(managed.enable(kek.keyId)).rejects.toEqual(code("INVALID_ARGUMENT"))
    expect(await managed.destroyDue()).toEqual([])
    expect(await managed.cancelDeletion(kek.keyId)).toMatchObject({
      state: "disabled",
      deletionAt: undefined,
    })
    for (const days of [6, 366, 1.5, Number.NaN]) {
      await expect(managed.scheduleDeletion(kek.keyId, days)).rejects.toEqual(code("INVALID_ARGUMENT"))
    }
    await expect(managed.disable("00".repeat(16))).rejects.toEqual(code("KEY_NOT_FOUND"))
    await managed.close()
  })

  test("a closed pair never wraps, rotates or is made again, and still unwraps; reopened it has another KEK", async () => {
    const managed = await open()
    const kek = await managed.kekFor(pair)
    const old = await wrap(kek)
    await managed.rotate(kek.keyId)
    const closed = { keyId: kek.keyId, lastVersion: 2 }
    expect(await managed.closePair(pair)).toEqual(closed)
    expect(await managed.closePair(pair)).toEqual(closed)
    await expect(wrap(kek)).rejects.toEqual(code("NO_ROUTE"))
    await expect(managed.rotate(kek.keyId)).rejects.toEqual(code("INVALID_ARGUMENT"))
    await expect((async () => managed.kekFor({ ...pair }))()).rejects.toEqual(code("NO_ROUTE"))
    expect(await managed.findKek({ ...pair })).toBeUndefined()
    expect(await unwrap(managed.kek(kek.keyId), old)).toEqual(old.bytes)
    await managed.reopenPair(pair)
    const next = await managed.kekFor({ ...pair })
    expect(next.keyId).not.toBe(kek.keyId)
    expect(await unwrap(managed.kek(kek.keyId), old)).toEqual(old.bytes)
    await managed.close()
  })

  test("the absence of a KEK is closed as well", async () => {
    const managed = await open()
    expect(await managed.closePair(pair)).toBeUndefined()
    await expect((async () => managed.kekFor(pair))()).rejects.toEqual(code("NO_ROUTE"))
    const listed: unknown[] = []
    for await (const info of managed.list()) listed.push(info)
    expect(listed).toEqual([])
    await managed.reopenPair(pair)
    expect((await managed.kekFor(pair)).keyId).toMatch(/^[0-9a-f]{32}$/)
    await managed.close()
  })

  test("a companion is a KEK of its own, for an owner and a whole match, in any order", async () => {
    const managed = await open()
    const match = [pair, { name: "residency", value: "eu" }]
    const companion = await managed.companionFor("org_1", match)
    expect((await managed.companionFor("org_1", match.toReversed())).keyId).toBe(companion.keyId)
    const others = [
      await managed.kekFor(pair),
      await managed.companionFor("org_2", match),
      await managed.companionFor("org_1", [pair]),
    ]
    expect(new Set([companion, ...others].map(({ keyId }) => keyId)).size).toBe(4)
    await managed.close()
  })

  test("counts use without a write for each, and lists it", async () => {
    const store = newStore()
    const managed = await open(store)
    const kek = await managed.kekFor(pair)
    for (let i = 0; i < 5; i++) await unwrap(kek, await wrap(kek))
    expect((await store.list("", 1))[0]).toMatchObject({ wraps: 0 })
    for await (const info of managed.list()) {
      expect(info).toMatchObject({ keyId: kek.keyId, wraps: 5, unwraps: 5, version: 1, state: "enabled" })
      expect(Date.now() - info.lastUsedAt).toBeLessThan(60_000)
    }
    await managed.close()
  })

  test("what another provider wrapped after it rotated the KEK opens at once", async () => {
    const store = newStore()
    const [one, two] = [await open(store), await open(store, { stateTtlMs: 60_000 })]
    const kek = await two.kekFor(pair)
    await unwrap(kek, await wrap(kek))
    await one.rotate(kek.keyId)
    const wrapped = await wrap(one.kek(kek.keyId))
    expect(wrapped.record.keyVersion).toBe(2)
    expect(await unwrap(kek, wrapped)).toEqual(wrapped.bytes)
    const never = { ...wrapped, record: { ...wrapped.record, keyVersion: 3 } }
    await expect(unwrap(kek, never)).rejects.toEqual(code("DECRYPTION_FAILED"))
    await one.close()
    await two.close()
  })

  test("what another provider on the same store changed is seen within the time allowed", async () => {
    const store = newStore()
    const [one, two] = [await open(store, { stateTtlMs: 30 }), await open(store, { stateTtlMs: 30 })]
    const kek = await one.kekFor(pair)
    const wrapped = await wrap(kek)
    await two.disable(kek.keyId)
    await new Promise((resolve) => setTimeout(resolve, 60))
    await expect(unwrap(kek, wrapped)).rejects.toEqual(code("KEY_DISABLED"))
    await one.close()
  })

  test.each(["key", "passphrase", "kek"] as const)(
    "opens with its %s and no other, and changes it",
    async (kind) => {
      const holder = await open()
      const kek = await holder.kekFor({ name: "root", value: "x" })
      const roots = {
        key: [{ key: new Uint8Array(32).fill(3) }, { key: new Uint8Array(32).fill(4) }],
        passphrase: [{ passphrase: "one" }, { passphrase: "two" }],
        kek: [{ kek }, { key: new Uint8Array(32) }],
      }[kind] as [typeof root, typeof root]
      // Closing a provider closes its store, and a store in memory is gone then only by name.
      const path = join(folder, `${++count}.db`)
      const reopen = (given: object) =>
        createManagedProvider({ store: sqliteStore(path), root: given as typeof root, environment: "test" })
      const managed = await reopen(roots[0])
      const { keyId } = await managed.kekFor(pair)
      await managed.close()
      const wrong = kind === "kek" ? "INVALID_ARGUMENT" : "PERMISSION_DENIED"
      await expect(reopen(roots[1])).rejects.toEqual(code(wrong))
      const again = await reopen(roots[0])
      expect(await rootKindOf(sqliteStore(path))).toBe(kind)
      await again.changeRoot(root)
      await again.close()
      await expect(reopen(roots[0])).rejects.toEqual(
        code(kind === "key" ? "PERMISSION_DENIED" : "INVALID_ARGUMENT"),
      )
      const moved = await reopen(root)
      expect((await moved.findKek(pair))?.keyId).toBe(keyId)
      await moved.close()
      await expect(
        createManagedProvider({ store: sqliteStore(path), root, environment: "other" }),
      ).rejects.toEqual(code("INVALID_ARGUMENT"))
      await holder.close()
    },
  )
})

test("every change of a stored row is noticed, and nothing of it is served", async () => {
  const store = memoryStore()
  const managed = await createManagedProvider({ store, root, environment: "test" })
  const { keyId } = await managed.kekFor(pair)
  await managed.rotate(keyId)
  await managed.close()
  const intact = (await store.get(keyId)) as KekRow
  const changes: Partial<KekRow>[] = [
    { state: "disabled" },
    { closed: true },
    { version: 1 },
    { deletionAt: 5 },
    { index: "00".repeat(32) },
    { createdAt: 1 },
    { change: 7 },
    { sealed: intact.sealed.map((byte, i) => (i === 40 ? byte ^ 1 : byte)) },
    { sealed: intact.sealed.subarray(1) },
    { sealed: new Uint8Array(0) },
  ]
  for (const change of changes) {
    const tampered = { ...store, get: () => ({ ...intact, ...change }) }
    const kek = (await createManagedProvider({ store: tampered, root, environment: "test" })).kek(keyId)
    await expect(wrap(kek)).rejects.toEqual(code("STORE_CORRUPT"))
    await expect(wrap(kek)).rejects.toThrow(keyId)
  }
})

test("a public-key KEK may not hold the root key", async () => {
  const kek = { describe: async () => ({ publicKey: true }) } as unknown as Kek
  await expect(
    createManagedProvider({ store: memoryStore(), root: { kek }, environment: "test" }),
  ).rejects.toEqual(code("INVALID_ARGUMENT"))
})

test("the root key wrap of auto-unseal is bound to its environment", async () => {
  const bindings: Uint8Array[] = []
  const kek = {
    providerId: "aws-kms",
    keyId: "arn:x",
    describe: async () => ({ publicKey: false }),
    wrap: async (bytes: Uint8Array, { binding }: { binding: Uint8Array }) => {
      bindings.push(binding)
      return { keyVersion: 0, leased: false, wrapped: bytes.slice() }
    },
  } as unknown as Kek
  const store = memoryStore()
  await createManagedProvider({ store, root: { kek }, environment: "test" })
  const salt = Buffer.from(JSON.parse((await store.meta())?.text as string).root.salt, "hex")
  expect(bindings[0]).toEqual(
    scopedBinding(
      {
        purpose: "rootKey",
        providerId: "aws-kms",
        keyId: "arn:x",
        owner: "",
        environment: "test",
        covered: [],
      },
      salt,
    ),
  )
})

test("nothing shows a key or a context: not the provider, a KEK, its JSON, or the files", async () => {
  const path = join(folder, "canary.db")
  const managed: ManagedProvider = await createManagedProvider({
    store: sqliteStore(path),
    root,
    environment: "test",
  })
  const kek = await managed.kekFor(pair)
  await wrap(kek)
  const shown = [managed, kek]
    .map((value) => inspect(value, { depth: 9, showHidden: true }) + JSON.stringify(value))
    .join()
  expect(shown).not.toMatch(/canary|Uint8Array|Buffer/)
  await managed.close()
  const files = readFileSync(path)
  for (const text of ["canary", "organization_id", Buffer.from(root.key).toString("latin1")]) {
    expect(files.includes(text, 0, "latin1")).toBe(false)
  }
})

test("a root key given as a Buffer stays the caller's, and is the one that opens the store", async () => {
  const key = Buffer.alloc(32, 7)
  const path = join(folder, "buffer.db")
  const open = (given: Uint8Array) =>
    createManagedProvider({ store: sqliteStore(path), root: { key: given }, environment: "test" })
  await (await open(key)).close()
  expect(key.every((byte) => byte === 7)).toBe(true)
  await (await open(key)).close()
  await expect(open(new Uint8Array(32))).rejects.toEqual(code("PERMISSION_DENIED"))
})
