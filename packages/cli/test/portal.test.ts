/** `keyfold serve --portal` and `keyfold portal link`, as processes of their own, with a browser that is made of fetch. */
import { writeFileSync } from "node:fs"
import { type AzureEmulator, startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { type GcpEmulator, startGcpEmulator } from "@keyfold/provider-testkit/gcp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ended, workshop } from "./cli.ts"

const { start, run, path, env } = workshop()
let gcp: GcpEmulator
let azure: AzureEmulator

beforeAll(async () => {
  ;[gcp, azure] = await Promise.all([startGcpEmulator(), startAzureEmulator({ purgeProtection: true })])
  Object.assign(env, {
    AZURE_TENANT_ID: azure.client.tenantId,
    AZURE_CLIENT_ID: azure.client.clientId,
    AZURE_CLIENT_SECRET: azure.client.clientSecret,
  })
  writeFileSync(path("ca.pem"), azure.caCertificate)
  const { apiEndpoint, port } = gcp.connection
  writeFileSync(
    path("portal.toml"),
    `[gcp-kms]
principal = "serviceAccount:keyfold@p.iam.gserviceaccount.com"
endpoint = "${apiEndpoint}:${port}"
insecure-emulator = true
[azure-keyvault]
principal = "11111111-2222-3333-4444-555555555555"
authority = "${azure.url}"
vault-url = "${azure.url}"
ca-file = "ca.pem"
`,
  )
})
afterAll(() => Promise.all([gcp.close(), azure.close()]))

test("a tenant sets up its key by a link of the command; the command sees it, and uses it", async () => {
  const server = start(["serve", "--port", "0", "--portal", "portal.toml", "--json"])
  const done = ended(server)
  let printed = ""
  server.stdout.on("data", (chunk) => {
    printed += chunk
  })
  await expect.poll(() => printed, { timeout: 30_000 }).toMatch(/\n$/)
  const { url } = JSON.parse(printed)

  const setUp = async (organization: string, provider: string, keyId: string) => {
    const match = ["--match", `organization_id=${organization}`]
    const made = await run(["portal", "link", ...match, "--url", url, "--expires", "5m", "--json"])
    const { link, expiresAt } = JSON.parse(made.stdout.toString())
    expect(Date.parse(expiresAt) - Date.now()).toBeLessThanOrEqual(300_000)
    const post = { method: "POST", redirect: "manual" } as const
    const opened = await fetch(link, { ...post, headers: { origin: url } })
    const headers = { cookie: opened.headers.get("set-cookie")?.split(";")[0] ?? "", origin: url }
    const page = `${url}/portal/setup/${provider}`
    const form = /name="form" value="([^"]+)"/.exec(await (await fetch(page, { headers })).text())?.[1]
    const body = new URLSearchParams({ form: form as string, keyId })
    return (await fetch(page, { ...post, headers, body })).text()
  }
  const keyId = gcp.createKey()
  expect(await setUp("org_1", "gcp-kms", keyId)).toContain("Setup is complete")
  expect(await setUp("org_2", "azure-keyvault", azure.createKey())).toContain("Setup is complete")
  expect(await setUp("org_3", "azure-keyvault", `https://127.0.0.1:1/keys/k/${"0".repeat(32)}`)).toContain(
    `The key is not at ${azure.url}`,
  )

  const listed = await run(["binding", "list", "--json"])
  expect(JSON.parse(listed.stdout.toString()).bindings).toMatchObject([
    { state: "active", keyId, match: { organization_id: "org_1" }, owner: "organization_id=org_1" },
    { state: "active", provider: "azure-keyvault" },
  ])
  const operator = await run(["portal", "link", "--operator", "--url", url, "--json"])
  const opened = await fetch(JSON.parse(operator.stdout.toString()).link, {
    ...{ method: "POST", redirect: "manual", headers: { origin: url } },
  })
  const cookie = opened.headers.get("set-cookie")?.split(";")[0] ?? ""
  const overview = await (await fetch(`${url}/portal/operator`, { headers: { cookie } })).text()
  expect(overview).toContain(keyId)

  const pair = ["-c", "organization_id=org_1"]
  const { stdout } = await run(["encrypt", ...pair], { input: "x" })
  expect((await run(["decrypt", ...pair], { input: stdout })).stdout.toString()).toBe("x")
  gcp.setState(keyId, "DISABLED")
  expect((await run(["decrypt", ...pair], { input: stdout })).code).toBe(4)
  server.kill("SIGINT")
  expect(await done).toEqual({ code: 0, stderr: expect.not.stringContaining("failed") })
}, 60_000)

describe("refuses", () => {
  const principal = 'principal = "p"\n'
  test.each([
    ["a file that is not there", undefined],
    ["a file that is no TOML", "[["],
    ["no cloud", 'url = "https://vault.example.com"'],
    ["a URL that is none", `url = "vault"\n[gcp-kms]\n${principal}`],
    ["a cloud that is none", `[ibm]\n${principal}`],
    ["a cloud without a principal", "[gcp-kms]\n"],
    ["a principal that no policy can hold", '[gcp-kms]\nprincipal = "\\""\n'],
    ["an option that is none", `[gcp-kms]\n${principal}role = "x"\n`],
    [
      "an authority without the place of keys",
      `[azure-keyvault]\n${principal}authority = "https://a.example"\n`,
    ],
    [
      "a place of keys without an authority",
      `[azure-keyvault]\n${principal}vault-url = "https://a.example"\n`,
    ],
  ])("%s", async (_, text) => {
    if (text !== undefined) writeFileSync(path("wrong.toml"), text)
    const file = text === undefined ? "none.toml" : "wrong.toml"
    const { code, stderr } = await run(["serve", "--portal", file], { env: { KEYFOLD_HOME: path("none") } })
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^error INVALID_ARGUMENT: /)])
  })

  test.each([
    ["an operator that is a tenant", ["--operator"]],
    ["a time that is none", ["--expires", "soon"]],
    ["a time that is too long", ["--expires", "31d"]],
    ["an address that is none", ["--url", "vault"]],
  ])("%s", async (_, args) => {
    await run(["init"])
    const { code, stderr } = await run(["portal", "link", "--match", "organization_id=org_1", ...args])
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^error INVALID_ARGUMENT: /)])
  })
})
