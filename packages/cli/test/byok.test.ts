/** `byok validate` as its user sees it: the real command against emulators. */
import { writeFileSync } from "node:fs"
import { type AwsEmulator, startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { type AzureEmulator, startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { type GcpEmulator, startGcpEmulator } from "@keyfold/provider-testkit/gcp"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { buildProgram } from "../src/program.ts"
import { ended, workshop } from "./cli.ts"

const { run, start, path, env } = workshop()
const ESCAPE = "\u001b"
const MATCH = ["--match", "organization_id=org_1"]

let aws: AwsEmulator
let azure: AzureEmulator
let gcp: GcpEmulator

beforeAll(async () => {
  ;[aws, azure, gcp] = await Promise.all([startAwsEmulator(), startAzureEmulator(), startGcpEmulator()])
  Object.assign(env, {
    AWS_ACCESS_KEY_ID: aws.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.credentials.secretAccessKey,
    AWS_ENDPOINT_URL_STS: aws.url,
    AZURE_TENANT_ID: azure.client.tenantId,
    AZURE_CLIENT_ID: azure.client.clientId,
    AZURE_CLIENT_SECRET: azure.client.clientSecret,
  })
  writeFileSync(path("ca.pem"), azure.caCertificate)
})
afterAll(() => Promise.all([aws.close(), azure.close(), gcp.close()]))

const CLOUDS = {
  "aws-kms": () => [aws.createKey(), "--endpoint", aws.url],
  "azure-keyvault": () => [azure.createKey(), "--authority", azure.url, "--ca-file", path("ca.pem")],
  "gcp-kms": () => {
    const { apiEndpoint, port } = gcp.connection
    return [gcp.createKey(), "--endpoint", `${apiEndpoint}:${port}`, "--insecure-emulator"]
  },
} as const

const keyOf = (provider: keyof typeof CLOUDS) => ["--provider", provider, "--key-id", ...CLOUDS[provider]()]

async function validate(...args: string[]) {
  const { code, stdout, stderr } = await run(["byok", "validate", ...MATCH, ...args])
  return { code, stdout: stdout.toString(), stderr }
}

test.each(Object.keys(CLOUDS) as (keyof typeof CLOUDS)[])(
  "%s: a key that is not bound yet, without a home",
  async (provider) => {
    const key = keyOf(provider)
    const { code, stdout, stderr } = await validate(...key, "--json")
    expect([code, stderr]).toEqual([0, ""])
    const report = JSON.parse(stdout)
    expect(report).toMatchObject({ result: expect.stringMatching(/^(pass|warn)$/), keyId: key[3] })
    expect(report.calls).toBeLessThanOrEqual(12)
    expect(report.checks.find(({ id }: { id: string }) => id === "unwrap")).toMatchObject({
      ...{ status: "pass", reason: "OK", action: null, side: null, fix: null },
    })
    expect(report.canary).toBeUndefined()
  },
)

describe("the exit code is that of what failed", () => {
  test.each([
    ["a key that is disabled", (keyId: string) => aws.setState(keyId, "Disabled"), 4, "KEY_DISABLED"],
    ["a denial", (keyId: string) => aws.deny("key-policy", "kms:Decrypt", keyId), 4, "PERMISSION_MISSING"],
    ["an outage", (keyId: string) => aws.inject({ kind: "server-error" }, { keyId }), 6, "UNREACHABLE"],
  ])("%s", async (_, breakIt, code, reason) => {
    const key = keyOf("aws-kms")
    breakIt(key[3] as string)
    const json = await validate(...key, "--json")
    expect([json.code, json.stderr, JSON.parse(json.stdout).result]).toEqual([code, "", "fail"])
    const text = await validate(...key, "--principal", "arn:aws:iam::111122223333:role/keyfold")
    expect([text.code, text.stdout]).toEqual([code, expect.stringContaining(reason)])
    if (reason !== "PERMISSION_MISSING") return
    expect(text.stdout.match(/^Add:$/gm)).toHaveLength(1)
    expect(text.stdout).toMatch(/kms:Decrypt.*Add:.*role\/keyfold.*It can take 5 minutes/s)
  })

  test("an id that is none, and a region that is another", async () => {
    const bad = await validate("--provider", "gcp-kms", "--key-id", "my-key", "--json")
    expect([bad.code, JSON.parse(bad.stdout).checks[0].reason]).toEqual([2, "MALFORMED_KEY_ID"])
    expect((await validate(...keyOf("gcp-kms"), "--expected-region", "us-east1")).code).toBe(2)
  })
})

test("a bound key needs no more than its match", async () => {
  expect((await run(["init"])).code).toBe(0)
  expect((await validate()).stderr).toMatch(/^error INVALID_ARGUMENT: no key is bound/)
  const key = keyOf("azure-keyvault")
  expect((await run(["binding", "add", ...MATCH, ...key])).stderr).toBe("")
  const { code, stdout } = await validate("--json")
  expect([code, JSON.parse(stdout).keyId]).toEqual([0, key[3]])
  azure.setFirewall("closed")
  expect((await validate()).stdout).toMatch(/NETWORK_DENIED/)
  azure.setFirewall("open")
  for (const args of [
    ["--provider", "aws-kms"],
    ["--key-id", "x"],
    ["--deadline", "0"],
  ]) {
    expect([args, (await validate(...args)).code]).toEqual([args, 2])
  }
})

test("Ctrl-C ends it at once, and its connections", async () => {
  const key = keyOf("aws-kms")
  const release = aws.inject({ kind: "hang" }, { keyId: key[3] as string, operations: ["Encrypt"] })
  const command = start(["byok", "validate", ...MATCH, ...key, "--json"])
  const done = ended(command)
  await expect.poll(() => aws.openConnections(), { timeout: 20_000 }).toBeGreaterThan(0)
  command.kill("SIGINT")
  const { code, stderr } = await done
  expect([code, JSON.parse(stderr).error.code]).toEqual([130, "ABORTED"])
  await expect.poll(() => aws.openConnections()).toBe(0)
  release()
})

test("a terminal is told of each check as it ends, in colour; a pipe gets neither", async () => {
  const key = keyOf("aws-kms")
  const piped = await validate(...key)
  expect([piped.stdout.includes(ESCAPE), piped.stderr]).toEqual([false, ""])
  const wasTTY = process.stderr.isTTY
  const told = vi.spyOn(console, "error").mockImplementation(() => undefined)
  const shown = vi.spyOn(console, "log").mockImplementation(() => undefined)
  process.stderr.isTTY = true
  try {
    Object.assign(process.env, env, { NO_COLOR: "", FORCE_COLOR: "1" })
    await buildProgram().parseAsync(["byok", "validate", ...MATCH, ...key], { from: "user" })
    expect(told.mock.calls.map(([line]) => line).slice(0, 2)).toEqual([
      expect.stringMatching(`${ESCAPE}\\[32mpass.* {2}key-id$`),
      expect.stringMatching(`${ESCAPE}\\[32mpass.* {2}authenticate$`),
    ])
    expect(shown.mock.calls.join("\n")).toMatch(/check.*status.*reason.*wrap.*6 of at most 12/s)
  } finally {
    process.stderr.isTTY = wasTTY
    vi.restoreAllMocks()
  }
})

describe("policies", () => {
  const principal = ["--principal", "arn:aws:iam::111122223333:role/keyfold"]
  const policy = (...args: string[]) => run(["byok", "policy", ...MATCH, ...args])

  test("as JSON to read, as Terraform, and as data", async () => {
    const key = [...keyOf("aws-kms"), ...principal, "--role", "arn:aws:iam::444455556666:role/k"]
    const text = await policy(...key, "--external-id", "tenant-1")
    expect([text.code, text.stderr, text.stdout.toString()]).toEqual([
      ...[0, ""],
      expect.stringMatching(
        /key policy of.*"kms:EncryptionContext:organization_id": "org_1".*sts:ExternalId/s,
      ),
    ])
    const terraform = (await policy(...key, "--terraform")).stdout.toString()
    expect(terraform).toMatch(/^# add these.*^resource "aws_kms_key_policy"/ms)
    const { policies } = JSON.parse((await policy(...key, "--json")).stdout.toString())
    expect(policies.map(({ kind }: { kind: string }) => kind)).toEqual([
      ...["aws-key-policy", "aws-iam-policy", "aws-trust-policy"],
    ])
  })

  test("for a bound key by its match; never without a principal", async () => {
    const bound = await policy("--principal", "00000000-0000-0000-0000-00000000abcd")
    expect(bound.stdout.toString()).toMatch(/e147488a-f6f5-4113-8e2d-b22465e65bf6/)
    expect((await policy(...keyOf("aws-kms"))).code).toBe(2)
    expect((await policy(...keyOf("aws-kms"), "--principal", 'a"b')).code).toBe(2)
  })
})

describe("the life of a binding", () => {
  const pair = ["--match", "tenant=t_1"]
  const status = async (...args: string[]) => {
    const { code, stdout } = await run(["byok", "status", ...pair, "--json", ...args])
    const { bindings } = JSON.parse(stdout.toString())
    return { code, ...bindings[0] }
  }

  test("is bound by proof, shut, opened again, and watched", async () => {
    const key = keyOf("gcp-kms")
    const keyId = key[3] as string
    gcp.deny("cloudkms.cryptoKeyVersions.useToDecrypt", keyId)
    const refused = await run(["binding", "add", ...pair, ...key])
    expect([refused.code, refused.stderr]).toEqual([
      ...[4, expect.stringMatching(/PERMISSION_DENIED.*useToDecrypt.*byok validate/)],
    ])
    expect((await run(["byok", "status", ...pair])).stdout.toString()).toBe("no binding\n")
    gcp.allow("cloudkms.cryptoKeyVersions.useToDecrypt", keyId)
    expect((await run(["binding", "add", ...pair, ...key])).stderr).toBe("")
    expect(await status()).toMatchObject({
      ...{ code: 0, state: "active", verifiedAt: expect.stringMatching(/^20/) },
      health: { state: "healthy", calls: 1 },
    })

    const { stdout } = await run(["encrypt", "-c", "tenant=t_1"], { input: "x" })
    const open = async () => (await run(["decrypt", "-c", "tenant=t_1"], { input: stdout })).code
    expect((await run(["binding", "disable", ...pair])).stdout.toString()).toMatch(/Nothing.*decrypted now/)
    expect([await open(), (await status()).state, (await status()).health]).toEqual([4, "disabled", null])
    expect((await run(["binding", "enable", ...pair])).code).toBe(0)
    expect([await open(), (await status("--no-check")).health]).toEqual([0, null])

    const over = gcp.inject({ kind: "server-error" }, { keyId })
    expect(await status()).toMatchObject({ code: 6, health: { state: "unreachable" } })
    over()
    gcp.setState(keyId, "DISABLED")
    expect(await status()).toMatchObject({ code: 4, health: { state: "revoked", reason: "KEY_DISABLED" } })
    expect((await run(["byok", "status"])).stdout.toString()).toMatch(/tenant=t_1: KEY_DISABLED/)
    gcp.setState(keyId, "ENABLED")
  })

  test("a validation of a bound key keeps the proof of its new version, which the next one asks for", async () => {
    const [, , , keyId] = keyOf("gcp-kms")
    const bound = (await status("--no-check")).keyId
    expect(bound).not.toBe(keyId)
    gcp.rotate(bound)
    const again = async () => {
      const { stdout } = await run(["byok", "validate", ...pair, "--json"])
      const { checks } = JSON.parse(stdout.toString())
      return checks.filter(({ id }: { id: string }) => id === "former-versions").length
    }
    expect([await again(), await again()]).toEqual([1, 2])
  })

  test("one tenant's key, in another version, is bound for no other", async () => {
    const key = keyOf("azure-keyvault")
    expect((await run(["binding", "add", "--match", "tenant=t_2", ...key])).stderr).toBe("")
    const other = [...key.slice(0, 3), azure.rotate(key[3] as string), ...key.slice(4)]
    const refused = await run(["binding", "add", "--match", "tenant=t_3", ...other])
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/for another owner/)])
  })
})
