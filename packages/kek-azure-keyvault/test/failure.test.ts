import { setTimeout as sleep } from "node:timers/promises"
import type { TokenCredential } from "@azure/core-auth"
import { KeyfoldError } from "@keyfold/core"
import type { Fault } from "@keyfold/provider-testkit"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { toFailure, toTokenFailure } from "../src/failure.ts"
import { type Azure, failureOf, startAzure, wrapContext, wrapped } from "./azure.ts"

let azure: Azure & AsyncDisposable
beforeAll(async () => {
  azure = await startAzure()
})
afterAll(() => azure[Symbol.asyncDispose]())
afterEach(() => vi.restoreAllMocks())

const SYMMETRIC = { algorithm: "A256GCM" } as const

test.each([
  ["disabled", "KEY_DISABLED", "enable it"],
  ["deleted", "KEY_NOT_FOUND", "recovered"],
] as const)("a %s key is %s, to wrap and to unwrap", async (state, code, fix) => {
  const { keyId, kek, wrap, unwrap } = await wrapped(azure, SYMMETRIC)
  azure.emulator.setState(keyId, state)
  for (const run of [wrap, unwrap]) {
    const error = await failureOf(run)
    expect(error).toMatchObject({ code, side: "key", fix: expect.stringContaining(fix), retryable: false })
    expect(kek.classify(error)).toBe(code)
    expect(kek.classify(error.cause)).toBe(code)
  }
})

describe("denials", () => {
  test.each([
    ["wrapKey", "wrap", "Microsoft.KeyVault/vaults/keys/wrap/action"],
    ["unwrapKey", "unwrap", "Microsoft.KeyVault/vaults/keys/unwrap/action"],
    ["get", "describe", "Microsoft.KeyVault/vaults/keys/read"],
  ] as const)("without %s only %s fails, and names it", async (permission, name, action) => {
    const { keyId, kek, wrap, unwrap } = await wrapped(azure)
    const runs = { wrap, unwrap, describe: () => kek.describe({}) }
    for (const [layer, named, fix] of [
      ["rbac", action, "Key Vault Crypto Service Encryption User"],
      ["access-policy", permission, "access policies"],
    ] as const) {
      azure.emulator.deny(layer, permission, keyId)
      for (const [each, run] of Object.entries(runs)) {
        if (each !== name) await run()
        else {
          expect(await failureOf(run)).toMatchObject({
            code: "PERMISSION_DENIED",
            action: named,
            side: "key-policy",
            fix: expect.stringContaining(fix),
          })
        }
      }
      azure.emulator.allow(layer, permission, keyId)
    }
  })

  test("by the firewall, and by the key's own operations", async () => {
    const { wrap, unwrap } = await wrapped(azure, SYMMETRIC)
    azure.emulator.setFirewall("closed")
    for (const run of [wrap, unwrap]) {
      expect(await failureOf(run)).toMatchObject({ code: "PERMISSION_DENIED", side: "network" })
    }
    azure.emulator.setFirewall("open")
    const keyId = azure.emulator.createKey({ service: "hsm", keyOps: ["decrypt"] })
    const kek = azure.provider.kek(keyId, SYMMETRIC)
    expect(await failureOf(() => kek.wrap(new Uint8Array(32), wrapContext(), {}))).toMatchObject({
      code: "PERMISSION_DENIED",
      side: "key",
      fix: expect.stringContaining("permitted operations"),
    })
  })

  test("a key that cannot do what its options say", async () => {
    const kek = azure.provider.kek(azure.emulator.createKey({ service: "hsm" })) // RSA, unless told
    expect(await failureOf(() => kek.wrap(new Uint8Array(32), wrapContext(), {}))).toMatchObject({
      code: "INVALID_ARGUMENT",
      fix: expect.stringContaining("algorithm"),
    })
  })
})

describe("the service out of order", () => {
  test.each([
    [{ kind: "reset" }, "UNAVAILABLE"],
    [{ kind: "server-error" }, "UNAVAILABLE"],
    [{ kind: "garbage" }, "UNAVAILABLE"],
    [{ kind: "truncated" }, "UNAVAILABLE"],
    [{ kind: "throttle" }, "THROTTLED"],
    [{ kind: "other-key" }, "UNKNOWN"],
    [{ kind: "deny" }, "PERMISSION_DENIED"],
  ] as const)("%j is %s, after one try", async (fault: Fault, code) => {
    const { keyId, wrap, unwrap, calls, secret } = await wrapped(azure, SYMMETRIC)
    const undo = azure.emulator.inject(fault, { keyId })
    expect(await failureOf(wrap)).toMatchObject({ code })
    expect(await failureOf(unwrap)).toMatchObject({ code })
    expect(calls()).toHaveLength(2)
    undo()
    expect(await unwrap()).toEqual(secret)
  })

  test("Retry-After is told", async () => {
    const { keyId, wrap } = await wrapped(azure, SYMMETRIC)
    azure.emulator.inject({ kind: "throttle", retryAfterSeconds: 7 }, { keyId, times: 1 })
    expect(await failureOf(wrap)).toMatchObject({ code: "THROTTLED", retryAfterMs: 7_000, retryable: true })
  })

  test("nobody listens, or with a certificate that is not trusted", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const provider = azure.providerWith({ tlsOptions: {} })
    expect(await failureOf(() => provider.kek(keyId).describe({}))).toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("certificate"),
    })
    const nowhere = azure.providerWith({ hosts: { "127.0.0.1:1": "https://vault.azure.net" } })
    const kek = nowhere.kek(keyId.replace(/\/\/[^/]+/, "//127.0.0.1:1"))
    expect(await failureOf(() => kek.describe({}))).toMatchObject({ code: "UNAVAILABLE", side: "network" })
  })

  test("timeoutMs bounds a call by itself, and the connection closes", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const undo = azure.emulator.inject({ kind: "hang" }, { keyId })
    const kek = azure.providerWith({ timeoutMs: 200 }).kek(keyId)
    const startedAt = performance.now()
    expect(await failureOf(() => kek.describe({}))).toMatchObject({ code: "TIMEOUT", side: "network" })
    expect(performance.now() - startedAt).toBeLessThan(1_500)
    await expect.poll(() => azure.emulator.openConnections()).toBe(0)
    undo()
  })

  test("an abort ends a call with its reason", async () => {
    const { keyId, wrap } = await wrapped(azure, SYMMETRIC)
    const undo = azure.emulator.inject({ kind: "hang" }, { keyId })
    const controller = new AbortController()
    const call = wrap(controller.signal)
    await expect.poll(() => azure.emulator.openConnections()).toBe(1)
    const reason = new Error("enough")
    controller.abort(reason)
    expect(await failureOf(() => call)).toMatchObject({ code: "ABORTED", cause: reason })
    await expect.poll(() => azure.emulator.openConnections()).toBe(0)
    undo()
  })
})

describe("tokens", () => {
  const getTokens = () => azure.emulator.calls.filter(({ operation }) => operation === "token").length

  test("one serves all calls, and concurrent ones share the request for it", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const before = getTokens()
    const kek = azure.providerWith({ credential: azure.newCredential() }).kek(keyId, SYMMETRIC)
    await Promise.all(Array.from({ length: 20 }, () => kek.describe({})))
    await kek.describe({})
    expect(getTokens() - before).toBe(1)
  })

  test("a caller that gives up leaves the request to the others", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const kek = azure.providerWith({ credential: azure.newCredential() }).kek(keyId)
    const undo = azure.emulator.inject({ kind: "latency", ms: 200 }, { operations: ["token"] })
    const signal = AbortSignal.timeout(50)
    const [gone, stayed] = await Promise.allSettled([kek.describe({ signal }), kek.describe({})])
    undo()
    expect(gone).toMatchObject({ status: "rejected", reason: { code: "ABORTED" } })
    expect(stayed).toMatchObject({ status: "fulfilled" })
  })

  test("are had for the tenant of the vault", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const credential = azure.newCredential({ tenantId: crypto.randomUUID() })
    const provider = azure.providerWith({ credential })
    expect(await failureOf(() => provider.kek(keyId).describe({}))).toMatchObject({
      code: "PERMISSION_DENIED",
      side: "caller-identity",
      fix: expect.stringContaining("tenantId"),
    })
    const { tenantId } = azure.emulator.client
    expect(await provider.kek(keyId, { tenantId }).describe({})).toMatchObject({ state: "enabled" })
  })

  test("a wrong secret is a denial; an outage, a throttle and nonsense are not", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const fail = (change?: { clientSecret: string }) =>
      failureOf(() =>
        azure
          .providerWith({ credential: azure.newCredential(change) })
          .kek(keyId)
          .describe({}),
      )
    expect(await fail({ clientSecret: "guess" })).toMatchObject({
      code: "PERMISSION_DENIED",
      side: "caller-identity",
    })
    for (const operations of [["token"], ["openIdConfiguration"]]) {
      for (const kind of ["reset", "throttle", "server-error", "truncated"] as const) {
        const undo = azure.emulator.inject({ kind }, { operations })
        expect(await fail(), `${kind} of ${operations}`).toMatchObject({
          code: "UNAVAILABLE",
          side: "network",
        })
        undo()
      }
    }
  })

  test("a hung token endpoint ends with timeoutMs, though the SDK goes on waiting", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const undo = azure.emulator.inject({ kind: "hang" }, { operations: ["token"] })
    const kek = azure.providerWith({ credential: azure.newCredential(), timeoutMs: 200 }).kek(keyId)
    const startedAt = performance.now()
    const failure = await failureOf(() => kek.describe({}))
    expect(failure).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("Entra") })
    expect(performance.now() - startedAt).toBeLessThan(1_500)
    undo()
    expect(await kek.describe({})).toMatchObject({ state: "enabled" }) // a new request, not the hung one
  })

  test("a token that is still good outlives an outage of its endpoint", async () => {
    const { keyId } = await wrapped(azure, SYMMETRIC)
    const { token } = await azure.credential.getToken("https://managedhsm.azure.net/.default")
    let asked = 0
    const credential: TokenCredential = {
      async getToken() {
        if (asked++ > 0) throw new Error("network_error")
        return { token, expiresOnTimestamp: Date.now() + 500 }
      },
    }
    const kek = azure.providerWith({ credential }).kek(keyId)
    for (let i = 0; i < 3; i++) expect(await kek.describe({})).toMatchObject({ state: "enabled" })
    expect(asked).toBe(3)
    await sleep(520)
    expect(await failureOf(() => kek.describe({}))).toMatchObject({ code: "UNAVAILABLE" })
  })

  test.each([
    [new Error("CredentialUnavailableError"), "UNKNOWN"],
    [
      Object.assign(new Error("EnvironmentCredential is unavailable."), {
        name: "CredentialUnavailableError",
      }),
      "PERMISSION_DENIED",
    ],
    [
      aggregate([{ name: "CredentialUnavailableError" }, { name: "CredentialUnavailableError" }]),
      "PERMISSION_DENIED",
    ],
    [aggregate([{ name: "CredentialUnavailableError" }, { name: "TypeError" }]), "UNKNOWN"],
    [Object.assign(new Error("busy"), { cause: { name: "ServerError", status: 503 } }), "UNAVAILABLE"],
    [new DOMException("late", "TimeoutError"), "UNAVAILABLE"],
    [undefined, "UNKNOWN"],
    ["text", "UNKNOWN"],
  ] as const)("%s is %s", (error, code) => {
    expect(toTokenFailure(error).code).toBe(code)
  })
})

test("only the vault's own words are a denial", () => {
  const answer = (statusCode: number, code?: string, innerCode?: string) =>
    toFailure({ name: "RestError", message: "", statusCode, code, details: { code, innerCode } }, "wrapKey")
      .code
  expect(answer(403)).toBe("UNAVAILABLE") // a proxy's
  expect(answer(404)).toBe("UNAVAILABLE")
  expect(answer(403, "Forbidden")).toBe("PERMISSION_DENIED")
  expect(answer(403, "Forbidden", "ForbiddenByConnection")).toBe("PERMISSION_DENIED")
  expect(answer(404, "KeyNotFound")).toBe("KEY_NOT_FOUND")
  expect(answer(409, "Conflict", "ObjectIsBeingDeleted")).toBe("KEY_PENDING_DELETION")
  expect(answer(408, "Timeout")).toBe("UNAVAILABLE")
  expect(answer(302)).toBe("UNAVAILABLE")
  expect(answer(418, "Teapot")).toBe("UNKNOWN")
  for (const error of [
    undefined,
    null,
    "text",
    1,
    {},
    new Error("?"),
    { statusCode: "403", details: null },
  ]) {
    expect(toFailure(error).code).toBe("UNKNOWN")
  }
})

test.each(["reset", "server-error", "truncated", "other-key"] as const)(
  "nothing that a failure holds, seen or not, is the secret or the token: %s",
  async (kind) => {
    const { keyId, wrap, secret } = await wrapped(azure, SYMMETRIC)
    const { token } = await azure.credential.getToken("https://managedhsm.azure.net/.default")
    azure.emulator.inject({ kind }, { keyId })
    const held = textsIn(await failureOf(wrap))
    expect(held.length).toBeGreaterThan(1)
    for (const secretText of [Buffer.from(secret).toString("base64url"), token]) {
      expect(held.filter((text) => text.includes(secretText))).toEqual([])
    }
  },
)

/** Every string that can be reached, by properties that are not enumerable and by maps too. */
function textsIn(value: unknown, seen = new Set<unknown>()): string[] {
  if (typeof value === "string") return [value]
  if (typeof value !== "object" || value === null || seen.has(value)) return []
  seen.add(value)
  const held = value instanceof Map ? [...value.values()] : []
  for (const key of Reflect.ownKeys(value)) {
    const { value: member } = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor
    held.push(member)
  }
  return held.flatMap((each) => textsIn(each, seen))
}

test("a KeyfoldError passes through", () => {
  const error = new KeyfoldError("UNKNOWN", "as it is")
  expect(toFailure(error)).toBe(error)
})

/** What `DefaultAzureCredential` throws when none of its credentials gave a token. */
function aggregate(errors: readonly object[]): Error {
  return Object.assign(new Error("ChainedTokenCredential authentication failed."), {
    name: "AggregateAuthenticationError",
    errors,
  })
}
