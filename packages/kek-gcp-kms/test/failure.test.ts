import { KeyManagementServiceClient } from "@google-cloud/kms"
import { KeyfoldError } from "@keyfold/core"
import type { Fault } from "@keyfold/provider-testkit"
import { startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { type GcpKmsClient, gcpKms } from "../src/index.ts"
import { type Gcp, newSecret, startGcp, wrapContext } from "./gcp.ts"

let gcp: Gcp & AsyncDisposable
beforeAll(async () => {
  gcp = await startGcp()
})
afterAll(() => gcp[Symbol.asyncDispose]())
afterEach(() => vi.unstubAllEnvs())

const failing = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const USE_TO_ENCRYPT = "cloudkms.cryptoKeyVersions.useToEncrypt"
const USE_TO_DECRYPT = "cloudkms.cryptoKeyVersions.useToDecrypt"

/** A new key, a KEK of it, and something that it wrapped. */
async function wrapped(options: { timeoutMs?: number } = {}) {
  const keyId = gcp.emulator.createKey()
  const kek = gcpKms({ client: gcp.client, ...options }).kek(keyId)
  const secret = newSecret()
  const record = await kek.wrap(secret, wrapContext(), {})
  const from = gcp.emulator.calls.length
  return {
    keyId,
    kek,
    secret,
    wrap: async () => kek.wrap(secret, wrapContext(), {}),
    unwrap: async (signal?: AbortSignal) => kek.unwrap(record, wrapContext(), { signal }),
    calls: () => gcp.emulator.calls.slice(from).length,
  }
}

async function failureOf(run: () => Promise<unknown>): Promise<KeyfoldError> {
  const error = await run().then(
    () => expect.unreachable("it succeeded"),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(KeyfoldError)
  return error as KeyfoldError
}

test.each([
  ["DISABLED", "KEY_DISABLED", "enable"],
  ["DESTROY_SCHEDULED", "KEY_PENDING_DELETION", "restore"],
  ["PENDING_EXTERNAL_DESTRUCTION", "KEY_PENDING_DELETION", "restore"],
  ["DESTROYED", "KEY_NOT_FOUND", "lost"],
  ["EXTERNAL_DESTRUCTION_FAILED", "KEY_NOT_FOUND", "lost"],
  ["PENDING_GENERATION", "UNAVAILABLE", "try again"],
  ["PENDING_IMPORT", "KEY_DISABLED", "primary"],
  ["IMPORT_FAILED", "KEY_DISABLED", "primary"],
  ["GENERATION_FAILED", "KEY_DISABLED", "primary"],
] as const)("a version that is %s is %s, to wrap and to unwrap", async (state, code, fix) => {
  const { keyId, kek, wrap, unwrap } = await wrapped()
  gcp.emulator.setState(keyId, state)
  for (const run of [wrap, unwrap]) {
    const error = await failureOf(run)
    expect(error).toMatchObject({ code, side: "key", fix: expect.stringContaining(fix) })
    expect(error.message).toContain(state)
    expect(kek.classify(error)).toBe(code)
    expect(kek.classify(error.cause)).toBe(code)
  }
  expect(await kek.describe({})).not.toMatchObject({ state: "enabled" })
})

test("each permission is named where it is missing, and none stands in for another", async () => {
  const { keyId, kek, wrap, unwrap } = await wrapped()
  const runs = {
    [USE_TO_ENCRYPT]: wrap,
    [USE_TO_DECRYPT]: unwrap,
    "cloudkms.cryptoKeys.get": () => kek.describe({}),
  }
  for (const denied of Object.keys(runs)) {
    gcp.emulator.deny(denied, keyId)
    for (const [permission, run] of Object.entries(runs)) {
      if (permission !== denied) await run()
      else {
        expect(await failureOf(run)).toMatchObject({
          code: "PERMISSION_DENIED",
          action: denied,
          side: "key-policy",
          fix: expect.stringContaining(
            denied.endsWith("get") ? "roles/cloudkms.viewer" : "EncrypterDecrypter",
          ),
        })
      }
    }
    gcp.emulator.allow(denied, keyId)
  }
})

test("a key that does not exist is missing, or denied to those who may not know", async () => {
  const kek = gcpKms({ client: gcp.client }).kek(`${gcp.emulator.createKey()}-nowhere`)
  const run = async () => kek.wrap(newSecret(), wrapContext(), {})
  expect(await failureOf(run)).toMatchObject({ code: "KEY_NOT_FOUND", side: "key" })
  gcp.emulator.deny(USE_TO_ENCRYPT)
  const denial = await failureOf(run)
  gcp.emulator.allow(USE_TO_ENCRYPT)
  expect(denial).toMatchObject({ code: "PERMISSION_DENIED", action: USE_TO_ENCRYPT })
  expect(denial.message).toContain("does not exist")
})

test("an API that is off is our side's to turn on", async () => {
  const { unwrap } = await wrapped()
  gcp.emulator.setApiEnabled(false)
  const error = await failureOf(unwrap)
  gcp.emulator.setApiEnabled(true)
  expect(error).toMatchObject({ code: "PERMISSION_DENIED", side: "caller-identity" })
  expect(error.fix).toContain("cloudkms.googleapis.com")
})

test("another purpose is no key to wrap with", async () => {
  const kek = gcpKms({ client: gcp.client }).kek(gcp.emulator.createKey({ purpose: "ASYMMETRIC_SIGN" }))
  const error = await failureOf(async () => kek.wrap(newSecret(), wrapContext(), {}))
  expect(error).toMatchObject({
    code: "UNKNOWN",
    side: "key",
    fix: expect.stringContaining("ENCRYPT_DECRYPT"),
  })
  expect(await kek.describe({})).toMatchObject({ publicKey: true, state: "unavailable", keyVersion: 0 })
})

type Calls = number | { readonly wrap: number; readonly unwrap: number }
const faults: readonly [name: string, fault: Fault, expected: object, calls: Calls][] = [
  ["throttled", { kind: "throttle" }, { code: "THROTTLED", retryAfterMs: undefined }, 1],
  [
    "throttled for 7 s",
    { kind: "throttle", retryAfterSeconds: 7 },
    { code: "THROTTLED", retryAfterMs: 7000 },
    1,
  ],
  ["an internal error", { kind: "server-error" }, { code: "UNAVAILABLE", side: "network" }, 1],
  ["a reset", { kind: "reset" }, { code: "UNAVAILABLE", side: "network" }, 1],
  ["garbage", { kind: "garbage" }, { code: "UNAVAILABLE", side: "network" }, 1],
  // Half of an answer to Decrypt cannot be read; of one to Encrypt it can, and its checksum is missing.
  ["a cut reply", { kind: "truncated" }, { code: "UNAVAILABLE", side: "network" }, { wrap: 3, unwrap: 1 }],
  ["a damaged request", { kind: "crc", where: "request" }, { code: "UNAVAILABLE", side: "network" }, 3],
  ["a damaged reply", { kind: "crc", where: "reply" }, { code: "UNAVAILABLE", side: "network" }, 3],
  ["a denial", { kind: "deny" }, { code: "PERMISSION_DENIED" }, 1],
]

describe.each(faults)("%s", (_, fault, expected, calls) => {
  test.each(["wrap", "unwrap"] as const)("fails %s", async (name) => {
    const target = await wrapped()
    const undo = gcp.emulator.inject(fault, { keyId: target.keyId })
    const error = await failureOf(target[name])
    undo()
    expect(error).toMatchObject({
      ...expected,
      retryable: (expected as { code: string }).code !== "PERMISSION_DENIED",
    })
    expect(target.calls()).toBe(typeof calls === "number" ? calls : calls[name])
  })
})

const passing = faults.filter(([, , , calls]) => calls === 3)

test.each(passing)("%s, twice, is ridden out", async (_, fault) => {
  const target = await wrapped()
  gcp.emulator.inject(fault, { keyId: target.keyId, times: 2 })
  expect(await target.unwrap()).toEqual(target.secret)
  gcp.emulator.inject(fault, { keyId: target.keyId, times: 2 })
  expect((await target.wrap()).keyVersion).toBe(1)
  expect(target.calls()).toBe(6)
})

test.each([
  "verifiedPlaintextCrc32c",
  "verifiedAdditionalAuthenticatedDataCrc32c",
  "ciphertextCrc32c",
] as const)("a reply to Encrypt without %s is thrown away", async (field) => {
  let replies = 0
  const client: GcpKmsClient = Object.create(gcp.client, {
    encrypt: {
      value: async (request: object, options: object) => {
        replies++
        const [reply] = await gcp.client.encrypt(request, options)
        return [{ ...reply, [field]: undefined }]
      },
    },
  })
  const kek = gcpKms({ client }).kek(gcp.emulator.createKey())
  const error = await failureOf(async () => kek.wrap(newSecret(), wrapContext(), {}))
  expect(error).toMatchObject({ code: "UNAVAILABLE", side: "network" })
  expect(replies).toBe(3)
})

test("another key's answer to Encrypt and GetCryptoKey is thrown away", async () => {
  const { keyId, kek, wrap } = await wrapped()
  const undo = gcp.emulator.inject({ kind: "other-key" }, { keyId })
  for (const run of [wrap, () => kek.describe({})]) {
    const error = await failureOf(run)
    expect(error).toMatchObject({ code: "UNKNOWN", side: "network" })
    expect(error.message).toContain("another key")
  }
  undo()
})

test("another binding and every flipped byte are DECRYPTION_FAILED", async () => {
  const { kek, secret } = await wrapped()
  const record = await kek.wrap(secret, wrapContext(), {})
  const failed = failing("DECRYPTION_FAILED")
  await expect(kek.unwrap(record, wrapContext(1), {})).rejects.toThrow(failed)
  for (let i = 0; i < record.wrapped.length; i++) {
    const altered = Uint8Array.from(record.wrapped)
    altered[i] = (altered[i] as number) ^ 0x40
    await expect(kek.unwrap({ ...record, wrapped: altered }, wrapContext(), {})).rejects.toThrow(failed)
  }
})

describe("ending a call", () => {
  test("its own time-out ends a hung call, tries included", async () => {
    const target = await wrapped({ timeoutMs: 150 })
    const undo = gcp.emulator.inject({ kind: "hang" }, { keyId: target.keyId })
    const startedAt = performance.now()
    expect(await failureOf(target.unwrap)).toMatchObject({ code: "TIMEOUT", retryable: true })
    expect(performance.now() - startedAt).toBeLessThan(1000)
    await expect.poll(() => gcp.emulator.openConnections()).toBe(0)
    expect(target.calls()).toBe(1)
    undo()
  })

  test("the caller's signal cancels the call on the wire, and nothing is tried again", async () => {
    const target = await wrapped()
    const undo = gcp.emulator.inject({ kind: "hang" }, { keyId: target.keyId })
    const controller = new AbortController()
    const failure = failureOf(() => target.unwrap(controller.signal))
    await expect.poll(() => gcp.emulator.openConnections()).toBe(1)
    controller.abort()
    expect(await failure).toMatchObject({ code: "ABORTED" })
    await expect.poll(() => gcp.emulator.openConnections()).toBe(0)
    undo()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(target.calls()).toBe(1)
  })

  test("a signal that has fired makes no call", async () => {
    const target = await wrapped()
    expect(await failureOf(() => target.unwrap(AbortSignal.abort()))).toMatchObject({ code: "ABORTED" })
    expect(target.calls()).toBe(0)
  })
})

test("a service that is not there is UNAVAILABLE, not a time-out", async () => {
  await using gone = await startGcp()
  const kek = gcpKms({ client: gone.client }).kek(gone.emulator.createKey())
  await gone.emulator.close()
  expect(await failureOf(async () => kek.wrap(newSecret(), wrapContext(), {}))).toMatchObject({
    code: "UNAVAILABLE",
  })
})

test("a client without credentials is denied, and leaves no unhandled rejection", async () => {
  vi.stubEnv("METADATA_SERVER_DETECTION", "none")
  vi.stubEnv("GOOGLE_APPLICATION_CREDENTIALS", undefined)
  vi.stubEnv("HOME", "/nonexistent")
  const client = new KeyManagementServiceClient()
  const kek = gcpKms({ client }).kek(gcp.emulator.createKey())
  // An unhandled rejection would fail this run: vitest reports it.
  expect(await failureOf(async () => kek.wrap(newSecret(), wrapContext(), {}))).toMatchObject({
    code: "PERMISSION_DENIED",
    side: "caller-identity",
    fix: expect.stringContaining("credentials"),
  })
})

test.each([
  [{ code: 16, message: "16 UNAUTHENTICATED: …" }, "PERMISSION_DENIED"],
  [{ code: 7, message: "…", reason: "SECURITY_POLICY_VIOLATED" }, "PERMISSION_DENIED"],
  [
    { code: 2, message: "Getting metadata from plugin failed with error: invalid_grant" },
    "PERMISSION_DENIED",
  ],
  [{ code: 2, message: "Getting metadata from plugin failed with error: ENOTFOUND" }, "UNAVAILABLE"],
  [{ code: 9, message: "9 FAILED_PRECONDITION: … has not been used in project 1 …" }, "PERMISSION_DENIED"],
  [{ code: 9, message: "current state is: toString" }, "UNKNOWN"],
  [{ code: 3, message: "3 INVALID_ARGUMENT: …" }, "INVALID_ARGUMENT"],
  [{ code: 3, message: "3 INVALID_ARGUMENT: Decryption failed: …" }, "DECRYPTION_FAILED"],
  [{ code: 1 }, "UNAVAILABLE"],
  [{ code: 12 }, "UNKNOWN"],
  [new TypeError("a bug"), "UNKNOWN"],
  ["The client has already been closed.", "UNKNOWN"],
  [undefined, "UNKNOWN"],
  [null, "UNKNOWN"],
])("classifies %o as %s", (error, code) => {
  expect(gcpKms({ client: gcp.client }).kek(gcp.emulator.createKey()).classify(error)).toBe(code)
})

test("a server whose certificate nobody trusts is asked for nothing", async () => {
  const untrusted = await startAzureEmulator() // any that speaks TLS
  const { sslCreds: _, ...options } = gcp.emulator.clientOptions()
  const client = new KeyManagementServiceClient({ ...options, port: Number(new URL(untrusted.url).port) })
  const kek = gcpKms({ client, timeoutMs: 1_000 }).kek(gcp.emulator.createKey())
  const error = await failureOf(async () => kek.wrap(newSecret(), wrapContext(), {}))
  expect(["UNAVAILABLE", "TIMEOUT"]).toContain(error.code)
  expect(error.side).toBe("network")
  expect(untrusted.calls).toEqual([])
  await client.close()
  await untrusted.close()
})
