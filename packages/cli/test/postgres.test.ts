/** Two machines with one PostgreSQL: each has a home with the same root key, and a server. */
import { readdirSync, readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Server, startServer, unavailable } from "../../postgres/test/server.ts"
import { ended, workshop } from "./cli.ts"

const { start, run, path } = workshop()
const key_context = { organization_id: "org_canary" }
const json = (reply: { stdout: Buffer }) => JSON.parse(reply.stdout.toString())

describe("over one PostgreSQL", () => {
  if (unavailable !== undefined) {
    test("two servers", ({ skip }) => skip(unavailable))
    return
  }
  let database: Server
  const servers: ReturnType<typeof start>[] = []
  const serving = async (...args: string[]) => {
    const server = start(["serve", "--port", "0", "--json", ...args])
    servers.push(server)
    const { value: line } = await createInterface(server.stdout)[Symbol.asyncIterator]().next()
    const { url, apiKey } = JSON.parse(line as string)
    return async (method: string, route: string, body?: unknown, key = apiKey, headers = {}) => {
      const response = await fetch(url + route, {
        method,
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      return { status: response.status, body: (await response.json()) as Record<string, string> }
    }
  }

  beforeAll(async () => {
    database = await startServer()
  })
  afterAll(async () => {
    for (const server of servers) {
      server.kill("SIGTERM")
      expect((await ended(server)).code).toBe(0)
    }
    await database.stop()
  })

  test("two servers share objects, keys and API keys, and the command works on either home", {
    timeout: 60_000,
  }, async () => {
    const postgres = ["--postgres", database.connectionString]
    const one = await serving(...postgres)
    const rootKey = ["--root-key-file", path("home/root.key")]
    const other = ["--home", path("other")]

    // A second home needs the first one's root key.
    const stranger = await run(["init", "--home", path("stranger"), ...postgres])
    expect([stranger.code, stranger.stderr]).toEqual([2, expect.stringContaining("has KEKs already")])
    expect((await run(["init", ...other, ...postgres, ...rootKey])).code).toBe(0)
    const two = await serving(...other, ...postgres)

    const made = await one("POST", "/vault/v1/kv", { name: "n", value: "value canary", key_context })
    expect(made.status).toBe(201)
    const read = await two("GET", `/vault/v1/kv/${made.body.id}`)
    expect(read.body).toMatchObject({ name: "n", value: "value canary" })
    // Of writers for one version exactly one wins, wherever they ask.
    const version_check =
      read.body.version_id ?? (read.body.metadata as never as { version_id: string }).version_id
    const writes = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        (i % 2 ? one : two)("PUT", `/vault/v1/kv/${made.body.id}`, { value: `v${i}`, version_check }),
      ),
    )
    expect(writes.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(409)])

    expect(json(await run(["kek", "list", ...other, "--json"])).keks).toHaveLength(1)
    expect((await run(["kek", "rotate", ...other, "-c", "organization_id=org_canary"])).code).toBe(0)
    expect(json(await run(["vault", "rewrap", "--json"]))).toMatchObject({ done: 2, failed: {} })
    const { apiKey, id } = json(await run(["api-key", "create", "shared", ...other, "--json"]))
    expect(json(await run(["api-key", "list", "--json"])).apiKeys).toMatchObject([{ id }])
    // A create that is sent again, to another server too, makes one object.
    const again = { name: "sent again", value: "v", key_context }
    const sent = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        (i % 2 ? one : two)("POST", "/vault/v1/kv", again, apiKey, { "idempotency-key": "k" }),
      ),
    )
    expect(sent.map(({ status }) => status)).toEqual(Array(8).fill(201))
    expect(new Set(sent.map(({ body }) => body.id)).size).toBe(1)
    expect(json(await run(["vault", "audit", "--json"])).events).toBeGreaterThan(3)
    expect((await run(["vault", "purge", ...other])).code).toBe(0)
    expect((await run(["doctor", "--json"])).code).toBe(0)

    expect(readdirSync(path("home"))).not.toContain("keks.db")
    for (const file of readdirSync(path("home"))) {
      const text = readFileSync(path(`home/${file}`), "latin1")
      for (const secret of ["canary", apiKey]) expect(text).not.toContain(secret)
    }
  })

  test.each([
    ["a password, which others could read", "postgres://u:canary@127.0.0.1/db", /PGPASSWORD/],
    ["a password in its query", "postgres://u@127.0.0.1/db?password=canary", /PGPASSWORD/],
    ["another protocol", "mysql://u@127.0.0.1/db", /postgres:\/\/USER/],
    ["no URL", "db", /postgres:\/\/USER/],
  ])("refuses %s", async (_, url, told) => {
    const { code, stderr } = await run(["serve", "--home", path("bad"), "--postgres", url])
    expect([code, stderr]).toEqual([2, expect.stringMatching(told)])
    expect(stderr).not.toContain("canary")
  })

  test("a database that is not there is named, and leaves no home", async () => {
    const nowhere = ["--home", path("nowhere"), "--postgres", "postgres://u@127.0.0.1:9/db"]
    const { code, stderr } = await run(["serve", ...nowhere])
    expect([code, stderr]).toEqual([5, expect.stringMatching(/^error STORE_FAILED: .*ECONNREFUSED/)])
    expect(readdirSync(path("."))).not.toContain("nowhere")
  })

  test("a home in files is not moved, nor one in a database backed up as a file", async () => {
    expect((await run(["init", "--home", path("files")])).code).toBe(0)
    const moved = await run(["serve", "--home", path("files"), "--postgres", database.connectionString])
    expect([moved.code, moved.stderr]).toEqual([2, expect.stringContaining("elsewhere")])
    const backup = await run(["backup", "--to", path("b")])
    expect([backup.code, backup.stderr]).toEqual([2, expect.stringContaining("its own tools")])
  })
})
