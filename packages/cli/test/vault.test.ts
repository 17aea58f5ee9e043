/** API keys and the care of a vault, from the command line, beside a server that runs. */
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ended, workshop } from "./cli.ts"

const { start, run, keyfold, path } = workshop()
let url: string
let server: ReturnType<typeof start>
const json = (reply: { stdout: Buffer }) => JSON.parse(reply.stdout.toString())

beforeAll(async () => {
  server = start(["serve", "--port", "0", "--json", "--log"])
  const { value: line } = await createInterface(server.stdout)[Symbol.asyncIterator]().next()
  url = JSON.parse(line as string).url
})
afterAll(async () => {
  server.kill("SIGTERM")
  expect((await ended(server)).code).toBe(0)
})

const ask = async (apiKey: string, method: string, route: string, body?: unknown) => {
  const response = await fetch(url + route, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, never> }
}

test("an API key is made for one tenant and some actions, listed without its context's values, and revoked", async () => {
  const made = json(
    await run(["api-key", "create", "acme", "-c", "org=canary", "--allow", "read,write", "--json"]),
  )
  const create = (org: string) =>
    ask(made.apiKey, "POST", "/vault/v1/kv", { name: org, value: "v", key_context: { org } })
  expect((await create("canary")).status).toBe(201)
  expect((await create("other")).body).toMatchObject({ code: "out_of_scope" })
  expect((await ask(made.apiKey, "GET", "/vault/v1/kv")).body).toMatchObject({ code: "forbidden" })
  const { stdout } = await run(["api-key", "list"])
  expect(stdout.toString()).toMatch(/acme.*org.*read, write/)
  for (const secret of ["canary", made.apiKey]) expect(stdout.toString()).not.toContain(secret)
  expect((await run(["api-key", "revoke", made.id])).stdout.toString()).toContain("within a second")
  await expect.poll(async () => (await create("canary")).status, { timeout: 3000 }).toBe(401)
  expect((await run(["api-key", "revoke", made.id])).code).toBe(2)
})

test("objects are moved after a rotation, purged, and the audit chain holds", async () => {
  const { apiKey } = json(await run(["api-key", "create", "operator", "--json"]))
  const ids: string[] = []
  for (let i = 0; i < 5; i++) {
    const { body } = await ask(apiKey, "POST", "/vault/v1/kv", {
      name: `n${i}`,
      value: `v${i}`,
      key_context: { org: "o" },
    })
    ids.push(body.id as never)
  }
  expect((await run(["kek", "rotate", "-c", "org=o"])).code).toBe(0)
  expect(json(await run(["vault", "rewrap", "-c", "org=o", "--dry-run", "--json"]))).toEqual({ versions: 5 })
  expect(json(await run(["vault", "rewrap", "-c", "org=o", "--per-second", "1000", "--json"]))).toEqual({
    ...{ done: 5, failed: {}, since: expect.stringMatching(/^20/) },
  })
  expect((await ask(apiKey, "GET", `/vault/v1/kv/${ids[3]}`)).body.value).toBe("v3")
  await ask(apiKey, "DELETE", `/vault/v1/kv/${ids[0]}`)
  expect(json(await run(["vault", "purge", "--json"]))).toMatchObject({ purged: 0 })
  expect((await run(["vault", "purge", "--recovery-days", "0"])).stdout.toString()).toContain(
    "purged 1 objects",
  )
  const audit = json(await run(["vault", "audit", "--json"]))
  expect(audit).toEqual({
    events: expect.any(Number),
    purged: 3,
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
  })
  const types = (await ask(apiKey, "GET", "/events?limit=100&order=asc")).body as never as {
    data: { event: string }[]
  }
  expect(types.data.map(({ event }) => event)).toEqual(
    expect.arrayContaining(["vault.kek.created", "vault.data.deleted"]),
  )
})

test("a vault leaves as one encrypted file, and comes in from a file and through WorkOS's SDK", async () => {
  const { apiKey } = json(await run(["api-key", "create", "mover", "--json"]))
  for (const [name, org] of [
    ["move-1", "m1"],
    ["move-2", "m2"],
  ]) {
    const sent = { name, value: `canary-${name}`, key_context: { org } }
    expect((await ask(apiKey, "POST", "/vault/v1/kv", sent)).status).toBe(201)
  }
  const archive = ["export", "-c", "purpose=archive", "--only", "org=m1", "-o", "m1.kf"]
  expect(json(await run(["vault", ...archive, "--json"]))).toEqual({ exported: 1 })
  expect(readFileSync(path("m1.kf")).includes("canary")).toBe(false)
  const opened = await run(["decrypt", "-c", "purpose=archive", "-i", "m1.kf"])
  expect(opened.stdout.toString()).toContain("canary-move-1")
  const again = await run([
    "vault",
    "import",
    "--from",
    "m1.kf",
    "-c",
    "purpose=archive",
    "--update",
    "--json",
  ])
  expect(json(again)).toEqual({ created: 0, updated: 0, kept: 1, conflicting: 0 })

  const home = ["--home", "elsewhere"]
  const workos = (...more: string[]) =>
    run(["vault", "import", "--from", "workos", "--host", url, "--json", ...home, ...more], {
      env: { WORKOS_API_KEY: apiKey },
    })
  const first = json(await workos())
  expect(first.created).toBeGreaterThanOrEqual(2)
  expect(json(await workos())).toEqual({ created: 0, updated: 0, kept: first.created, conflicting: 0 })
  const whole = await run(["vault", "export", ...home, "-c", "a=b", "-o", "whole.kf"])
  expect(whole.stdout.toString()).toContain(`Wrote ${first.created} objects`)
  const told = await run(["decrypt", ...home, "-c", "a=b", "-i", "whole.kf"])
  expect(told.stdout.toString()).toContain('{"name":"move-2","context":{"org":"m2"},"text":"canary-move-2"}')

  const refused = await run(["vault", "import", "--from", "workos", "--host", url], {
    env: { WORKOS_API_KEY: "sk_canary" },
  })
  expect([refused.code, refused.stderr]).toEqual([
    4,
    expect.stringMatching(/^error PERMISSION_DENIED: WorkOS answers 401/),
  ])
  expect(refused.stderr).not.toContain("canary")
})

test("a backup has the vault and the secret slots, taken while the server runs, and all of it opens where it is restored", async () => {
  const { apiKey } = json(await run(["api-key", "create", "saver", "--json"]))
  const sent = { name: "saved", value: "canary-saved", key_context: { org: "saved" } }
  expect((await ask(apiKey, "POST", "/vault/v1/kv", sent)).status).toBe(201)
  expect((await run(["secrets", "set", "TOKEN", "-c", "env=dev"], { input: "canary-slot" })).code).toBe(0)
  expect(
    json(await run(["backup", "--to", "b", "--json"])).more.map((name: string) => name.split("/").at(-1)),
  ).toEqual(["b.vault.db", "b.secrets.json"])
  expect(readFileSync(path("b.vault.db")).includes("canary-saved")).toBe(false)
  expect((await run(["backup", "--to", "b"])).code).toBe(2)

  const home = ["--home", "restored"]
  expect((await run(["init", ...home, "--root-key-file", "home/root.key"])).code).toBe(0)
  expect((await run(["restore", "--from", "b", ...home])).code).toBe(0)
  const told = await run(["vault", "export", ...home, "-c", "a=b", "--only", "org=saved", "-o", "saved.kf"])
  expect(told.stdout.toString()).toContain("Wrote 1 objects")
  const opened = await run(["decrypt", ...home, "-c", "a=b", "-i", "saved.kf"])
  expect(opened.stdout.toString()).toContain("canary-saved")
  const slot = await run([
    "exec",
    ...home,
    "-c",
    "env=dev",
    "--",
    process.execPath,
    "-p",
    "process.env.TOKEN",
  ])
  expect(slot.stdout.toString()).toBe("canary-slot\n")
  expect((await run(["vault", "audit", ...home])).code).toBe(0)

  // A home with a vault of its own keeps it.
  const other = ["--home", "other"]
  expect((await run(["init", ...other, "--root-key-file", "home/root.key"])).code).toBe(0)
  expect((await run(["api-key", "create", "its own", ...other])).code).toBe(0)
  const refused = await run(["restore", "--from", "b", ...other])
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("has a vault already")])
})

describe("refuses", () => {
  test.each([
    ["a vault that is not there", ["vault", "audit", "--home", "/nowhere"]],
    ["an action that is none", ["api-key", "create", "x", "--allow", "all"]],
    ["a number that is none", ["vault", "purge", "--recovery-days", "-1"]],
    ["an import from what is not there", ["vault", "import", "--from", "nothing.kf", "-c", "a=b"]],
    ["an import from WorkOS without a key", ["vault", "import", "--from", "workos"]],
    ["an archive without a key context", ["vault", "export", "-o", "x.kf"]],
    ["no concurrency", ["vault", "rewrap", "--concurrency", "0"]],
  ] as const)("%s", (_, args) => {
    const { code, stderr } = keyfold(args)
    expect([code, stderr]).toEqual([2, expect.stringContaining("error INVALID_ARGUMENT: ")])
  })
})
