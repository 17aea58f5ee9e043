import { KeyManagementServiceClient } from "@google-cloud/kms"
import { IamProtos } from "google-gax"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { crc32c } from "../src/gcp/crc32c.ts"
import { type GcpEmulator, type GcpVersionState, startGcpEmulator } from "../src/gcp/index.ts"

let emulator: GcpEmulator
let client: KeyManagementServiceClient
beforeAll(async () => {
  emulator = await startGcpEmulator()
  client = new KeyManagementServiceClient(emulator.clientOptions())
})
afterAll(async () => {
  await client.close()
  await emulator.close()
})

const OK = "OK"
const once = { timeout: 2000, retry: null }
const plaintext = new TextEncoder().encode("thirty-two bytes of a plain text")
const ring = () => emulator.connection.keyRing
const location = () => ring().split("/keyRings/", 1)[0] as string

async function encrypt(name: string, additionalAuthenticatedData = new Uint8Array(0), bytes = plaintext) {
  const [reply] = await client.encrypt({ name, plaintext: bytes, additionalAuthenticatedData }, once)
  return reply
}

async function decrypt(
  name: string,
  ciphertext: Uint8Array,
  additionalAuthenticatedData = new Uint8Array(0),
) {
  const [reply] = await client.decrypt({ name, ciphertext, additionalAuthenticatedData }, once)
  return reply
}

/** The status code and message that a call fails with; `OK` and an empty message where it does not. */
async function outcome(call: Promise<unknown>): Promise<{ status: string | number; message: string }> {
  return call.then(
    () => ({ status: OK, message: "" }),
    (error: { code: number; details: string }) => ({ status: error.code, message: error.details }),
  )
}

describe("state × operation", () => {
  const FAILED_PRECONDITION = 9
  const states: readonly [GcpVersionState, status: string | number][] = [
    ["ENABLED", OK],
    ["DISABLED", FAILED_PRECONDITION],
    ["DESTROY_SCHEDULED", FAILED_PRECONDITION],
    ["DESTROYED", FAILED_PRECONDITION],
    ["PENDING_GENERATION", FAILED_PRECONDITION],
    ["PENDING_IMPORT", FAILED_PRECONDITION],
    ["IMPORT_FAILED", FAILED_PRECONDITION],
    ["GENERATION_FAILED", FAILED_PRECONDITION],
    ["PENDING_EXTERNAL_DESTRUCTION", FAILED_PRECONDITION],
    ["EXTERNAL_DESTRUCTION_FAILED", FAILED_PRECONDITION],
  ]

  test.each(states)("%s: Encrypt and Decrypt give %s, GetCryptoKey tells", async (state, status) => {
    const name = emulator.createKey()
    const { ciphertext } = await encrypt(name)
    emulator.setState(name, state)
    const tail =
      status === OK ? "" : `${name}/cryptoKeyVersions/1 is not enabled, current state is: ${state}.`
    expect(await outcome(encrypt(name))).toEqual({ status, message: tail })
    expect(await outcome(decrypt(name, ciphertext as Uint8Array))).toEqual({ status, message: tail })
    const [key] = await client.getCryptoKey({ name }, once)
    expect(key.primary?.state).toBe(state)
  })

  test("only the version that is needed counts", async () => {
    const name = emulator.createKey()
    const { ciphertext } = await encrypt(name)
    emulator.rotate(name)
    emulator.setState(name, "DISABLED", 1)
    expect((await encrypt(name)).name).toBe(`${name}/cryptoKeyVersions/2`)
    expect(await outcome(decrypt(name, ciphertext as Uint8Array))).toMatchObject({ status: 9 })
  })
})

describe("permission × operation", () => {
  const useToEncrypt = "cloudkms.cryptoKeyVersions.useToEncrypt"
  const useToDecrypt = "cloudkms.cryptoKeyVersions.useToDecrypt"
  const get = "cloudkms.cryptoKeys.get"

  test.each([useToEncrypt, useToDecrypt, get])("without %s just its call is denied", async (denied) => {
    const name = emulator.createKey()
    const other = emulator.createKey()
    const { ciphertext } = await encrypt(name)
    emulator.deny(denied, name)
    const outcomes = {
      [useToEncrypt]: await outcome(encrypt(name)),
      [useToDecrypt]: await outcome(decrypt(name, ciphertext as Uint8Array)),
      [get]: await outcome(client.getCryptoKey({ name }, once)),
    }
    for (const [permission, { status, message }] of Object.entries(outcomes)) {
      expect(status).toBe(permission === denied ? 7 : OK)
      if (permission === denied) {
        expect(message).toBe(`Permission '${denied}' denied on resource '${name}' (or it may not exist).`)
      }
    }
    expect(await outcome(encrypt(other))).toMatchObject({ status: OK })
    emulator.allow(denied, name)
    expect(await outcome(encrypt(name))).toMatchObject({ status: OK })
  })

  test("a policy hangs on the key, not on a version", async () => {
    const name = emulator.createKey()
    emulator.deny(useToEncrypt, name)
    expect(await outcome(encrypt(`${name}/cryptoKeyVersions/1`))).toMatchObject({ status: 7 })
  })

  test("a denial carries its reason as ErrorInfo", async () => {
    const name = emulator.createKey()
    emulator.deny(useToEncrypt, name)
    await expect(encrypt(name)).rejects.toMatchObject({
      reason: "IAM_PERMISSION_DENIED",
      errorInfoMetadata: { permission: useToEncrypt, resource: name },
    })
  })

  test("a missing key is NOT_FOUND, or denied like any other without the permission", async () => {
    const name = `${ring()}/cryptoKeys/nowhere`
    expect(await outcome(encrypt(name))).toEqual({ status: 5, message: `CryptoKey ${name} not found.` })
    emulator.deny(useToEncrypt)
    expect(await outcome(encrypt(name))).toMatchObject({ status: 7 })
    emulator.allow(useToEncrypt)
  })

  test("TestIamPermissions gives the granted ones, and for a missing key none without an error", async () => {
    const resource = emulator.createKey()
    emulator.deny(useToDecrypt, resource)
    const permissions = [useToEncrypt, useToDecrypt]
    const ask = async (asked: string) => {
      const { TestIamPermissionsRequest } = IamProtos.google.iam.v1
      const [reply] = await client.testIamPermissions(
        TestIamPermissionsRequest.create({ resource: asked, permissions }),
      )
      return reply.permissions
    }
    expect(await ask(resource)).toEqual([useToEncrypt])
    expect(await ask(`${resource}-nowhere`)).toEqual([])
  })

  test("with the API off everything is denied", async () => {
    const name = emulator.createKey()
    emulator.setApiEnabled(false)
    const denial = outcome(encrypt(name))
    await expect(denial).resolves.toMatchObject({
      status: 7,
      message: expect.stringContaining("has not been used"),
    })
    emulator.setApiEnabled(true)
  })
})

describe("cryptography", () => {
  test("decrypts under the same key and additional data only", async () => {
    const name = emulator.createKey()
    const aad = Uint8Array.of(1, 2, 3)
    const ciphertext = (await encrypt(name, aad)).ciphertext as Uint8Array
    const reply = await decrypt(name, ciphertext, aad)
    expect(Uint8Array.from(reply.plaintext as Uint8Array)).toEqual(plaintext)
    expect(reply.usedPrimary).toBe(true)

    const refused = {
      status: 3,
      message: "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
    }
    expect(await outcome(decrypt(name, ciphertext, Uint8Array.of(1, 2, 4)))).toEqual(refused)
    expect(await outcome(decrypt(emulator.createKey(), ciphertext, aad))).toEqual(refused)
    expect(await outcome(decrypt(name, ciphertext.subarray(1), aad))).toEqual(refused)
    expect(await outcome(decrypt(name, ciphertext.subarray(0, 31), aad))).toEqual(refused)
    for (const at of ciphertext.keys()) {
      const altered = Uint8Array.from(ciphertext)
      altered[at] = (altered[at] as number) ^ 0x80
      expect(await outcome(decrypt(name, altered, aad))).toEqual(refused)
    }
  })

  test("two ciphertexts of one plaintext differ", async () => {
    const name = emulator.createKey()
    expect((await encrypt(name)).ciphertext).not.toEqual((await encrypt(name)).ciphertext)
  })

  test("tells when a version other than the primary one was used", async () => {
    const name = emulator.createKey()
    const { ciphertext } = await encrypt(name)
    emulator.rotate(name)
    expect((await decrypt(name, ciphertext as Uint8Array)).usedPrimary).toBe(false)
  })

  test("encrypts under a version that is named", async () => {
    const name = emulator.createKey()
    emulator.rotate(name)
    const version = `${name}/cryptoKeyVersions/1`
    expect((await encrypt(version)).name).toBe(version)
  })

  test.each([
    ["SOFTWARE", 65_536, 65_536, OK],
    ["SOFTWARE", 65_537, 0, 3],
    ["SOFTWARE", 0, 65_537, 3],
    ["HSM", 8191, 1, OK],
    ["HSM", 8192, 1, 3],
    ["HSM", 1, 8192, 3],
  ] as const)("a %s key takes %i + %i bytes: %s", async (protectionLevel, length, aadLength, status) => {
    const name = emulator.createKey({ protectionLevel })
    const call = encrypt(name, new Uint8Array(aadLength), new Uint8Array(length))
    expect(await outcome(call)).toMatchObject({ status })
  })

  test("checks the checksums it is given, and says which ones it was given", async () => {
    const name = emulator.createKey()
    const aad = Uint8Array.of(9)
    const request = { name, plaintext, additionalAuthenticatedData: aad }
    const good = { value: crc32c(plaintext) }
    const [reply] = await client.encrypt({ ...request, plaintextCrc32c: good }, once)
    expect(reply).toMatchObject({
      verifiedPlaintextCrc32c: true,
      verifiedAdditionalAuthenticatedDataCrc32c: false,
      ciphertextCrc32c: { value: String(crc32c(reply.ciphertext as Uint8Array)) },
    })
    expect(
      await outcome(client.encrypt({ ...request, additionalAuthenticatedDataCrc32c: { value: 1 } }, once)),
    ).toEqual({
      status: 3,
      message:
        "The checksum in field additional_authenticated_data_crc32c did not match the data in field additional_authenticated_data.",
    })
    const ciphertext = reply.ciphertext as Uint8Array
    const [opened] = await client.decrypt(
      {
        name,
        ciphertext,
        ciphertextCrc32c: reply.ciphertextCrc32c ?? null,
        additionalAuthenticatedData: aad,
      },
      once,
    )
    expect(opened.plaintextCrc32c).toEqual({ value: String(crc32c(plaintext)) })
    expect(
      await outcome(client.decrypt({ name, ciphertext, ciphertextCrc32c: { value: 1 } }, once)),
    ).toMatchObject({
      status: 3,
      message: expect.stringContaining("ciphertext_crc32c"),
    })
  })
})

describe("management", () => {
  test("key rings, keys and versions from nothing", async () => {
    const [made] = await client.createKeyRing({ parent: location(), keyRingId: "tenants" })
    const keyRing = `${location()}/keyRings/tenants`
    expect(made.name).toBe(keyRing)
    expect(await outcome(client.createKeyRing({ parent: location(), keyRingId: "tenants" }))).toMatchObject({
      status: 6,
    })
    expect((await client.getKeyRing({ name: keyRing }))[0].name).toBe(keyRing)
    expect((await client.listKeyRings({ parent: location() }))[0].map(({ name }) => name)).toContain(keyRing)

    const [key] = await client.createCryptoKey({
      parent: keyRing,
      cryptoKeyId: "k",
      cryptoKey: {
        purpose: "ENCRYPT_DECRYPT",
        versionTemplate: { protectionLevel: "HSM", algorithm: "GOOGLE_SYMMETRIC_ENCRYPTION" },
        labels: { team: "vault" },
      },
    })
    const name = `${keyRing}/cryptoKeys/k`
    expect(key).toMatchObject({
      name,
      labels: { team: "vault" },
      primary: { name: `${name}/cryptoKeyVersions/1`, state: "ENABLED", protectionLevel: "HSM" },
    })

    const [version] = await client.createCryptoKeyVersion({ parent: name, cryptoKeyVersion: {} })
    expect(version.name).toBe(`${name}/cryptoKeyVersions/2`)
    expect((await encrypt(name)).name, "a new version is not primary yet").toBe(`${name}/cryptoKeyVersions/1`)
    const [updated] = await client.updateCryptoKeyPrimaryVersion({ name, cryptoKeyVersionId: "2" })
    expect(updated.primary?.name).toBe(version.name)
    expect((await encrypt(name)).name).toBe(version.name)

    const list = (pageToken: string) =>
      client.listCryptoKeyVersions({ parent: name, pageSize: 1, pageToken }, { autoPaginate: false })
    const [first, , firstPage] = await list("")
    const [second, , secondPage] = await list(firstPage?.nextPageToken ?? "")
    expect([...first, ...second].map((each) => each.name)).toEqual([
      `${name}/cryptoKeyVersions/1`,
      version.name,
    ])
    expect(secondPage?.nextPageToken).toBe("")
    expect((await client.getCryptoKeyVersion({ name: version.name ?? "" }))[0]).toEqual(second[0])
  })

  test("disable, enable, destroy and restore", async () => {
    const key = emulator.createKey()
    const name = `${key}/cryptoKeyVersions/1`
    const update = (state: "ENABLED" | "DISABLED") =>
      client.updateCryptoKeyVersion({ cryptoKeyVersion: { name, state }, updateMask: { paths: ["state"] } })
    const { ciphertext } = await encrypt(key)
    const decrypts = async () => (await outcome(decrypt(key, ciphertext as Uint8Array))).status

    expect((await update("DISABLED"))[0].state).toBe("DISABLED")
    expect(await decrypts()).toBe(9)
    await update("ENABLED")
    expect(await decrypts()).toBe(OK)

    const [scheduled] = await client.destroyCryptoKeyVersion({ name })
    expect(scheduled.state).toBe("DESTROY_SCHEDULED")
    const days = (Number(scheduled.destroyTime?.seconds) - Date.now() / 1000) / (24 * 60 * 60)
    expect(days).toBeCloseTo(30, 1)
    expect(await outcome(update("ENABLED"))).toMatchObject({ status: 9 })
    expect(await outcome(client.destroyCryptoKeyVersion({ name }))).toMatchObject({ status: 9 })
    expect((await client.restoreCryptoKeyVersion({ name }))[0]).toMatchObject({
      state: "DISABLED",
      destroyTime: null,
    })
    expect(await outcome(client.restoreCryptoKeyVersion({ name }))).toMatchObject({ status: 9 })
    await update("ENABLED")
    expect(await decrypts()).toBe(OK)

    emulator.setState(key, "DESTROYED")
    expect((await client.getCryptoKeyVersion({ name }))[0].destroyEventTime).not.toBeNull()
    expect(await outcome(client.restoreCryptoKeyVersion({ name }))).toMatchObject({ status: 9 })
  })

  test("destroyed material does not come back", async () => {
    const key = emulator.createKey()
    const { ciphertext } = await encrypt(key)
    emulator.setState(key, "DESTROYED")
    expect(() => emulator.setState(key, "ENABLED")).toThrow("DESTROYED")
    expect(await outcome(decrypt(key, ciphertext as Uint8Array))).toMatchObject({ status: 9 })
  })

  test.each([
    [
      "a ring without a parent",
      () =>
        client.createCryptoKey({
          parent: `${location()}/keyRings/no`,
          cryptoKeyId: "k",
          cryptoKey: { purpose: "ENCRYPT_DECRYPT" },
        }),
      5,
    ],
    ["no purpose", () => client.createCryptoKey({ parent: ring(), cryptoKeyId: "k", cryptoKey: {} }), 3],
    [
      "a bad id",
      () =>
        client.createCryptoKey({
          parent: ring(),
          cryptoKeyId: "k/1",
          cryptoKey: { purpose: "ENCRYPT_DECRYPT" },
        }),
      3,
    ],
    [
      "an unknown update",
      () =>
        client.updateCryptoKey({
          cryptoKey: { name: emulator.createKey() },
          updateMask: { paths: ["purpose"] },
        }),
      3,
    ],
    ["a method it has not", () => client.generateRandomBytes({ location: location(), lengthBytes: 8 }), 12],
  ] as const)("refuses %s", async (_, call, status) => {
    expect(await outcome(call())).toMatchObject({ status })
  })
})

describe("faults", () => {
  test("hit the calls they are meant for, as often as they are meant to", async () => {
    const name = emulator.createKey()
    const other = emulator.createKey()
    emulator.inject({ kind: "deny" }, { keyId: name, operations: ["Encrypt"], afterCalls: 1, times: 2 })
    const statuses = []
    for (let i = 0; i < 4; i++) statuses.push((await outcome(encrypt(name))).status)
    expect(statuses).toEqual([OK, 7, 7, OK])
    expect(await outcome(encrypt(other))).toMatchObject({ status: OK })
  })

  test("are taken back", async () => {
    const name = emulator.createKey()
    const undo = emulator.inject({ kind: "server-error" }, { keyId: name })
    expect(await outcome(encrypt(name))).toMatchObject({ status: 13 })
    undo()
    expect(await outcome(encrypt(name))).toMatchObject({ status: OK })
  })

  test("latency, and what comes after it", async () => {
    const name = emulator.createKey()
    emulator.inject({ kind: "latency", ms: 100 }, { keyId: name })
    const startedAt = performance.now()
    await encrypt(name)
    expect(performance.now() - startedAt).toBeGreaterThan(95)
  })

  test("a throttle may say when to come back", async () => {
    const name = emulator.createKey()
    emulator.inject({ kind: "throttle", retryAfterSeconds: 3 }, { keyId: name, times: 1 })
    await expect(encrypt(name)).rejects.toMatchObject({
      code: 8,
      statusDetails: [{ retryDelay: { nanos: 0 } }],
    })
  })

  test.each([
    ["reset", 14],
    ["garbage", 13],
  ] as const)("%s gives status %i", async (kind, status) => {
    const name = emulator.createKey()
    emulator.inject({ kind }, { keyId: name, times: 1 })
    expect(await outcome(encrypt(name))).toMatchObject({ status })
    expect(await outcome(encrypt(name))).toMatchObject({ status: OK })
  })

  test("a hung call ends with its caller's deadline, and is on record", async () => {
    const name = emulator.createKey()
    emulator.inject({ kind: "hang" }, { keyId: name, times: 1 })
    const call = client.encrypt({ name, plaintext }, { timeout: 100, retry: null })
    await expect.poll(() => emulator.openConnections()).toBe(1)
    expect(await outcome(call)).toMatchObject({ status: 4 })
    await expect.poll(() => emulator.openConnections()).toBe(0)
    expect(emulator.calls.at(-1)).toMatchObject({
      operation: "Encrypt",
      keyId: name,
      ok: false,
      error: "CANCELLED",
    })
  })
})

test("close ends hung calls and frees the port", async () => {
  const first = await startGcpEmulator()
  const name = first.createKey()
  const ownClient = new KeyManagementServiceClient(first.clientOptions())
  first.inject({ kind: "hang" })
  const call = outcome(ownClient.encrypt({ name, plaintext }, once))
  await expect.poll(() => first.openConnections()).toBe(1)
  await first.close()
  expect(await call).not.toMatchObject({ status: OK })
  await ownClient.close()
  const second = await startGcpEmulator({ port: first.connection.port })
  expect(second.url).toBe(first.url)
  await second.close()
})
