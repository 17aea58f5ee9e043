/**
 * Several recipients and one ciphertext (CVE-2020-8897): AES-GCM alone lets a sender make a payload that opens to one
 * plaintext under one key and to another under a second. In an envelope one of the two keys is always refused.
 */
import { randomBytes } from "node:crypto"
import { expect, test } from "vitest"
import * as node from "../src/crypto-node.ts"
import * as portable from "../src/crypto-portable.ts"
import {
  headerLength,
  identityOf,
  immutableBytes,
  KIND,
  POLICY_BYTE,
  type Wrap,
  writeHeader,
} from "../src/envelope.ts"
import { createKeyfold, KeyfoldError, parseContext, type WrapRecord } from "../src/index.ts"
import { deriveKeys, writeMac } from "../src/key-schedule.ts"
import { ROLE, SUITE, wrapBinding } from "../src/wrap-binding.ts"
import { twoKeyCiphertext } from "./gcm-collision.ts"
import { randomKeyId, testKek, testRouter } from "./test-keks.ts"
import { missing, read, unhex } from "./third-party-vectors.ts"

const context = { first: "1", second: "2" }
const parsed = parseContext(context)
const SENDERS_CHOICE = [0, 1] as const

/** An `any` envelope whose two wraps hold two DEKs; its MAC is made with one of them. */
function forge(deks: readonly [Uint8Array, Uint8Array]) {
  const keks = [testKek("managed", randomKeyId()), testKek("managed", randomKeyId())] as const
  const immutable = immutableBytes(KIND.message, 20, 2)
  const salt = immutable.subarray(9, 25)
  const of = {
    suite: SUITE,
    kind: KIND.message,
    policy: POLICY_BYTE.any,
    wrapCount: 2,
    salt,
    contextDigest: parsed.digest,
  }
  const wraps = keks.map((kek, slot): Wrap => {
    const mask = 1 << slot
    const binding = wrapBinding(of, mask, slot, ROLE.direct)
    const covered = [parsed.pairs[slot] as never]
    const record = kek.wrap(deks[slot] as Uint8Array, { binding, covered, owner: "" }, {}) as WrapRecord
    return { ...record, identity: identityOf(kek), mask, role: ROLE.direct }
  })
  const keysOf = (slot: 0 | 1) => deriveKeys(deks[slot], immutable, parsed.digest)
  const router = testRouter(
    keks.map((kek, slot) => ({
      names: [slot === 0 ? "first" : "second"],
      kek,
      owner: "",
      companion: undefined,
    })),
  )
  const keyfold = createKeyfold({ router })
  return {
    keysOf,
    /** What the payload is sealed with: the 25 bytes and two digests. */
    aad: Buffer.concat([immutable, parsed.digest, node.sha256(new Uint8Array(0))]),
    /** The plaintexts that the holder of each KEK alone gets; undefined where it is refused. */
    async openedBy(payload: Uint8Array, macBy: 0 | 1): Promise<(Uint8Array | undefined)[]> {
      const header = new Uint8Array(headerLength(wraps, undefined))
      writeHeader(header, immutable, "any", wraps, undefined)
      writeMac(keysOf(macBy).header, header)
      const envelope = Uint8Array.from(Buffer.concat([header, payload]))
      const results: (Uint8Array | undefined)[] = []
      for (const slot of [0, 1] as const) {
        const other = keks[1 - slot] as (typeof keks)[number]
        other.fault.unwrap = () => {
          throw new KeyfoldError("KEY_DISABLED", "held by somebody else")
        }
        try {
          results.push((await keyfold.decrypt(envelope, { context })).plaintext)
        } catch (error) {
          expect(["DECRYPTION_FAILED", "KEY_DISABLED"]).toContain((error as KeyfoldError).code)
          results.push(undefined)
        }
        delete other.fault.unwrap
      }
      return results
    },
  }
}

const file = "gcm-commitment/two-key-aes256gcm.json"
test(`the two-key ciphertexts, reframed as envelopes (${file})`, async (task) => {
  const reason = missing(file)
  if (reason !== undefined) task.skip(reason)
  type Case = Record<"id" | "key1" | "key2" | "iv" | "aad" | "ct" | "tag" | "msg1" | "msg2", string>
  const { tests } = JSON.parse(read(file)) as { tests: Case[] }
  expect(tests).toHaveLength(8)
  for (const each of tests) {
    const deks = [unhex(each.key1), unhex(each.key2)] as const
    const sealed = unhex(each.ct + each.tag)
    // The attack is real: plain AES-GCM opens it under both keys, in both backends.
    for (const { open } of [node, portable]) {
      const opened = deks.map((key) => open(key, unhex(each.iv), unhex(each.aad), sealed))
      expect(opened.map((bytes) => Buffer.from(bytes ?? "").toString("hex"))).toEqual([each.msg1, each.msg2])
    }
    for (const macBy of SENDERS_CHOICE) {
      const opened = await forge(deks).openedBy(sealed, macBy)
      expect(opened.filter((plaintext) => plaintext === undefined).length, each.id).toBeGreaterThanOrEqual(1)
    }
  }
})

test("a payload that opens under the content keys of two DEKs: the header's MAC refuses one of them", async () => {
  for (let round = 0; round < 20; round++) {
    const deks = [randomBytes(32), randomBytes(32)] as const
    const forged = forge([Uint8Array.from(deks[0]), Uint8Array.from(deks[1])])
    const keys = SENDERS_CHOICE.map((slot) => forged.keysOf(slot).content) as [Uint8Array, Uint8Array]
    const iv = new Uint8Array(12)
    iv[11] = 1
    const raw = keys.map((key) => (key instanceof Uint8Array ? key : (key as never as KeyLike).export()))
    const payload = twoKeyCiphertext(raw as [Uint8Array, Uint8Array], iv, forged.aad)
    const plaintexts = keys.map((key) => node.open(key, iv, forged.aad, payload))
    expect(plaintexts[0]).toHaveLength(16)
    expect(plaintexts[1]).toHaveLength(16)
    expect(plaintexts[0]).not.toEqual(plaintexts[1])
    for (const macBy of SENDERS_CHOICE) {
      const expected = plaintexts.map((plaintext, slot) => (slot === macBy ? plaintext : undefined))
      expect(await forged.openedBy(payload, macBy)).toEqual(expected)
    }
  }
})

/** On Node 24 one-use keys are KeyObjects. */
type KeyLike = { export: () => Uint8Array }
