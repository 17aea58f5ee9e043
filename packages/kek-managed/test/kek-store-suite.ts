/** What every KEK store must do; run on each of them. */
import { KeyfoldError } from "@keyfold/core"
import { describe, expect, test } from "vitest"
import type { KekRow, KekStore } from "../src/index.ts"

export function kekStoreSuite(name: string, open: () => KekStore): void {
  describe(name, () => {
    test("a new store is empty", async () => {
      const store = open()
      expect(await store.meta()).toBeUndefined()
      expect(await store.get(id(1))).toBeUndefined()
      expect(await store.find(index(1))).toBeUndefined()
      expect(await store.list("", 10)).toEqual([])
      await store.close()
    })

    test("the meta changes by compare-and-swap", async () => {
      const store = open()
      expect(await store.putMeta({ change: 2, text: "early" })).toBe(false)
      expect(await store.putMeta({ change: 1, text: "one" })).toBe(true)
      expect(await store.putMeta({ change: 1, text: "again" })).toBe(false)
      expect(await store.putMeta({ change: 2, text: "two" })).toBe(true)
      expect({ ...(await store.meta()) }).toEqual({ change: 2, text: "two" })
      await store.close()
    })

    test("a row comes back as it was; one index has one current row", async () => {
      const store = open()
      const first = row(1, 1)
      expect(await store.insert(first)).toBe(true)
      expect(await store.insert(row(2, 1))).toBe(false)
      expect(await store.insert({ ...row(1, 3) })).toBe(false)
      expect(await store.get(id(1))).toEqual(first)
      expect(await store.find(index(1))).toEqual(first)
      expect(await store.insert({ ...row(3, 1), current: false })).toBe(true)
      expect(await store.find(index(1))).toEqual(first)
      await store.close()
    })

    test("a row is replaced by compare-and-swap, and a freed index takes another", async () => {
      const store = open()
      await store.insert(row(1, 1))
      const before = await store.revision()
      expect(await store.replace({ ...row(1, 1), change: 3 })).toBe(false)
      expect(await store.revision()).toBe(before)
      const disabled: KekRow = { ...row(1, 1), change: 2, state: "disabled", sealed: new Uint8Array([9]) }
      expect(await store.replace(disabled)).toBe(true)
      expect(await store.replace(disabled)).toBe(false)
      expect(await store.get(id(1))).toEqual(disabled)
      expect(await store.revision()).toBeGreaterThan(before)
      expect(await store.replace({ ...disabled, change: 3, current: false })).toBe(true)
      expect(await store.find(index(1))).toBeUndefined()
      expect(await store.insert(row(2, 1))).toBe(true)
      expect((await store.find(index(1)))?.keyId).toBe(id(2))
      expect(await store.replace({ ...row(9, 9), change: 2 })).toBe(false)
      await store.close()
    })

    test("lists in pages with usage, which adds up", async () => {
      const store = open()
      for (const n of [3, 1, 2]) await store.insert(row(n, n))
      await store.addUsage(new Map([[id(2), { wraps: 2, unwraps: 3, lastUsedAt: 500 }]]))
      await store.addUsage(new Map([[id(2), { wraps: 1, unwraps: 0, lastUsedAt: 400 }]]))
      const page = await store.list("", 2)
      expect(
        page.map(({ keyId, wraps, unwraps, lastUsedAt }) => [keyId, wraps, unwraps, lastUsedAt]),
      ).toEqual([
        [id(1), 0, 0, 0],
        [id(2), 3, 3, 500],
      ])
      expect((await store.list(id(2), 2)).map(({ keyId }) => keyId)).toEqual([id(3)])
      await store.close()
    })

    test("finds what is due", async () => {
      const store = open()
      await store.insert({ ...row(1, 1), state: "pending-deletion", deletionAt: 1000 })
      await store.insert({ ...row(2, 2), state: "pending-deletion", deletionAt: 3000 })
      await store.insert({ ...row(3, 3), deletionAt: 1000 })
      expect(await store.due(2000)).toEqual([id(1)])
      await store.scrub()
      await store.close()
    })

    test("fails with a KeyfoldError or not at all after it was closed", async () => {
      const store = open()
      await store.close()
      try {
        await store.get(id(1))
      } catch (error) {
        expect(error).toBeInstanceOf(KeyfoldError)
      }
      await store.close()
    })
  })
}

const id = (n: number) => n.toString(16).padStart(32, "0")
const index = (n: number) => n.toString(16).padStart(64, "0")

function row(n: number, of: number): KekRow {
  return {
    keyId: id(n),
    index: index(of),
    current: true,
    version: 1,
    state: "enabled",
    closed: false,
    createdAt: 1_700_000_000_000,
    rotatedAt: 1_700_000_000_001,
    deletionAt: 0,
    change: 1,
    sealed: new Uint8Array([1, 2, n]),
  }
}
