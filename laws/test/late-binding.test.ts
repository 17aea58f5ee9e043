import { removeBinding, withoutHistory } from "@keyfold/router"
import { afterAll, beforeAll, expect, test } from "vitest"
import { CLOUDS, startWorld, type World } from "../src/world.ts"

/** A binding that is added when there is data already, and what becomes of that data (design.md, law 5). */
let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const failure = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })

test.each(CLOUDS)("a tenant of %s joins late, moves its data, and leaves again", async (name) => {
  const tenant = `late-${name}`
  const context = { organization_id: tenant, data_type: "ssn" }
  const decrypted = async (envelope: Uint8Array) =>
    new TextDecoder().decode((await world.keyfold().decrypt(envelope, { context })).plaintext)
  const keyIdsOf = (envelope: Uint8Array) =>
    world
      .keyfold()
      .inspect(envelope)
      .wraps.filter(({ covers, role }) => covers.includes(1) && role !== "companion")
      .map(({ keyId }) => keyId)

  const old = await world.keyfold().encrypt("old", { context })
  const [managedKeyId] = keyIdsOf(old)
  const { keyId } = await world.bind(name, { id: tenant })

  // Old data opens by the history entry, without the CMK; new data uses it.
  const before = world.calls()
  expect(await decrypted(old)).toBe("old")
  expect(world.calls()).toBe(before)
  const fresh = await world.keyfold().encrypt("new", { context })
  expect(keyIdsOf(fresh)).toEqual([keyId])
  expect(await decrypted(fresh)).toBe("new")

  // A rewrap moves the old; its payload stays as it was.
  const moved = await world.keyfold().rewrap(old, { context })
  expect(keyIdsOf(moved)).toEqual([keyId])
  const payload = (envelope: Uint8Array) => envelope.subarray(world.keyfold().inspect(envelope).headerBytes)
  expect(payload(moved)).toEqual(payload(old))
  expect(await decrypted(moved)).toBe("old")

  // Once the history entry is gone, the managed KEK opens nothing of that tenant.
  const binding = () => {
    const found = world.bindings.find(({ id }) => id === tenant)
    if (found === undefined) throw new Error("no binding")
    return found
  }
  world.save(withoutHistory(binding(), managedKeyId as string))
  await expect(decrypted(old)).rejects.toEqual(failure("DECRYPTION_FAILED"))
  expect(await decrypted(moved)).toBe("old")

  // The binding is removed: its data stays readable, new data is managed again under a new KEK, and a rewrap moves back.
  await removeBinding(binding(), { managed: world.managed, save: world.save })
  expect(await decrypted(moved)).toBe("old")
  const after = await world.keyfold().encrypt("after", { context })
  const [newKeyId] = keyIdsOf(after)
  expect(newKeyId).toMatch(/^[0-9a-f]{32}$/)
  expect(newKeyId).not.toBe(managedKeyId)
  const back = await world.keyfold().rewrap(moved, { context })
  expect(keyIdsOf(back)).toEqual([newKeyId])
  world.clouds[name].disable(keyId)
  expect(await decrypted(back)).toBe("old")
  await expect(decrypted(moved)).rejects.toEqual(failure("KEY_DISABLED"))
})
