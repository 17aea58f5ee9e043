/**
 * The primitives as keyfold calls them, against vectors of NIST, RFC 5869, Project Wycheproof and the AWS Encryption
 * SDK. The files lie outside the repository, in `shared/vectors` beside the checkout or where KEYFOLD_VECTORS says;
 * where they are not, these tests say that they did not run.
 */
import { describe, expect, test } from "vitest"
import * as node from "../src/crypto-node.ts"
import * as portable from "../src/crypto-portable.ts"
import {
  type GcmCase,
  type HkdfCase,
  missing,
  nistGcm,
  read,
  rfcHkdf,
  unbase64,
  unhex,
  wycheproof,
  wycheproofGcm,
  wycheproofHkdf,
} from "./third-party-vectors.ts"

type Backend = typeof portable
const BACKENDS: readonly [string, Backend][] = [
  ["node", node as unknown as Backend],
  ["portable", portable],
]

/** A test of a file, which does not run where the file is not there. */
function fileTest(file: string, name: string, run: (backend: Backend) => void) {
  const reason = missing(file)
  test.for(BACKENDS)(`%s: ${name} (${file})`, ([, backend], context) => {
    if (reason !== undefined) context.skip(reason)
    run(backend)
  })
}

describe("AES-256-GCM", () => {
  const ours = ({ key, iv, tag }: GcmCase) => key.length === 32 && iv.length === 12 && tag.length === 16

  for (const [file, load, counts] of [
    ["nist/gcmEncryptExtIV256.rsp", nistGcm, { valid: 375, invalid: 0 }],
    ["nist/gcmDecrypt256.rsp", nistGcm, undefined],
    ["wycheproof/aes_gcm_test.json", wycheproofGcm, { valid: 39, invalid: 27 }],
  ] as const) {
    fileTest(file, "96-bit IV, 128-bit tag: same bytes, and open exactly what is valid", (backend) => {
      const cases = load(file).filter(ours)
      const valid = cases.filter(({ valid }) => valid).length
      expect(cases.length).toBe(counts === undefined ? 375 : counts.valid + counts.invalid)
      if (counts !== undefined) expect(valid).toBe(counts.valid)
      for (const { name, key, iv, aad, plaintext, ciphertext, tag, valid } of cases) {
        const sealed = Buffer.concat([ciphertext, tag])
        for (const imported of [backend.importKey(key), backend.importLongLivedKey(key)]) {
          const opened = backend.open(imported, iv, aad, sealed)
          if (!valid) {
            expect(opened, name).toBeUndefined()
            continue
          }
          expect(Buffer.from(opened ?? "refused"), name).toEqual(Buffer.from(plaintext))
          const out = new Uint8Array(plaintext.length + 19)
          backend.sealInto(imported, iv, aad, plaintext, out, 3)
          expect(Buffer.from(out.subarray(3)), name).toEqual(sealed)
          const parts = backend.seal(imported, iv, aad, plaintext)
          expect(Buffer.concat([parts.ciphertext, parts.tag]), name).toEqual(sealed)
        }
      }
    })

    fileTest(file, "a tag that was cut short opens nothing", (backend) => {
      for (const { name, key, iv, aad, ciphertext, tag } of load(file)) {
        if (key.length !== 32 || iv.length !== 12 || tag.length === 16) continue
        const sealed = Buffer.concat([ciphertext, tag])
        expect(backend.open(backend.importKey(key), iv, aad, sealed), name).toBeUndefined()
      }
    })
  }
})

describe("HMAC", () => {
  for (const [file, call, mac] of [
    ["wycheproof/hmac_sha256_test.json", "hmacSha256", 32],
    ["wycheproof/hmac_sha512_test.json", "hmacSha512", 64],
  ] as const) {
    fileTest(file, "equal for exactly what is valid", (backend) => {
      type Fields = { key: string; msg: string; tag: string }
      const cases = wycheproof<Fields>(file)
      expect(cases).toHaveLength(174)
      for (const { tcId, key, msg, tag, result } of cases) {
        const imported = backend.importKey(unhex(key))
        const macs = [backend[call](imported, unhex(msg))]
        if (call === "hmacSha256") {
          macs.push(new Uint8Array(32))
          backend.publicMacInto(imported, unhex(msg), macs[1] as Uint8Array, 0)
        }
        for (const found of macs) {
          expect(found, `tcId ${tcId}`).toHaveLength(mac)
          const cut = Uint8Array.from(found.subarray(0, tag.length / 2))
          expect(backend.equalBytes(cut, unhex(tag)), `tcId ${tcId}`).toBe(result === "valid")
        }
      }
    })
  }
})

/** keyfold makes one block of Expand; here are Extract and every block, from the same HMAC. */
describe("HKDF from keyfold's HMAC", () => {
  const hkdf = (
    backend: Backend,
    call: "hmacSha256" | "hmacSha512",
    { ikm, salt, info, length }: Omit<HkdfCase, "okm" | "name" | "valid">,
  ): Uint8Array | undefined => {
    const prk = Uint8Array.from(backend[call](backend.importKey(salt), ikm))
    if (length > 255 * prk.length) return undefined
    let block = new Uint8Array(0)
    const blocks: Uint8Array[] = []
    for (let i = 1; blocks.length * prk.length < length; i++) {
      block = Uint8Array.from(
        backend[call](backend.importKey(prk), Buffer.concat([block, info, Buffer.of(i)])),
      )
      blocks.push(block)
    }
    return Uint8Array.from(Buffer.concat(blocks).subarray(0, length))
  }

  for (const [file, load, call, count] of [
    ["nist/rfc-5869-HKDF-SHA256.txt", rfcHkdf, "hmacSha256", 3],
    ["nist/hkdf-generated.txt", rfcHkdf, "hmacSha256", 1],
    ["wycheproof/hkdf_sha256_test.json", wycheproofHkdf, "hmacSha256", 86],
    ["wycheproof/hkdf_sha512_test.json", wycheproofHkdf, "hmacSha512", 83],
  ] as const) {
    fileTest(file, "same bytes", (backend) => {
      const cases = load(file)
      expect(cases).toHaveLength(count)
      for (const each of cases) {
        const found = hkdf(backend, call, each)
        if (each.valid) expect(Buffer.from(found ?? "none"), each.name).toEqual(Buffer.from(each.okm))
        else expect(found, each.name).toBeUndefined()
      }
    })
  }

  // AWS Encryption SDK, message format 2: both keys are HKDF-SHA-512 of the data key, salted with the message id.
  const file = "aws-esdk/commitment-test-vectors.json"
  fileTest(file, "content keys, and a commitment that tells the two-key messages", (backend) => {
    const { tests } = JSON.parse(read(file)) as { tests: Partial<EsdkCase>[] }
    const whole = tests.filter((each): each is EsdkCase => "content-encryption-key" in each)
    expect([tests.length, whole.length]).toEqual([46, 21])
    let refused = 0
    for (const { header, status, comment, ...fields } of whole) {
      const salt = unbase64(fields["message-id"])
      const ikm = unbase64(fields["decrypted-dek"])
      const [suite, stored] = [unbase64(header).subarray(1, 3), unbase64(header).subarray(-48, -16)]
      const derive = (info: Uint8Array) =>
        hkdf(backend, "hmacSha512", { ikm, salt, info, length: 32 }) as Uint8Array
      expect(backend.equalBytes(derive(Buffer.from("COMMITKEY")), stored), comment).toBe(status)
      if (status) {
        const key = derive(Buffer.concat([suite, Buffer.from("DERIVEKEY")]))
        expect(backend.equalBytes(key, unbase64(fields["content-encryption-key"])), comment).toBe(true)
      } else refused++
    }
    expect(refused).toBe(5)
  })
})

type EsdkCase = Record<
  "header" | "comment" | "message-id" | "decrypted-dek" | "content-encryption-key",
  string
> & { readonly status: boolean }
