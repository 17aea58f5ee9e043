import { strict as assert } from "node:assert"
import { randomInt } from "node:crypto"
import type { Kek, WrapContext, WrapRecord } from "@keyfold/core"
import {
  BINDING_BYTES,
  CONTEXT,
  codeOf,
  type Law,
  OFFSET,
  PLAINTEXT,
  randomSecret,
  SECRET_BYTES,
  withBindingByte,
  wrapContext,
} from "./law.ts"

/** What a wrap opens under, and nothing else. No provider may go without any of them. */
export const BINDING_LAWS = [
  {
    name: "ids and records are well formed",
    async run({ harness: { kek } }) {
      assert.match(kek.providerId, /^[a-z0-9-]{1,32}$/)
      assert.match(kek.keyId, /^[\x20-\x7e]{1,1024}$/)
      const record = await kek.wrap(randomSecret(), wrapContext(), {})
      assert.equal(record.leased, false)
      assert.ok(Number.isInteger(record.keyVersion) && record.keyVersion >= 0 && record.keyVersion < 2 ** 32)
      assert.ok(record.wrapped instanceof Uint8Array)
      assert.ok(record.wrapped.length >= SECRET_BYTES && record.wrapped.length <= MAX_WRAPPED_BYTES)
    },
  },
  {
    name: "round trip",
    async run({ harness: { kek }, keyfold }) {
      await Promise.all(
        ROUND_TRIP_CONTEXTS.map(async (pairs) => {
          const secret = randomSecret()
          const kept = secret.slice()
          const context = wrapContext(pairs)
          const record = await kek.wrap(secret, context, {})
          assert.deepEqual(secret, kept, "wrap changed the secret, which is its caller's")
          secret.fill(0) // a wrap that kept a reference would now open to zeros
          const opened = [await kek.unwrap(record, context, {}), await kek.unwrap(record, context, {})]
          for (const again of opened) assert.deepEqual(Uint8Array.from(again), kept)
          opened[0]?.fill(0)
          assert.deepEqual(Uint8Array.from(opened[1] as Uint8Array), kept, "two unwraps share their bytes")
        }),
      )
      const envelope = await keyfold.encrypt(PLAINTEXT, { context: CONTEXT })
      const { plaintext } = await keyfold.decrypt(envelope, { context: CONTEXT })
      assert.equal(new TextDecoder().decode(plaintext), PLAINTEXT)
    },
  },
  {
    name: "two wraps of one secret differ",
    async run({ harness: { kek } }) {
      const secret = randomSecret()
      const context = wrapContext()
      const first = await kek.wrap(secret, context, {})
      const second = await kek.wrap(secret, context, {})
      assert.notDeepEqual(first.wrapped, second.wrapped)
    },
  },
  {
    name: "a wrap is refused by another key",
    async run({ harness: { kek, otherKek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      await assertRefused(otherKek, record, context, "another key")
      const other = await otherKek.wrap(randomSecret(), context, {})
      await assertRefused(kek, other, context, "the first key")
    },
  },
  {
    name: "every flipped byte is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      for (let at = 0; at < record.wrapped.length; at++) {
        const wrapped = record.wrapped.slice()
        wrapped[at] = (wrapped[at] as number) ^ (1 << randomInt(8))
        await assertRefused(kek, { ...record, wrapped }, context, `byte ${at}`)
      }
    },
  },
  {
    name: "a shorter or longer wrap is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      const { length } = record.wrapped
      for (const cut of [0, 1, SECRET_BYTES, length >> 1, length - 1]) {
        const wrapped = record.wrapped.slice(0, cut)
        await assertRefused(kek, { ...record, wrapped }, context, `${cut} of ${length} bytes`)
      }
      const longer = new Uint8Array(length + 1)
      longer.set(record.wrapped)
      await assertRefused(kek, { ...record, wrapped: longer }, context, "one byte more")
    },
  },
  {
    name: "another binding is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      for (let at = 0; at < BINDING_BYTES; at++) {
        await assertRefused(
          kek,
          record,
          withBindingByte(context, at, 1 << randomInt(8)),
          `binding byte ${at}`,
        )
      }
    },
  },
  {
    name: "another context is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext(CONTEXT)
      const record = await kek.wrap(randomSecret(), context, {})
      for (const pairs of [
        { ...CONTEXT, organization_id: `${CONTEXT.organization_id}2` },
        { ...CONTEXT, data_type: CONTEXT.data_type.toUpperCase() },
        { ...CONTEXT, user_id: "u" },
        { data_type: CONTEXT.data_type },
        { data_type: CONTEXT.organization_id, organization_id: CONTEXT.data_type },
      ]) {
        const other = wrapContext(pairs)
        const binding = Uint8Array.from(other.binding)
        // Only what the context decides differs: the salt is the same.
        binding.set(context.binding.subarray(OFFSET.salt, OFFSET.digest), OFFSET.salt)
        await assertRefused(kek, record, { ...other, binding }, Object.keys(pairs).join())
      }
    },
  },
  {
    name: "another purpose is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      for (const purpose of [2, 3, 4, 5]) {
        await assertRefused(
          kek,
          record,
          withBindingByte(context, OFFSET.purpose, 1 ^ purpose),
          `purpose ${purpose}`,
        )
      }
    },
  },
  {
    name: "another slot is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      for (const slot of [1, 2, 19]) {
        await assertRefused(kek, record, withBindingByte(context, OFFSET.slot, slot), `slot ${slot}`)
      }
    },
  },
  {
    name: "a leased record is refused",
    async run({ harness: { kek } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      await assertRefused(kek, { ...record, leased: true }, context, "leased")
    },
  },
] as const satisfies readonly Law[]

async function assertRefused(
  kek: Kek,
  record: WrapRecord,
  context: WrapContext,
  what: string,
): Promise<void> {
  const code = await codeOf(kek, () => kek.unwrap(record, context, {}))
  assert.equal(code, "DECRYPTION_FAILED", `${what}: ${code}, not DECRYPTION_FAILED`)
}

/** docs/format.md, "Limits". */
const MAX_WRAPPED_BYTES = 8_192

const ROUND_TRIP_CONTEXTS: readonly Record<string, string>[] = [
  { organization_id: "org_1" },
  { a: "1", b: "2", c: "3", d: "4", e: "5", f: "6", g: "7", h: "8", i: "9", j: "10" },
  { näme: "värde ☃ 𝄞", "with space": " ", 'quo"te': "\\ \n \u007f" },
]
