import { expect, test } from "vitest"
import { crc32c } from "../src/crc32c.ts"
import { type GcpKmsClient, type GcpKmsOptions, gcpKms } from "../src/index.ts"
import { startGcp } from "./gcp.ts"

const unused: GcpKmsClient = Object.create(null)
const invalid = expect.objectContaining({ name: "KeyfoldError", code: "INVALID_ARGUMENT" })
const key = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k"

test.each([key, key.replace("projects/p", "projects/example.com:p-1"), key.replace(/k$/, "K_2-b")])(
  "%s is a key id",
  (id) => {
    expect(gcpKms({ client: unused }).kek(id)).toMatchObject({ providerId: "gcp-kms", keyId: id })
  },
)

test.each([
  "",
  `${key}/cryptoKeyVersions/1`,
  `/${key}`,
  `${key}/`,
  `//cloudkms.googleapis.com/${key}`,
  `https://cloudkms.googleapis.com/v1/${key}`,
  key.replace("/cryptoKeys/k", ""),
  key.replace("keyRings/r", "keyRings/.."),
  key.replace(/k$/, "ü"),
  key.replace(/k$/, "k".repeat(64)),
  `${key}\n`,
])("%j is none", (id) => {
  expect(() => gcpKms({ client: unused }).kek(id)).toThrow(invalid)
})

test("there is no option for a key", () => {
  expect(gcpKms({ client: unused }).kek(key, {}).keyId).toBe(key)
  expect(() => gcpKms({ client: unused }).kek(key, { region: "europe-west3" })).toThrow(invalid)
})

test.each([0, -1, 1.5, Number.NaN, 600_001, "5"])("refuses a time-out of %s", (timeoutMs) => {
  expect(() => gcpKms({ client: unused, timeoutMs } as GcpKmsOptions)).toThrow(invalid)
})

test("describes a key in each stage of its life", async () => {
  await using gcp = await startGcp()
  const { emulator, client } = gcp
  const keyId = emulator.createKey()
  const kek = gcpKms({ client }).kek(keyId)
  expect(await kek.describe({})).toEqual({
    state: "enabled",
    algorithm: "GOOGLE_SYMMETRIC_ENCRYPTION",
    origin: "GENERATED",
    protectionLevel: "software",
    publicKey: false,
    canWrap: true,
    purgeProtected: true,
    keyVersion: 1,
    automaticRotation: false,
    expiresAt: undefined,
    deletionAt: undefined,
    region: "europe-west3",
  })

  emulator.rotate(keyId)
  const ninetyDays = 90 * 24 * 60 * 60
  await client.updateCryptoKey({
    cryptoKey: { name: keyId, rotationPeriod: { seconds: ninetyDays } },
    updateMask: { paths: ["rotation_period"] },
  })
  expect(await kek.describe({})).toMatchObject({ keyVersion: 2, automaticRotation: true })

  await client.destroyCryptoKeyVersion({ name: `${keyId}/cryptoKeyVersions/2` })
  const scheduled = await kek.describe({})
  expect(scheduled.state).toBe("pending-deletion")
  expect(scheduled.deletionAt?.getTime()).toBeGreaterThan(Date.now())
})

// RFC 3720 §B.4, and the check value of the CRC catalogue.
test.each([
  ["32 bytes of zeroes", new Uint8Array(32), 0x8a9136aa],
  ["32 bytes of ones", new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ["32 incrementing bytes", Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
  ["32 decrementing bytes", Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  ["123456789", new TextEncoder().encode("123456789"), 0xe3069283],
  ["nothing", new Uint8Array(0), 0],
])("CRC-32C of %s", (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected)
})
