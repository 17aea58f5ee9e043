import { createHash } from "node:crypto"
import { createKeyfold, type KeyfoldError, type Router } from "@keyfold/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { gcpKms } from "../src/index.ts"
import { type Gcp, newSecret, startGcp, wrapContext } from "./gcp.ts"

let gcp: Gcp & AsyncDisposable
beforeAll(async () => {
  gcp = await startGcp()
})
afterAll(() => gcp[Symbol.asyncDispose]())

const failing = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })

test("a wrap is 0x01 and the ciphertext of Encrypt with B as additional data", async () => {
  const { emulator, client } = gcp
  const keyId = emulator.createKey()
  const secret = newSecret()
  const context = wrapContext(3)
  const record = await gcpKms({ client }).kek(keyId).wrap(secret, context, {})
  expect(record).toMatchObject({ keyVersion: 1, leased: false })
  expect(record.wrapped[0]).toBe(1)
  const [reply] = await client.decrypt({
    name: keyId,
    ciphertext: record.wrapped.subarray(1),
    additionalAuthenticatedData: createHash("sha256").update(context.binding).digest(),
  })
  expect(Uint8Array.from(reply.plaintext as Uint8Array)).toEqual(secret)
})

test("the version of a wrap is that of the reply, and old versions open", async () => {
  const { emulator, client } = gcp
  const keyId = emulator.createKey()
  const due: unknown[] = []
  const kek = gcpKms({ client, onDueForRewrap: (wrap) => due.push(wrap) }).kek(keyId)
  const secret = newSecret()
  const old = await kek.wrap(secret, wrapContext(), {})
  expect(await kek.unwrap(old, wrapContext(), {})).toEqual(secret)
  expect(due).toEqual([])

  expect(emulator.rotate(keyId)).toBe(2)
  const current = await kek.wrap(secret, wrapContext(), {})
  expect([old.keyVersion, current.keyVersion]).toEqual([1, 2])
  expect(await kek.unwrap(old, wrapContext(), {})).toEqual(secret)
  expect(await kek.unwrap(current, wrapContext(), {})).toEqual(secret)
  expect(due).toEqual([{ keyId, keyVersion: 1 }])

  // A key can wrap while what an older version wrapped is out of reach.
  emulator.setState(keyId, "DISABLED", 1)
  await expect(kek.unwrap(old, wrapContext(), {})).rejects.toThrow(failing("KEY_DISABLED"))
  expect(await kek.unwrap(await kek.wrap(secret, wrapContext(), {}), wrapContext(), {})).toEqual(secret)
})

test("an observer that throws changes nothing", async () => {
  const { emulator, client } = gcp
  const keyId = emulator.createKey()
  const onDueForRewrap = () => {
    throw new Error("observer")
  }
  const kek = gcpKms({ client, onDueForRewrap }).kek(keyId)
  const secret = newSecret()
  const record = await kek.wrap(secret, wrapContext(), {})
  emulator.rotate(keyId)
  expect(await kek.unwrap(record, wrapContext(), {})).toEqual(secret)
})

test("an HSM key wraps: 64 bytes are far below its limit of 8 KiB", async () => {
  const { emulator, client } = gcp
  const kek = gcpKms({ client }).kek(emulator.createKey({ protectionLevel: "HSM" }))
  const secret = newSecret()
  expect(await kek.unwrap(await kek.wrap(secret, wrapContext(), {}), wrapContext(), {})).toEqual(secret)
  expect(await kek.describe({})).toMatchObject({ protectionLevel: "hsm", state: "enabled" })
})

test("a leased or foreign record is refused without a call", async () => {
  const { emulator, client } = gcp
  const kek = gcpKms({ client }).kek(emulator.createKey())
  const record = await kek.wrap(newSecret(), wrapContext(), {})
  const before = emulator.calls.length
  const foreign = Uint8Array.from(record.wrapped)
  foreign[0] = 2
  for (const bad of [
    { ...record, leased: true },
    { ...record, wrapped: foreign },
    { ...record, wrapped: new Uint8Array(0) },
  ]) {
    await expect(kek.unwrap(bad, wrapContext(), {})).rejects.toThrow(failing("DECRYPTION_FAILED"))
  }
  expect(emulator.calls).toHaveLength(before)
})

describe("through the engine", () => {
  const context = { organization_id: "org_secret_value" }

  function engine(keyId: string, options: { timeoutMs?: number; deadlineMs?: number } = {}) {
    const { deadlineMs, ...gcpOptions } = options
    const kek = gcpKms({ client: gcp.client, ...gcpOptions }).kek(keyId)
    const route: Router["forWriting"] = ({ pairs }) => [
      { kek, covered: pairs, mask: 1, owner: "org_1", companion: undefined },
    ]
    const router: Router = {
      forWriting: route,
      forReading: async (parsed, opts) =>
        (await route(parsed, opts)).map((entry) => ({ ...entry, lastVersion: undefined })),
    }
    return createKeyfold({ router, ...(deadlineMs !== undefined && { deadlineMs }) })
  }

  test("encrypts and decrypts, and one more call of a rewrap moves data to the new version", async () => {
    const { emulator } = gcp
    const keyId = emulator.createKey()
    const keyfold = engine(keyId)
    const plaintext = new TextEncoder().encode("classified")
    const envelope = await keyfold.encrypt(plaintext, { context })
    emulator.rotate(keyId)
    const rewrapped = await keyfold.rewrap(envelope, { context })
    emulator.setState(keyId, "DESTROYED", 1)
    expect((await keyfold.decrypt(rewrapped, { context })).plaintext).toEqual(plaintext)
    await expect(keyfold.decrypt(envelope, { context })).rejects.toThrow(failing("KEY_NOT_FOUND"))
  })

  test("another key's plaintext never leaves: the MAC does not hold", async () => {
    const { emulator } = gcp
    const keyId = emulator.createKey()
    const keyfold = engine(keyId)
    const envelope = await keyfold.encrypt(new Uint8Array(5), { context })
    const undo = emulator.inject({ kind: "other-key" }, { keyId })
    await expect(keyfold.decrypt(envelope, { context })).rejects.toThrow(failing("DECRYPTION_FAILED"))
    await expect(keyfold.encrypt(new Uint8Array(5), { context })).rejects.toThrow(failing("UNKNOWN"))
    undo()
  })

  test("a denial names provider, key, pairs, action, side and fix, and no value", async () => {
    const { emulator } = gcp
    const keyId = emulator.createKey()
    const keyfold = engine(keyId)
    const envelope = await keyfold.encrypt(new Uint8Array(5), { context })
    emulator.deny("cloudkms.cryptoKeyVersions.useToDecrypt", keyId)
    const error = await keyfold.decrypt(envelope, { context }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({
      code: "PERMISSION_DENIED",
      retryable: false,
      providerId: "gcp-kms",
      keyId,
      pairNames: ["organization_id"],
      action: "cloudkms.cryptoKeyVersions.useToDecrypt",
      side: "key-policy",
      fix: expect.stringContaining("roles/cloudkms.cryptoKeyEncrypterDecrypter"),
    })
    expect((error as KeyfoldError).message).not.toContain("org_secret_value")
    expect((error as KeyfoldError).cause).toMatchObject({ code: 7 })
  })

  test("a hung service ends at the deadline, on both ends", async () => {
    const { emulator } = gcp
    const keyId = emulator.createKey()
    const keyfold = engine(keyId, { deadlineMs: 100 })
    const undo = emulator.inject({ kind: "hang" }, { keyId })
    const startedAt = performance.now()
    await expect(keyfold.encrypt(new Uint8Array(5), { context })).rejects.toThrow(failing("TIMEOUT"))
    expect(performance.now() - startedAt).toBeLessThan(1000)
    await expect.poll(() => emulator.openConnections()).toBe(0)
    expect(emulator.calls.at(-1)).toMatchObject({ operation: "Encrypt", keyId, error: "CANCELLED" })
    undo()
  })
})
