/** The unmodified SDK of WorkOS against this server: one test for each row of the contract, and its quirks. */
import { createVault, openWorkosBlob } from "@keyfold/vault"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { startServer, unavailable } from "../../postgres/test/server.ts"
import { type SdkReply, startTestWorld, type TestWorld } from "./world.ts"

const context = { organization_id: "org_1", data_type: "ssn" }
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
let world: TestWorld
let count = 0
const named = () => `name ${++count}`
const values = (replies: readonly SdkReply[]) => {
  for (const { error } of replies) if (error !== undefined) throw new Error(error.message)
  return replies.map(({ value }) => value as never as Record<string, never>)
}

const database = unavailable === undefined ? await startServer() : undefined
afterAll(() => database?.stop())
test("a PostgreSQL runs", ({ skip }) => {
  if (unavailable !== undefined) skip(unavailable)
})

describe.each([
  ["managed KEKs", undefined, undefined],
  ["a customer's key in AWS KMS", "aws", undefined],
  ["a customer's key in Azure Key Vault", "azure", undefined],
  ["a customer's key in Google Cloud KMS", "gcp", undefined],
  ...(database === undefined
    ? []
    : ([
        ["PostgreSQL and managed KEKs", undefined, database],
        ["PostgreSQL and a customer's key in AWS KMS", "aws", database],
        ["PostgreSQL and a customer's key in Azure Key Vault", "azure", database],
        ["PostgreSQL and a customer's key in Google Cloud KMS", "gcp", database],
      ] as const)),
] as const)("over %s", (_, cloud, server) => {
  beforeAll(async () => {
    world = await startTestWorld(cloud, server?.connectionString)
  })
  afterAll(async () => {
    // Each value of a bound tenant needs its key: the cloud was asked.
    if (cloud !== undefined) expect(world.calls()).toBeGreaterThan(30)
    await world.close()
  })

  describe("(a) every row", () => {
    test("POST /kv: createObject", async () => {
      const [made] = values(await world.sdk(["createObject", { name: named(), value: "v", context }]))
      expect(made).toEqual({
        ...{ id: expect.stringMatching(UUID), context, environmentId: "environment_test" },
        ...{ keyId: expect.stringMatching(UUID), updatedAt: expect.any(String) },
        ...{
          updatedBy: { id: expect.stringMatching(/^key_/), name: "test" },
          versionId: expect.stringMatching(UUID),
        },
      })
    })

    test("GET /kv: listObjects", async () => {
      const names = [named(), named(), named()]
      const replies = values(
        await world.sdk(...names.map((name) => ["createObject", { name, value: "v", context }] as const), [
          "listObjects",
          { limit: 2 },
        ]),
      )
      const list = replies.at(-1) as never as {
        data: { name: string; updatedAt: string }[]
        listMetadata: { after: string }
      }
      expect(list.data.map(({ name }) => name)).toEqual([names[2], names[1]])
      const [next, found, none] = values(
        await world.sdk(
          ["listObjects", { limit: 1, after: list.listMetadata.after }],
          ["listObjects", { search: names[0] }],
          ["listObjects", { updatedAfter: `date:${new Date(Date.now() + 60_000).toISOString()}` }],
        ),
      ) as never as { data: { name: string }[] }[]
      expect(next?.data.map(({ name }) => name)).toEqual([names[0]])
      expect(found?.data.map(({ name }) => name)).toContain(names[0])
      expect(none?.data).toEqual([])
    })

    test("GET /kv/{id} and /kv/name/{name}: readObject, readObjectByName, also with a slash and more in the name", async () => {
      for (const name of [named(), "a/b c%2F", "ünï/%", "metadata"]) {
        const [made, byId, byName, byOption] = values(
          await world.sdk(
            ["createObject", { name, value: `value of ${name}`, context }],
            ["readObject", { id: "$0.id" }],
            ["readObjectByName", name],
            ["readObjectByName", { name }],
          ),
        )
        expect(byId).toMatchObject({ id: made?.id, name, value: `value of ${name}`, metadata: { context } })
        expect([byName, byOption]).toEqual([byId, byId])
      }
    })

    test("PUT /kv/{id}: updateObject, with and without a check", async () => {
      const replies = await world.sdk(
        ["createObject", { name: named(), value: "1", context }],
        ["updateObject", { id: "$0.id", value: "2" }],
        ["updateObject", { id: "$0.id", value: "3", versionCheck: "$0.versionId" }],
        ["readObject", { id: "$0.id" }],
      )
      expect(replies[2]?.error).toMatchObject({ name: "ConflictException", status: 409 })
      expect(replies[3]?.value).toMatchObject({ value: "2" })
      const [made, updated] = replies.map(
        ({ value }) => value as never as Record<string, Record<string, string>>,
      )
      expect(updated?.metadata?.versionId).not.toBe(made?.versionId)
    })

    test("DELETE /kv/{id}: deleteObject, and all of it is gone at once", async () => {
      const name = named()
      const replies = await world.sdk(
        ["createObject", { name, value: "1", context }],
        ["deleteObject", { id: "$0.id", versionCheck: "stale" }],
        ["deleteObject", { id: "$0.id" }],
        ["readObject", { id: "$0.id" }],
        ["readObjectByName", name],
        ["describeObject", { id: "$0.id" }],
        ["listObjectVersions", { id: "$0.id" }],
        ["updateObject", { id: "$0.id", value: "2" }],
        ["deleteObject", { id: "$0.id" }],
        ["createObject", { name, value: "again", context }],
      )
      expect(replies.map(({ error }) => error?.status)).toEqual([
        ...[undefined, 409, undefined, 404, 404, 404, 404, 404, 404, undefined],
      ])
    })

    test("GET /kv/{id}/metadata: describeObject gives no value", async () => {
      const [made, described] = values(
        await world.sdk(
          ["createObject", { name: named(), value: "v", context }],
          ["describeObject", { id: "$0.id" }],
        ),
      )
      expect(described).toMatchObject({
        id: made?.id,
        metadata: { versionId: made?.versionId, keyId: made?.keyId },
      })
      expect(described?.value).toBeUndefined()
    })

    test("GET /kv/{id}/versions: listObjectVersions, just one of them current", async () => {
      const replies = values(
        await world.sdk(
          ["createObject", { name: named(), value: "1", context }],
          ["updateObject", { id: "$0.id", value: "22" }],
          ["listObjectVersions", { id: "$0.id" }],
        ),
      )
      expect(replies[2]).toMatchObject([
        { currentVersion: true, size: 2, etag: expect.stringMatching(/^[0-9a-f]{32}$/) },
        { id: replies[0]?.versionId, currentVersion: false, size: 1 },
      ])
    })

    test("POST /keys/data-key, /keys/decrypt, /keys/rekey", async () => {
      const other = { organization_id: "org_2" }
      const [made, opened, rekeyed, again] = values(
        await world.sdk(
          ["createDataKey", { context }],
          ["decryptDataKey", { keys: "$0.encryptedKeys" }],
          ["createRekey", { context: other, encryptedKeys: "$0.encryptedKeys" }],
          ["decryptDataKey", { keys: "$2.encryptedKeys" }],
        ),
      ) as never as { dataKey: { key: string; id: string }; key: string; id: string; context: unknown }[]
      expect(Buffer.from(made?.dataKey.key ?? "", "base64")).toHaveLength(32)
      expect(opened).toEqual(made?.dataKey)
      expect(rekeyed).toMatchObject({ context: other, dataKey: made?.dataKey.key })
      expect(again).toEqual({ key: made?.dataKey.key, id: rekeyed?.id })
    })

    test("GET /events: listEvents, of every type that the contract has for what was done", async () => {
      const name = named()
      const replies = values(
        await world.sdk(
          ["createObject", { name, value: "canary", context }],
          ["updateObject", { id: "$0.id", value: "canary 2" }],
          ["readObject", { id: "$0.id" }],
          ["describeObject", { id: "$0.id" }],
          ["listObjects", {}],
          ["deleteObject", { id: "$0.id" }],
          ["createDataKey", { context }],
          ["decryptDataKey", { keys: "$6.encryptedKeys" }],
          ["events.listEvents", { limit: 8, order: "desc" }],
          [
            "events.listEvents",
            { events: ["vault.data.read", "vault.data.deleted"], limit: 2, order: "desc" },
          ],
          ["events.listEvents", { organizationId: "org_1", limit: 1, order: "asc" }],
        ),
      ) as never as { data: { event: string; data: Record<string, unknown> }[]; listMetadata: object }[]
      const [all, some, one] = replies.slice(-3)
      expect(all?.data.map(({ event }) => event).reverse()).toEqual([
        ...["vault.data.created", "vault.data.updated", "vault.data.read", "vault.metadata.read"],
        ...["vault.names.listed", "vault.data.deleted", "vault.dek.read", "vault.dek.decrypted"],
      ])
      expect(all?.data.at(-1)?.data).toEqual({
        ...{ actorId: expect.stringMatching(/^key_/), actorSource: "api", actorName: "test" },
        ...{ kvName: name, keyId: expect.stringMatching(UUID), keyContext: context },
      })
      expect(some?.data.map(({ event }) => event)).toEqual(["vault.data.deleted", "vault.data.read"])
      expect([one?.data.length, one?.listMetadata]).toEqual([
        ...[1, { after: expect.stringMatching(/^event_/), before: null }],
      ])
      expect(JSON.stringify(replies.slice(-3))).not.toContain("canary")
    })

    test("encrypt and decrypt of the SDK itself, with and without additional data", async () => {
      const replies = await world.sdk(
        ["encrypt", "ein Gedicht, ü", context],
        ["decrypt", "$0"],
        ["encrypt", "x", context, "aad"],
        ["decrypt", "$2", "aad"],
        ["decrypt", "$2", "other"],
      )
      expect(replies[1]?.value).toBe("ein Gedicht, ü")
      expect(replies[3]?.value).toBe("x")
      expect(replies[4]?.error).toBeDefined()
      const vault = createVault({ ...world.options, actor: { id: "a", name: "A" } })
      const decryptDataKey = async (sealed: Uint8Array) => (await vault.decryptDataKey(sealed)).key
      const options = { decryptDataKey, associatedData: "aad" }
      const opened = await openWorkosBlob(replies[2]?.value as never, options)
      expect(new TextDecoder().decode(opened)).toBe("x")
    })
  })

  describe("(b) quirks", () => {
    test("a create that is sent again with its idempotency key gives the first answer; another request under it is refused", async () => {
      const body = { name: named(), value: "v", key_context: context }
      const headers = { "idempotency-key": `retry-${body.name}` }
      const first = await world.request("POST", "/vault/v1/kv", body, headers)
      const second = await world.request("POST", "/vault/v1/kv", body, headers)
      expect([first.status, second.status, second.body]).toEqual([201, 201, first.body])
      expect((await world.request("POST", "/vault/v1/kv", body)).status).toBe(409)
      expect((await world.request("POST", "/vault/v1/kv", { ...body, value: "w" }, headers)).status).toBe(422)
    })

    test("version_check null means no check", async () => {
      const made = await world.request("POST", "/vault/v1/kv", {
        name: named(),
        value: "v",
        key_context: context,
      })
      const put = await world.request("PUT", `/vault/v1/kv/${made.body.id}`, {
        value: "w",
        version_check: null,
      })
      expect(put.status).toBe(201)
    })

    test("updatedAfter under both names and in both forms; unknown and empty parameters count as none", async () => {
      const past = new Date(Date.now() - 60_000)
      for (const query of [
        `updatedAfter=${past.toISOString()}`,
        `updated_after=${encodeURIComponent(past.toString())}`,
        `updatedAfter=${encodeURIComponent(past.toString())}`,
        "query=%5Bobject+Object%5D&after=&search=",
      ]) {
        const { status, body } = await world.request("GET", `/vault/v1/kv?${query}`)
        expect([query, status, (body.data as unknown[]).length > 0]).toEqual([query, 200, true])
      }
    })

    test("a content type without a body, as the SDK sends with GET and DELETE, is no error", async () => {
      const made = await world.request("POST", "/vault/v1/kv", {
        name: named(),
        value: "v",
        key_context: context,
      })
      expect((await world.request("DELETE", `/vault/v1/kv/${made.body.id}?query=x`)).body).toEqual({
        success: true,
        name: expect.any(String),
      })
    })

    test("every answer is JSON with a request id, and list_metadata is an object also for versions", async () => {
      const made = await world.request("POST", "/vault/v1/kv", {
        name: named(),
        value: "v",
        key_context: context,
      })
      const versions = await world.request("GET", `/vault/v1/kv/${made.body.id}/versions`)
      expect(versions.body.list_metadata).toEqual({ before: null, after: null })
      for (const { headers } of [made, versions, await world.request("GET", "/nowhere")]) {
        expect(headers.get("content-type")).toMatch(/^application\/json/)
        expect(headers.get("x-request-id")).toMatch(UUID)
      }
      expect(made.body.updated_at).toMatch(ISO)
    })
  })

  if (cloud !== undefined) {
    test("a customer that disables its key shuts its data at the next read", async () => {
      const [made] = values(await world.sdk(["createObject", { name: named(), value: "v", context }]))
      const read = () => world.request("GET", `/vault/v1/kv/${made?.id}`)
      expect((await read()).body.value).toBe("v")
      world.cmk?.disable()
      const { status, body } = await read()
      expect([status, body.code]).toEqual([403, "key_disabled"])
      world.cmk?.enable()
      expect((await read()).body.value).toBe("v")
    })
  }

  describe("a key that its owner has shut is 403 and named, never a 5xx", () => {
    test("a disabled KEK", async () => {
      const [made] = values(
        await world.sdk([
          "createObject",
          { name: named(), value: "v", context: { organization_id: "shut" } },
        ]),
      )
      await world.managed.disable(String(made?.keyId).replaceAll("-", ""))
      const { status, body } = await world.request("GET", `/vault/v1/kv/${made?.id}`)
      expect([status, body.code]).toEqual([403, "key_disabled"])
      expect(JSON.stringify(body)).not.toContain("shut")
    })
  })
})
