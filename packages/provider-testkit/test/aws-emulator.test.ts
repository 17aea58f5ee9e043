import {
  CancelKeyDeletionCommand,
  CreateAliasCommand,
  CreateKeyCommand,
  DecryptCommand,
  DeleteAliasCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  DisableKeyRotationCommand,
  EnableKeyCommand,
  EnableKeyRotationCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GetKeyRotationStatusCommand,
  KMSClient,
  type KMSClientConfig,
  ListAliasesCommand,
  ListKeysCommand,
  ReEncryptCommand,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  UpdateAliasCommand,
} from "@aws-sdk/client-kms"
import { fromTemporaryCredentials } from "@aws-sdk/credential-providers"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type AwsEmulator, startAwsEmulator } from "../src/aws/index.ts"

let emulator: AwsEmulator
let kms: KMSClient
const clients: KMSClient[] = []

beforeAll(async () => {
  emulator = await startAwsEmulator()
  kms = client()
})
afterAll(async () => {
  for (const each of clients) each.destroy()
  await emulator.close()
})

function client(config: KMSClientConfig = {}): KMSClient {
  const made = new KMSClient({ ...emulator.clientOptions(), maxAttempts: 1, ...config })
  clients.push(made)
  return made
}

const Plaintext = new Uint8Array([1, 2, 3])
const EncryptionContext = { organization_id: "org_1" }

/** Name and message of what a call failed with. */
async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return "ok"
  } catch (error) {
    const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
    return `${$metadata?.httpStatusCode} ${name}: ${message}`
  }
}

async function encrypt(KeyId: string, by = kms): Promise<Uint8Array> {
  const { CiphertextBlob } = await by.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }))
  return CiphertextBlob as Uint8Array
}

/** Every operation on an existing key whose answer its state decides, and how to call it. */
const OPERATIONS = {
  Encrypt: (KeyId) => kms.send(new EncryptCommand({ KeyId, Plaintext })),
  Decrypt: (KeyId, CiphertextBlob) =>
    kms.send(new DecryptCommand({ KeyId, CiphertextBlob, EncryptionContext })),
  GenerateDataKey: (KeyId) => kms.send(new GenerateDataKeyCommand({ KeyId, KeySpec: "AES_256" })),
  ReEncrypt: (DestinationKeyId, CiphertextBlob) =>
    kms.send(
      new ReEncryptCommand({ DestinationKeyId, CiphertextBlob, SourceEncryptionContext: EncryptionContext }),
    ),
  DescribeKey: (KeyId) => kms.send(new DescribeKeyCommand({ KeyId })),
  EnableKey: (KeyId) => kms.send(new EnableKeyCommand({ KeyId })),
  DisableKey: (KeyId) => kms.send(new DisableKeyCommand({ KeyId })),
  ScheduleKeyDeletion: (KeyId) => kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 })),
  CancelKeyDeletion: (KeyId) => kms.send(new CancelKeyDeletionCommand({ KeyId })),
  CreateAlias: (TargetKeyId) =>
    kms.send(new CreateAliasCommand({ AliasName: `alias/${crypto.randomUUID()}`, TargetKeyId })),
  EnableKeyRotation: (KeyId) => kms.send(new EnableKeyRotationCommand({ KeyId })),
  DisableKeyRotation: (KeyId) => kms.send(new DisableKeyRotationCommand({ KeyId })),
  GetKeyRotationStatus: (KeyId) => kms.send(new GetKeyRotationStatusCommand({ KeyId })),
  RotateKeyOnDemand: (KeyId) => kms.send(new RotateKeyOnDemandCommand({ KeyId })),
  ReplicateKey: (KeyId) => kms.send(new ReplicateKeyCommand({ KeyId, ReplicaRegion: "us-west-2" })),
} as const satisfies Record<string, (keyId: string, blob: Uint8Array) => Promise<unknown>>

const OK = "ok"
const OFF = "400 DisabledException: ARN is disabled."
const refusal = (complaint: string) => `400 KMSInvalidStateException: ARN ${complaint}.`
const GOING = refusal("is pending deletion")
const NOT_GOING = refusal("is not pending deletion")
const IMPORT = refusal("is pending import")
const AWAY = refusal("is unavailable")
const NO_KEY = "400 NotFoundException: Key 'ARN' does not exist"
/** The blob names its key, whose absence the service does not admit. */
const NO_SOURCE =
  "400 AccessDeniedException: The ciphertext refers to a customer master key that does not exist, " +
  "does not exist in this region, or you are not allowed to access."

const STATES = ["Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Deleted"] as const

/** AWS KMS Developer Guide, "Key states of AWS KMS keys"; one answer for each of `STATES`. */
const TABLE: Readonly<Record<keyof typeof OPERATIONS, readonly string[]>> = {
  Encrypt: [OK, OFF, GOING, IMPORT, AWAY, NO_KEY],
  Decrypt: [OK, OFF, GOING, IMPORT, AWAY, NO_KEY],
  GenerateDataKey: [OK, OFF, GOING, IMPORT, AWAY, NO_KEY],
  ReEncrypt: [OK, OFF, GOING, IMPORT, AWAY, NO_SOURCE],
  DescribeKey: [OK, OK, OK, OK, OK, NO_KEY],
  EnableKey: [OK, OK, GOING, IMPORT, OK, NO_KEY],
  DisableKey: [OK, OK, GOING, IMPORT, OK, NO_KEY],
  ScheduleKeyDeletion: [OK, OK, GOING, OK, OK, NO_KEY],
  CancelKeyDeletion: [NOT_GOING, NOT_GOING, OK, NOT_GOING, NOT_GOING, NO_KEY],
  CreateAlias: [OK, OK, GOING, OK, OK, NO_KEY],
  EnableKeyRotation: [OK, OFF, GOING, IMPORT, OK, NO_KEY],
  DisableKeyRotation: [OK, OFF, GOING, IMPORT, OK, NO_KEY],
  GetKeyRotationStatus: [OK, OK, OK, OK, OK, NO_KEY],
  RotateKeyOnDemand: [OK, OFF, GOING, IMPORT, OK, NO_KEY],
  ReplicateKey: [OK, OFF, GOING, IMPORT, OK, NO_KEY],
}

describe("state × operation", () => {
  for (const [operation, call] of Object.entries(OPERATIONS)) {
    test.for(STATES.map((state, column) => [state, TABLE[operation as keyof typeof TABLE][column]] as const))(
      `${operation} of a key that is %s: %s`,
      async ([state, expected]) => {
        const arn = emulator.createKey({ multiRegion: true })
        const blob = await encrypt(arn)
        emulator.setState(arn, state)
        expect((await failure(call(arn, blob))).replace(arn, "ARN")).toBe(expected)
      },
    )
  }
})

describe("a key's life over the API", () => {
  test("create, describe, list, disable, enable, schedule and cancel deletion", async () => {
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({ Description: "a customer's" }))
    const KeyId = KeyMetadata?.Arn as string
    const describeKey = async () => (await kms.send(new DescribeKeyCommand({ KeyId }))).KeyMetadata
    expect(await describeKey()).toMatchObject({
      Arn: KeyId,
      AWSAccountId: emulator.accountId,
      KeyState: "Enabled",
      Enabled: true,
      KeySpec: "SYMMETRIC_DEFAULT",
      KeyUsage: "ENCRYPT_DECRYPT",
      Origin: "AWS_KMS",
      Description: "a customer's",
      MultiRegion: false,
      EncryptionAlgorithms: ["SYMMETRIC_DEFAULT"],
    })
    const { Keys } = await kms.send(new ListKeysCommand({}))
    expect(Keys).toContainEqual({ KeyArn: KeyId, KeyId: KeyMetadata?.KeyId })

    await kms.send(new DisableKeyCommand({ KeyId }))
    expect(await describeKey()).toMatchObject({ KeyState: "Disabled", Enabled: false })
    await kms.send(new EnableKeyCommand({ KeyId }))

    const scheduled = await kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))
    const days = ((scheduled.DeletionDate?.getTime() ?? 0) - Date.now()) / 86_400_000
    expect(days).toBeCloseTo(7, 2)
    expect((await describeKey())?.DeletionDate).toEqual(scheduled.DeletionDate)
    await kms.send(new CancelKeyDeletionCommand({ KeyId }))
    expect(await describeKey()).toMatchObject({ KeyState: "Disabled" }) // it must be enabled as well
    expect(
      await failure(kms.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 6 }))),
    ).toMatch("ValidationException")
  })

  test("aliases follow their key until they are moved or deleted", async () => {
    const [first, second] = [emulator.createKey(), emulator.createKey()]
    const AliasName = "alias/customer"
    await kms.send(new CreateAliasCommand({ AliasName, TargetKeyId: first }))
    const resolve = async () =>
      (await kms.send(new DescribeKeyCommand({ KeyId: AliasName }))).KeyMetadata?.Arn
    expect(await resolve()).toBe(first)
    await kms.send(new UpdateAliasCommand({ AliasName, TargetKeyId: second }))
    expect(await resolve()).toBe(second)
    expect((await kms.send(new ListAliasesCommand({}))).Aliases).toContainEqual({
      AliasName,
      AliasArn: `arn:aws:kms:${emulator.region}:${emulator.accountId}:${AliasName}`,
      TargetKeyId: second.slice(second.indexOf("key/") + 4),
    })
    await kms.send(new DeleteAliasCommand({ AliasName }))
    expect(await failure(resolve())).toMatch("400 NotFoundException: Alias")
  })

  test("what was encrypted before a rotation still decrypts", async () => {
    const KeyId = emulator.createKey()
    const before = await encrypt(KeyId)
    await kms.send(new EnableKeyRotationCommand({ KeyId }))
    await kms.send(new RotateKeyOnDemandCommand({ KeyId }))
    const after = await encrypt(KeyId)
    for (const CiphertextBlob of [before, after]) {
      const reply = await kms.send(new DecryptCommand({ KeyId, CiphertextBlob, EncryptionContext }))
      expect([...(reply.Plaintext as Uint8Array)]).toEqual([1, 2, 3])
    }
    expect((await kms.send(new GetKeyRotationStatusCommand({ KeyId }))).KeyRotationEnabled).toBe(true)
  })

  test("a replica has the same key material, and a state of its own", async () => {
    const arn = emulator.createKey({ multiRegion: true })
    const { ReplicaKeyMetadata } = await kms.send(
      new ReplicateKeyCommand({ KeyId: arn, ReplicaRegion: "eu-west-1" }),
    )
    const replica = ReplicaKeyMetadata?.Arn as string
    expect(replica).toBe(arn.replace("eu-central-1", "eu-west-1"))
    const blob = await encrypt(arn)
    emulator.setState(arn, "Disabled")
    const west = client(emulator.clientOptions("eu-west-1"))
    const reply = await west.send(
      new DecryptCommand({ KeyId: replica, CiphertextBlob: blob, EncryptionContext }),
    )
    expect(reply.KeyId).toBe(replica)
    expect(await failure(west.send(new DescribeKeyCommand({ KeyId: arn })))).toBe(
      "400 NotFoundException: Invalid arn eu-central-1",
    )
    expect(await failure(encrypt(emulator.createKey(), west))).toMatch("Invalid arn")
  })
})

describe("encryption", () => {
  test("is bound to its context, and to its key where that is named", async () => {
    const [KeyId, other] = [emulator.createKey(), emulator.createKey()]
    const CiphertextBlob = await encrypt(KeyId)
    const decrypt = (input: object) =>
      failure(kms.send(new DecryptCommand({ KeyId, CiphertextBlob, EncryptionContext, ...input })))
    expect(await decrypt({})).toBe("ok")
    expect(await decrypt({ KeyId: undefined })).toBe("ok")
    for (const wrong of [
      undefined,
      {},
      { organization_id: "ORG_1" },
      { Organization_id: "org_1" },
      { ...EncryptionContext, a: "" },
    ]) {
      expect(await decrypt({ EncryptionContext: wrong })).toMatch("400 InvalidCiphertextException")
    }
    expect(await decrypt({ KeyId: other })).toMatch("400 IncorrectKeyException")
    expect(await decrypt({ CiphertextBlob: CiphertextBlob.slice(0, -1) })).toMatch(
      "400 InvalidCiphertextException",
    )
  })

  test("keeps the service's limits", async () => {
    const KeyId = emulator.createKey()
    const encryptWith = (input: object) =>
      failure(kms.send(new EncryptCommand({ KeyId, Plaintext, ...input })))
    expect(await encryptWith({ Plaintext: new Uint8Array(4096) })).toBe("ok")
    expect(await encryptWith({ Plaintext: new Uint8Array(4097) })).toMatch("400 ValidationException")
    expect(await encryptWith({ Plaintext: new Uint8Array(0) })).toMatch("400 ValidationException")
    expect(await encryptWith({ EncryptionContext: { "aws:x": "1" } })).toMatch("400 ValidationException")
    expect(await encryptWith({ EncryptionContext: { x: "1".repeat(4096) } })).toMatch(
      "400 ValidationException",
    )
    const signing = emulator.createKey({ usage: "SIGN_VERIFY", spec: "RSA_2048" })
    expect(await encryptWith({ KeyId: signing })).toMatch("400 InvalidKeyUsageException")
    const rsa = emulator.createKey({ spec: "RSA_2048" })
    expect(await encryptWith({ KeyId: rsa })).toMatch("400 ValidationException")
  })

  test("a dry run does nothing and tells what would have happened", async () => {
    const KeyId = emulator.createKey()
    const dryRun = () => failure(kms.send(new EncryptCommand({ KeyId, Plaintext, DryRun: true })))
    expect(await dryRun()).toMatch("DryRunOperationException")
    const withoutCiphertext = () =>
      failure(kms.send(new DecryptCommand({ KeyId, DryRun: true, DryRunModifiers: ["IGNORE_CIPHERTEXT"] })))
    expect(await withoutCiphertext()).toMatch("DryRunOperationException")
    emulator.deny("key-policy", "kms:Decrypt", KeyId)
    expect(await withoutCiphertext()).toMatch("AccessDeniedException")
    emulator.deny("identity-policy", "kms:Encrypt", KeyId)
    expect(await dryRun()).toMatch("AccessDeniedException")
  })
})

describe("permissions", () => {
  const layers = {
    "identity-policy": "because no identity-based policy allows the kms:Encrypt action",
    "key-policy": "because no resource-based policy allows the kms:Encrypt action",
    "explicit-deny": "with an explicit deny in a resource-based policy",
  } as const
  for (const [layer, tail] of Object.entries(layers) as [keyof typeof layers, string][]) {
    test(`${layer}: ${tail}`, async () => {
      const arn = emulator.createKey()
      emulator.deny(layer, "kms:Encrypt", arn)
      expect(await failure(encrypt(arn))).toBe(
        `400 AccessDeniedException: User: arn:aws:iam::${emulator.accountId}:user/keyfold ` +
          `is not authorized to perform: kms:Encrypt on resource: ${arn} ${tail}`,
      )
      await encrypt(emulator.createKey()) // another key is not touched
      emulator.allow(layer, "kms:Encrypt", arn)
      await encrypt(arn)
    })
  }

  test("another account's key needs its key policy", async () => {
    const closed = emulator.createKey({ accountId: "444455556666" })
    const shared = emulator.createKey({ accountId: "444455556666", sharedWith: [emulator.accountId] })
    expect(await failure(encrypt(closed))).toMatch("no resource-based policy allows")
    await encrypt(shared)
  })

  test("a role is had only with its external id", async () => {
    const RoleArn = emulator.createRole({
      accountId: "444455556666",
      name: "keyfold",
      externalId: "tenant-1",
    })
    const arn = emulator.createKey({ accountId: "444455556666" })
    const assuming = (ExternalId?: string) => {
      const { credentials, ...clientConfig } = emulator.clientOptions()
      const params = { RoleArn, ...(ExternalId !== undefined && { ExternalId }) }
      return client({
        credentials: fromTemporaryCredentials({ masterCredentials: credentials, clientConfig, params }),
      })
    }
    await encrypt(arn, assuming("tenant-1"))
    for (const wrong of [undefined, "tenant-2"]) {
      expect(await failure(encrypt(arn, assuming(wrong)))).toMatch(/^403 AccessDenied: .*sts:AssumeRole/)
    }
  })

  test("only the right credentials sign", async () => {
    const arn = emulator.createKey()
    const { accessKeyId, secretAccessKey } = emulator.credentials
    const forged = client({ credentials: { accessKeyId, secretAccessKey: `${secretAccessKey}x` } })
    expect(await failure(encrypt(arn, forged))).toMatch("400 InvalidSignatureException")
    const unknown = client({ credentials: { accessKeyId: "AKIAUNKNOWN", secretAccessKey } })
    expect(await failure(encrypt(arn, unknown))).toMatch("400 UnrecognizedClientException")
    const skewed = client({ systemClockOffset: -20 * 60_000 })
    await encrypt(arn, skewed).catch(() => {}) // the SDK learns the time from the refusal
    await encrypt(arn, skewed)
    const unsigned = await fetch(emulator.url, {
      method: "POST",
      headers: { "x-amz-target": "TrentService.ListKeys" },
    })
    expect(unsigned.status).toBe(403)
  })
})

describe("faults", () => {
  test("hit only the calls that they are planned for, and are recorded", async () => {
    const [arn, other] = [emulator.createKey(), emulator.createKey()]
    const since = emulator.calls.length
    const undo = emulator.inject(
      { kind: "throttle" },
      { operations: ["Encrypt"], keyId: arn, afterCalls: 1, times: 2 },
    )
    const outcomes: string[] = []
    for (const keyId of [arn, other, arn, arn, arn])
      outcomes.push((await failure(encrypt(keyId))).split(":", 1)[0] as string)
    undo()
    expect(outcomes).toEqual(["ok", "ok", "400 ThrottlingException", "400 ThrottlingException", "ok"])
    expect(
      emulator.calls.slice(since).map(({ operation, keyId, ok, error }) => [operation, keyId, ok, error]),
    ).toEqual([
      ["Encrypt", arn, true, undefined],
      ["Encrypt", other, true, undefined],
      ["Encrypt", arn, false, "ThrottlingException"],
      ["Encrypt", arn, false, "ThrottlingException"],
      ["Encrypt", arn, true, undefined],
    ])
  })

  test.for([
    [{ kind: "reset" }, /ECONNRESET|TimeoutError/],
    [{ kind: "server-error" }, /^500 KMSInternalException/],
    [{ kind: "deny" }, /^400 AccessDeniedException.*explicit deny/],
    [{ kind: "garbage" }, /SyntaxError/],
    [{ kind: "truncated" }, /aborted/],
  ] as const)("%j", async ([fault, expected]) => {
    const arn = emulator.createKey()
    const undo = emulator.inject(fault, { keyId: arn })
    expect(await failure(encrypt(arn))).toMatch(expected)
    undo()
    await encrypt(arn)
  })

  test("latency delays, a hang ends only with its caller", async () => {
    const arn = emulator.createKey()
    const late = emulator.inject({ kind: "latency", ms: 60 }, { keyId: arn })
    const startedAt = performance.now()
    await encrypt(arn)
    expect(performance.now() - startedAt).toBeGreaterThan(55)
    late()
    emulator.inject({ kind: "hang" }, { keyId: arn })
    const call = kms.send(new DescribeKeyCommand({ KeyId: arn }), { abortSignal: AbortSignal.timeout(60) })
    expect(await failure(call)).toMatch("AbortError")
    await expect.poll(() => emulator.openConnections()).toBe(0)
    expect(emulator.calls.at(-1)).toMatchObject({
      operation: "DescribeKey",
      ok: false,
      error: "ConnectionLost",
    })
  })

  test("another key's answer says so", async () => {
    const arn = emulator.createKey()
    const CiphertextBlob = await encrypt(arn)
    emulator.inject({ kind: "other-key" }, { keyId: arn })
    const encrypted = await kms.send(new EncryptCommand({ KeyId: arn, Plaintext }))
    const decrypted = await kms.send(new DecryptCommand({ KeyId: arn, CiphertextBlob, EncryptionContext }))
    expect(encrypted.KeyId).not.toBe(arn)
    expect(decrypted.KeyId).toBe(encrypted.KeyId)
    expect(decrypted.Plaintext).toHaveLength(32)
  })

  test("Retry-After is sent", async () => {
    const arn = emulator.createKey()
    emulator.inject({ kind: "throttle", retryAfterSeconds: 7 }, { keyId: arn })
    const error = await encrypt(arn).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ $response: { headers: { "retry-after": "7" } } })
  })
})
