import { setTimeout as sleep } from "node:timers/promises"
import { type KeyfoldEvent, parseContext, scopedBinding } from "@keyfold/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { headerLength, parseHeader, type Wrap, writeHeader } from "../../packages/core/src/envelope.ts"
import { CLOUDS, type CloudName, startWorld, type World } from "../src/world.ts"

/** What a lease saves, and what it never does (design.md §5). */
let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const failure = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const contextOf = (tenant: string, i = 0) => ({ organization_id: tenant, user: `u_${i}` })
const callsOf = (name: CloudName) =>
  world.clouds[name].emulator.calls.filter(({ operation }) =>
    world.clouds[name].operations.includes(operation),
  ).length

async function leasedTenant(name: CloudName) {
  const tenant = `${name}-${Math.random()}`
  const { keyId } = await world.bind(name, { id: tenant, leaseTtlMs: 60_000 })
  return { tenant, keyId }
}

test.each(CLOUDS)("3,000 concurrent decrypts under one lease cost %s exactly one call", async (name) => {
  const { tenant } = await leasedTenant(name)
  const writer = world.keyfold({ deadlineMs: 30_000 })
  const envelopes = await Promise.all(
    Array.from({ length: 3_000 }, (_, i) => writer.encrypt("x", { context: contextOf(tenant, i) })),
  )
  world.clouds[name].emulator.inject({ kind: "latency", ms: 20 })
  const before = callsOf(name)
  const reader = world.keyfold({ deadlineMs: 30_000 })
  const opened = await Promise.all(
    envelopes.map((envelope, i) => reader.decrypt(envelope, { context: contextOf(tenant, i) })),
  )
  expect(opened).toHaveLength(3_000)
  expect(callsOf(name) - before).toBe(1)
})

test.each(CLOUDS)(
  "1,000 contexts that share the bound pair cost %s one call to write and one to read",
  async (name) => {
    const { tenant } = await leasedTenant(name)
    const events: KeyfoldEvent[] = []
    const keyfold = world.keyfold({ onEvent: (event) => void events.push(event) })
    const before = callsOf(name)
    for (let i = 0; i < 1_000; i++) {
      const envelope = await keyfold.encrypt("x", { context: contextOf(tenant, i) })
      await keyfold.decrypt(envelope, { context: contextOf(tenant, i) })
    }
    expect(callsOf(name) - before).toBe(2)
    expect(events.filter((event) => event.type === "kek" && event.leaseHit === true)).toHaveLength(1_998)
  },
)

describe("is never taken for a lease key", () => {
  test.each(CLOUDS)("a secret that is known and wrapped by %s for another purpose", async (name) => {
    const { tenant, keyId } = await leasedTenant(name)
    const context = contextOf(tenant)
    const keyfold = world.keyfold()
    const envelope = await keyfold.encrypt("x", { context })
    const { provider } = world.clouds[name]
    const { options, owner } = world.bindings.find(
      ({ id }) => id === tenant,
    ) as (typeof world.bindings)[number]
    const native = provider.kek(keyId, options)
    const covered = parseContext({ organization_id: tenant }).pairs
    const salt = new Uint8Array(16).fill(1)
    const known = new Uint8Array(32).fill(9)
    for (const purpose of ["canary", "rootKey"] as const) {
      const scope = { purpose, providerId: provider.id, keyId, owner, environment: "laws", covered }
      const { wrapped } = await native.wrap(
        Uint8Array.from(known),
        { binding: scopedBinding(scope, salt), covered, owner },
        {},
      )
      const record = [...salt, wrapped.length >> 8, wrapped.length & 0xff, ...wrapped, ...new Uint8Array(60)]
      const forged = withWrap(envelope, keyId, Uint8Array.from(record))
      await expect(keyfold.decrypt(forged, { context })).rejects.toEqual(failure("DECRYPTION_FAILED"))
    }
  })
})

test.each(CLOUDS)("a lease of one owner never serves another that shares the CMK of %s", async (name) => {
  const { tenant, keyId } = await leasedTenant(name)
  const keyfold = world.keyfold()
  const envelope = await keyfold.encrypt("x", { context: contextOf(tenant) })
  await keyfold.decrypt(envelope, { context: contextOf(tenant) })
  // The router refuses to bind one key for two owners; a database that holds such rows all the same is no way in.
  const mine = world.bindings.find(({ id }) => id === tenant) as (typeof world.bindings)[number]
  const theirs = { ...mine, id: "other", owner: "other", match: { organization_id: "other" } }
  const both = world.keyfold({}, { bindings: () => [mine, theirs] })
  const before = callsOf(name)
  await expect(both.decrypt(envelope, { context: contextOf("other") })).rejects.toEqual(
    failure("DECRYPTION_FAILED"),
  )
  const other = await both.encrypt("x", { context: contextOf("other") })
  expect(leasePartOf(other, keyId)).not.toEqual(leasePartOf(envelope, keyId))
  expect(callsOf(name) - before).toBeGreaterThanOrEqual(1)
  // Nor does its lease, moved into an envelope of the other.
  const moved = withWrap(other, keyId, wrapOf(envelope, keyId).wrapped)
  await expect(both.decrypt(moved, { context: contextOf("other") })).rejects.toEqual(
    failure("DECRYPTION_FAILED"),
  )
})

test.each(CLOUDS)("an outage of %s is ridden out within the lease, and told after it", async (name) => {
  const tenant = `${name}-${Math.random()}`
  const { keyId } = await world.bind(name, { id: tenant, leaseTtlMs: 1_000 })
  const keyfold = world.keyfold({ deadlineMs: 500 })
  const context = contextOf(tenant)
  const envelope = await keyfold.encrypt("x", { context })
  const started = performance.now()
  await keyfold.decrypt(envelope, { context })
  const undo = world.clouds[name].emulator.inject({ kind: "reset" }, { keyId })
  while (performance.now() - started < 700) {
    await keyfold.decrypt(envelope, { context })
    await keyfold.encrypt("x", { context })
    await sleep(50)
  }
  await sleep(700)
  await expect(keyfold.decrypt(envelope, { context })).rejects.toMatchObject({ retryable: true })
  await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({ retryable: true })
  undo()
})

function wrapOf(envelope: Uint8Array, keyId: string): Wrap {
  const id = Buffer.from(keyId, "latin1")
  return parseHeader(envelope).wraps.find(({ identity }) => Buffer.from(identity).includes(id)) as Wrap
}

/** Lease salt, length and wrapped lease key. */
function leasePartOf(envelope: Uint8Array, keyId: string): Uint8Array {
  return wrapOf(envelope, keyId).wrapped.slice(0, -60)
}

/** The envelope with other wrapped bytes for a key; its MAC is as it was, and is judged last. */
function withWrap(envelope: Uint8Array, keyId: string, wrapped: Uint8Array): Uint8Array {
  const own = wrapOf(envelope, keyId)
  const { bytes, wraps, policy } = parseHeader(envelope)
  const changed = wraps.map((wrap) =>
    Buffer.compare(wrap.wrapped, own.wrapped) === 0 ? { ...wrap, wrapped } : wrap,
  )
  const header = new Uint8Array(headerLength(changed, undefined))
  writeHeader(header, envelope.subarray(0, 25), policy, changed, undefined)
  header.set(bytes.subarray(-32), header.length - 32)
  return new Uint8Array([...header, ...envelope.subarray(bytes.length)])
}
