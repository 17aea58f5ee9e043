import { constants, createPublicKey, publicEncrypt } from "node:crypto"
import { KeyClient } from "@azure/keyvault-keys"
import { sha256 } from "@keyfold/core/crypto"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type Azure, failureOf, newSecret, startAzure, wrapContext, wrapped } from "./azure.ts"

let azure: Azure & AsyncDisposable
beforeAll(async () => {
  azure = await startAzure()
})
afterAll(() => azure[Symbol.asyncDispose]())

const refused = { code: "DECRYPTION_FAILED" }

test.each([
  ["RSA-OAEP-256", 0x01, 256],
  ["A256GCM", 0x02, 60],
  ["A256KW", 0x03, 72],
] as const)("%s has the form of docs/format.md", async (algorithm, byte, length) => {
  const { record, secret, unwrap } = await wrapped(azure, { algorithm })
  expect(record).toMatchObject({ keyVersion: 0, leased: false })
  expect(record.wrapped[0]).toBe(byte)
  expect(record.wrapped).toHaveLength(1 + length)
  expect(await unwrap()).toEqual(secret)
})

test.each([3072, 4096] as const)("RSA keys may have %i bits", async (bits) => {
  const kek = azure.provider.kek(azure.emulator.createKey({ bits }))
  const secret = newSecret()
  const record = await kek.wrap(secret, wrapContext(), {})
  expect(record.wrapped).toHaveLength(1 + bits / 8)
  expect(await kek.unwrap(record, wrapContext(), {})).toEqual(secret)
})

test("one wrap is one call, and so is one unwrap: nothing is asked of the key before, or done without the service", async () => {
  const { wrap, unwrap, calls } = await wrapped(azure)
  await wrap()
  await unwrap()
  expect(calls()).toEqual(["wrapKey", "unwrapKey"])
  const symmetric = await wrapped(azure, { algorithm: "A256GCM" })
  await symmetric.wrap()
  await symmetric.unwrap()
  expect(symmetric.calls()).toEqual(["encrypt", "decrypt"])
})

test("what anyone can encrypt to the public key opens only where it holds B, which is no secret", async () => {
  const { keyId, kek, record, secret } = await wrapped(azure)
  const { emulator, credential } = azure
  const client = new KeyClient(emulator.url, credential, emulator.clientOptions())
  const [, , name = ""] = new URL(keyId).pathname.split("/")
  const { n, e } = (await client.getKey(name)).key ?? {}
  const base64url = (bytes?: Uint8Array) => Buffer.from(bytes ?? []).toString("base64url")
  const key = createPublicKey({ key: { kty: "RSA", n: base64url(n), e: base64url(e) }, format: "jwk" })
  const forge = (payload: Uint8Array) => {
    const padding = constants.RSA_PKCS1_OAEP_PADDING
    const forged = publicEncrypt({ key, padding, oaepHash: "sha256" }, payload)
    return { ...record, wrapped: Uint8Array.from([0x01, ...forged]) }
  }
  const b = sha256(wrapContext().binding)
  expect(await kek.unwrap(forge(Uint8Array.from([...secret, ...b])), wrapContext(), {})).toEqual(secret)
  for (const payload of [
    secret,
    [...secret, ...sha256(wrapContext(1).binding)],
    [...secret, ...b, 0],
    [...b, ...secret],
    [...secret, ...b.subarray(1)],
    [],
  ]) {
    const forged = forge(Uint8Array.from(payload))
    expect(await failureOf(() => kek.unwrap(forged, wrapContext(), {}))).toMatchObject(refused)
  }
})

test("either symmetric algorithm opens what the other wrapped, and neither what RSA did", async () => {
  const { keyId, record, secret } = await wrapped(azure, { algorithm: "A256KW" })
  const gcm = azure.provider.kek(keyId, { algorithm: "A256GCM" })
  expect(await gcm.unwrap(record, wrapContext(), {})).toEqual(secret)
  const again = await gcm.wrap(secret, wrapContext(), {})
  const kw = azure.provider.kek(keyId, { algorithm: "A256KW" })
  expect(await kw.unwrap(again, wrapContext(), {})).toEqual(secret)
  expect(await failureOf(() => kw.unwrap(again, wrapContext(1), {}))).toMatchObject(refused)
  expect(await failureOf(() => gcm.unwrap(record, wrapContext(1), {}))).toMatchObject(refused)

  const from = azure.emulator.calls.length
  const rsa = await wrapped(azure)
  expect(await failureOf(() => gcm.unwrap(rsa.record, wrapContext(), {}))).toMatchObject(refused)
  expect(await failureOf(() => rsa.kek.unwrap(record, wrapContext(), {}))).toMatchObject(refused)
  expect(azure.emulator.calls.slice(from).map(({ operation }) => operation)).toEqual(["wrapKey"])
})

test("a record of another form is refused without a call", async () => {
  const { kek, record, calls } = await wrapped(azure)
  for (const change of [
    { keyVersion: 1 },
    { leased: true },
    { wrapped: new Uint8Array(0) },
    { wrapped: record.wrapped.slice(0, -1) },
    { wrapped: Uint8Array.from([0, ...record.wrapped.subarray(1)]) },
    { wrapped: Uint8Array.from([4, ...record.wrapped.subarray(1)]) },
  ]) {
    expect(await failureOf(() => kek.unwrap({ ...record, ...change }, wrapContext(), {}))).toMatchObject(
      refused,
    )
  }
  expect(calls()).toEqual([])
})

test("a key outside of its dates opens what it wrapped, and wraps no more", async () => {
  const { keyId, wrap, unwrap, secret } = await wrapped(azure)
  for (const state of ["expired", "not-yet-valid"] as const) {
    azure.emulator.setState(keyId, state)
    expect(await unwrap()).toEqual(secret)
    expect(await failureOf(wrap)).toMatchObject({ code: "KEY_DISABLED", side: "key" })
  }
})

test("after a rotation each version opens its own", async () => {
  const { keyId, unwrap, record, secret } = await wrapped(azure)
  const rotated = azure.provider.kek(azure.emulator.rotate(keyId))
  expect(await unwrap()).toEqual(secret)
  expect(await failureOf(() => rotated.unwrap(record, wrapContext(), {}))).toMatchObject(refused)
})
