import type { TokenCredential } from "@azure/core-auth"
import { type AzureKeyOptions, azureKeyVault } from "@keyfold/kek-azure-keyvault"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type Azure, failureOf, startAzure } from "./azure.ts"

const unused: TokenCredential = {
  getToken: () => Promise.reject(new Error("nobody should ask for a token")),
}
const invalid = expect.objectContaining({ name: "KeyfoldError", code: "INVALID_ARGUMENT" })
const version = "0123456789abcdef0123456789abcdef"
const key = `https://customer.vault.azure.net/keys/K-1/${version}`

describe("key ids", () => {
  test.each([
    key,
    key.replace("vault.azure.net", "managedhsm.azure.net"),
    key.replace("vault.azure.net", "vault.azure.cn"),
    key.replace("vault.azure.net", "managedhsm.usgovcloudapi.net"),
  ])("%s is one", (id) => {
    expect(azureKeyVault({ credential: unused }).kek(id)).toMatchObject({
      providerId: "azure-keyvault",
      keyId: id,
    })
  })

  test.each([
    "",
    key.replace(`/${version}`, ""),
    `${key}/`,
    `${key}\n`,
    `${key}?api-version=7.4`,
    `${key}#`,
    key.toUpperCase(),
    key.replace("customer", "Customer"),
    key.replace("https:", "http:"),
    key.replace("https://", "https://user@"),
    key.replace(".net/", ".net:443/"),
    key.replace(".net/", ".net:8443/"),
    key.replace("/keys/", "/secrets/"),
    key.replace("K-1", "K_1"),
    key.replace("K-1", ".."),
    key.replace(version, version.toUpperCase()),
    key.replace("customer.vault.azure.net", "vault.azure.net"),
    key.replace("customer.vault.azure.net", "127.0.0.1"),
    key.replace("customer.vault.azure.net", "vault.example.com"),
    key.replace("customer.vault.azure.net", "customer.vault.azure.net.example.com"),
    key.replace("customer.vault.azure.net", "customer-vault.azure.net"),
    key.replace("customer.vault.azure.net", "a.customer.vault.azure.net"),
  ])("%j is none", (id) => {
    expect(() => azureKeyVault({ credential: unused }).kek(id)).toThrow(invalid)
  })

  test("another host is only the operator's to allow, port and all", () => {
    const hosts = { "keys.example.com:8443": "https://vault.example.com" }
    const provider = azureKeyVault({ credential: unused, hosts })
    const id = key.replace("customer.vault.azure.net", "keys.example.com:8443")
    expect(provider.kek(id).keyId).toBe(id)
    expect(() => provider.kek(id.replace(":8443", ""))).toThrow(invalid)
    expect(() => provider.kek(key.replace("customer.vault.azure.net", "constructor"))).toThrow(invalid)
  })
})

test.each([
  { region: "westeurope" },
  { algorithm: "RSA-OAEP" },
  { algorithm: "A128KW" },
  { tenantId: "a/b" },
])("refuses the option %j", (options) => {
  const provider = azureKeyVault({ credential: unused })
  expect(() => provider.kek(key, options as AzureKeyOptions)).toThrow(invalid)
})

test.each([0, -1, 1.5, Number.NaN, 600_001])("refuses a time-out of %s", (timeoutMs) => {
  expect(() => azureKeyVault({ credential: unused, timeoutMs })).toThrow(invalid)
})

describe("a key in the service", () => {
  let azure: Azure & AsyncDisposable
  beforeAll(async () => {
    azure = await startAzure()
  })
  afterAll(() => azure[Symbol.asyncDispose]())

  test("is described in each stage of its life", async () => {
    const { emulator, provider } = azure
    const keyId = emulator.createKey()
    const kek = provider.kek(keyId)
    expect(await kek.describe({})).toEqual({
      state: "enabled",
      algorithm: "RSA-OAEP-256",
      origin: "unknown",
      protectionLevel: "software",
      publicKey: true,
      canWrap: true,
      purgeProtected: false,
      keyVersion: 0,
      automaticRotation: undefined,
      expiresAt: undefined,
      deletionAt: undefined,
      region: undefined,
    })
    for (const state of ["disabled", "expired", "not-yet-valid"] as const) {
      emulator.setState(keyId, state)
      expect(await kek.describe({})).toMatchObject({ state })
    }
    emulator.setState(keyId, "expired")
    expect((await kek.describe({})).expiresAt?.getTime()).toBeLessThan(Date.now())

    emulator.setState(keyId, "deleted")
    const deleted = await kek.describe({})
    expect(deleted.state).toBe("pending-deletion")
    expect(((deleted.deletionAt?.getTime() ?? 0) - Date.now()) / 86_400_000).toBeCloseTo(90, 1)
    emulator.setState(keyId, "purged")
    expect(await failureOf(() => kek.describe({}))).toMatchObject({ code: "KEY_NOT_FOUND" })
  })

  test("is not found where it is deleted and the caller may not look there", async () => {
    const { emulator, provider } = azure
    const keyId = emulator.createKey({ kty: "EC" })
    emulator.setState(keyId, "deleted")
    const undo = emulator.inject({ kind: "deny" }, { operations: ["getDeletedKey"] })
    expect(await failureOf(() => provider.kek(keyId).describe({}))).toMatchObject({ code: "KEY_NOT_FOUND" })
    undo()
  })

  test("tells its type", async () => {
    const { emulator, provider } = azure
    const facts = (options: Parameters<typeof emulator.createKey>[0]) =>
      provider.kek(emulator.createKey(options)).describe({})
    expect(await facts({ service: "hsm" })).toMatchObject({
      algorithm: "oct-HSM",
      publicKey: false,
      protectionLevel: "hsm",
    })
    expect(await facts({ kty: "EC-HSM" })).toMatchObject({ algorithm: "EC-HSM", publicKey: true })
    expect(await facts({ kty: "RSA-HSM", keyOps: ["wrapKey"] })).toMatchObject({ algorithm: "RSA-HSM" })
  })

  test("is resolved to the version of today", async () => {
    const { emulator, provider } = azure
    const first = emulator.createKey({ kty: "EC" })
    const name = first.slice(0, first.lastIndexOf("/"))
    expect(await provider.resolveKeyId(name)).toBe(first)
    const second = emulator.rotate(first)
    expect(await provider.resolveKeyId(name)).toBe(second)
    expect(await provider.resolveKeyId(first)).toBe(first)
    expect(await failureOf(() => provider.resolveKeyId(`${name}-not`))).toMatchObject({
      code: "KEY_NOT_FOUND",
    })
    expect(await failureOf(() => provider.resolveKeyId("https://example.com/keys/a"))).toMatchObject({
      code: "INVALID_ARGUMENT",
    })
    const undo = emulator.inject({ kind: "other-key" }, { operations: ["getKey"] })
    expect(await failureOf(() => provider.resolveKeyId(name))).toMatchObject({ code: "UNKNOWN" })
    undo()
  })
})
