/** The secret slots of WorkOS, against a local server in its place, and what `doctor` says of slots. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type Run, workshop } from "./cli.ts"
import { terminal } from "./terminal.ts"

const { run, path, env } = workshop()
const context = ["-c", "environment=dev"]
const good = { key: "sk_test_canary_A1", id: "client_canary_01" }
const lines = (key = good.key, id = good.id) => `${key}\n${id}\n`

type Answer = (...args: Parameters<RequestListener>) => void
let server: Server
let host: string
let answer: Answer
let requests: string[]

/** As WorkOS answers. */
const asWorkos =
  (...keys: string[]): Answer =>
  ({ headers, url }, response) => {
    const isKnown = keys.some((key) => headers.authorization === `Bearer ${key}`)
    const status = url !== "/organizations?limit=1" ? 404 : isKnown ? 200 : 401
    const body = status === 200 ? { object: "list", data: [], list_metadata: {} } : { message: "no" }
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
  }

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization}`)
    answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  host = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  rmSync(path("home"), { recursive: true, force: true })
  requests = []
  answer = asWorkos(good.key)
})

const add = (input = lines(), at = host) =>
  run(["secrets", "add", "workos", ...context, "--host", at], { input })
const failure = ({ code, stderr }: Run) => [code, stderr.match(/^error (\w+)/m)?.[1]]
const file = () => path("home/secrets.json")
const changeSlots = (how: (slots: Record<string, unknown>[]) => unknown[]) => {
  const { version, slots } = JSON.parse(readFileSync(file(), "utf8"))
  writeFileSync(file(), JSON.stringify({ version, slots: how(slots) }))
}
const values = async () => {
  const told = await run(["exec", ...context, "--", "sh", "-c", "echo $WORKOS_API_KEY $WORKOS_CLIENT_ID"])
  return told.stdout.toString().trim()
}

describe("secrets add workos", () => {
  test("asks WorkOS with the key before both values are kept; remove takes both out", async () => {
    answer = (...args) => {
      expect(existsSync(file())).toBe(false)
      asWorkos(good.key)(...args)
    }
    const added = await add()
    expect(added.stdout.toString()).toBe(
      `${host} takes the key. Set WORKOS_API_KEY and WORKOS_CLIENT_ID for environment=dev.\n`,
    )
    expect(requests).toEqual([`GET /organizations?limit=1 Bearer ${good.key}`])
    expect(await values()).toBe(`${good.key} ${good.id}`)
    await run(["secrets", "set", "OTHER", ...context], { input: "x" })
    expect((await run(["secrets", "remove", "workos", ...context])).code).toBe(0)
    const { slots } = JSON.parse(readFileSync(file(), "utf8"))
    expect(slots.map(({ name }: { name: string }) => name)).toEqual(["OTHER"])
    expect(failure(await run(["secrets", "remove", "workos", ...context]))).toEqual([2, "INVALID_ARGUMENT"])
  })

  test.each([
    ["the two in each other's place", lines(good.id, good.key)],
    ["a key that is none", lines("pk_test_canary")],
    ["a client id that is none", lines(good.key, "canary")],
    ["nothing after the prefix", lines("sk_")],
    ["a space", lines("sk_test canary")],
    ["one line", `${good.key}\n`],
    ["three lines", `${lines()}canary\n`],
    ["nothing", ""],
  ])("refuses %s without asking anyone", async (_, input) => {
    const refused = await add(input)
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).not.toContain("canary")
    expect([requests, existsSync(file())]).toEqual([[], false])
  })

  test.each([
    ["http elsewhere", "http://api.workos.example"],
    ["another protocol", "ftp://localhost"],
    ["a path", "https://api.workos.com/v1"],
    ["a user", "https://canary@api.workos.com"],
    ["no URL", "canary"],
  ])("refuses a host with %s", async (_, at) => {
    const refused = await add(lines(), at)
    expect([...failure(refused), refused.stderr]).toEqual([
      2,
      "INVALID_ARGUMENT",
      expect.stringMatching(/--host/),
    ])
    expect(refused.stderr).not.toContain("canary")
  })

  const status =
    (code: number, headers = {}): Answer =>
    (_, response) =>
      response.writeHead(code, headers).end("<html>")
  test.each<[string, () => Answer, number, string]>([
    ["refuses the key", () => asWorkos("another"), 4, "PERMISSION_DENIED"],
    ["forbids it", () => status(403), 4, "PERMISSION_DENIED"],
    ["has too many requests", () => status(429), 6, "THROTTLED"],
    ["is out", () => status(503), 6, "UNAVAILABLE"],
    ["hangs up", () => (request) => request.socket.destroy(), 6, "UNAVAILABLE"],
    ["does not answer", () => () => undefined, 6, "TIMEOUT"],
    ["is another page", () => status(200), 2, "INVALID_ARGUMENT"],
    ["is another API", () => status(404), 2, "INVALID_ARGUMENT"],
    [
      "answers without end",
      () => (_, response) => response.end(Buffer.alloc(2 ** 22)),
      2,
      "INVALID_ARGUMENT",
    ],
    ["leads elsewhere", () => status(302, { location: `${host}/stolen` }), 2, "INVALID_ARGUMENT"],
  ])("keeps nothing where what answers %s", { timeout: 30_000 }, async (_, how, exitCode, code) => {
    await add()
    const before = readFileSync(file())
    requests = []
    answer = how()
    const refused = await add(lines("sk_test_canary_B2"))
    expect(failure(refused)).toEqual([exitCode, code])
    expect(refused.stderr).not.toContain("canary")
    expect(requests).toHaveLength(1)
    expect(readFileSync(file())).toEqual(before)
  })

  test("asks on a terminal and shows neither", async (testContext) => {
    const asked = terminal(testContext, env, ["secrets", "add", "workos", ...context, "--host", host])
    for (const [name, value] of [
      ["WORKOS_API_KEY", good.key],
      ["WORKOS_CLIENT_ID", good.id],
    ]) {
      await expect
        .poll(asked.shown, { timeout: 30_000 })
        .toContain(`Value of ${name} for environment=dev (not shown): `)
      asked.send(`${value}\r`)
    }
    expect(await asked.done).toBe(0)
    expect(asked.shown()).not.toContain("canary")
    expect(await values()).toBe(`${good.key} ${good.id}`)
  })

  test("knows no other service, and does not say what was given", async () => {
    const refused = await run(["secrets", "add", "sk_canary", ...context])
    expect(failure(refused)).toEqual([2, "INVALID_ARGUMENT"])
    expect(refused.stderr).not.toContain("canary")
  })
})

describe("doctor", () => {
  type Check = { id: string; status: string; code: string | null; message: string; fix: string | null }
  const doctor = async (args: readonly string[] = [], input = "") => {
    const { code, stdout, stderr } = await run(["doctor", "--json", ...args], { input })
    expect(`${stdout}${stderr}`).not.toContain("canary")
    const checks: Check[] = stdout.length === 0 ? [] : JSON.parse(stdout.toString()).checks
    return { code, stderr, found: checks.filter(({ id }) => id === "secrets") }
  }

  beforeEach(async () => {
    expect((await add()).code).toBe(0)
    await run(["secrets", "set", "OTHER", ...context], { input: "x" })
    requests = []
  })

  test("passes where slots open and WorkOS takes the key; offline nobody is asked", async () => {
    const pass = [{ id: "secrets", status: "pass", message: "3 secret slots open", fix: null, code: null }]
    expect(await doctor(["--offline"])).toEqual({ code: 0, stderr: "", found: pass })
    expect(requests).toEqual([])
    expect(await doctor()).toEqual({ code: 0, stderr: "", found: pass })
    expect(requests).toHaveLength(1)
  })

  test("reports a key that WorkOS takes no longer, and --fix asks anew for both", async () => {
    answer = asWorkos("sk_test_canary_B2")
    const { code, found } = await doctor()
    expect(code).toBe(4)
    expect(found).toMatchObject([
      { status: "fail", code: "PERMISSION_DENIED", fix: "run keyfold doctor --fix" },
    ])
    expect(found[0]?.message).toMatch(/^environment=dev: .* refuses WORKOS_API_KEY/)

    const again = await doctor(["--fix"], lines())
    expect([again.code, again.stderr]).toEqual([4, expect.stringMatching(/PERMISSION_DENIED/)])
    expect(await values()).toBe(`${good.key} ${good.id}`)
    const wrong = await doctor(["--fix"], "sk_test_canary_B2\n")
    expect([wrong.code, wrong.stderr]).toEqual([
      2,
      expect.stringMatching(/WORKOS_API_KEY, then WORKOS_CLIENT_ID/),
    ])

    const mended = await doctor(["--fix"], lines("sk_test_canary_B2", "client_canary_02"))
    expect([mended.code, mended.found[0]?.status]).toEqual([0, "pass"])
    expect(await values()).toBe("sk_test_canary_B2 client_canary_02")
  })

  test("reports a slot that does not open, and --fix asks anew for it alone", async () => {
    changeSlots(([key, id, other]) => [key, id, { ...other, envelope: id?.envelope }])
    const { code, found } = await doctor(["--offline"])
    expect([code, found[0]?.code, found[0]?.fix]).toEqual([
      3,
      "DECRYPTION_FAILED",
      "run keyfold doctor --fix",
    ])
    expect((await doctor(["--fix"], "mended\n")).found[0]?.status).toBe("pass")
    const told = await run(["exec", ...context, "--", "sh", "-c", "echo $OTHER"])
    expect(told.stdout.toString()).toBe("mended\n")
  })

  test("an outage is told as one, and --fix asks for nothing", async () => {
    answer = (_, response) => response.writeHead(500).end()
    const { code, found } = await doctor(["--fix"], "never read")
    expect([code, found[0]?.code, found[0]?.fix]).toEqual([6, "UNAVAILABLE", "look again later"])
    expect(await values()).toBe(`${good.key} ${good.id}`)
  })

  test("a disabled KEK is told, and --fix asks for nothing", async () => {
    await run(["kek", "disable", ...context])
    const { code, found } = await doctor(["--fix"], "never read")
    expect([code, found.length, found[0]?.code]).toEqual([4, 3, "KEY_DISABLED"])
  })

  test("no key is ever sent to a host that was put into the file", async () => {
    let stolen = 0
    const thief = createServer((request, response) => {
      stolen++
      asWorkos(good.key)(request, response)
    })
    await new Promise<void>((resolve) => thief.listen(0, "127.0.0.1", resolve))
    try {
      const elsewhere = `http://127.0.0.1:${(thief.address() as AddressInfo).port}`
      changeSlots(([key, id, other]) => [{ ...key, host: elsewhere }, { ...id, host: elsewhere }, other])
      const { code, found } = await doctor(["--fix"], lines())
      expect([code, stolen, requests]).toEqual([3, 0, []])
      expect(found.map(({ code, fix }) => [code, fix])).toEqual(
        Array(2).fill(["DECRYPTION_FAILED", expect.stringMatching(/secrets add workos anew/)]),
      )
      expect((await add()).code).toBe(0)
      expect((await doctor()).code).toBe(0)
    } finally {
      thief.close()
    }
  })
})
