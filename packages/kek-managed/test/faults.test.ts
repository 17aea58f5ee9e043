/** What the provider does when its store is slow, full, damaged or closed, or its root KEK fails. */
import { type Kek, KeyfoldError, type Pair, type WrapRecord } from "@keyfold/core"
import { describe, expect, test } from "vitest"
import {
  createManagedProvider,
  type KekRow,
  type KekStore,
  type ManagedKeyInfo,
  type ManagedProvider,
  type ManagedProviderOptions,
  memoryStore,
} from "../src/index.ts"

const root = { key: new Uint8Array(32).fill(1) }
const context = { binding: new Uint8Array(71).fill(5), covered: [], owner: "" }
const secret = new Uint8Array(32).fill(7)
const pair = (value: string): Pair => ({ name: "n", value })
const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const full = () => {
  throw new KeyfoldError("STORE_FULL", "no room")
}
const open = (store: KekStore, more: Partial<ManagedProviderOptions> = {}) =>
  createManagedProvider({ store, root, environment: "test", ...more })

/** The same store, answering later, as one over a network does. */
function slow(store: KekStore): KekStore {
  return new Proxy(store, {
    get: (target, name: keyof KekStore) =>
      async(target[name].bind(target) as (...given: unknown[]) => unknown),
  })
}
function async(call: (...given: unknown[]) => unknown) {
  return async (...given: unknown[]) => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 3))
    const answer = call(...given)
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 3))
    return answer
  }
}

/** A store, the next answers of whose method can be held: as they were when it was asked. */
function held(name: "get" | "find") {
  const store = memoryStore()
  let holding = 0
  let waiting: (() => void)[] = []
  const answer = (key: string) => {
    const row = store[name](key) as KekRow | undefined
    return new Promise<KekRow | undefined>((resolve) => {
      if (holding-- > 0) waiting.push(() => resolve(row))
      else resolve(row)
    })
  }
  return {
    store: { ...store, [name]: answer } as KekStore,
    hold: (count: number) => {
      holding = count
    },
    release: () => {
      for (const resolve of waiting) resolve()
      waiting = []
    },
  }
}

describe("a store that answers later", () => {
  test("several providers make one KEK for a pair", async () => {
    const store = memoryStore()
    const providers = await Promise.all(Array.from({ length: 4 }, () => open(slow(store))))
    const keks = await Promise.all(
      providers.flatMap((managed) => [managed.kekFor(pair("1")), managed.kekFor(pair("1"))]),
    )
    expect(new Set(keks.map(({ keyId }) => keyId)).size).toBe(1)
  })

  test("a KEK that leaves the cache before its call goes on is not used wiped", async () => {
    const { store, hold, release } = held("get")
    const managed = await open(store, { cacheSize: 1 })
    const keks = await Promise.all(Array.from({ length: 8 }, (_, i) => managed.kekFor(pair(`${i}`))))
    hold(8)
    const wrapping = Promise.all(keks.map(wrapped))
    await new Promise(setImmediate)
    release() // all eight rows come in one packet
    const other = await open(store)
    for (const [i, record] of (await wrapping).entries()) {
      expect(await other.kek((keks[i] as Kek).keyId).unwrap(record, context, {})).toEqual(secret)
    }
  })

  test("a KEK that has left the cache is not used wiped, however often it was used before", async () => {
    const store = memoryStore()
    const managed = await open(store, { cacheSize: 1 })
    const [one, two] = [await managed.kekFor(pair("1")), await managed.kekFor(pair("2"))]
    // Each under a salt of its own, so that opening it takes the KEK itself.
    const records = await Promise.all(
      Array.from({ length: 3 }, async () => wrapped((await open(store)).kek(one.keyId))),
    )
    for (const record of records) {
      expect(await one.unwrap(record, context, {})).toEqual(secret)
      await wrapped(one)
      await wrapped(two)
    }
  })

  test("a KEK in use stays in the cache while others come and go", async () => {
    const store = memoryStore()
    const loaded: string[] = []
    const get: KekStore["get"] = (keyId) => {
      loaded.push(keyId)
      return store.get(keyId)
    }
    const managed = await open({ ...store, get }, { cacheSize: 3 })
    const hot = await managed.kekFor(pair("hot"))
    for (let i = 0; i < 40; i++) {
      for (let use = 0; use < 20; use++) await wrapped(hot)
      await wrapped(await managed.kekFor(pair(`cold ${i}`)))
    }
    expect(loaded.filter((keyId) => keyId === hot.keyId).length).toBeLessThan(3)
  })

  test.each<["get" | "find", (managed: ManagedProvider, keyId: string) => unknown]>([
    ["get", (managed, keyId) => wrapped(managed.kek(keyId))],
    ["find", (managed) => managed.kekFor(pair("1"))],
    ["find", (managed) => managed.findKek(pair("1"))],
  ])("what %s read before a change is not used after it", async (name, read) => {
    const { store, hold, release } = held(name)
    const { keyId } = await (await open(store)).kekFor(pair("1"))
    for (const change of ["disable", "closePair"] as const) {
      const managed = await open(store, { stateTtlMs: 60_000 })
      const other = await managed.kekFor(pair("2"))
      hold(1)
      const early = Promise.resolve(read(managed, keyId)).catch(() => undefined)
      if (change === "disable") await managed.disable(keyId)
      else await managed.closePair(pair("1"))
      await wrapped(other) // it is asked again whether anything changed
      release()
      await early
      if (change === "disable") {
        await expect(wrapped(managed.kek(keyId))).rejects.toEqual(code("KEY_DISABLED"))
        await managed.enable(keyId)
      } else {
        await expect(wrapped(managed.kek(keyId))).rejects.toEqual(code("NO_ROUTE"))
        await expect((async () => managed.kekFor(pair("1")))()).rejects.toEqual(code("NO_ROUTE"))
        expect(await managed.findKek(pair("1"))).toBeUndefined()
      }
    }
  })
})

describe("a store without room", () => {
  test("is opened and read; what is due opens nothing meanwhile", async () => {
    const store = memoryStore()
    const managed = await open(store)
    const kek = await managed.kekFor(pair("1"))
    const record = await kek.wrap(secret, context, {})
    const due = await managed.kekFor(pair("2"))
    await managed.scheduleDeletion(due.keyId)
    await managed.close()
    const later = Date.now() + 31 * 86_400_000
    const { now } = Date
    Date.now = () => later
    try {
      const again = await open({ ...store, insert: full, replace: full, addUsage: full })
      expect(await again.kek(kek.keyId).unwrap(record, context, {})).toEqual(secret)
      await expect(wrapped(again.kek(due.keyId))).rejects.toEqual(code("KEY_PENDING_DELETION"))
      await expect(again.destroyDue()).rejects.toEqual(code("STORE_FULL"))
      await again.close()
      const roomy = await open(store)
      await expect(wrapped(roomy.kek(due.keyId))).rejects.toEqual(code("KEY_NOT_FOUND"))
    } finally {
      Date.now = now
    }
  })

  test("keeps what was counted until there is room", async () => {
    const store = memoryStore()
    let room = false
    const managed = await open({
      ...store,
      addUsage: (usage) => (room ? store.addUsage(usage) : full()),
    })
    const kek = await managed.kekFor(pair("1"))
    await kek.wrap(secret, context, {})
    await expect(firstOf(managed)).rejects.toEqual(code("STORE_FULL"))
    await kek.wrap(secret, context, {})
    room = true
    expect(await firstOf(managed)).toMatchObject({ wraps: 2 })
  })

  test("a log that cannot be emptied is told of by destroying, and does not undo a new root key", async () => {
    for (const scrub of [() => false, full]) {
      const store = memoryStore()
      const managed = await open({ ...store, scrub })
      const { keyId } = await managed.kekFor(pair("1"))
      await expect(managed.destroyDue()).rejects.toMatchObject({ code: expect.stringMatching(/^STORE_/) })
      const newRoot = { key: new Uint8Array(32).fill(2) }
      await managed.changeRoot(newRoot)
      await managed.changeRoot({ key: new Uint8Array(32).fill(3) })
      await managed.changeRoot(newRoot)
      await expect(open(store)).rejects.toEqual(code("PERMISSION_DENIED"))
      expect((await (await open(store, { root: newRoot })).findKek(pair("1")))?.keyId).toBe(keyId)
    }
  })
})

test("a closed provider does nothing: least of all does it seal with a key of zeros", async () => {
  const store = memoryStore()
  const managed = await open(store)
  const kek = await managed.kekFor(pair("1"))
  const record = (await kek.wrap(secret, context, {})) as WrapRecord
  await managed.close()
  await managed.close()
  const calls: (() => unknown)[] = [
    () => kek.wrap(secret, context, {}),
    () => kek.unwrap(record, context, {}),
    () => managed.kekFor(pair("1")),
    () => managed.kekFor(pair("2")),
    () => managed.companionFor("o", [pair("2")]),
    () => managed.closePair(pair("2")),
    () => managed.rotate(kek.keyId),
  ]
  for (const call of calls) {
    await expect((async () => call())()).rejects.toEqual(code("STORE_FAILED"))
  }
  expect(await store.list("", 10)).toHaveLength(1)
})

describe("a damaged store", () => {
  test("that lost its meta record is not taken for a new one", async () => {
    const store = memoryStore()
    await (await open(store)).kekFor(pair("1"))
    await expect(open({ ...store, meta: () => undefined })).rejects.toEqual(code("STORE_CORRUPT"))
  })

  test("with any damage in its meta record fails with a name", async () => {
    const holder = await open(memoryStore())
    const roots = [root, { passphrase: "x" }, { kek: await holder.kekFor(pair("root")) }]
    for (const root of roots) {
      const store = memoryStore()
      await open(store, { root })
      const { change, text } = (await store.meta()) as { change: number; text: string }
      const fields = JSON.parse(text)
      const texts = ["", "{", "null", "[]", "1", text.slice(0, -9)]
      for (const name of Object.keys(fields)) texts.push(JSON.stringify({ ...fields, [name]: undefined }))
      for (const name of Object.keys(fields.root)) {
        for (const value of [undefined, null, "", "zz", -1, 100_000, {}]) {
          texts.push(JSON.stringify({ ...fields, root: { ...fields.root, [name]: value } }))
        }
      }
      for (const text of texts) {
        const damaged = open({ ...store, meta: () => ({ change, text }) }, { root })
        await expect(damaged, text).rejects.toMatchObject({
          name: "KeyfoldError",
          code: expect.stringMatching(
            /^(STORE_CORRUPT|PERMISSION_DENIED|INVALID_ARGUMENT|DECRYPTION_FAILED)$/,
          ),
        })
      }
    }
  })

  test("with a changed row tells nothing of the pair, and closes or reopens nothing", async () => {
    const store = memoryStore()
    const managed = await open(store)
    const { keyId } = await managed.kekFor(pair("1"))
    const row = (await store.get(keyId)) as KekRow
    for (const change of [{ closed: true }, { version: 9 }, { state: "destroyed" }] as Partial<KekRow>[]) {
      const tampered = await open({ ...store, find: () => ({ ...row, ...change }) })
      const calls: (() => unknown)[] = [
        () => tampered.kekFor(pair("1")),
        () => tampered.findKek(pair("1")),
        () => tampered.closePair(pair("1")),
        () => tampered.reopenPair(pair("1")),
        () => tampered.describePair(pair("1")),
      ]
      for (const call of calls) await expect((async () => call())()).rejects.toEqual(code("STORE_CORRUPT"))
    }
  })
})

test("a root KEK that fails is named, with its own code", async () => {
  const failing = (at: "describe" | "wrap"): Kek => ({
    providerId: "aws-kms",
    keyId: "arn:x",
    describe: async () => (at === "describe" ? throwing() : ({ publicKey: false } as never)),
    wrap: async () => throwing(),
    unwrap: async () => throwing(),
    classify: () => "PERMISSION_DENIED",
  })
  const throwing = (): never => {
    throw new Error("denied by the cloud")
  }
  for (const at of ["describe", "wrap"] as const) {
    await expect(open(memoryStore(), { root: { kek: failing(at) } })).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      keyId: "arn:x",
      message: expect.stringContaining("aws-kms"),
    })
  }
})

test.each<[string, Partial<ManagedProviderOptions>]>([
  ["no root", { root: undefined as never }],
  ["an empty root", { root: {} as never }],
  ["a short root key", { root: { key: new Uint8Array(16) } }],
  ["an empty passphrase", { root: { passphrase: "" } }],
  ["a passphrase that is no text", { root: { passphrase: 7 as never } }],
  ["no environment", { environment: "" }],
  ["a negative stateTtlMs", { stateTtlMs: -1 }],
  ["a stateTtlMs that never ends", { stateTtlMs: Number.POSITIVE_INFINITY }],
  ["no cache", { cacheSize: 0 }],
])("refuses %s", async (_, more) => {
  await expect(open(memoryStore(), more)).rejects.toEqual(code("INVALID_ARGUMENT"))
})

test("pairs that differ only in where the name ends are two, and what is no pair is refused", async () => {
  const managed = await open(memoryStore())
  const one = await managed.kekFor({ name: "ab", value: "c" })
  expect((await managed.kekFor({ name: "a", value: "bc" })).keyId).not.toBe(one.keyId)
  for (const bad of [
    { name: "a\0b", value: "c" },
    { name: "", value: "c" },
    { name: "a", value: "\ud800" },
  ]) {
    await expect((async () => managed.kekFor(bad))()).rejects.toEqual(code("INVALID_CONTEXT"))
  }
})

async function wrapped(kek: Kek): Promise<WrapRecord> {
  return kek.wrap(secret, context, {})
}

async function firstOf(managed: ManagedProvider): Promise<ManagedKeyInfo | undefined> {
  for await (const info of managed.list()) return info
  return undefined
}
