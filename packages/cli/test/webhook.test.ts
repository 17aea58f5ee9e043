/** `keyfold webhook`, and two servers over one home that send to a real receiver. */
import { readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ended, workshop } from "./cli.ts"

const { start, run, path } = workshop()
const got: { readonly text: string; readonly signature: string }[] = []
const receiver = createServer(async (request, response) => {
  let text = ""
  for await (const chunk of request) text += chunk
  got.push({ text, signature: String(request.headers["workos-signature"]) })
  response.end()
})
let url: string

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve))
  url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/path-canary`
})
afterAll(() => {
  receiver.closeAllConnections()
  receiver.close()
})

test("each event comes once from two servers, signed with the secret that was printed once; a removed one gets none", {
  timeout: 120_000,
}, async () => {
  const { WorkOS } = await import("@workos-inc/node")
  const { webhooks } = new WorkOS("sk_example")
  const added = await run(["webhook", "add", url, "--json"])
  const { id, secret } = JSON.parse(added.stdout.toString())
  const listed = await run(["webhook", "list", "--json"])
  expect(JSON.parse(listed.stdout.toString()).webhooks).toMatchObject([
    { id, url, state: "delivering", behind: 0, withoutContext: false },
  ])
  expect((await run(["webhook", "list"])).stdout.toString()).toContain(id)

  const servers = await Promise.all([serve(), serve()])
  const names: string[] = []
  const create = async (from: number, to: number) => {
    for (let i = from; i < to; i++) {
      names.push(`n${i}`)
      const { url, apiKey } = servers[i % 2] as (typeof servers)[0]
      const { status } = await fetch(`${url}/vault/v1/kv`, {
        method: "POST",
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        body: JSON.stringify({ name: `n${i}`, value: "x", key_context: { organization_id: "org_1" } }),
      })
      expect(status).toBe(201)
    }
  }
  const created = () =>
    got.map(({ text }) => JSON.parse(text)).filter(({ event }) => event === "vault.data.created")
  for (let round = 0; round < 3; round++) {
    await create(round * 10, round * 10 + 10)
    await expect.poll(() => created().length, { timeout: 20_000 }).toBe(names.length)
  }
  expect(
    created()
      .map(({ data }) => data.kv_name)
      .sort(),
  ).toEqual([...names].sort())
  for (const { text: payload, signature: sigHeader } of got)
    await webhooks.constructEvent({ payload, sigHeader, secret, tolerance: 120_000 })
  const metrics = await (await fetch(`${servers[0].url}/metrics`)).text()
  expect(metrics).toMatch(/^keyfold_webhooks\{state="delivering"\} 1$/m)

  expect((await run(["webhook", "resume", id])).code).toBe(0)
  expect((await run(["webhook", "remove", id])).code).toBe(0)
  await create(30, 32)
  let logs = ""
  for (const { server, done } of servers) {
    server.kill("SIGTERM")
    const { code, stderr } = await done
    expect(code).toBe(0)
    logs += stderr
  }
  const again = await serve()
  await new Promise((resolve) => setTimeout(resolve, 6000))
  again.server.kill("SIGTERM")
  logs += (await again.done).stderr
  expect(created()).toHaveLength(30)
  expect(logs).not.toContain("canary")
  expect(logs).not.toContain(secret)
  for (const file of readdirSync(path("home")))
    expect(readFileSync(path(`home/${file}`), "latin1")).not.toContain(secret)
})

describe("refuses", () => {
  test.each([
    ["plain HTTP to another machine", ["add", "http://hooks.example.com"]],
    ["a type that is none", ["add", "https://hooks.example.com", "--events", "vault.data.none"]],
    ["to remove what is not there", ["remove", "webhook_none"]],
    ["to resume what is not there", ["resume", "webhook_none"]],
  ])("%s", async (_, args) => {
    await run(["init"])
    const { code, stderr } = await run(["webhook", ...args])
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^error INVALID_ARGUMENT: /)])
  })
})

async function serve() {
  const server = start(["serve", "--port", "0", "--json", "--log"])
  const done = ended(server)
  const { value: line } = await createInterface(server.stdout)[Symbol.asyncIterator]().next()
  return { ...(JSON.parse(line as string) as { url: string; apiKey: string }), server, done }
}
