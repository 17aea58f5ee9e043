import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { promisify } from "node:util"
import { KMSClient } from "@aws-sdk/client-kms"
import { type FailureDetails, type Kek, KeyfoldError, parseContext, type WrapContext } from "@keyfold/core"
import {
  type AwsKmsClients,
  type AwsKmsKeyOptions,
  type AwsKmsProvider,
  awsKms,
  awsKmsClients,
} from "@keyfold/kek-aws-kms"
import { type AwsEmulator, startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

let emulator: AwsEmulator
let clients: AwsKmsClients
let provider: AwsKmsProvider

beforeAll(async () => {
  emulator = await startAwsEmulator()
  clients = awsKmsClients({ credentials: emulator.credentials, stsEndpoint: emulator.url })
  provider = awsKms({ clients, failoverAfterMs: 200 })
})
afterAll(async () => {
  clients.close()
  await emulator.close()
})

const SECRET = new Uint8Array(32).fill(7)

function contextOf(pairs: Record<string, string> = { organization_id: "org_1" }): WrapContext {
  return { binding: new Uint8Array(71).fill(1), covered: parseContext(pairs).pairs, owner: "org_1" }
}

function kekOf(keyId: string, options: AwsKmsKeyOptions = {}): Kek {
  return provider.kek(keyId, { endpoint: emulator.url, ...options })
}

async function roundTrip(kek: Kek): Promise<void> {
  const record = await kek.wrap(SECRET, contextOf(), {})
  expect(await kek.unwrap(record, contextOf(), {})).toEqual(SECRET)
}

async function failureOf(call: () => unknown): Promise<KeyfoldError> {
  const error = await (async () => call())().then(
    () => undefined,
    (caught: unknown) => caught,
  )
  expect(error).toBeInstanceOf(KeyfoldError)
  return error as KeyfoldError
}

/** What the emulator was asked since. */
function callsSince(start: number) {
  return emulator.calls
    .slice(start)
    .map(({ operation, keyId, ok }) => `${operation} ${keyId}${ok ? "" : " refused"}`)
}

describe("the encryption context", () => {
  test("is the covered pairs as they are, and keyfold:binding", async () => {
    const sent: unknown[] = []
    const client = new KMSClient({ ...emulator.clientOptions(), maxAttempts: 1 })
    client.middlewareStack.add(
      (next) => (args) => {
        sent.push(args.input)
        return next(args)
      },
      { step: "initialize" },
    )
    const keyId = emulator.createKey()
    const kek = awsKms({ clients: { clientFor: () => client } }).kek(keyId)
    const context = contextOf({ organization_id: "org_1", näme: "Värde ☃", constructor: "x" })
    const record = await kek.wrap(SECRET, context, {})
    expect(record.wrapped[0]).toBe(1)
    expect(await kek.unwrap(record, context, {})).toEqual(SECRET)
    const EncryptionContext = {
      organization_id: "org_1",
      näme: "Värde ☃",
      constructor: "x",
      "keyfold:binding": createHash("sha256").update(context.binding).digest("base64url"),
    }
    expect(sent).toMatchObject([
      { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT", EncryptionContext },
      { KeyId: keyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT", EncryptionContext },
    ])
    client.destroy()
  })

  test("holds a pair with any name", async () => {
    const kek = kekOf(emulator.createKey())
    const pairs = JSON.parse('{"__proto__":"1","toString":"2"}') as Record<string, string>
    const record = await kek.wrap(SECRET, contextOf(pairs), {})
    expect(await kek.unwrap(record, contextOf(pairs), {})).toEqual(SECRET)
    const other = JSON.parse('{"__proto__":"2","toString":"2"}') as Record<string, string>
    expect((await failureOf(() => kek.unwrap(record, contextOf(other), {}))).code).toBe("DECRYPTION_FAILED")
  })

  test("that AWS KMS would refuse is refused before the call", async () => {
    const kek = kekOf(emulator.createKey())
    const start = emulator.calls.length
    const long = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`pair${i}`, "x".repeat(500)]))
    for (const pairs of [long, { "aws:thing": "1" }]) {
      expect((await failureOf(() => kek.wrap(SECRET, contextOf(pairs), {}))).code).toBe("INVALID_ARGUMENT")
    }
    expect(callsSince(start)).toEqual([])
  })
})

test("a wrap of another form is refused without a call", async () => {
  const kek = kekOf(emulator.createKey())
  const record = await kek.wrap(SECRET, contextOf(), {})
  const start = emulator.calls.length
  for (const other of [
    { ...record, wrapped: Uint8Array.from(record.wrapped, (byte, i) => (i === 0 ? 2 : byte)) },
    { ...record, wrapped: record.wrapped.subarray(0, 1) },
    { ...record, wrapped: new Uint8Array(6_146).fill(1) },
    { ...record, keyVersion: 1 },
    { ...record, leased: true },
  ]) {
    expect((await failureOf(() => kek.unwrap(other, contextOf(), {}))).code).toBe("DECRYPTION_FAILED")
  }
  expect(callsSince(start)).toEqual([])
})

describe("key ids and options", () => {
  const uuid = "11111111-2222-3333-4444-555555555555"
  const arn = `arn:aws:kms:eu-central-1:111122223333:key/${uuid}`
  const mrk = `arn:aws:kms:eu-central-1:111122223333:key/mrk-${"a".repeat(32)}`

  test.for<[string, AwsKmsKeyOptions | undefined]>([
    [arn, undefined],
    [arn, { region: "eu-central-1", endpoint: "https://kms.example.test" }],
    [arn, { roleArn: "arn:aws:iam::111122223333:role/keyfold", externalId: "tenant-1" }],
    [arn, { endpoint: "http://127.0.0.1:8080" }],
    [arn, { endpoint: "http://[::1]:8080" }],
    [
      mrk,
      { replicaKeyIds: [mrk.replace("eu-central-1", "eu-west-1"), mrk.replace("eu-central-1", "us-east-1")] },
    ],
    [arn.replace("arn:aws:", "arn:aws-us-gov:").replace("eu-central-1", "us-gov-west-1"), {}],
  ])("takes %s %j", ([keyId, options]) => {
    expect(provider.kek(keyId, options).keyId).toBe(keyId)
  })

  test.for<[string, object]>([
    ["alias/customer", {}],
    ["arn:aws:kms:eu-central-1:111122223333:alias/customer", {}],
    [uuid, {}],
    [arn.toUpperCase(), {}],
    [`${arn} `, {}],
    ["", {}],
    [arn, { region: "eu-west-1" }],
    [arn, { endpoint: "http://kms.example.test" }],
    [arn, { endpoint: "http://127.0.0.1.example.test" }],
    [arn, { endpoint: "kms.example.test" }],
    [arn, { endpoint: "file:///etc" }],
    [arn, { externalId: "tenant-1" }],
    [arn, { roleArn: "keyfold" }],
    [arn, { roleArn: "arn:aws:iam::111122223333:role/keyfold", externalId: "ü" }],
    [arn, { reigon: "eu-central-1" }],
    [arn, { replicaKeyIds: [arn.replace("eu-central-1", "eu-west-1")] }],
    [mrk, { replicaKeyIds: [mrk] }],
    [
      mrk,
      { replicaKeyIds: [mrk.replace("eu-central-1", "eu-west-1").replace("111122223333", "444455556666")] },
    ],
    [mrk, { replicaKeyIds: [mrk.replace("eu-central-1", "eu-west-1").replace("aaa", "aab")] }],
  ])("refuses %s %j", async ([keyId, options]) => {
    expect((await failureOf(() => provider.kek(keyId, options))).code).toBe("INVALID_ARGUMENT")
  })

  test("times and the STS endpoint are checked", async () => {
    for (const bad of [0, -1, 1.5, Number.NaN, 600_001]) {
      for (const call of [
        () => awsKms({ clients, failoverAfterMs: bad }),
        () => awsKmsClients({ requestTimeoutMs: bad }),
        () => awsKmsClients({ connectTimeoutMs: bad }),
      ]) {
        expect((await failureOf(call)).code).toBe("INVALID_ARGUMENT")
      }
    }
    const stsEndpoint = "http://sts.example.test"
    expect((await failureOf(() => awsKmsClients({ stsEndpoint }))).code).toBe("INVALID_ARGUMENT")
  })

  test("an alias is resolved to the ARN of its key, once", async () => {
    const keyId = emulator.createKey()
    const alias = emulator.createAlias("alias/customer", keyId)
    const options = { endpoint: emulator.url }
    expect(await provider.resolveKeyId(alias, options)).toBe(keyId)
    expect(await provider.resolveKeyId("alias/customer", { ...options, region: emulator.region })).toBe(keyId)
    expect(await provider.resolveKeyId(keyId, options)).toBe(keyId)
    expect((await failureOf(() => provider.resolveKeyId("alias/customer", options))).code).toBe(
      "INVALID_ARGUMENT",
    )
    expect(
      (await failureOf(() => provider.resolveKeyId(alias.replace("customer", "none"), options))).code,
    ).toBe("KEY_NOT_FOUND")
  })
})

describe("another account's key", () => {
  const accountId = "444455556666"

  test("is used through its role, with the external id", async () => {
    const roleArn = emulator.createRole({ accountId, name: "keyfold", externalId: "tenant-1" })
    const keyId = emulator.createKey({ accountId })
    expect((await failureOf(() => kekOf(keyId).wrap(SECRET, contextOf(), {}))).action).toBe("kms:Encrypt")
    const start = emulator.calls.length
    const kek = kekOf(keyId, { roleArn, externalId: "tenant-1" })
    await roundTrip(kek)
    await roundTrip(kekOf(emulator.createKey({ accountId }), { roleArn, externalId: "tenant-1" }))
    expect(callsSince(start).filter((call) => call.startsWith("AssumeRole"))).toEqual([
      `AssumeRole ${roleArn}`,
    ])
  })

  test("is not to be had with another external id, or none", async () => {
    const roleArn = emulator.createRole({ accountId, name: "strict", externalId: "tenant-1" })
    const keyId = emulator.createKey({ accountId })
    for (const externalId of ["tenant-2", undefined]) {
      const failure = await failureOf(() =>
        kekOf(keyId, { roleArn, externalId }).wrap(SECRET, contextOf(), {}),
      )
      expect(failure).toMatchObject({
        code: "PERMISSION_DENIED",
        action: "sts:AssumeRole",
        side: "key-policy",
      })
    }
  })

  test("is not reached while STS is out", async () => {
    const roleArn = emulator.createRole({ accountId, name: "slow" })
    const keyId = emulator.createKey({ accountId })
    const undo = emulator.inject({ kind: "reset" }, { operations: ["AssumeRole"] })
    expect((await failureOf(() => kekOf(keyId, { roleArn }).wrap(SECRET, contextOf(), {}))).code).toBe(
      "UNAVAILABLE",
    )
    undo()
    await roundTrip(kekOf(keyId, { roleArn }))
  })
})

describe("a multi-Region key", () => {
  function multiRegion() {
    const keyId = emulator.createKey({ multiRegion: true })
    const replica = emulator.replicateKey(keyId, "eu-west-1")
    return { keyId, replica, kek: kekOf(keyId, { replicaKeyIds: [replica] }) }
  }

  test.for([{ kind: "reset" }, { kind: "server-error" }, { kind: "hang" }, { kind: "garbage" }] as const)(
    "is used in a replica's region on %j",
    async (fault) => {
      const { keyId, replica, kek } = multiRegion()
      const record = await kek.wrap(SECRET, contextOf(), {})
      const undo = emulator.inject(fault, { keyId })
      const start = emulator.calls.length
      expect(await kek.unwrap(record, contextOf(), {})).toEqual(SECRET)
      const other = await kek.wrap(SECRET, contextOf(), {})
      expect(callsSince(start).filter((call) => !call.includes("refused"))).toContain(`Decrypt ${replica}`)
      undo()
      expect(await kek.unwrap(other, contextOf(), {})).toEqual(SECRET) // by the key's own region
      expect(callsSince(start).at(-1)).toBe(`Decrypt ${keyId}`)
    },
  )

  test("is not used there on a denial, a throttle or a state", async () => {
    const { keyId, kek } = multiRegion()
    const record = await kek.wrap(SECRET, contextOf(), {})
    const start = emulator.calls.length
    const undos = [
      () => emulator.setState(keyId, "Enabled"),
      () => emulator.allow("key-policy", "kms:Decrypt", keyId),
    ]
    emulator.setState(keyId, "Disabled")
    expect((await failureOf(() => kek.unwrap(record, contextOf(), {}))).code).toBe("KEY_DISABLED")
    undos[0]?.()
    emulator.deny("key-policy", "kms:Decrypt", keyId)
    expect((await failureOf(() => kek.unwrap(record, contextOf(), {}))).code).toBe("PERMISSION_DENIED")
    undos[1]?.()
    emulator.inject({ kind: "throttle" }, { keyId })
    expect((await failureOf(() => kek.unwrap(record, contextOf(), {}))).code).toBe("THROTTLED")
    expect(new Set(emulator.calls.slice(start).map((call) => call.keyId))).toEqual(new Set([keyId]))
  })

  test("is out when every region is", async () => {
    const { keyId, replica, kek } = multiRegion()
    for (const each of [keyId, replica]) emulator.inject({ kind: "reset" }, { keyId: each })
    const start = emulator.calls.length
    expect((await failureOf(() => kek.wrap(SECRET, contextOf(), {}))).code).toBe("UNAVAILABLE")
    expect(emulator.calls.slice(start).map((call) => call.keyId)).toEqual([keyId, replica])
  })
})

describe("failures", () => {
  test.for<["identity-policy" | "key-policy" | "explicit-deny", FailureDetails["side"], RegExp]>([
    ["identity-policy", "caller-identity", /IAM policy of the identity/],
    ["key-policy", "key-policy", /in the key policy/],
    ["explicit-deny", "key-policy", /Deny statement/],
  ])("a denial by %s is mended by %s", async ([layer, side, fix]) => {
    const keyId = emulator.createKey()
    emulator.deny(layer, "kms:Encrypt", keyId)
    const failure = await failureOf(() => kekOf(keyId).wrap(SECRET, contextOf(), {}))
    expect(failure).toMatchObject({ code: "PERMISSION_DENIED", action: "kms:Encrypt", side })
    expect(failure.fix).toMatch(fix)
  })

  test("Retry-After is handed on", async () => {
    const keyId = emulator.createKey()
    emulator.inject({ kind: "throttle", retryAfterSeconds: 30 }, { keyId })
    const start = emulator.calls.length
    const failure = await failureOf(() => kekOf(keyId).wrap(SECRET, contextOf(), {}))
    expect(failure).toMatchObject({ code: "THROTTLED", retryAfterMs: 30_000 })
    expect(callsSince(start)).toHaveLength(1)
  })

  test("nothing is tried again here", async () => {
    const keyId = emulator.createKey()
    emulator.inject({ kind: "server-error" }, { keyId, times: 1 })
    expect((await failureOf(() => kekOf(keyId).wrap(SECRET, contextOf(), {}))).code).toBe("UNAVAILABLE")
    await roundTrip(kekOf(keyId))
  })

  test("a permission that goes away between two calls is noticed at once", async () => {
    const keyId = emulator.createKey()
    emulator.inject({ kind: "deny" }, { keyId, afterCalls: 2 })
    const kek = kekOf(keyId)
    await roundTrip(kek)
    expect((await failureOf(() => kek.wrap(SECRET, contextOf(), {}))).code).toBe("PERMISSION_DENIED")
  })

  test("a request that takes too long is given up without anybody's signal", async () => {
    const keyId = emulator.createKey()
    emulator.inject({ kind: "hang" }, { keyId })
    const impatient = awsKmsClients({ credentials: emulator.credentials, requestTimeoutMs: 100 })
    const kek = awsKms({ clients: impatient }).kek(keyId, { endpoint: emulator.url })
    expect((await failureOf(() => kek.wrap(SECRET, contextOf(), {}))).code).toBe("TIMEOUT")
    await expect.poll(() => emulator.openConnections()).toBe(0)
    impatient.close()
  })

  test("an answer that stops in its middle is given up, and by the caller's signal at once", async () => {
    const server = createServer(
      (_, response) => void response.writeHead(200, { "content-length": 100 }).write("{"),
    )
    await once(server.listen(0, "127.0.0.1"), "listening")
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const closed = () => expect.poll(() => promisify(server.getConnections.bind(server))()).toBe(0)
    const impatient = awsKmsClients({ credentials: emulator.credentials, requestTimeoutMs: 100 })
    const keyId = emulator.createKey()
    const bounded = awsKms({ clients: impatient }).kek(keyId, { endpoint })
    expect((await failureOf(() => bounded.wrap(SECRET, contextOf(), {}))).code).toBe("TIMEOUT")
    await closed()
    const signal = AbortSignal.timeout(100)
    const failure = await failureOf(() => kekOf(keyId, { endpoint }).wrap(SECRET, contextOf(), { signal }))
    expect(failure.code).toBe("ABORTED")
    await closed()
    impatient.close()
    server.close()
  })

  test("nobody listens", async () => {
    const kek = kekOf(emulator.createKey(), { endpoint: "http://127.0.0.1:1" })
    expect((await failureOf(() => kek.wrap(SECRET, contextOf(), {}))).code).toBe("UNAVAILABLE")
  })

  test("a server whose certificate nobody trusts is asked for nothing", async () => {
    const untrusted = await startAzureEmulator() // any that speaks TLS
    const kek = kekOf(emulator.createKey(), { endpoint: untrusted.url })
    const failure = await failureOf(() => kek.wrap(SECRET, contextOf(), {}))
    const message = expect.stringContaining("certificate")
    expect(failure).toMatchObject({ code: "UNAVAILABLE", side: "network", message })
    expect(untrusted.calls).toEqual([])
    await untrusted.close()
  })

  test("an asymmetric key is refused", async () => {
    const kek = kekOf(emulator.createKey({ spec: "RSA_2048" }))
    expect((await failureOf(() => kek.wrap(SECRET, contextOf(), {}))).code).toBe("INVALID_ARGUMENT")
    expect(await kek.describe({})).toMatchObject({ algorithm: "RSA_2048", publicKey: true })
  })
})

test("describe tells what DescribeKey says", async () => {
  const keyId = emulator.createKey()
  expect(await kekOf(keyId).describe({})).toEqual({
    state: "enabled",
    algorithm: "SYMMETRIC_DEFAULT",
    origin: "AWS_KMS",
    protectionLevel: "hsm",
    publicKey: false,
    canWrap: true,
    purgeProtected: true,
    keyVersion: 0,
    automaticRotation: undefined,
    expiresAt: undefined,
    deletionAt: undefined,
    region: "eu-central-1",
  })
  emulator.setState(keyId, "PendingImport")
  expect((await kekOf(keyId).describe({})).state).toBe("pending-import")
})

test("nothing keeps the process alive: no connection, and no timer of a call that was aborted", async () => {
  const hung = emulator.createKey()
  emulator.inject({ kind: "hang" }, { keyId: hung })
  const script = `
    import { awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
    const provider = awsKms({ clients: awsKmsClients({ credentials: ${JSON.stringify(emulator.credentials)} }) })
    const call = async (keyId, signal) => {
      const context = { binding: new Uint8Array(71), covered: [], owner: "" }
      const kek = provider.kek(keyId, { endpoint: ${JSON.stringify(emulator.url)} })
      await kek.wrap(new Uint8Array(32), context, { signal }).then(() => "ok", ({ code }) => code).then(console.log)
    }
    await call(${JSON.stringify(emulator.createKey())})
    await call(${JSON.stringify(hung)}, AbortSignal.timeout(100))
    const endedAt = performance.now()
    process.on("exit", () => console.log(performance.now() - endedAt < 300 ? "ended at once" : "was kept alive"))`
  const flags = process.features.typescript ? [] : ["--experimental-strip-types"] // Node 22 needs to be asked
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...flags, "--input-type=module", "-e", script],
    {
      cwd: import.meta.dirname,
    },
  )
  expect(stdout.trim().split("\n")).toEqual(["ok", "ABORTED", "ended at once"])
})

test("many calls at once share the connections and all succeed", async () => {
  const kek = kekOf(emulator.createKey())
  await Promise.all(Array.from({ length: 200 }, () => roundTrip(kek)))
})

test.each([
  ["a length and no bytes", { length: 2 ** 40 }],
  ["a list of numbers", Array(32).fill(7)],
  ["a string", "x".repeat(32)],
  ["nothing", undefined],
])("an answer whose bytes are %s is thrown away", async (_, bytes) => {
  const keyId = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-000000000001"
  const send = async () => ({ KeyId: keyId, Plaintext: bytes, CiphertextBlob: bytes })
  const kek = awsKms({ clients: { clientFor: () => ({ send }) as never } }).kek(keyId)
  const record = { keyVersion: 0, leased: false, wrapped: Uint8Array.of(1, 2, 3) }
  for (const call of [() => kek.wrap(SECRET, contextOf(), {}), () => kek.unwrap(record, contextOf(), {})]) {
    const { code, message } = await failureOf(call)
    expect(code).toBe("UNKNOWN")
    expect(message).toMatch(/thrown away/)
  }
})
