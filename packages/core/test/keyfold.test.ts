import { expect, test } from "vitest"
import { createKeyfold } from "../src/index.ts"
import { testRouter } from "./test-keks.ts"

const context = { organization_id: "org_1", data_type: "ssn" }

test("what was encrypted under a context decrypts under it and no other", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const envelope = await keyfold.encrypt("hello", { context })
  const { plaintext, context: found } = await keyfold.decrypt(envelope, { context })
  expect(new TextDecoder().decode(plaintext)).toBe("hello")
  expect({ ...found }).toEqual(context)
  await expect(
    keyfold.decrypt(envelope, { context: { ...context, data_type: "name" } }),
  ).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
})

test("streams", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const data = new Uint8Array(300_000).map((_, i) => i % 251)
  const sealed = await keyfold.encryptStream(new Blob([data]).stream(), { context })
  const envelope = new Uint8Array(await new Response(sealed).arrayBuffer())
  const { plaintext } = await keyfold.decryptStream(new Blob([envelope]).stream(), { context })
  expect(new Uint8Array(await new Response(plaintext).arrayBuffer())).toEqual(data)
  expect((await keyfold.decryptRange(envelope, 65_000, 200_001, { context })).plaintext).toEqual(
    data.subarray(65_000, 200_001),
  )
  const text = await keyfold.encrypt(data, { context, output: "base64url", policy: "any" })
  const again = await keyfold.rewrap(text, { context, policy: "all" })
  expect((await keyfold.decrypt(again, { context })).plaintext).toEqual(data)
})
