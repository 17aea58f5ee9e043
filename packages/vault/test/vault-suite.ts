/** What a vault promises, whatever store it has. */
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import {
  type Details,
  EventBuffer,
  linkEvents,
  purgeDeleted,
  readEvent,
  type SweepProgress,
  sweep,
  type VaultStore,
  verifyEvents,
} from "../src/index.ts"
import { actor, context, startWorld, type World } from "./world.ts"

/** @param open another handle on the same rows, each time; what it opens is closed by the suite */
export function vaultSuite(
  name: string,
  start: () => Promise<{
    readonly open: (environment?: string) => VaultStore
    readonly end: () => Promise<void>
  }>,
): void {
  describe(`a vault on ${name}`, () => {
    let stores: Awaited<ReturnType<typeof start>>
    let world: World
    const eventsOf = async (store = world.store) => {
      await linkEvents(store)
      return (await store.events({ limit: 1000, order: "asc" })).map(readEvent)
    }

    beforeEach(async () => {
      stores = await start()
      world = await startWorld(stores.open())
    })
    afterEach(async () => {
      await world.close()
      await stores.end()
    })

    test("reads what was written, by id, by name and by version", async () => {
      const { vault } = world
      const one = await vault.create("n", context, "first")
      const two = await vault.update(one.id, new Uint8Array([1, 2]))
      expect((await vault.read(one.id)).value).toEqual(new Uint8Array([1, 2]))
      expect(await vault.readByName("n")).toMatchObject({ id: one.id, context, versionId: two.versionId })
      expect((await vault.readVersion(one.id, one.versionId)).value).toBe("first")
      expect(await vault.describe(one.id)).toEqual(two)
      expect(await vault.versions(one.id)).toMatchObject([
        { versionId: two.versionId, text: false, size: 2, actorId: "a" },
        { versionId: one.versionId, text: true, size: 5, actorName: "A" },
      ])
    })

    test("keeps what is empty, and what is large", async () => {
      const { vault } = world
      const large = new Uint8Array(3_000_000).fill(7)
      for (const value of ["", new Uint8Array(), large]) {
        const { id } = await vault.create(`n${value.length}${typeof value}`, { user: "v" }, value)
        expect((await vault.read(id)).value).toEqual(value)
      }
    })

    test("an expected context is compared before a key is used", async () => {
      const { vault, managed } = world
      const { id, keyIds } = await vault.create("n", { a: "1", b: "2" }, "x")
      expect((await vault.read(id, { expectContext: { b: "2", a: "1" } })).value).toBe("x")
      await managed.disable(keyIds[0] as string)
      for (const expectContext of [{ a: "1" }, { a: "1", b: "3" }, { a: "1", b: "2", c: "3" }])
        for (const call of [
          () => vault.read(id, { expectContext }),
          () => vault.readByName("n", { expectContext }),
        ])
          await expect(call()).rejects.toMatchObject({ code: "CONTEXT_MISMATCH" })
    })

    test("an earlier value is restored as a new version", async () => {
      const { vault } = world
      const { id, versionId } = await vault.create("n", context, "first")
      const second = await vault.update(id, "second")
      await expect(vault.restore(id, versionId, versionId)).rejects.toMatchObject({
        code: "VERSION_CONFLICT",
      })
      const third = await vault.restore(id, versionId, second.versionId)
      expect((await vault.read(id)).value).toBe("first")
      expect((await vault.versions(id)).map((version) => version.versionId)).toEqual([
        ...[third.versionId, second.versionId, versionId],
      ])
    })

    test("of writers racing for one version through two handles exactly one wins", async () => {
      const store = stores.open()
      const second = world.view({ store })
      const { id, versionId } = await world.vault.create("n", context, "0")
      const race = Array.from({ length: 10 }, (_, i) =>
        (i % 2 ? world.vault : second).update(id, `${i}`, versionId),
      )
      const settled = await Promise.allSettled(race)
      expect(settled.filter(({ status }) => status === "fulfilled")).toHaveLength(1)
      for (const each of settled)
        if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "VERSION_CONFLICT" })
      expect(await world.vault.versions(id)).toHaveLength(2)
      await store.close()
    })

    test("writers that check nothing all win, and each version is there", async () => {
      const { id } = await world.vault.create("n", context, "0")
      await Promise.all(Array.from({ length: 10 }, (_, i) => world.vault.update(id, `${i}`)))
      const versions = await world.vault.versions(id)
      const values = versions.map(
        async ({ versionId }) => (await world.vault.readVersion(id, versionId)).value,
      )
      expect((await Promise.all(values)).sort()).toEqual([..."00123456789"])
    })

    test("a deleted object is gone at once and its name is free", async () => {
      const { vault } = world
      const { id, versionId } = await vault.create("n", context, "x")
      await expect(vault.create("n", context, "y")).rejects.toMatchObject({ code: "NAME_TAKEN" })
      await expect(vault.remove(id, "stale")).rejects.toMatchObject({ code: "VERSION_CONFLICT" })
      await vault.remove(id, versionId)
      const calls = [
        () => vault.read(id),
        () => vault.readByName("n"),
        () => vault.readVersion(id, versionId),
        () => vault.describe(id),
        () => vault.versions(id),
        () => vault.update(id, "x"),
        () => vault.restore(id, versionId),
        () => vault.rewrap(id),
        () => vault.remove(id),
      ]
      for (const call of calls) await expect(call()).rejects.toMatchObject({ code: "NOT_FOUND" })
      expect((await vault.list({ limit: 10, order: "asc" })).objects).toEqual([])
      await vault.create("n", context, "y")
    })

    test("a deleted object can be had back until it is purged, under a new name where its own was taken", async () => {
      const { vault, store } = world
      const { id } = await vault.create("n", context, "x")
      await expect(vault.undelete(id)).rejects.toMatchObject({ code: "NOT_FOUND" })
      await vault.remove(id)
      const deleted = await vault.list({ limit: 10, order: "asc", deleted: true })
      expect(deleted.objects).toMatchObject([{ id, name: "n", deletedAt: expect.any(Number) }])
      await vault.undelete(id)
      expect((await vault.readByName("n")).value).toBe("x")
      await vault.remove(id)
      await vault.create("n", context, "y")
      await expect(vault.undelete(id)).rejects.toMatchObject({ code: "NAME_TAKEN" })
      expect(await vault.undelete(id, "m")).toMatchObject({ id, name: "m" })
      expect((await vault.read(id)).value).toBe("x")
      await vault.remove(id)
      expect(await purgeDeleted({ store, actor })).toMatchObject({ purged: 0 })
      await vault.undelete(id, "o")
      await vault.remove(id)
      expect(await purgeDeleted({ store, actor, recoveryDays: -1 })).toMatchObject({ purged: 1 })
      await expect(vault.undelete(id)).rejects.toMatchObject({ code: "NOT_FOUND" })
      expect((await vault.list({ limit: 10, order: "asc", deleted: true })).objects).toEqual([])
    })

    test("after a rotation a rewrap moves every version, and the old key is not needed any more", async () => {
      const { vault, store, managed } = world
      const { id, versionId, keyIds } = await vault.create("n", context, "first")
      await vault.update(id, "second")
      const [before, payload] = [
        await store.version(id, versionId),
        (await store.version(id, versionId))?.payload,
      ]
      await managed.rotate(keyIds[0] as string)
      expect(await vault.rewrap(id)).toBe(2)
      const after = await store.version(id, versionId)
      expect(after?.payload).toEqual(payload)
      expect(after?.header).not.toEqual(before?.header)
      expect((await vault.readVersion(id, versionId)).value).toBe("first")
      expect(await vault.reencrypt(id)).toBe(2)
      expect((await store.version(id, versionId))?.payload).not.toEqual(payload)
      expect((await vault.read(id)).value).toBe("second")
    })

    test("of two that seal a version anew at once, neither loses the other's work", async () => {
      const { vault } = world
      const { id } = await vault.create("n", context, "x")
      const other = stores.open()
      const second = world.view({ store: other })
      await Promise.all([vault.rewrap(id), second.reencrypt(id), vault.reencrypt(id), second.rewrap(id)])
      expect((await vault.read(id)).value).toBe("x")
      await other.close()
    })

    test("lists pages both ways in both orders, by part of the name, by time and by context", async () => {
      const { vault } = world
      const ids: string[] = []
      for (let i = 0; i < 5; i++) {
        const pairs = { ...context, odd: String(i % 2) }
        ids.push((await vault.create(`n${i}`, pairs, "x")).id)
      }
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
      const names = async (query: object) =>
        (await vault.list({ ...all, order: "asc", ...query })).objects.map(({ name }) => name).sort()
      expect(await names({ search: "3" })).toEqual(["n3"])
      expect(await names({ search: "%" })).toEqual([])
      expect(await names({ updatedAfter: Date.now() + 1000 })).toEqual([])
      expect(await names({ context: { odd: "1" } })).toEqual(["n1", "n3"])
      expect(await names({ context: { odd: "1", user: "u" } })).toEqual(["n1", "n3"])
      expect(await names({ context: { odd: "1", user: "v" } })).toEqual([])
    })

    test("a page comes after an object that was deleted meanwhile, and after none that was purged", async () => {
      const { vault, store } = world
      const { id } = await vault.create("a", context, "x")
      await vault.create("b", context, "x")
      await vault.remove(id)
      const after = { limit: 10, order: "asc", after: id } as const
      expect((await vault.list(after)).objects.map(({ name }) => name)).toEqual(["b"])
      await purgeDeleted({ store, actor, recoveryDays: -1 })
      await expect(vault.list(after)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    })

    test("environments share a database and nothing else", async () => {
      const { id } = await world.vault.create("n", context, "x")
      const store = stores.open("other")
      const other = world.view({ store })
      await expect(other.read(id)).rejects.toMatchObject({ code: "NOT_FOUND" })
      await expect(other.readByName("n")).rejects.toMatchObject({ code: "NOT_FOUND" })
      await other.create("n", context, "y")
      expect((await other.list({ limit: 10, order: "asc" })).objects).toHaveLength(1)
      expect((await world.vault.list({ limit: 10, order: "asc" })).objects).toHaveLength(1)
      expect((await eventsOf(store)).map(({ type }) => type)).toEqual([
        ...["vault.data.created", "vault.names.listed"],
      ])
      await store.close()
    })

    describe("with a scope", () => {
      test("whatever lacks a pair of it is not there, and cannot be made", async () => {
        const mine = world.view({ scope: { org: "1" } })
        const theirs = await world.vault.create("theirs", { org: "2", user: "u" }, "x")
        const own = await mine.create("own", { org: "1", user: "u" }, "y")
        const gone = await world.vault.create("gone", { org: "2" }, "z")
        await world.vault.remove(gone.id)
        const key = await world.vault.createDataKey({ org: "2" })
        const calls = [
          () => mine.read(theirs.id),
          () => mine.readByName("theirs"),
          () => mine.readVersion(theirs.id, theirs.versionId),
          () => mine.describe(theirs.id),
          () => mine.versions(theirs.id),
          () => mine.update(theirs.id, "x"),
          () => mine.restore(theirs.id, theirs.versionId),
          () => mine.rewrap(theirs.id),
          () => mine.reencrypt(theirs.id),
          () => mine.remove(theirs.id),
          () => mine.undelete(gone.id),
          () => mine.read(own.id, {}).then(() => mine.readVersion(own.id, theirs.versionId)),
        ]
        for (const call of calls) await expect(call()).rejects.toMatchObject({ code: "NOT_FOUND" })
        for (const call of [
          () => mine.create("new", { user: "u" }, "x"),
          () => mine.create("new", { org: "2" }, "x"),
          () => mine.createDataKey({ org: "2" }),
        ])
          await expect(call()).rejects.toMatchObject({ code: "OUT_OF_SCOPE" })
        for (const call of [
          () => mine.decryptDataKey(key.sealed),
          () => mine.rekeyDataKey(key.sealed, { org: "1" }),
        ])
          await expect(call()).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
        const list = { limit: 10, order: "asc" } as const
        expect((await mine.list(list)).objects.map(({ name }) => name)).toEqual(["own"])
        expect((await mine.list({ ...list, context: { org: "2" } })).objects).toEqual([])
        expect((await mine.list({ ...list, deleted: true })).objects).toEqual([])
        await expect(mine.list({ ...list, after: theirs.id })).rejects.toMatchObject({
          code: "INVALID_ARGUMENT",
        })
      })
    })

    describe("events", () => {
      test("tell who did what with which keys, and never a value", async () => {
        const { vault } = world
        const { id, versionId, keyIds } = await vault.create("n", { organization_id: "o" }, "canary value")
        await vault.read(id)
        await vault.update(id, "canary value 2")
        await vault.describe(id)
        await vault.list({ limit: 1, order: "asc" })
        await vault.remove(id)
        const { sealed } = await vault.createDataKey(context)
        await vault.decryptDataKey(sealed)
        const events = await eventsOf()
        expect(events.map(({ type }) => type)).toEqual([
          ...["vault.data.created", "vault.data.read", "vault.data.updated", "vault.metadata.read"],
          ...["vault.names.listed", "vault.data.deleted", "vault.dek.read", "vault.dek.decrypted"],
        ])
        expect(events[0]).toMatchObject({
          ...{ objectId: id, versionId, keyIds, name: "n", context: { organization_id: "o" }, position: 1 },
          ...{
            actor: { id: "a", name: "A", source: "api" },
            id: expect.stringMatching(/^event_[0-9A-Z]{26}$/),
          },
        })
        expect(JSON.stringify(events)).not.toContain("canary")
        const { store } = world
        const some = await store.events({ limit: 9, order: "desc", below: 5, types: ["vault.data.read"] })
        expect(some.map(({ position }) => position)).toEqual([2])
        const ofOrganization = await store.events({ limit: 9, order: "asc", organizationId: "o" })
        expect(ofOrganization.map(({ position }) => position)).toEqual([1, 2, 3, 4])
        expect(await store.events({ limit: 9, order: "asc", from: Date.now() + 1000 })).toEqual([])
        expect(await store.events({ limit: 9, order: "asc", until: 1 })).toEqual([])
      })

      test("none is written for what was refused", async () => {
        const { vault } = world
        const { id } = await vault.create("n", context, "x")
        await Promise.allSettled([
          vault.create("n", context, "y"),
          vault.update(id, "y", "stale"),
          vault.remove(id, "stale"),
          vault.read("unknown"),
        ])
        expect((await eventsOf()).map(({ type }) => type)).toEqual(["vault.data.created"])
      })

      test("one chain comes of many handles that link at once, and a purge leaves it whole", async () => {
        const { vault, store } = world
        const other = stores.open()
        const second = world.view({ store: other })
        for (let i = 0; i < 20; i++) {
          const { id } = await (i % 2 ? vault : second).create(`n${i}`, context, "x")
          if (i % 4 === 0) await vault.remove(id)
          await Promise.all([linkEvents(store), linkEvents(other)])
        }
        expect(await verifyEvents(store)).toMatchObject({ events: 25, purged: 0 })
        expect(await purgeDeleted({ store, actor, recoveryDays: -1 })).toMatchObject({ purged: 5 })
        expect(await verifyEvents(other)).toMatchObject({ events: 30, purged: 10 })
        const purged = (await eventsOf()).filter(({ name }) => name === undefined)
        expect(purged).toHaveLength(15)
        await other.close()
      })

      test("of reads are stored together, soon or when asked", async () => {
        const events = new EventBuffer(world.store, { delayMs: 20 })
        const reader = world.view({ events })
        const { id } = await world.vault.create("n", context, "x")
        for (let i = 0; i < 5; i++) await reader.read(id)
        expect(await eventsOf()).toHaveLength(1)
        await expect.poll(() => eventsOf()).toHaveLength(6)
        await reader.read(id)
        await events.flush()
        expect(await eventsOf()).toHaveLength(7)
      })
    })

    describe("a sweep", () => {
      const started = async (count: number) => {
        const { vault, keyfold, store, managed } = world
        const made = []
        for (let i = 0; i < count; i++)
          made.push(await vault.create(`n${i}`, { user: "u", odd: String(i % 2) }, `v${i}`))
        await managed.rotate(made[0]?.keyIds[1] as string)
        // What was sealed in the millisecond of its beginning is not its work.
        await new Promise((resolve) => setTimeout(resolve, 5))
        return { made, options: { keyfold, store, actor, kind: "rewrap" as const } }
      }
      const versionsOf = async (id: string, versionId: string) => {
        const { header } = (await world.store.head(id, versionId)) as { header: Uint8Array }
        return world.keyfold.inspect(header).wraps.map(({ keyVersion }) => keyVersion)
      }

      test("moves every version, of deleted objects too, and all of them open", async () => {
        const { vault } = world
        const { made, options } = await started(7)
        const [first, second] = made as [Details, Details]
        await vault.update(first.id, "newer")
        await vault.remove(second.id)
        await new Promise((resolve) => setTimeout(resolve, 5))
        const told: SweepProgress[] = []
        const { done, failed } = await sweep({ ...options, onProgress: (progress) => told.push(progress) })
        expect([done, failed, told.at(-1)]).toEqual([8, {}, { done: 8, remaining: 0 }])
        for (const { id, versionId } of made) expect(await versionsOf(id, versionId)).toContain(2)
        await vault.undelete(second.id)
        expect((await vault.readVersion(first.id, first.versionId)).value).toBe("v0")
        for (const [i, { id }] of made.entries())
          expect((await vault.read(id)).value).toBe(i === 0 ? "newer" : `v${i}`)
        const events = await eventsOf()
        expect(events.filter(({ type }) => type === "vault.data.rewrapped")).toHaveLength(8)
      })

      test("keeps to a context, and can encrypt anew", async () => {
        const { options, made } = await started(6)
        const payloads = async () =>
          Promise.all(
            made.map(async ({ id, versionId }) => (await world.store.version(id, versionId))?.payload),
          )
        const before = await payloads()
        expect(await sweep({ ...options, kind: "reencrypt", context: { odd: "1" } })).toMatchObject({
          done: 3,
        })
        const after = await payloads()
        expect(
          after.map((payload, i) => Buffer.compare(payload as Uint8Array, before[i] as Uint8Array) === 0),
        ).toEqual([...[true, false, true, false, true, false]])
        for (const { id } of made) await world.vault.read(id)
      })

      test("of two processes at once each version is moved by one; one that was interrupted is gone on with", async () => {
        const { options } = await started(250)
        const stop = new AbortController()
        const cut = sweep({ ...options, signal: stop.signal, onProgress: () => stop.abort() })
        await expect(cut).rejects.toMatchObject({ code: "ABORTED" })
        const store = stores.open()
        const results = await Promise.all([sweep(options), sweep({ ...options, store, concurrency: 2 })])
        expect(results.reduce((sum, { done }) => sum + done, 0)).toBe(150)
        expect(results[0].startedAt).toBe(results[1].startedAt)
        expect(await world.store.countDue({ sealedBefore: results[0].startedAt })).toBe(0)
        await store.close()
      })

      test("tells what could not be moved, and the next one moves it", async () => {
        const { made, options } = await started(4)
        const keyId = made[1]?.keyIds[0] as string
        await world.managed.disable(keyId)
        expect(await sweep(options)).toMatchObject({ done: 2, failed: { KEY_DISABLED: 2 } })
        await world.managed.enable(keyId)
        await new Promise((resolve) => setTimeout(resolve, 5))
        expect(await sweep(options)).toMatchObject({ done: 4, failed: {} })
      })
    })

    test("API keys are found by their hash, listed, and revoked once", async () => {
      const { store } = world
      const key = { id: "key_1", name: "k", hash: new Uint8Array(32).fill(1), scope: "{}" }
      await store.putApiKey({ ...key, createdAt: 5, revokedAt: 0 })
      expect(await store.findApiKey(key.hash)).toEqual({ ...key, createdAt: 5, revokedAt: 0 })
      expect(await store.findApiKey(new Uint8Array(32))).toBeUndefined()
      expect([await store.revokeApiKey("key_1", 9), await store.revokeApiKey("key_1", 10)]).toEqual([
        true,
        false,
      ])
      expect(await store.apiKeys()).toEqual([{ ...key, createdAt: 5, revokedAt: 9 }])
    })

    test("a token is found until it is taken or expires, by its kind and hash; of several takers one gets it", async () => {
      const { store } = world
      const token = { kind: "link", hash: new Uint8Array(32).fill(1), content: "{}", expiresAt: 100 }
      expect([await store.putToken(token, 5), await store.putToken({ ...token, content: "[]" }, 5)]).toEqual([
        true,
        false,
      ])
      expect(await store.findToken("link", token.hash, 99)).toEqual(token)
      expect(await store.findToken("link", token.hash, 100)).toBeUndefined()
      expect(await store.findToken("session", token.hash, 5)).toBeUndefined()
      expect(await store.takeToken("session", token.hash, 5)).toBeUndefined()
      expect(await store.takeToken("link", new Uint8Array(32), 5)).toBeUndefined()
      expect(await store.takeToken("link", token.hash, 100)).toBeUndefined()
      const taken = await Promise.all(
        Array.from({ length: 10 }, () => store.takeToken("link", token.hash, 99)),
      )
      expect(taken.filter((each) => each !== undefined)).toEqual([token])
      await store.putToken(token, 5)
      // What has expired goes when the next one comes.
      expect(await store.putToken({ ...token, expiresAt: 300 }, 200)).toBe(true)
    })

    test("a webhook is kept, moved by one of several that try at once, and removed, in its environment alone", async () => {
      const { store } = world
      const progress = { position: 4, dueAt: 0, failures: 0, failingSince: 0, failure: "" }
      const secret = new Uint8Array([1, 2, 3])
      const webhook = { id: "w", settings: "{}", secret, createdAt: 5, change: 1, ...progress }
      await store.putWebhook(webhook)
      await store.putWebhook({ ...webhook, id: "earlier", createdAt: 4 })
      expect(await store.webhooks()).toEqual([{ ...webhook, id: "earlier", createdAt: 4 }, webhook])

      const [other, foreign] = [stores.open(), stores.open("other")]
      expect(await foreign.webhooks()).toEqual([])
      expect(await foreign.moveWebhook("w", 1, progress)).toBe(false)
      expect(await foreign.removeWebhook("w")).toBe(false)
      const moved = { position: 9, dueAt: 2 ** 53 - 1, failures: 3, failingSince: 7, failure: "HTTP 500" }
      const moves = await Promise.all(
        Array.from({ length: 10 }, (_, i) => (i % 2 ? store : other).moveWebhook("w", 1, moved)),
      )
      expect(moves.filter((done) => done)).toHaveLength(1)
      expect((await store.webhooks())[1]).toEqual({ ...webhook, ...moved, change: 2 })
      expect(await store.moveWebhook("w", 1, progress)).toBe(false)
      expect(await store.moveWebhook("w", 2, progress)).toBe(true)

      expect([await store.removeWebhook("w"), await store.removeWebhook("w")]).toEqual([true, false])
      expect(await store.moveWebhook("w", 3, progress)).toBe(false)
      expect((await store.webhooks()).map(({ id }) => id)).toEqual(["earlier"])
      await Promise.all([other.close(), foreign.close()])
    })

    test("bad arguments are refused with a code", async () => {
      const { vault } = world
      const refused: (() => Promise<unknown>)[] = [
        () => vault.create("", context, "x"),
        () => vault.create("n".repeat(201), context, "x"),
        () => vault.create("n", context, 1 as never),
        () => vault.create("n", context, "\ud800"),
        () => vault.create("n", context, new Uint8Array(64 * 1024 * 1024 + 1)),
        () => vault.list({ limit: 0, order: "asc" }),
        () => vault.list({ limit: 101, order: "asc" }),
        () => vault.list({ limit: 1, order: "asc", after: "a", before: "b" }),
        () => vault.list({ limit: 1, order: "asc", after: "unknown" }),
      ]
      for (const call of refused) await expect(call()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
      await expect(vault.create("n", {}, "x")).rejects.toMatchObject({ code: "INVALID_CONTEXT" })
    })
  })
}
