/** Bad input of every kind: the right status and a code, never a 500, and nothing of it in the answer. */
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createApp, listen } from "../src/index.ts"
import { startTestWorld, type TestWorld } from "./world.ts"

const key_context = { organization_id: "org_1" }
const CANARY = "canary-7d1f"
let world: TestWorld
let id: string

beforeAll(async () => {
  world = await startTestWorld()
  id = (await world.request("POST", "/vault/v1/kv", { name: "n", value: CANARY, key_context })).body
    .id as never
})
afterAll(() => world.close())

const pairs = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, "v"]))
const create = (more: object) => ["POST", "/kv", { name: "other", value: "v", key_context, ...more }] as const
const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`

const cases: Record<string, readonly [status: number, method: string, path: string, body?: unknown]> = {
  "no context": [422, ...create({ key_context: undefined })],
  "an empty context": [422, ...create({ key_context: {} })],
  "eleven pairs": [422, ...create({ key_context: pairs(11) })],
  "a name of 121 characters in the context": [422, ...create({ key_context: { ["n".repeat(121)]: CANARY } })],
  "a value of 501 characters in the context": [422, ...create({ key_context: { a: "v".repeat(501) } })],
  "a number in the context": [422, ...create({ key_context: { a: 1 } })],
  "a nested context": [422, ...create({ key_context: { a: { b: CANARY } } })],
  "a list as context": [422, ...create({ key_context: [CANARY] })],
  "an own __proto__ that is no string": [
    422,
    "POST",
    "/kv",
    `{"name":"p","value":"v","key_context":{"__proto__":{"a":"b"}}}`,
  ],
  "no name": [422, ...create({ name: undefined })],
  "an empty name": [422, ...create({ name: "" })],
  "a name of 201 characters": [422, ...create({ name: "n".repeat(201) })],
  "a number as value": [422, ...create({ value: 1 })],
  "half a surrogate pair as value": [
    400,
    "POST",
    "/kv",
    `{"name":"s","value":"\\ud800","key_context":{"a":"b"}}`,
  ],
  "a list as body": [422, "POST", "/kv", []],
  "no JSON": [400, "POST", "/kv", `{"name": "${CANARY}`],
  "an empty body": [400, "POST", "/kv", ""],
  "very deep JSON": [422, "POST", "/kv", deep],
  "a taken name": [409, ...create({ name: "n" })],
  "a limit of 0": [400, "GET", "/kv?limit=0"],
  "a limit of 101": [400, "GET", "/kv?limit=101"],
  "a limit that is no number": [400, "GET", "/kv?limit=ten"],
  "an unknown order": [400, "GET", "/kv?order=random"],
  "both cursors": [400, "GET", "/kv?after=a&before=b"],
  "an unknown cursor": [400, "GET", "/kv?after=00000000-0000-4000-8000-000000000000"],
  "a date that is none": [400, "GET", "/kv?updatedAfter=yesterday"],
  "an unknown id": [404, "GET", "/kv/00000000-0000-4000-8000-000000000000"],
  "an id of another kind": [404, "GET", "/kv/%00'--"],
  "an unknown name": [404, "GET", `/kv/name/${CANARY}`],
  "a broken percent sign": [404, "GET", "/kv/name/%E0%A4%A"],
  "an unknown id to update": [404, "PUT", "/kv/unknown", { value: "v" }],
  "no value to update": [400, "PUT", "/kv/unknown", {}],
  "an unknown id to delete": [404, "DELETE", "/kv/unknown"],
  "a data key without a context": [422, "POST", "/keys/data-key", {}],
  "a data key under eleven pairs": [422, "POST", "/keys/data-key", { context: pairs(11) }],
  "keys that are not base64": [400, "POST", "/keys/decrypt", { keys: "§" }],
  "keys that are no envelope": [400, "POST", "/keys/decrypt", { keys: "AAAA" }],
  "keys of 100 KB": [400, "POST", "/keys/decrypt", { keys: "A".repeat(100_004) }],
  "a rekey of nothing": [422, "POST", "/keys/rekey", { context: key_context }],
  "an unknown endpoint": [404, "GET", "/objects"],
  "an unknown method": [404, "PATCH", "/kv"],
}

describe("is refused", () => {
  test.each(Object.keys(cases))("%s", async (name) => {
    const [status, method, path, body] = cases[name] as (typeof cases)[string]
    const reply = await world.request(method, `/vault/v1${path}`, body)
    expect(reply.status).toBe(status)
    expect(reply.body).toEqual({
      error: expect.any(String),
      message: reply.body.error,
      code: expect.any(String),
    })
    expect(JSON.stringify(reply.body)).not.toContain(CANARY)
    expect(world.errors).toEqual([])
  })

  test("another content type, and a body of more than 100 MiB", async () => {
    const form = await world.request("POST", "/vault/v1/kv", "a=b", { "content-type": "text/plain" })
    expect(form.status).toBe(415)
    const long = await world.request("POST", "/vault/v1/kv", "x".repeat(100 * 1024 * 1024 + 1))
    expect([long.status, long.body.code]).toEqual([413, "payload_too_large"])
  })

  test("keys of another installation, and keys that were altered", async () => {
    const { body } = await world.request("POST", "/vault/v1/keys/data-key", { context: key_context })
    const sealed = Buffer.from(body.encrypted_keys as string, "base64")
    sealed[sealed.length - 1] = (sealed.at(-1) as number) ^ 1
    const altered = await world.request("POST", "/vault/v1/keys/decrypt", { keys: sealed.toString("base64") })
    expect([altered.status, altered.body.code]).toEqual([400, "decryption_failed"])
    const other = await startTestWorld()
    const foreign = await other.request("POST", "/vault/v1/keys/decrypt", { keys: body.encrypted_keys })
    expect([foreign.status, foreign.body.code]).toEqual([400, "decryption_failed"])
    await other.close()
  })
})

describe("without a key of this server", () => {
  test.each([undefined, "Bearer sk_wrong", "Basic sk_wrong", "Bearer ", `Bearer ${CANARY}`])(
    "%s",
    async (authorization) => {
      for (const path of ["/kv", `/kv/${id}`, "/keys/decrypt"]) {
        const reply = await fetch(`${world.url}/vault/v1${path}`, {
          headers: { ...(authorization && { authorization }) },
        })
        expect(reply.status).toBe(401)
        const body = await reply.text()
        expect(body).toContain("sk_")
        expect(body).not.toContain(CANARY)
      }
    },
  )
})

test("only loopback is served without TLS, unless it is allowed", async () => {
  const app = createApp({ keyfold: {} as never, store: {} as never, environmentId: "e" })
  await expect(listen(app, { host: "0.0.0.0", port: 0 })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
  const open = await listen(app, { host: "0.0.0.0", port: 0, insecureHttp: true })
  expect((await fetch(`http://127.0.0.1:${open.port}/healthz`)).status).toBe(200)
  await expect(listen(app, { port: open.port })).rejects.toMatchObject({
    message: expect.stringContaining("in use"),
  })
  await open.close()
})
