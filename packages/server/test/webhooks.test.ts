/** Webhooks, sent to a real HTTP server and verified by WorkOS's own SDK. */
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { linkEvents, type WebhookRow } from "@keyfold/vault"
import { WorkOS } from "@workos-inc/node"
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest"
import { startServer, unavailable } from "../../postgres/test/server.ts"
import {
  createMetrics,
  createWebhook,
  listWebhooks,
  resumeWebhook,
  type WebhookOptions,
} from "../src/index.ts"
import { signatureOf } from "../src/webhook.ts"
import { retryDelayMs, WebhookSender, type WebhookSenderOptions } from "../src/webhook-sender.ts"
import { startTestWorld, type TestWorld } from "./world.ts"

const { webhooks } = new WorkOS("sk_example")
const key_context = { organization_id: "org_canary" }
const metrics = createMetrics()

let world: TestWorld
let receiver: Receiver
let sender: WebhookSender
let errors: unknown[]

beforeEach(async () => {
  world = await startTestWorld()
  receiver = await startReceiver()
  errors = []
  sender = newSender()
})
afterEach(async () => {
  await sender.stop()
  await receiver.close()
  await world.close()
})

describe("a webhook", () => {
  test("gets what happens from then on, in order, each as GET /events gives it", async () => {
    await create("before")
    await add()
    for (let i = 0; i < 120; i++) await create(`n${i}`)
    await world.request("GET", "/vault/v1/kv/name/n3")
    await send()
    const { body } = await world.request("GET", "/events?order=asc&limit=1")
    const sent = receiver.got.map(({ text }) => JSON.parse(text))
    expect(sent.map(({ event, data }) => `${event} ${data.kv_name}`)).toEqual([
      ...Array.from({ length: 120 }, (_, i) => `vault.data.created n${i}`),
      "vault.data.read n3",
    ])
    const listed = await world.request(
      "GET",
      `/events?order=asc&limit=100&after=${(body.data as [{ id: string }])[0].id}`,
    )
    expect(sent.slice(0, 100)).toEqual(listed.body.data)
    expect(receiver.got[0]?.headers).toMatchObject({ "content-type": "application/json" })
    await send()
    expect(receiver.got).toHaveLength(121)
    expect(await listWebhooks(world.store)).toMatchObject([
      { state: "delivering", behind: 0, failure: undefined },
    ])
  })

  test("is verified by the unmodified SDK, which refuses another secret, another body and an old time", async () => {
    const { secret } = await add()
    await create("n")
    await send()
    const [{ text: payload, signature: sigHeader }] = receiver.got as [Got]
    const event = await webhooks.constructEvent({ payload: JSON.parse(payload), sigHeader, secret })
    expect(event).toMatchObject({
      event: "vault.data.created",
      data: { kvName: "n", keyContext: key_context, actorName: "test" },
    })
    expect(await webhooks.constructEvent({ payload, sigHeader, secret, tolerance: 10_000 })).toEqual(event)
    const refused = (given: object, message: RegExp) =>
      expect(webhooks.constructEvent({ payload, sigHeader, secret, ...given })).rejects.toMatchObject({
        name: "SignatureVerificationException",
        message: expect.stringMatching(message),
      })
    const other = await add()
    await refused({ secret: other.secret }, /does not match/)
    await refused({ payload: payload.replace('"n"', '"m"') }, /does not match/)
    await refused({ sigHeader: sigHeader.replace(/t=\d/, "t=9") }, /does not match/)
    const old = signatureOf(new TextEncoder().encode(secret), payload, Date.now() - 181_000)
    await refused({ sigHeader: old }, /outside the tolerance/)
  })

  test("without context tells no key context, no organization and no name", async () => {
    const { secret } = await add({ withoutContext: true })
    await create("name canary")
    await send()
    const [{ text, signature: sigHeader }] = receiver.got as [Got]
    expect(text).not.toContain("canary")
    expect(text).not.toContain("organization_id")
    expect(JSON.parse(text)).toMatchObject({
      event: "vault.data.created",
      data: { actor_name: "test", key_id: expect.any(String) },
    })
    expect(await webhooks.constructEvent({ payload: text, sigHeader, secret })).toMatchObject({
      event: "vault.data.created",
    })
  })

  test("gets only the types that were asked for, and is not behind by the others", async () => {
    await add({ types: ["vault.data.deleted", "vault.data.undeleted"] })
    const { id } = await create("n")
    await send()
    expect(await listWebhooks(world.store)).toMatchObject([{ behind: 0 }])
    await world.request("DELETE", `/vault/v1/kv/${id}`)
    await create("m")
    await send()
    expect(receiver.got.map(({ text }) => JSON.parse(text).event)).toEqual(["vault.data.deleted"])
  })

  test.each([
    ["an error", { status: 500 }, "HTTP 500"],
    ["a redirect, which is not followed", { status: 307 }, "HTTP 307"],
    ["no answer in time", { status: 0 }, "no answer in time"],
  ])("meets %s, tries again later, signed anew, and goes on in order", async (_, answer, reason) => {
    sender = newSender({ timeoutMs: 1000 })
    await add()
    for (const name of ["a", "b", "c"]) await create(name)
    receiver.answers.push({ status: 200 }, answer, answer)
    await send()
    expect(receiver.got.map(nameOf)).toEqual(["a", "b"])
    const [row] = (await world.store.webhooks()) as [WebhookRow]
    expect([row.failures, row.failure]).toEqual([1, reason])
    expect(row.dueAt - Date.now()).toBeGreaterThan(3000)
    expect(await listWebhooks(world.store)).toMatchObject([
      { state: "retrying", behind: 2, failure: { reason } },
    ])
    await send()
    expect(receiver.got).toHaveLength(2)
    await due()
    await send()
    expect((await world.store.webhooks())[0]).toMatchObject({ failures: 2, failingSince: row.failingSince })
    await due()
    await send()
    expect(receiver.got.map(nameOf)).toEqual(["a", "b", "b", "b", "c"])
    const tries = receiver.got.slice(1, 4)
    expect(new Set(tries.map(({ text }) => JSON.parse(text).id)).size).toBe(1)
    expect(new Set(tries.map(({ signature }) => signature)).size).toBe(3)
    expect(receiver.redirected).toBe(0)
    expect(await listWebhooks(world.store)).toMatchObject([
      { state: "delivering", behind: 0, failure: undefined },
    ])
  })

  test("whose receiver was down gets everything once it is back", async () => {
    await add()
    await create("a")
    await receiver.close()
    await send()
    expect(await listWebhooks(world.store)).toMatchObject([
      { state: "retrying", failure: { reason: "ECONNREFUSED" } },
    ])
    await create("b")
    receiver = await startReceiver(receiver.port)
    await due()
    await send()
    expect(receiver.got.map(nameOf)).toEqual(["a", "b"])
  })

  test("is given up after three days, told to the operator, and resumed without a loss", async () => {
    const { id } = await add()
    await create("a")
    receiver.answers.push({ status: 503 }, { status: 503 })
    await send()
    await due({ failingSince: Date.now() - 3 * 86_400_000 })
    await send()
    expect(await listWebhooks(world.store)).toMatchObject([
      { state: "failing", behind: 1, failure: { reason: "HTTP 503" } },
    ])
    expect(errors).toMatchObject([{ code: "UNAVAILABLE", message: expect.stringContaining(id) }])
    await create("b")
    await send()
    expect(receiver.got).toHaveLength(2)
    expect(await metrics.text()).toMatch(/^keyfold_webhooks\{state="failing"\} 1$/m)
    expect(await resumeWebhook(world.store, id)).toBe(true)
    expect(await resumeWebhook(world.store, "webhook_none")).toBe(false)
    await send()
    expect(receiver.got.map(nameOf).slice(2)).toEqual(["a", "b"])
    await send()
    expect(await metrics.text()).toMatch(/^keyfold_webhooks\{state="failing"\} 0$/m)
  })

  test("is sent nothing more once it is removed, in the middle of its events too", async () => {
    const { id } = await add()
    for (const name of ["a", "b", "c"]) await create(name)
    receiver.answers.push({ status: 200 }, { status: 200, meanwhile: () => world.store.removeWebhook(id) })
    await send()
    await send()
    expect(receiver.got.map(nameOf)).toEqual(["a", "b"])
    expect(await listWebhooks(world.store)).toEqual([])
  })
})

describe.each(["SQLite", "PostgreSQL"])("on %s", (kind) => {
  if (kind === "PostgreSQL" && unavailable !== undefined) {
    test("two senders", ({ skip }) => skip(unavailable))
    return
  }

  test("of two that are woken at once each event is sent by one, in the order of each webhook", async () => {
    if (kind === "PostgreSQL") {
      const server = await startServer()
      onTestFinished(server.stop)
      await world.close()
      world = await startTestWorld(undefined, server.connectionString)
    }
    const pair = [newSender(), newSender()]
    for (let i = 0; i < 3; i++) await add({ url: `${receiver.url}/${i}` })
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 4; i++) await create(`n${round}${i}`)
      await linkEvents(world.store)
      await Promise.all(pair.map((each) => each.wake()))
      await Promise.all(pair.map((each) => each.idle()))
    }
    const names = Array.from({ length: 20 }, (_, n) => `n${Math.floor(n / 4)}${n % 4}`)
    for (let i = 0; i < 3; i++)
      expect(receiver.got.filter(({ path }) => path === `/${i}`).map(nameOf)).toEqual(names)
    expect(errors).toEqual([])
  }, 60_000)
})

test("what a process that died was at work on is sent when its claim ends", async () => {
  await add()
  await create("a")
  await due({ dueAt: Date.now() + 60_000 })
  await send()
  expect(receiver.got).toEqual([])
  await due()
  await send()
  expect(receiver.got.map(nameOf)).toEqual(["a"])
})

test("a receiver that does not answer holds up no other, no request, and no end of the server", async () => {
  await add({ url: `${receiver.url}/hangs` })
  await add({ url: `${receiver.url}/answers` })
  receiver.hangs = "/hangs"
  for (const name of ["a", "b"]) await create(name)
  await linkEvents(world.store)
  await sender.wake()
  const behind = async () =>
    Object.fromEntries(
      (await listWebhooks(world.store)).map(({ url, state, behind }) => [
        new URL(url).pathname,
        [state, behind],
      ]),
    )
  await expect.poll(behind).toEqual({ "/hangs": ["delivering", 2], "/answers": ["delivering", 0] })
  expect(receiver.got.filter(({ path }) => path === "/answers").map(nameOf)).toEqual(["a", "b"])
  await create("c")
  const before = performance.now()
  await sender.stop()
  expect(performance.now() - before).toBeLessThan(2000)
  // It was not the receiver's failure, and the next process need not wait.
  expect(await behind()).toMatchObject({ "/hangs": ["delivering", 2] })
  expect((await world.store.webhooks()).map(({ dueAt }) => dueAt)).toEqual([0, 0])
  receiver.hangs = undefined
  sender = newSender()
  await send()
  expect(receiver.got.filter(({ path }) => path === "/hangs").map(nameOf)).toEqual(["a", "a", "b", "c"])
})

test("a try ends after 10 seconds", { timeout: 30_000 }, async () => {
  await add()
  await create("a")
  receiver.answers.push({ status: 0 })
  const before = performance.now()
  await send()
  const seconds = (performance.now() - before) / 1000
  expect(seconds).toBeGreaterThan(9.9)
  expect(seconds).toBeLessThan(15)
  expect(await listWebhooks(world.store)).toMatchObject([{ failure: { reason: "no answer in time" } }])
})

test("whoever can write rows, but has no key, can send nothing elsewhere", async () => {
  const { id } = await add()
  await create("a")
  const [row] = (await world.store.webhooks()) as [WebhookRow]
  await world.store.removeWebhook(id)
  const elsewhere = row.settings.replace(receiver.url, `${receiver.url}/elsewhere`)
  await world.store.putWebhook({ ...row, settings: elsewhere })
  await send()
  expect(receiver.got).toEqual([])
  expect(errors).toMatchObject([{ code: "DECRYPTION_FAILED" }])
  expect(await listWebhooks(world.store)).toMatchObject([{ failure: { reason: "DECRYPTION_FAILED" } }])
})

test("retries wait twice as long each time, from 5 seconds to an hour", () => {
  for (const [failures, seconds] of [
    [1, 5],
    [2, 10],
    [5, 80],
    [10, 2560],
    [11, 3600],
    [500, 3600],
  ] as const) {
    for (let i = 0; i < 50; i++) {
      const delay = retryDelayMs(failures)
      expect(delay).toBeLessThanOrEqual(seconds * 1000)
      expect(delay).toBeGreaterThanOrEqual(seconds * 800)
    }
  }
})

describe("refuses", () => {
  test.each([
    ["plain HTTP to another machine", { url: "http://hooks.example.com/x" }],
    ["another scheme", { url: "file:///etc/passwd" }],
    ["what is no URL", { url: "hooks" }],
    ["a password in the URL", { url: "https://user:canary@hooks.example.com" }],
    ["a fragment", { url: "https://hooks.example.com/#x" }],
    ["a URL without an end", { url: `https://hooks.example.com/${"x".repeat(2000)}` }],
    ["a type that is none", { url: "https://hooks.example.com", types: ["vault.data.canary"] }],
    ["no type", { url: "https://hooks.example.com", types: [] }],
  ])("%s, and quotes nothing", async (_, options) => {
    const adding = add(options)
    await expect(adding).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.not.stringContaining("canary"),
    })
    expect(await world.store.webhooks()).toEqual([])
  })

  test("more than 100 webhooks", async () => {
    const { id } = await add()
    const [row] = (await world.store.webhooks()) as [WebhookRow]
    for (let i = 1; i < 100; i++) await world.store.putWebhook({ ...row, id: `${id}${i}` })
    await expect(add()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
  })
})

type Got = {
  readonly path: string
  readonly headers: object
  readonly signature: string
  readonly text: string
}
type Answer = { readonly status: number; readonly meanwhile?: () => Promise<unknown> }
type Receiver = Awaited<ReturnType<typeof startReceiver>>

/** Keeps what it gets; gives `answers` in turn and then 200. Status 0 is no answer. */
async function startReceiver(wanted = 0) {
  const got: Got[] = []
  const answers: Answer[] = []
  const server: Server = createServer(async (request, response) => {
    let text = ""
    for await (const chunk of request) text += chunk
    const path = request.url ?? ""
    if (path === "/redirected") receiver.redirected++
    got.push({ path, headers: request.headers, signature: String(request.headers["workos-signature"]), text })
    const { status, meanwhile } = answers.shift() ?? { status: 200 }
    await meanwhile?.()
    if (status !== 0 && path !== receiver.hangs) response.writeHead(status, { location: "/redirected" }).end()
  })
  await new Promise<void>((resolve) => server.listen(wanted, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  const receiver = {
    ...{ got, answers, port, url: `http://127.0.0.1:${port}` },
    redirected: 0,
    hangs: undefined as string | undefined,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return receiver
}

function newSender(options: Partial<WebhookSenderOptions> = {}): WebhookSender {
  const {
    store,
    options: { keyfold },
  } = world
  return new WebhookSender({ store, keyfold, metrics, onError: (error) => errors.push(error), ...options })
}

const add = (options: Partial<WebhookOptions> = {}) =>
  createWebhook(world.store, world.options.keyfold, { url: receiver.url, ...options })

async function create(name: string) {
  const { status, body } = await world.request("POST", "/vault/v1/kv", {
    name,
    value: "value canary",
    key_context,
  })
  expect(status).toBe(201)
  return body as { id: string }
}

/** As upkeep does it, and waits for its end. */
async function send(): Promise<void> {
  await linkEvents(world.store)
  await sender.wake()
  await sender.idle()
}

/** Lets the time pass until the next try of every webhook. */
async function due(change: Partial<WebhookRow> = {}): Promise<void> {
  for (const row of await world.store.webhooks())
    expect(await world.store.moveWebhook(row.id, row.change, { ...row, dueAt: 0, ...change })).toBe(true)
}

const nameOf = ({ text }: Got) => JSON.parse(text).data.kv_name
