import { request } from "node:https"
import { ClientSecretCredential } from "@azure/identity"
import {
  type AesGcmDecryptParameters,
  CryptographyClient,
  KeyClient,
  type KeyVaultKey,
} from "@azure/keyvault-keys"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type AzureEmulator, type AzureKeyState, startAzureEmulator } from "../src/azure/index.ts"

let emulator: AzureEmulator
let credential: ClientSecretCredential
let vault: KeyClient
let hsm: KeyClient

beforeAll(async () => {
  emulator = await startAzureEmulator()
  credential = credentialOf(emulator)
  vault = new KeyClient(emulator.url, credential, clientOptions())
  hsm = new KeyClient(emulator.hsmUrl, credential, clientOptions())
})
afterAll(() => emulator.close())

function credentialOf(of: AzureEmulator, tenantId = of.client.tenantId, secret = of.client.clientSecret) {
  return new ClientSecretCredential(tenantId, of.client.clientId, secret, {
    ...of.credentialOptions(),
    ...once,
  })
}

const once = { retryOptions: { maxRetries: 0 } }
const clientOptions = () => ({ ...emulator.clientOptions(), ...once })

/** Without the key's material and dates the SDK leaves everything to the service. */
function using(kid: string, of = emulator, by = credential): CryptographyClient {
  const name = nameOf(kid)
  const key: KeyVaultKey = {
    id: kid,
    name,
    keyType: undefined as never,
    properties: { name, vaultUrl: new URL(kid).origin },
  } as KeyVaultKey
  return new CryptographyClient(key, by, { ...of.clientOptions(), ...once })
}

function nameOf(kid: string): string {
  return new URL(kid).pathname.split("/")[2] as string
}

/** Status, codes and message of what a call failed with. */
async function failure(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return "ok"
  } catch (error) {
    const { statusCode, code, message, details } = error as Error & {
      statusCode?: number
      code?: string
      details?: { error?: { innererror?: { code: string }; innerError?: { code: string } } }
    }
    const inner = (details?.error?.innererror ?? details?.error?.innerError)?.code
    return `${statusCode} ${inner ?? code}: ${message}`
  }
}

const key32 = new Uint8Array(32).fill(7)
const aad = new TextEncoder().encode("binding")

describe("state × operation", () => {
  /** Every operation on a key whose answer its state decides. The key is symmetric, in the Managed HSM. */
  const OPERATIONS = {
    wrapKey: (kid) => using(kid).wrapKey("A256KW", key32),
    unwrapKey: (kid, { wrapped }) => using(kid).unwrapKey("A256KW", wrapped),
    encrypt: (kid) =>
      using(kid).encrypt({ algorithm: "A256GCM", plaintext: key32, additionalAuthenticatedData: aad }),
    decrypt: (kid, { sealed }) => using(kid).decrypt(sealed),
    getKey: (kid) => hsm.getKey(nameOf(kid)),
    updateKey: (kid) => hsm.updateKeyProperties(nameOf(kid), { tags: { a: "b" } }),
    rotateKey: (kid) => hsm.rotateKey(nameOf(kid)),
    createKey: (kid) => hsm.createKey(nameOf(kid), "oct-HSM"),
    deleteKey: (kid) => hsm.beginDeleteKey(nameOf(kid)),
    getDeletedKey: (kid) => hsm.getDeletedKey(nameOf(kid)),
    purgeDeletedKey: (kid) => hsm.purgeDeletedKey(nameOf(kid)),
  } as const satisfies Record<string, (kid: string, made: Made) => Promise<unknown>>
  type Made = { wrapped: Uint8Array; sealed: AesGcmDecryptParameters }

  const STATES: readonly AzureKeyState[] = [
    "enabled",
    "disabled",
    "expired",
    "not-yet-valid",
    "deleted",
    "purged",
  ]
  const OK = "ok"
  const off = (operation: string) =>
    `403 KeyDisabled: Operation ${operation} is not allowed on a disabled key.`
  const old = (operation: string) =>
    `403 KeyExpired: Operation ${operation} is not allowed on an expired key.`
  const new_ = (operation: string) =>
    `403 KeyNotYetValid: Operation ${operation} is not allowed on a key that is not yet valid.`
  const NONE = "404 KeyNotFound: A key with (name/id) NAME was not found in this key vault."
  const TAKEN = "409 ObjectIsDeletedButRecoverable: Key NAME is currently in a deleted but recoverable state"
  const makes = (operation: string) => [OK, off(operation), old(operation), new_(operation), NONE, NONE]
  const opens = (operation: string) => [OK, off(operation), OK, OK, NONE, NONE]

  /** Azure Key Vault, "About keys": attributes; one answer for each of `STATES`. */
  const TABLE: Readonly<Record<keyof typeof OPERATIONS, readonly string[]>> = {
    wrapKey: makes("wrapKey"),
    unwrapKey: opens("unwrapKey"),
    encrypt: makes("encrypt"),
    decrypt: opens("decrypt"),
    getKey: [OK, OK, OK, OK, NONE, NONE],
    updateKey: [OK, OK, OK, OK, NONE, NONE],
    rotateKey: [OK, OK, OK, OK, NONE, NONE],
    createKey: [OK, OK, OK, OK, TAKEN, OK],
    deleteKey: [OK, OK, OK, OK, NONE, NONE],
    getDeletedKey: [NONE, NONE, NONE, NONE, OK, NONE],
    purgeDeletedKey: [NONE, NONE, NONE, NONE, OK, NONE],
  }

  for (const [operation, call] of Object.entries(OPERATIONS)) {
    test.for(STATES.map((state, column) => [state, TABLE[operation as keyof typeof TABLE][column]] as const))(
      `${operation} of a key that is %s: %s`,
      async ([state, expected]) => {
        const kid = emulator.createKey({ service: "hsm" })
        const { result: wrapped } = await using(kid).wrapKey("A256KW", key32)
        const sealed = await gcmSealed(kid)
        if (state === "purged") emulator.setState(kid, "deleted")
        emulator.setState(kid, state)
        const outcome = (await failure(call(kid, { wrapped, sealed }))).replace(
          new RegExp(`${nameOf(kid)}(/[0-9a-f]{32})?`),
          "NAME",
        )
        expect(outcome.slice(0, expected?.length)).toBe(expected)
        if (expected === OK) expect(outcome).toBe(OK)
      },
    )
  }

  test("a disabled key wraps where the service is told to be as azure-sdk-for-python#45342 saw it", async () => {
    const lax = await startAzureEmulator({ disabledKeysWrap: true })
    try {
      const kid = lax.createKey({ service: "hsm" })
      lax.setState(kid, "disabled")
      const client = using(kid, lax, credentialOf(lax))
      const { result } = await client.wrapKey("A256KW", key32)
      expect(await failure(client.unwrapKey("A256KW", result))).toMatch("403 KeyDisabled")
    } finally {
      await lax.close()
    }
  })
})

async function gcmSealed(kid: string) {
  const { result, iv, authenticationTag } = await using(kid).encrypt({
    algorithm: "A256GCM",
    plaintext: key32,
    additionalAuthenticatedData: aad,
  })
  return {
    algorithm: "A256GCM",
    ciphertext: result,
    iv: iv as Uint8Array,
    authenticationTag: authenticationTag as Uint8Array,
    additionalAuthenticatedData: aad,
  } as const
}

describe("a key's life over the API", () => {
  test("create, get, update, rotate, list, delete, recover and purge", async () => {
    const made = await vault.createRsaKey("customer", { keySize: 2048, tags: { of: "org_1" } })
    expect(made).toMatchObject({
      name: "customer",
      keyType: "RSA",
      keyOperations: expect.arrayContaining(["wrapKey", "unwrapKey"]),
      properties: {
        enabled: true,
        tags: { of: "org_1" },
        recoverableDays: 90,
        recoveryLevel: "Recoverable+Purgeable",
      },
    })
    expect(made.id).toMatch(new RegExp(`^${emulator.url}/keys/customer/[0-9a-f]{32}$`))
    expect(made.key?.n).toHaveLength(256)

    const expiresOn = new Date(Math.ceil(Date.now() / 1000) * 1000 + 60_000)
    await vault.updateKeyProperties("customer", { enabled: false, expiresOn })
    expect((await vault.getKey("customer")).properties).toMatchObject({ enabled: false, expiresOn })

    const rotated = await vault.rotateKey("customer")
    expect(rotated.id).not.toBe(made.id)
    expect(rotated.properties.enabled).toBe(true)
    const versions = []
    for await (const { id } of vault.listPropertiesOfKeyVersions("customer")) versions.push(id)
    expect(versions).toEqual([made.id, rotated.id])
    const names = []
    for await (const { name } of vault.listPropertiesOfKeys()) names.push(name)
    expect(names).toContain("customer")
    expect((await vault.getKey("CUSTOMER")).id).toBe(rotated.id) // names do not differ by case
    const version = made.properties.version as string
    expect((await vault.getKey("customer", { version })).properties.enabled).toBe(false)

    await (await vault.beginDeleteKey("customer", { intervalInMs: 5 })).pollUntilDone()
    const deleted = await vault.getDeletedKey("customer")
    const days = (Number(deleted.properties.scheduledPurgeDate) - Date.now()) / 86_400_000
    expect(days).toBeCloseTo(90, 1)
    expect(await failure(vault.getKey("customer"))).toMatch("404 KeyNotFound")
    await (await vault.beginRecoverDeletedKey("customer", { intervalInMs: 5 })).pollUntilDone()
    expect((await vault.getKey("customer")).id).toBe(rotated.id)

    await vault.beginDeleteKey("customer")
    await vault.purgeDeletedKey("customer")
    expect(await failure(vault.getDeletedKey("customer"))).toMatch("404 KeyNotFound")
  })

  test("purge protection keeps a deleted key until its date", async () => {
    const guarded = await startAzureEmulator({ purgeProtection: true })
    const { tenantId, clientId, clientSecret } = guarded.client
    const own = new ClientSecretCredential(tenantId, clientId, clientSecret, guarded.credentialOptions())
    const keys = new KeyClient(guarded.url, own, guarded.clientOptions())
    const { properties } = await keys.createRsaKey("customer")
    expect(properties.recoveryLevel).toBe("Recoverable")
    await keys.beginDeleteKey("customer")
    expect(await failure(keys.purgeDeletedKey("customer"))).toMatch("403 Forbidden")
    await guarded.close()
  })

  test("each service has the types of keys that it has", async () => {
    expect(await failure(vault.createKey("symmetric", "oct-HSM"))).toMatch("400 BadParameter")
    expect(await failure(hsm.createKey("software", "RSA"))).toMatch("400 BadParameter")
    expect((await vault.createEcKey("curve")).keyOperations).toEqual(["sign", "verify"])
    expect(await failure(vault.createKey("not_a_name", "EC"))).toMatch("400 BadParameter")
    expect(await failure(vault.createRsaKey("odd", { keySize: 1024 }))).toMatch("400 BadParameter")
  })
})

describe("encryption", () => {
  test("with RSA-OAEP-256 is the service's, by the key of the version that is named", async () => {
    const kid = emulator.createKey()
    const { result } = await using(kid).wrapKey("RSA-OAEP-256", key32)
    const rotated = emulator.rotate(kid)
    expect(nameOf(rotated)).toBe(nameOf(kid))
    expect([...(await using(kid).unwrapKey("RSA-OAEP-256", result)).result]).toEqual([...key32])
    expect(await failure(using(rotated).unwrapKey("RSA-OAEP-256", result))).toMatch("400 BadParameter")
    expect(await failure(using(kid).unwrapKey("RSA-OAEP-256", result.slice(1)))).toMatch("400 BadParameter")
    expect(await failure(using(kid).wrapKey("RSA-OAEP-256", new Uint8Array(191)))).toMatch("400 BadParameter")
    expect(await failure(using(kid).wrapKey("A256KW", key32))).toMatch("400 BadParameter")
  })

  test("with A256GCM is bound to its additional data, and with A256KW to itself", async () => {
    const [kid, other] = [emulator.createKey({ service: "hsm" }), emulator.createKey({ service: "hsm" })]
    const sealed = await gcmSealed(kid)
    expect([...(await using(kid).decrypt(sealed)).result]).toEqual([...key32])
    for (const changed of [
      { additionalAuthenticatedData: new Uint8Array([1]) },
      { iv: new Uint8Array(12) },
      { authenticationTag: new Uint8Array(16) },
      { ciphertext: new Uint8Array(32) },
    ]) {
      expect(await failure(using(kid).decrypt({ ...sealed, ...changed }))).toMatch("400 BadParameter")
    }
    expect(await failure(using(other).decrypt(sealed))).toMatch("400 BadParameter")

    const { result } = await using(kid).wrapKey("A256KW", key32)
    expect(result).toHaveLength(40)
    expect([...(await using(kid).unwrapKey("A256KW", result)).result]).toEqual([...key32])
    expect(await failure(using(other).unwrapKey("A256KW", result))).toMatch("400 BadParameter")
    expect(await failure(using(kid).wrapKey("A256KW", new Uint8Array(33)))).toMatch("400 BadParameter")
  })

  test("needs the operation among the key's own", async () => {
    const kid = emulator.createKey({ service: "hsm", keyOps: ["wrapKey"] })
    const { result } = await using(kid).wrapKey("A256KW", key32)
    expect(await failure(using(kid).unwrapKey("A256KW", result))).toBe(
      "403 KeyOperationForbidden: Operation unwrapKey is not permitted on this key.",
    )
  })
})

describe("access", () => {
  test("without a token there is the challenge", async () => {
    const reply = await raw("/keys/a?api-version=7.4")
    const { tenantId } = emulator.client
    expect(reply.status).toBe(401)
    expect(reply.challenge).toBe(
      `Bearer authorization="${emulator.url}/${tenantId}", resource="https://vault.azure.net"`,
    )
    expect((await raw("/secrets/a?api-version=7.4")).status).toBe(404)
    expect((await raw("/keys/a")).status).toBe(404)
  })

  test("a token is for one kind of service, in the tenant of the vault, and from the right secret", async () => {
    const path = "/keys/a/?api-version=7.4"
    const { token } = await credential.getToken("https://vault.azure.net/.default")
    expect((await raw(path, token)).body).toMatch("KeyNotFound")
    const { token: forHsm } = await credential.getToken("https://managedhsm.azure.net/.default")
    expect((await raw(path, forHsm)).body).toMatch("AKV10022")
    expect((await raw(path, "made-up")).body).toMatch("AKV10021")
    const abroad = credentialOf(emulator, crypto.randomUUID())
    const { token: foreign } = await abroad.getToken("https://vault.azure.net/.default")
    expect((await raw(path, foreign)).body).toMatch("AKV10032")
    const guess = credentialOf(emulator, emulator.client.tenantId, "guess")
    await expect(guess.getToken("https://vault.azure.net/.default")).rejects.toThrow("AADSTS7000215")
  })

  test("RBAC", async () => {
    const kid = emulator.createKey({ service: "hsm" })
    emulator.deny("rbac", "wrapKey", kid)
    const refusal = await failure(using(kid).wrapKey("A256KW", key32))
    expect(refusal).toMatch(/^403 ForbiddenByRbac: Caller is not authorized to perform action on resource/)
    expect(refusal).toMatch("Action: 'Microsoft.KeyVault/managedHsm/keys/wrap/action'")
    expect(refusal).toMatch(`Caller: appid=${emulator.client.clientId}`)
    expect(refusal).toMatch("DecisionReason: DeniedWithNoValidRBAC")
    await gcmSealed(kid) // another permission, and another key, are not touched
    await using(emulator.createKey({ service: "hsm" })).wrapKey("A256KW", key32)
    emulator.allow("rbac", "wrapKey", kid)
    await using(kid).wrapKey("A256KW", key32)
  })

  test("access policies", async () => {
    emulator.deny("access-policy", "get")
    expect(await failure(vault.getKey("a"))).toMatch(
      /^403 AccessDenied: The user, group or application 'appid=.*' does not have keys get permission on key vault/,
    )
    emulator.allow("access-policy", "get")
    expect(await failure(vault.getKey("a"))).toMatch("404 KeyNotFound")
  })

  test("the firewall", async () => {
    emulator.setFirewall("closed")
    expect(await failure(vault.getKey("a"))).toMatch(
      /^403 ForbiddenByFirewall: Client address is not authorized and caller is not a trusted service/,
    )
    emulator.setFirewall("open")
    expect(await failure(vault.getKey("a"))).toMatch("404 KeyNotFound")
  })
})

describe("faults", () => {
  test("hit only the calls that they are planned for, and are recorded", async () => {
    const [kid, other] = [emulator.createKey({ service: "hsm" }), emulator.createKey({ service: "hsm" })]
    const [client, otherClient] = [using(kid), using(other)]
    const since = emulator.calls.length
    const undo = emulator.inject(
      { kind: "throttle" },
      { operations: ["wrapKey"], keyId: kid, afterCalls: 1, times: 2 },
    )
    const outcomes: string[] = []
    for (const each of [client, otherClient, client, client, client]) {
      outcomes.push((await failure(each.wrapKey("A256KW", key32))).split(":", 1)[0] as string)
    }
    undo()
    expect(outcomes).toEqual(["ok", "ok", "429 Throttled", "429 Throttled", "ok"])
    const calls = emulator.calls.slice(since).filter(({ operation }) => operation === "wrapKey")
    expect(calls.map(({ keyId, error }) => [keyId, error])).toEqual([
      [kid, "Unauthorized"], // the SDK asks for the challenge first
      [kid, undefined],
      [other, "Unauthorized"],
      [other, undefined],
      [kid, "Throttled"],
      [kid, "Throttled"],
      [kid, undefined],
    ])
  })

  test.for([
    [{ kind: "reset" }, /socket hang up|ECONNRESET/],
    [{ kind: "server-error" }, /^500 InternalServerError/],
    [{ kind: "deny" }, /^403 ForbiddenByRbac/],
    [{ kind: "garbage" }, /./],
    [{ kind: "truncated" }, /aborted/],
  ] as const)("%j", async ([fault, expected]) => {
    const kid = emulator.createKey({ service: "hsm" })
    const undo = emulator.inject(fault, { keyId: kid })
    expect(await failure(using(kid).wrapKey("A256KW", key32))).toMatch(expected)
    undo()
    await using(kid).wrapKey("A256KW", key32)
  })

  test("latency delays, a hang ends only with its caller", async () => {
    const kid = emulator.createKey({ service: "hsm" })
    const late = emulator.inject({ kind: "latency", ms: 60 }, { keyId: kid })
    const startedAt = performance.now()
    await using(kid).wrapKey("A256KW", key32)
    expect(performance.now() - startedAt).toBeGreaterThan(55)
    late()
    emulator.inject({ kind: "hang" }, { keyId: kid })
    const abortSignal = AbortSignal.timeout(100)
    await expect(using(kid).wrapKey("A256KW", key32, { abortSignal })).rejects.toThrow(/abort/)
    await expect.poll(() => emulator.openConnections()).toBe(0)
    expect(emulator.calls.at(-1)).toMatchObject({ keyId: kid, ok: false, error: "ConnectionLost" })
  })

  test("another key's answer says so, and Retry-After is sent", async () => {
    const kid = emulator.createKey({ service: "hsm" })
    const { token } = await credential.getToken("https://managedhsm.azure.net/.default")
    const path = `${new URL(kid).pathname}/wrapkey?api-version=7.4`
    const body = JSON.stringify({ alg: "A256KW", value: Buffer.from(key32).toString("base64url") })
    emulator.inject({ kind: "other-key" }, { keyId: kid, times: 1 })
    const reply = await raw(path, token, body, emulator.hsmUrl)
    expect(JSON.parse(reply.body)).toMatchObject({ kid: expect.not.stringContaining(nameOf(kid)) })
    emulator.inject({ kind: "throttle", retryAfterSeconds: 7 }, { keyId: kid, times: 1 })
    expect(await raw(path, token, body, emulator.hsmUrl)).toMatchObject({ status: 429, retryAfter: "7" })
  })

  test("at the token endpoint", async () => {
    const scope = "https://vault.azure.net/.default"
    const undo = emulator.inject({ kind: "throttle" }, { operations: ["token"] })
    await expect(credentialOf(emulator).getToken(scope)).rejects.toThrow("temporarily_unavailable")
    undo()
    await credentialOf(emulator).getToken(scope)
  })
})

type RawReply = {
  readonly status: number | undefined
  readonly challenge: string | undefined
  readonly retryAfter: string | undefined
  readonly body: string
}

/** A request without any SDK. */
function raw(path: string, token?: string, body?: string, base = emulator.url): Promise<RawReply> {
  return new Promise((resolve, reject) => {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const method = body === undefined ? "GET" : "POST"
    request(
      `${base}${path}`,
      { method, ca: emulator.caCertificate, headers: authorization },
      async (reply) => {
        resolve({
          status: reply.statusCode,
          challenge: reply.headers["www-authenticate"],
          retryAfter: reply.headers["retry-after"],
          body: Buffer.concat(await reply.toArray()).toString(),
        })
      },
    )
      .on("error", reject)
      .end(body)
  })
}
