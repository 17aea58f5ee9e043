/** API keys, what they may do, how often, and what is told of it. */
import { Validator } from "@seriousme/openapi-schema-validator"
import { Hono } from "hono"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ACTIONS, createApp, createMetrics, listApiKeys, listen, storeApiKey } from "../src/index.ts"
import { startTestWorld, type TestWorld } from "./world.ts"

let world: TestWorld

beforeAll(async () => {
  world = await startTestWorld()
})
afterAll(() => world.close())

const as = (text: string) => ({ authorization: `Bearer ${text}` })

describe("an API key of the store", () => {
  test("is good at once, and no more a second after it was revoked", async () => {
    const { text, key } = await storeApiKey(world.store, "mine")
    expect((await world.request("GET", "/vault/v1/kv", undefined, as(text))).status).toBe(200)
    expect(await listApiKeys(world.store)).toMatchObject([{ id: key.id, name: "mine" }])
    await world.store.revokeApiKey(key.id, Date.now())
    expect(await listApiKeys(world.store)).toEqual([])
    await expect
      .poll(async () => (await world.request("GET", "/vault/v1/kv", undefined, as(text))).status, {
        timeout: 2000,
      })
      .toBe(401)
  })

  test("may do what its actions name, and nothing else", async () => {
    const key_context = { organization_id: "actions" }
    const made = (await world.request("POST", "/vault/v1/kv", { name: "actions", value: "v", key_context }))
      .body
    const sealed = (await world.request("POST", "/vault/v1/keys/data-key", { context: key_context })).body
    const calls = {
      read: [
        ["GET", `/vault/v1/kv/${made.id}`],
        ["GET", "/vault/v1/kv/name/actions"],
      ],
      list: [
        ["GET", "/vault/v1/kv"],
        ["GET", `/vault/v1/kv/${made.id}/metadata`],
        ["GET", `/vault/v1/kv/${made.id}/versions`],
      ],
      keys: [
        ["POST", "/vault/v1/keys/data-key", { context: key_context }],
        ["POST", "/vault/v1/keys/decrypt", { keys: sealed.encrypted_keys }],
        ["POST", "/vault/v1/keys/rekey", { context: key_context, encrypted_keys: sealed.encrypted_keys }],
      ],
      events: [["GET", "/events"]],
      portal: [["POST", "/portal-links", { match: key_context }]],
      write: [
        ["POST", "/vault/v1/kv", { name: "actions 2", value: "v", key_context }],
        ["PUT", `/vault/v1/kv/${made.id}`, { value: "w" }],
        ["DELETE", `/vault/v1/kv/${made.id}`],
      ],
    } as const satisfies Record<(typeof ACTIONS)[number], readonly (readonly [string, string, unknown?])[]>
    for (const action of ACTIONS) {
      const others = ACTIONS.filter((other) => other !== action)
      const without = await storeApiKey(world.store, "without", { actions: others })
      for (const [method, path, body] of calls[action]) {
        const { status, body: told } = await world.request(method, path, body, as(without.text))
        expect([method, path, status, told.code]).toEqual([method, path, 403, "forbidden"])
      }
    }
    for (const action of Object.keys(calls) as (keyof typeof calls)[]) {
      const only = await storeApiKey(world.store, "only", { actions: [action] })
      for (const [method, path, body] of calls[action])
        expect((await world.request(method, path, body, as(only.text))).status).toBeLessThan(300)
    }
  })

  test.each([
    ["no action", { actions: [] }],
    ["an unknown action", { actions: ["all" as never] }],
    ["a context that is none", { context: { a: 1 as never } }],
  ])("with %s is refused", async (_, scope) => {
    await expect(storeApiKey(world.store, "k", scope)).rejects.toMatchObject({ code: /^INVALID_/ })
  })
})

test("20 tenants, every endpoint, every other tenant's ids: nothing is read, and nothing shows that it is there", async () => {
  const tenants = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const key_context = { organization_id: `tenant ${i}` }
      const { text } = await storeApiKey(world.store, `tenant ${i}`, { context: key_context })
      const headers = as(text)
      const body = { name: `of tenant ${i}`, value: `secret ${i}`, key_context }
      const made = (await world.request("POST", "/vault/v1/kv", body, headers)).body
      const dataKey = await world.request(
        "POST",
        "/vault/v1/keys/data-key",
        { context: key_context },
        headers,
      )
      return {
        headers,
        key_context,
        name: body.name,
        id: made.id,
        version: made.version_id,
        blob: dataKey.body.encrypted_keys,
      }
    }),
  )
  const none = "00000000-0000-4000-8000-000000000000"
  const unknownBlob = Buffer.alloc(200, 7).toString("base64")
  const calls = (them: { id: unknown; name: string; version: unknown; blob: unknown }, mine: object) =>
    [
      ["GET", `/vault/v1/kv/${them.id}`],
      ["GET", `/vault/v1/kv/name/${encodeURIComponent(them.name)}`],
      ["GET", `/vault/v1/kv/${them.id}/metadata`],
      ["GET", `/vault/v1/kv/${them.id}/versions`],
      ["GET", `/vault/v1/kv?after=${them.id}`],
      ["GET", `/vault/v1/kv?before=${them.id}`],
      ["PUT", `/vault/v1/kv/${them.id}`, { value: "x" }],
      ["PUT", `/vault/v1/kv/${them.id}`, { value: "x", version_check: them.version }],
      ["DELETE", `/vault/v1/kv/${them.id}`],
      ["DELETE", `/vault/v1/kv/${them.id}?version_check=${them.version}`],
      ["POST", "/vault/v1/keys/decrypt", { keys: them.blob }],
      ["POST", "/vault/v1/keys/rekey", { context: mine, encrypted_keys: them.blob }],
    ] as const
  const plain = ({ status, body }: { status: number; body: unknown }) => JSON.stringify([status, body])
  let asked = 0
  for (const { headers, key_context } of tenants) {
    const nobody = { id: none, name: "of nobody", version: none, blob: unknownBlob }
    const expected = await Promise.all(
      calls(nobody, key_context).map(([method, path, body]) => world.request(method, path, body, headers)),
    )
    for (const them of tenants) {
      if (them.headers === headers) continue
      const replies = await Promise.all(
        calls(them, key_context).map(([method, path, body]) => world.request(method, path, body, headers)),
      )
      replies.forEach((reply, i) => {
        expect(reply.status).toBeGreaterThanOrEqual(400)
        // A blob of another tenant is not told from one that was altered; one of no kind is malformed.
        if (i < 10) expect(plain(reply)).toBe(plain(expected[i] as typeof reply))
        else expect(reply.body.code).toBe("decryption_failed")
        asked++
      })
    }
    const listed = await world.request("GET", "/vault/v1/kv?limit=100", undefined, headers)
    expect((listed.body.data as unknown[]).length).toBe(1)
    expect((await world.request("GET", "/events", undefined, headers)).status).toBe(403)
    const foreign = { name: "foreign", value: "x", key_context: { organization_id: "tenant x" } }
    expect((await world.request("POST", "/vault/v1/kv", foreign, headers)).status).toBe(403)
  }
  expect(asked).toBe(20 * 19 * 12)
  for (const [i, { headers, id }] of tenants.entries())
    expect((await world.request("GET", `/vault/v1/kv/${id}`, undefined, headers)).body.value).toBe(
      `secret ${i}`,
    )
}, 60_000)

test("an API key that asks too often hears when to come back", async () => {
  const metrics = createMetrics()
  const { text } = await storeApiKey(world.store, "eager")
  const other = await storeApiKey(world.store, "calm")
  const app = createApp({ ...world.options, requestsPerMinute: 3, metrics })
  const ask = (headers: Record<string, string>) => app.request("/vault/v1/kv", { headers })
  const replies = []
  for (let i = 0; i < 4; i++) replies.push(await ask(as(text)))
  expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 429])
  expect(Number(replies[3]?.headers.get("retry-after"))).toBeGreaterThan(0)
  expect((await ask(as(other.text))).status).toBe(200)
  const counted = await (await app.request("/metrics")).text()
  expect(counted).toMatch(/duration_seconds_count\{method="GET",route="\/vault\/v1\/kv",status="200"\} 4/)
})

test("metrics hold routes and outcomes, and nothing of what was sent", async () => {
  const metrics = createMetrics()
  const app = createApp({ ...world.options, metrics })
  const headers = as(world.apiKey)
  await app.request("/vault/v1/kv/name/canary-name", { headers })
  await app.request("/vault/v1/kv/canary-id?search=canary", { headers })
  metrics.onKeyfoldEvent({ type: "operation", operation: "encrypt", code: undefined, durationMs: 1 })
  const text = await metrics.text()
  expect(text).toContain('route="/vault/v1/kv/name/:name",status="404"')
  expect(text).toContain('keyfold_operations_total{operation="encrypt",code="OK"} 1')
  expect(text).not.toContain("canary")
})

test("the served OpenAPI document is valid and names every endpoint", async () => {
  const { body } = await world.request("GET", "/openapi.json")
  expect(await new Validator().validate(body)).toMatchObject({ valid: true })
  const operations = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
    Object.keys(methods)
      .filter((method) => method !== "parameters")
      .map((method) => `${method} ${path}`),
  )
  expect(operations).toHaveLength(13)
  const { post } = (body.paths as Record<string, { post: { requestBody: unknown } }>)["/vault/v1/kv"] as never
  const schema = { properties: { key_context: { type: "object", maxProperties: 10 } } }
  expect(post).toMatchObject({ requestBody: { content: { "application/json": { schema } } } })
})

test("a server that ends waits for requests whose client has gone", async () => {
  const app = new Hono()
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>()
  const { promise: answer, resolve: end } = Promise.withResolvers<Response>()
  app.get("/", () => {
    begin()
    return answer
  })
  const { url, close } = await listen(app, { port: 0 })
  const gone = new AbortController()
  const asked = fetch(url, { signal: gone.signal }).catch(() => "gone")
  await begun
  gone.abort()
  expect(await asked).toBe("gone")
  let isClosed = false
  const closing = close().then(() => {
    isClosed = true
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(isClosed).toBe(false)
  end(new Response())
  await closing
})

test("ready says whether the store answers", async () => {
  expect((await world.request("GET", "/readyz")).body).toEqual({ status: "ready" })
  const other = await startTestWorld()
  await other.store.close()
  expect((await other.request("GET", "/readyz")).status).toBe(503)
  await other.close()
})
