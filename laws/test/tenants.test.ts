import { afterAll, beforeAll, expect, test } from "vitest"
import { build, take, type WrapParts } from "../../test-vectors/make/surgery.ts"
import { startWorld, type World } from "../src/world.ts"

/**
 * The confused deputy (threat T6): keyfold may use every tenant's key, so nothing of one tenant may open through the
 * key of another, or in another's context through its own.
 */
const TENANTS = 20

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

test(`no wrap of ${TENANTS} tenants with keys in AWS opens for another`, async () => {
  const tenants = await Promise.all(
    Array.from({ length: TENANTS }, async (_, i) => {
      const { id: organization_id, keyId } = await world.bind("aws", { id: `tenant-${i}` })
      return { context: { organization_id, data_type: "ssn" }, keyId }
    }),
  )
  const keyfold = world.keyfold()
  const envelopes = await Promise.all(tenants.map(({ context }) => keyfold.encrypt("x", { context })))
  const wrapOf = (i: number) => {
    const parts = take(envelopes[i] as Uint8Array)
    const at = parts.wraps.findIndex(({ provider }) => provider.toString() === "aws-kms")
    return { parts, at, wrap: parts.wraps[at] as WrapParts }
  }
  let tried = 0
  for (const [i, { context, keyId }] of tenants.entries()) {
    for (const [j, other] of tenants.entries()) {
      if (i === j) continue
      // The other's envelope; its wrap in the place of ours; the same, under the name of our key.
      const whole = envelopes[j] as Uint8Array
      const [foreign, renamed] = [false, true].map((isRenamed) => {
        const { parts, at } = wrapOf(i)
        const { wrap } = wrapOf(j)
        parts.wraps[at] = isRenamed ? { ...wrap, keyId: Buffer.from(keyId) } : wrap
        return build(parts)
      }) as [Buffer, Buffer]
      const { calls } = world.clouds.aws.emulator
      for (const [envelope, expected] of [
        [whole, 0],
        [foreign, 0],
        [renamed, 1],
      ] as const) {
        const before = calls.length
        await expect(keyfold.decrypt(envelope, { context })).rejects.toMatchObject({
          code: "DECRYPTION_FAILED",
        })
        const made = calls.slice(before)
        expect(made.length).toBeLessThanOrEqual(expected)
        expect(JSON.stringify(made)).not.toContain(other.keyId)
        tried++
      }
    }
  }
  expect(tried).toBe(3 * TENANTS * (TENANTS - 1))
})
