import { createKeyfold, KeyfoldError } from "@keyfold/core"
import type { ManagedProvider } from "@keyfold/kek-managed"
import { beforeEach, describe, expect, test } from "vitest"
import {
  activateBinding,
  addBinding,
  type Binding,
  type ChangeOptions,
  createRouter,
  disableBinding,
  type ManagedKeks,
  removeBinding,
  replaceKey,
  withoutHistory,
} from "../src/index.ts"
import { createVault, failure, providersFor, type Vault } from "./vault.ts"

const org = { organization_id: "org_1" }
const both = { ...org, data_type: "ssn" }

let vault: Vault
beforeEach(async () => {
  vault = await createVault()
})
const change = (): ChangeOptions => ({ managed: vault.managed, save: vault.save })
const only = () => vault.list()[0] as Binding

/** Fails before or after the k-th step of a change; a step is a save, or a call that changes managed KEKs. */
function crashingAt(
  k: number,
  when: "before" | "after",
): ChangeOptions & { readonly reached: () => boolean } {
  let steps = 0
  const step = async <T>(run: () => T | Promise<T>): Promise<T> => {
    const isIt = ++steps === k
    if (isIt && when === "before") throw new Error("crash")
    const result = await run()
    if (isIt) throw new Error("crash")
    return result
  }
  const { managed, save } = vault
  const stepping: Partial<ManagedKeks> = {
    kekFor: (pair) => step(() => managed.kekFor(pair)),
    companionFor: (owner, match) => step(() => managed.companionFor(owner, match)),
    closePair: (pair) => step(() => managed.closePair(pair)),
    reopenPair: (pair) => step(() => managed.reopenPair(pair)),
  }
  return {
    managed: { ...managed, ...stepping } as ManagedProvider,
    save: (binding) => step(() => save(binding)),
    reached: () => steps >= k,
  }
}

describe("a crash at any step, then the same again", () => {
  const cases = [
    { match: org, hadKek: true, publicKey: false },
    { match: org, hadKek: false, publicKey: true },
    { match: both, hadKek: true, publicKey: true },
  ]
  test.each(cases)("of adding $match, managed KEK $hadKek, public key $publicKey", async (given) => {
    for (const when of ["before", "after"] as const) {
      for (let k = 1; k < 20; k++) {
        vault = await createVault()
        const old = given.hadKek ? await vault.keyfold().encrypt("old", { context: both }) : undefined
        const kek = (given.publicKey ? vault.azure : vault.aws).kek("cmk")
        const draft = { id: "b", match: given.match, owner: "org_1" }
        const crashing = crashingAt(k, when)
        const crashed = await addBinding(draft, kek, [], crashing).then(
          () => false,
          () => true,
        )
        if (old !== undefined) await vault.keyfold().decrypt(old, { context: both }) // no reader notices
        const added = await addBinding(draft, kek, vault.list(), change())
        expect(added).toMatchObject({ state: "active", keyId: "cmk" })
        expect(vault.list()).toEqual([JSON.parse(JSON.stringify(added))])
        const bounds = added.history.map(({ lastVersion }) => lastVersion)
        expect(bounds).toEqual(given.match === both ? [undefined, undefined] : given.hadKek ? [1] : [])
        expect((await providersFor(vault.keyfold(), both)).at(-1)).toBe(
          given.publicKey ? "managed" : "aws-kms",
        )
        if (old !== undefined) await vault.keyfold().decrypt(old, { context: both })
        expect(crashed).toBe(crashing.reached())
        if (!crashing.reached()) break
        expect(k).toBeLessThan(19)
      }
    }
  })

  test("of removing", async () => {
    for (const when of ["before", "after"] as const) {
      for (let k = 1; k < 3; k++) {
        vault = await createVault()
        const old = await vault.keyfold().encrypt("old", { context: both })
        await vault.add(org)
        const envelope = await vault.keyfold().encrypt("x", { context: both })
        const crashing = crashingAt(k, when)
        await expect(removeBinding(only(), crashing)).rejects.toThrow("crash")
        for (const each of [old, envelope]) await vault.keyfold().decrypt(each, { context: both })
        await removeBinding(only(), change())
        for (const each of [old, envelope]) await vault.keyfold().decrypt(each, { context: both })
        expect(await providersFor(vault.keyfold(), both)).toEqual(["managed", "managed"])
        expect(only().history).toHaveLength(2)
      }
    }
  })
})

describe("a former key that was dropped from history stays shut", () => {
  test("when the binding is disabled and activated again", async () => {
    const old = await vault.keyfold().encrypt("x", { context: org })
    const binding = await vault.add(org)
    vault.save(withoutHistory(binding, binding.history[0]?.keyId as string))
    await activateBinding(await disableBinding(only(), change()), vault.list(), change())
    await addBinding({ id: "b0", match: org, owner: "org_1" }, vault.aws.kek("key-0"), vault.list(), change())
    expect(only()).toMatchObject({ state: "active", history: [] })
    await expect(vault.keyfold().decrypt(old, { context: org })).rejects.toEqual(failure("DECRYPTION_FAILED"))
  })

  test("when a more specific binding is added", async () => {
    const old = await vault.keyfold().encrypt("x", { context: both })
    const binding = await vault.add(both)
    vault.save(binding.history.reduce((left, { keyId }) => withoutHistory(left, keyId), binding))
    const narrow = await vault.add({ ...both, user: "u" })
    expect(narrow.history.map(({ pairs }) => pairs)).toEqual([["user"]])
    await expect(vault.keyfold().decrypt(old, { context: both })).rejects.toEqual(
      failure("DECRYPTION_FAILED"),
    )
  })

  test("and an unknown one is named as unknown, also beside others", async () => {
    await vault.keyfold().encrypt("x", { context: org })
    const { history } = await vault.add(org)
    expect(history).toHaveLength(1)
    expect(() => withoutHistory(only(), "another")).toThrow(failure("KEY_NOT_FOUND"))
    expect(withoutHistory(only(), history[0]?.keyId as string).history).toEqual([])
  })

  test("and one of a binding without any likewise", async () => {
    const binding = await vault.add(org)
    expect(() => withoutHistory(binding, "another")).toThrow(failure("KEY_NOT_FOUND"))
  })
})

describe("keys", () => {
  test("of AWS take pairs of 4,038 bytes and no name under aws:, and the rest is refused before anybody is asked", async () => {
    // Eight pairs, and one that fills what is left to the byte.
    const nine = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`pair_${i}`, "x".repeat(480)]))
    const used = 8 * (6 + 480)
    const match = (bytes: number) => ({ ...nine, rest: "x".repeat(bytes - used - 4) })
    await expect(vault.add(match(4039))).rejects.toEqual(failure("INVALID_ARGUMENT"))
    await expect(vault.add({ ...nine, rest: "é".repeat(100) })).rejects.toEqual(failure("INVALID_ARGUMENT"))
    await expect(vault.add({ "aws:tenant": "1" })).rejects.toEqual(failure("INVALID_ARGUMENT"))
    expect(vault.list()).toEqual([])
    await vault.add(match(4038))
    await vault.add({ "aws:tenant": "1" }, {}, "key-azure", vault.azure)
    const toAws = replaceKey(
      vault.list()[1] as Binding,
      { kek: vault.aws.kek("key") },
      vault.list(),
      change(),
    )
    await expect(toAws).rejects.toEqual(failure("INVALID_ARGUMENT"))
  })

  test("of AWS refuse a name under aws: also beside others", async () => {
    for (const match of [
      { ...org, "aws:tenant": "1" },
      { "aws:tenant": "1", zone: "a" },
    ]) {
      await expect(vault.add(match)).rejects.toEqual(failure("INVALID_ARGUMENT"))
    }
  })

  test("going back and forth between two keys leaves one entry each, and all data readable", async () => {
    await vault.add(org, {}, "first")
    const envelopes: Uint8Array[] = []
    for (const keyId of ["second", "first", "second", "third"]) {
      envelopes.push(await vault.keyfold().encrypt("x", { context: org }))
      await replaceKey(only(), { kek: vault.aws.kek(keyId) }, vault.list(), change())
    }
    expect(only().history.map(({ keyId }) => keyId)).toEqual(["first", "second"])
    for (const envelope of envelopes) await vault.keyfold().decrypt(envelope, { context: org })
  })

  test("a key that covered other pairs, or has its id at another provider, is another one in history", async () => {
    const binding = await vault.add(both, {}, "k")
    const earlier = ["aws-kms", "gcp-kms"].flatMap((provider) =>
      [["organization_id"], provider === "gcp-kms" ? Object.keys(both) : ["data_type"]].map((pairs) => ({
        ...{
          provider,
          keyId: "k",
          owner: binding.owner,
          options: {},
          publicKey: false,
          companion: undefined,
        },
        ...{ leaseTtlMs: 0, match: both, pairs, lastVersion: undefined, closedAt: "2026-01-01T00:00:00Z" },
      })),
    )
    const replaced = await replaceKey(
      { ...binding, history: earlier },
      { kek: vault.aws.kek("next") },
      vault.list(),
      change(),
    )
    expect(replaced.history.map(({ provider, keyId, pairs }) => [provider, keyId, pairs.length])).toEqual([
      ["aws-kms", "k", 1],
      ["aws-kms", "k", 1],
      ["gcp-kms", "k", 1],
      ["gcp-kms", "k", 2],
      ["aws-kms", "k", 2],
    ])
  })

  test("the same key with other options is reached otherwise, and is no former key", async () => {
    const binding = await vault.add(org, { options: { region: "eu-central-1" } }, "cmk")
    const options = { region: "eu-central-1", roleArn: "arn:aws:iam::1:role/x" }
    const key = { kek: vault.aws.kek("cmk"), options, expectedRegion: "eu-central-1" }
    const replaced = await replaceKey(binding, key, vault.list(), change())
    expect(replaced).toMatchObject({ options, expectedRegion: "eu-central-1", history: [] })
  })

  test("from a symmetric key to a public one and back, everything opens", async () => {
    await vault.add(org, {}, "symmetric")
    const first = await vault.keyfold().encrypt("x", { context: org })
    const withPublic = await replaceKey(only(), { kek: vault.azure.kek("rsa") }, vault.list(), change())
    const second = await vault.keyfold().encrypt("x", { context: org })
    await replaceKey(only(), { kek: vault.aws.kek("symmetric") }, vault.list(), change())
    expect(only().companion).toBeUndefined()
    expect(only().history.find(({ keyId }) => keyId === "rsa")?.companion).toBe(withPublic.companion)
    for (const envelope of [first, second]) await vault.keyfold().decrypt(envelope, { context: org })
  })

  test("a key that is or was another owner's is refused (threat T6)", async () => {
    await vault.add(org, {}, "theirs")
    await vault.add({ organization_id: "org_2" }, { owner: "org_2" }, "ours")
    await replaceKey(only(), { kek: vault.aws.kek("newer") }, vault.list(), change())
    for (const keyId of ["theirs", "newer"]) {
      const adding = vault.add({ organization_id: "org_3" }, { owner: "org_3" }, keyId)
      await expect(adding).rejects.toEqual(failure("INVALID_ARGUMENT"))
      const second = vault.list()[1] as Binding
      const replacing = replaceKey(second, { kek: vault.aws.kek(keyId) }, vault.list(), change())
      await expect(replacing).rejects.toEqual(failure("INVALID_ARGUMENT"))
    }
    expect(vault.list()).toHaveLength(2)
  })

  test("a KMS that cannot describe the key ends the change before anything is closed or saved", async () => {
    const kek = vault.aws.kek("cmk")
    const denied = new KeyfoldError("PERMISSION_DENIED", "allow kms:DescribeKey")
    const named = new KeyfoldError("THROTTLED", "slow down", { providerId: "aws-kms", keyId: "cmk" })
    const throttled = { ...kek, describe: () => Promise.reject(named) }
    const refused = addBinding({ id: "b", match: org, owner: "o" }, throttled, [], change())
    await expect(refused).rejects.toBe(named)
    const errors: [unknown, string][] = [
      [denied, "PERMISSION_DENIED"],
      [new Error("socket hang up"), "UNAVAILABLE"],
    ]
    for (const [error, code] of errors) {
      const failing = {
        ...kek,
        describe: () => Promise.reject(error),
        classify: () => "UNAVAILABLE" as const,
      }
      const adding = addBinding({ id: "b", match: org, owner: "o" }, failing, [], change())
      await expect(adding).rejects.toMatchObject({
        name: "KeyfoldError",
        code,
        keyId: "cmk",
        pairNames: ["organization_id"],
        cause: error,
      })
    }
    expect(vault.list()).toEqual([])
    expect(await providersFor(vault.keyfold(), org)).toEqual(["managed"])
  })

  test("the signal reaches the KMS", async () => {
    const { signal } = new AbortController()
    let given: unknown
    const kek = vault.aws.kek("cmk")
    const watched: typeof kek = {
      ...kek,
      describe: (options) => {
        given = options.signal
        return kek.describe(options)
      },
    }
    await addBinding({ id: "b", match: org, owner: "o" }, watched, [], { ...change(), signal })
    expect(given).toBe(signal)
  })
})

describe("ids and states", () => {
  test("an id that another binding has is refused: its data would be shut", async () => {
    await vault.add(org, { id: "b" }, "first")
    const envelope = await vault.keyfold().encrypt("x", { context: org })
    await expect(vault.add(org, { id: "b" }, "second")).rejects.toEqual(failure("INVALID_ARGUMENT"))
    await expect(vault.add({ user: "u" }, { id: "b" }, "first")).rejects.toEqual(failure("INVALID_ARGUMENT"))
    await removeBinding(only(), change())
    await expect(vault.add({ user: "u" }, { id: "b" }, "third")).rejects.toEqual(failure("INVALID_ARGUMENT"))
    await vault.keyfold().decrypt(envelope, { context: org })
  })

  test("an id never moves to a narrower or a wider match", async () => {
    await vault.add(both, { id: "b" }, "first")
    for (const match of [org, { ...both, user: "u" }]) {
      await expect(vault.add(match, { id: "b" }, "first")).rejects.toEqual(failure("INVALID_ARGUMENT"))
    }
  })

  test("a removed binding overlaps with nothing", async () => {
    const removed = await vault.add(both)
    await expect(vault.add({ ...org, user: "u" })).rejects.toEqual(failure("AMBIGUOUS_BINDING"))
    await removeBinding(removed, change())
    await expect(vault.add({ ...org, user: "u" })).resolves.toMatchObject({ state: "active" })
  })

  test("adding what is there completes it, and switches nothing on that was switched off", async () => {
    const pending = await vault.add(org, { id: "b", state: "pending" }, "k")
    expect(await vault.add(org, { id: "b", state: "pending" }, "k")).toEqual(pending)
    expect(await providersFor(vault.keyfold(), org)).toEqual(["managed"])
    const active = await vault.add(org, { id: "b" }, "k")
    expect(active).toMatchObject({ state: "active" })
    expect(await vault.add(org, { id: "b", state: "pending" }, "k")).toEqual(active)
    const disabled = await disableBinding(active, change())
    expect(await vault.add(org, { id: "b" }, "k")).toEqual(disabled)
    expect(only().state).toBe("disabled")
  })

  test("a verified binding has wrapped nothing either, and a new key of it is to be verified anew", async () => {
    const pending = await vault.add(org, { state: "pending" }, "first")
    const verified: Binding = { ...pending, state: "verified" }
    const moved = await replaceKey(verified, { kek: vault.aws.kek("second") }, vault.list(), change())
    expect(moved).toMatchObject({ state: "pending", keyId: "second", history: [] })
    expect(await removeBinding(verified, change())).toMatchObject({ state: "removed", history: [] })
  })

  test("removing reopens the pair of a one-pair match, also again, and no other; nothing is saved twice", async () => {
    const reopened: string[] = []
    const managed: ManagedKeks = {
      ...vault.managed,
      reopenPair: (pair) => {
        reopened.push(pair.name)
        return vault.managed.reopenPair(pair)
      },
    }
    const narrow = await removeBinding(await vault.add(org), { managed, save: vault.save })
    const wide = await removeBinding(await vault.add(both), { managed, save: vault.save })
    expect(reopened).toEqual(["organization_id"])
    const save = () => expect.unreachable()
    expect(await removeBinding(narrow, { managed, save })).toEqual(narrow)
    expect(await removeBinding(wide, { managed, save })).toEqual(wide)
    expect(reopened).toEqual(["organization_id", "organization_id"])
    expect(await removeBinding(narrow, { managed: undefined, save })).toEqual(narrow)
  })

  test("a removed binding that is added again under its id keeps its history", async () => {
    const envelopes = [await vault.keyfold().encrypt("x", { context: org })]
    for (const keyId of ["first", "second"]) {
      await vault.add(org, { id: "b" }, keyId)
      envelopes.push(await vault.keyfold().encrypt("x", { context: org }))
      await removeBinding(only(), change())
      envelopes.push(await vault.keyfold().encrypt("x", { context: org }))
    }
    expect(vault.list()).toHaveLength(1)
    for (const envelope of envelopes) await vault.keyfold().decrypt(envelope, { context: org })
    const managedIds = only().history.filter(({ provider }) => provider === "managed")
    expect(new Set(managedIds.map(({ keyId }) => keyId)).size).toBe(2) // a new KEK each time
  })

  test("a pending binding has wrapped nothing, so its key never comes into history", async () => {
    const pending = await vault.add(org, { state: "pending" }, "first")
    const moved = await replaceKey(pending, { kek: vault.aws.kek("second") }, vault.list(), change())
    expect(moved).toMatchObject({ state: "pending", keyId: "second", history: [] })
    await expect(disableBinding(moved, change())).rejects.toEqual(failure("INVALID_ARGUMENT"))
    expect(await removeBinding(moved, change())).toMatchObject({ state: "removed", history: [] })
    for (const refused of [
      activateBinding(only(), vault.list(), change()),
      replaceKey(only(), { kek: vault.aws.kek("third") }, vault.list(), change()),
      vault.add(both, { state: "removed" as never }),
    ]) {
      await expect(refused).rejects.toEqual(failure("INVALID_ARGUMENT"))
    }
  })

  test("changes that are done already change nothing", async () => {
    const binding = await vault.add(org)
    const never: ChangeOptions = { ...change(), save: () => expect.unreachable() }
    expect(await activateBinding(binding, vault.list(), never)).toEqual(binding)
    const disabled = await disableBinding(binding, change())
    expect(await disableBinding(disabled, never)).toEqual(disabled)
  })

  test("without a managed provider a symmetric key can be bound, and displaces nothing", async () => {
    const change = { managed: undefined, save: vault.save }
    await addBinding({ id: "b", match: both, owner: "org_1" }, vault.aws.kek("cmk"), [], change)
    const router = createRouter({ providers: [vault.aws], bindings: vault.list() })
    expect(await providersFor(createKeyfold({ router }), both)).toEqual(["aws-kms"])
    expect(await removeBinding(only(), change)).toMatchObject({ state: "removed" })
  })

  test("pairs of any name are data", async () => {
    const context = JSON.parse('{"__proto__":"a","constructor":"b","toString":"c"}')
    await vault.add({ constructor: "b", toString: "c" } as never)
    const envelope = await vault.keyfold().encrypt("x", { context })
    expect(
      vault
        .keyfold()
        .inspect(envelope)
        .wraps.map(({ covers }) => covers),
    ).toEqual([[0], [1, 2]])
    await vault.keyfold().decrypt(envelope, { context })
  })
})
