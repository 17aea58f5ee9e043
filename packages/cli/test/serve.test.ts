/** `keyfold serve`, in a process of its own, with the SDK of WorkOS and with requests by hand. */
import { readdirSync, readFileSync, statSync } from "node:fs"
import { startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { describe, expect, test } from "vitest"
import { ended, workshop } from "./cli.ts"

const { start, run, path, env } = workshop()
const key_context = { organization_id: "org_canary" }

async function serving(...args: string[]) {
  const server = start(["serve", "--port", "0", ...args])
  const done = ended(server)
  let printed = ""
  server.stdout.on("data", (chunk) => {
    printed += chunk
  })
  await expect.poll(() => printed, { timeout: 30_000 }).toMatch(/\n$/)
  return { printed, server, done }
}

const asks = (url: string, apiKey: string) => async (method: string, route: string, body?: unknown) => {
  const response = await fetch(`${url}/vault/v1${route}`, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, string> }
}

test("with --json its first line says all a client needs; objects outlive it, and keys do not", async () => {
  const first = await serving("--json")
  const { url, apiKey, environmentId } = JSON.parse(first.printed)
  expect([url, environmentId]).toEqual([
    expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    "environment_default",
  ])
  const made = await asks(url, apiKey)("POST", "/kv", { name: "n", value: "value canary", key_context })
  expect(made.status).toBe(201)
  first.server.kill("SIGTERM")
  expect((await first.done).code).toBe(0)

  const second = await serving("--json")
  const again = JSON.parse(second.printed)
  expect((await asks(again.url, apiKey)("GET", `/kv/${made.body.id}`)).status).toBe(401)
  const read = await asks(again.url, again.apiKey)("GET", `/kv/${made.body.id}`)
  expect(read.body).toMatchObject({ name: "n", value: "value canary" })
  second.server.kill("SIGINT")
  expect((await second.done).code).toBe(0)

  const files = readdirSync(path("home"))
  expect(files).toContain("vault.db")
  expect(statSync(path("home/vault.db")).mode & 0o777).toBe(0o600)
  for (const file of files) {
    const bytes = readFileSync(path(`home/${file}`), "latin1")
    for (const secret of ["value canary", apiKey, again.apiKey]) expect(bytes).not.toContain(secret)
  }
})

test("for people it prints what to paste", async () => {
  const { printed, server, done } = await serving()
  const [, apiKey, port] =
    /new WorkOS\("(sk_[\w-]{43})", \{ apiHostname: "127\.0\.0\.1", port: (\d+), https: false \}\)/.exec(
      printed,
    ) as RegExpExecArray
  expect((await asks(`http://127.0.0.1:${port}`, apiKey as string)("GET", "/kv")).status).toBe(200)
  server.kill("SIGINT")
  expect((await done).code).toBe(0)
})

describe("refuses", () => {
  test.each([
    ["a port that is none", ["--port", "65536"], 2],
    ["a certificate without its key", ["--tls-cert", "x.pem"], 2],
    ["a certificate that is not there", ["--tls-cert", "x.pem", "--tls-key", "y.pem"], 2],
    ["an address that others reach, without TLS", ["--host", "0.0.0.0", "--port", "0"], 2],
  ] as const)("%s", async (_, args, code) => {
    const reply = await run(["serve", ...args], { env: { KEYFOLD_HOME: path("none") } })
    expect([reply.code, reply.stderr]).toEqual([code, expect.stringMatching(/error INVALID_ARGUMENT: /)])
  })
})

test("a customer's key that is shut, opened, validated or removed is an event", {
  timeout: 60_000,
}, async () => {
  const aws = await startAwsEmulator()
  Object.assign(env, {
    AWS_ACCESS_KEY_ID: aws.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.credentials.secretAccessKey,
  })
  const home = ["--home", path("watched")]
  const keyId = aws.createKey()
  const match = ["--match", "organization_id=org_watched"]
  expect((await run(["init", ...home])).code).toBe(0)
  const add = [
    "binding",
    "add",
    ...home,
    ...match,
    "--provider",
    "aws-kms",
    "--key-id",
    keyId,
    "--endpoint",
    aws.url,
  ]
  expect((await run(add)).code).toBe(0)
  const { printed, server, done } = await serving("--json", "--check-keys", "1", ...home)
  const { url, apiKey } = JSON.parse(printed)
  const events = async () => {
    const query =
      "/events?limit=100&order=asc&events=vault.byok_key.verification_completed,vault.byok_key.deleted"
    const response = await fetch(url + query, { headers: { authorization: `Bearer ${apiKey}` } })
    const { data } = (await response.json()) as { data: { event: string; data: Record<string, unknown> }[] }
    return data.map(({ event, data }) => {
      expect(data).toMatchObject({ organization_id: "org_watched", key_provider: "AWS_KMS" })
      return [event.replace("vault.byok_key.", ""), data.verified]
    })
  }
  const seen = (expected: unknown) => expect.poll(events, { timeout: 20_000 }).toEqual(expected)
  aws.setState(keyId, "Disabled")
  await seen([["verification_completed", false]])
  aws.setState(keyId, "Enabled")
  await seen([
    ["verification_completed", false],
    ["verification_completed", true],
  ])
  expect((await run(["byok", "validate", ...home, ...match])).code).toBe(0)
  expect((await run(["binding", "remove", ...home, ...match])).code).toBe(0)
  await seen([
    ["verification_completed", false],
    ["verification_completed", true],
    ["verification_completed", true],
    ["deleted", undefined],
  ])
  server.kill("SIGTERM")
  const { stderr } = await done
  expect(stderr).toMatch(/"state":"revoked","reason":"KEY_DISABLED"/)
  expect(stderr).not.toContain("org_watched")
  await aws.close()
})
