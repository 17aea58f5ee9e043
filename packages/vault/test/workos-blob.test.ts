/** The layouts of the SDKs' local encryption, put together here by the public contract. The SDK's own are tried in @keyfold/server. */
import { createCipheriv, randomBytes } from "node:crypto"
import { KeyfoldError } from "@keyfold/core"
import { describe, expect, test } from "vitest"
import { openWorkosBlob } from "../src/index.ts"

const key = randomBytes(32)
const sealed = randomBytes(206)
const text = "ein Gedicht, ü"
const decryptDataKey = async (given: Uint8Array) => {
  if (Buffer.compare(given, sealed) === 0) return new Uint8Array(key)
  throw new KeyfoldError("MALFORMED_ENVELOPE", "no")
}

function encrypt(ivBytes: number, aad: string) {
  const iv = randomBytes(ivBytes)
  const cipher = createCipheriv("aes-256-gcm", key, iv)
  if (aad !== "") cipher.setAAD(Buffer.from(aad))
  const ciphertext = Buffer.concat([cipher.update(text, "utf8"), cipher.final()])
  // 206 as LEB128
  return {
    iv,
    tag: cipher.getAuthTag(),
    ciphertext,
    keys: Buffer.concat([Buffer.from([0xce, 0x01]), sealed]),
  }
}
const layouts: Record<string, (aad: string) => Buffer> = {
  "Node, Python, Ruby, PHP and Kotlin": (aad) => {
    const { iv, tag, keys, ciphertext } = encrypt(12, aad)
    return Buffer.concat([iv, tag, keys, ciphertext])
  },
  "Go from 7 on": (aad) => {
    const { iv, tag, keys, ciphertext } = encrypt(12, aad)
    return Buffer.concat([keys, iv, ciphertext, tag])
  },
  "an IV of 32 bytes": (aad) => {
    const { iv, tag, keys, ciphertext } = encrypt(32, aad)
    return Buffer.concat([iv, tag, keys, ciphertext])
  },
}

describe.each(Object.entries(layouts))("a blob of %s", (_, make) => {
  test.each([
    ["without", ""],
    ["with", "more"],
  ])("opens %s associated data", async (_, associatedData) => {
    const blob = make(associatedData)
    const options = { decryptDataKey, associatedData }
    expect(Buffer.from(await openWorkosBlob(blob.toString("base64"), options)).toString()).toBe(text)
    expect(Buffer.from(await openWorkosBlob(blob, options)).toString()).toBe(text)
  })

  test("is refused where a bit was flipped, its end is missing, or the associated data is another", async () => {
    const refused = { code: "DECRYPTION_FAILED" }
    const blob = make("")
    for (let i = 0; i < blob.length; i++) {
      const changed = Buffer.from(blob)
      changed[i] = (changed[i] as number) ^ 1
      await expect(openWorkosBlob(changed, { decryptDataKey })).rejects.toMatchObject(refused)
      await expect(openWorkosBlob(blob.subarray(0, i), { decryptDataKey })).rejects.toMatchObject(refused)
    }
    const other = openWorkosBlob(blob, { decryptDataKey, associatedData: "x" })
    await expect(other).rejects.toMatchObject(refused)
  })
})

test("a KMS that cannot be reached is told as such, and the key of a reading that fails is wiped", async () => {
  const blob = (layouts["Go from 7 on"] as (aad: string) => Buffer)("")
  const unreachable = async () => {
    throw new KeyfoldError("UNAVAILABLE", "no")
  }
  await expect(openWorkosBlob(blob, { decryptDataKey: unreachable })).rejects.toMatchObject({
    code: "UNAVAILABLE",
  })
  const given: Uint8Array[] = []
  const wrong = async () => {
    const bytes = new Uint8Array(32).fill(9)
    given.push(bytes)
    return bytes
  }
  await expect(openWorkosBlob(blob, { decryptDataKey: wrong })).rejects.toMatchObject({
    code: "DECRYPTION_FAILED",
  })
  expect(given.length).toBeGreaterThan(0)
  for (const bytes of given) expect(bytes).toEqual(new Uint8Array(32))
})
