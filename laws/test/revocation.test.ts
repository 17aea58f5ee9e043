import { setTimeout as sleep } from "node:timers/promises"
import { KeyfoldError } from "@keyfold/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { CLOUDS, type CloudName, startWorld, type World } from "../src/world.ts"

/**
 * A tenant that disables its key is obeyed (design.md, laws 3 and 4): of 1,000 envelopes of mixed contexts, written or
 * rewrapped under a CMK, none opens any more, with every managed KEK at hand.
 */
const ENVELOPES = 1_000

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const contextOf = (tenant: string, i: number) => ({ organization_id: tenant, data_type: `type_${i % 5}` })

test(`${ENVELOPES} of ${ENVELOPES} are shut by the very next read`, async () => {
  let total = 0
  let opened = 0
  for (const name of CLOUDS) {
    const { tenant, keyId, envelopes } = await boundTenant(name, {}, Math.ceil(ENVELOPES / CLOUDS.length))
    const { disable, enable } = world.clouds[name]
    const keyfold = world.keyfold()
    const first = envelopes[0] as Uint8Array
    await keyfold.decrypt(first, { context: contextOf(tenant, 0) })
    disable(keyId)
    for (const [i, envelope] of envelopes.entries()) {
      total++
      const error = await failureOf(() => keyfold.decrypt(envelope, { context: contextOf(tenant, i) }))
      if (error === undefined) opened++
      expect(error).toMatchObject({ code: "KEY_DISABLED", keyId, pairNames: ["organization_id"] })
    }
    enable(keyId)
    await keyfold.decrypt(first, { context: contextOf(tenant, 0) })
  }
  expect({ total, opened }).toEqual({ total: expect.toSatisfy((n) => n >= ENVELOPES), opened: 0 })
})

test("nor do the managed KEKs alone open them, nor can a rewrap or a re-encryption save them", async () => {
  for (const name of CLOUDS) {
    const { tenant, keyId, envelopes } = await boundTenant(name, {}, 20)
    world.clouds[name].disable(keyId)
    const withoutBindings = world.keyfold({}, { bindings: [] })
    const keyfold = world.keyfold()
    for (const [i, envelope] of envelopes.entries()) {
      const context = contextOf(tenant, i)
      expect(await failureOf(() => withoutBindings.decrypt(envelope, { context }))).toMatchObject({
        code: "DECRYPTION_FAILED",
      })
      for (const save of [
        () => keyfold.rewrap(envelope, { context }),
        () => keyfold.reencrypt(envelope, { context }),
        () => keyfold.encrypt("x", { context }),
      ]) {
        expect(await failureOf(save)).toMatchObject({ code: "KEY_DISABLED", keyId })
      }
    }
  }
})

describe("with leases on", () => {
  test(`${ENVELOPES} of ${ENVELOPES} are shut one TTL later`, async () => {
    const leaseTtlMs = 1_500
    let total = 0
    for (const name of CLOUDS) {
      const { tenant, keyId, envelopes } = await boundTenant(
        name,
        { leaseTtlMs },
        Math.ceil(ENVELOPES / CLOUDS.length),
      )
      const keyfold = world.keyfold()
      const open = (envelope: Uint8Array, i: number) =>
        failureOf(() => keyfold.decrypt(envelope, { context: contextOf(tenant, i) }))
      expect(await open(envelopes[0] as Uint8Array, 0)).toBeUndefined()
      world.clouds[name].disable(keyId)
      // Not asked in between, so that no refresh hears of it early: only the time ends the lease.
      await sleep(leaseTtlMs)
      for (const [i, envelope] of envelopes.entries()) {
        total++
        expect(await open(envelope, i)).toMatchObject({ code: "KEY_DISABLED", keyId })
      }
    }
    expect(total).toBeGreaterThanOrEqual(ENVELOPES)
  })

  test("and at once where a call hears the denial", async () => {
    for (const name of CLOUDS) {
      const { tenant, keyId, envelopes } = await boundTenant(name, { leaseTtlMs: 3_600_000 }, 40)
      const keyfold = world.keyfold()
      for (const [i, envelope] of envelopes.entries()) {
        await keyfold.decrypt(envelope, { context: contextOf(tenant, i) })
      }
      const { provider, disable } = world.clouds[name]
      disable(keyId)
      // Under its lease it still opens, which is what a lease is.
      await keyfold.decrypt(envelopes[0] as Uint8Array, { context: contextOf(tenant, 0) })
      const { options = {} } = world.bindings.find(({ id }) => id === tenant) ?? {}
      const direct = world.keyfold(
        {},
        {
          providers: [provider],
          bindings: world.bindings.map((binding) =>
            binding.id === tenant ? { ...binding, options, leaseTtlMs: 0 } : binding,
          ),
        },
      )
      expect(await failureOf(() => direct.encrypt("x", { context: contextOf(tenant, 0) }))).toMatchObject({
        code: "KEY_DISABLED",
      })
      for (const [i, envelope] of envelopes.entries()) {
        expect(
          await failureOf(() => keyfold.decrypt(envelope, { context: contextOf(tenant, i) })),
        ).toMatchObject({
          code: "KEY_DISABLED",
        })
      }
    }
  })
})

/** A tenant's envelopes: half written before its key was bound and then rewrapped, half written under it. */
async function boundTenant(name: CloudName, more: { leaseTtlMs?: number }, count: number) {
  const tenant = `${name}-${Math.random()}`
  const old: Uint8Array[] = []
  for (let i = 0; i < count / 2; i++) {
    old.push(await world.keyfold().encrypt("x", { context: contextOf(tenant, i) }))
  }
  const { keyId } = await world.bind(name, { id: tenant, ...more })
  const keyfold = world.keyfold()
  const envelopes: Uint8Array[] = []
  for (const [i, envelope] of old.entries()) {
    envelopes.push(await keyfold.rewrap(envelope, { context: contextOf(tenant, i) }))
  }
  for (let i = envelopes.length; i < count; i++) {
    envelopes.push(await keyfold.encrypt("x", { context: contextOf(tenant, i) }))
  }
  return { tenant, keyId, envelopes }
}

async function failureOf(run: () => Promise<unknown>): Promise<KeyfoldError | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(KeyfoldError)
    return error as KeyfoldError
  }
}
