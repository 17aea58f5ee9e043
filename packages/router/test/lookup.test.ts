/** Where a router has its bindings from: a list, or a lookup in somebody's database. */
import {
  createKeyfold,
  type Kek,
  type KekProvider,
  KeyfoldError,
  parseContext,
  type Router,
} from "@keyfold/core"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { beforeEach, describe, expect, test } from "vitest"
import {
  addBinding,
  type Binding,
  type BindingLookup,
  createRouter,
  type RouterOptions,
  removeBinding,
} from "../src/index.ts"
import { cloud } from "./cloud.ts"

const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const context = { organization_id: "org_1", data_type: "ssn" }
const aws = cloud("aws-kms")
let managed: ManagedProvider
let binding: Binding
const save = (saved: Binding) => {
  binding = saved
}

beforeEach(async () => {
  const root = { key: new Uint8Array(32) }
  managed = await createManagedProvider({ store: memoryStore(), root, environment: "test" })
  const draft = { id: "b", match: { organization_id: "org_1" }, owner: "org_1" }
  await addBinding(draft, aws.kek("arn:b"), [], { managed, save })
})

/** A keyfold over a lookup, and how often that was asked. */
function counting(lookup: BindingLookup, more: Partial<RouterOptions> = {}) {
  const state = { asked: 0 }
  const bindings: BindingLookup = (...args) => {
    state.asked++
    return lookup(...args)
  }
  const router = createRouter({ managed, providers: [aws], bindings, ...more })
  return { state, router, encrypt: () => createKeyfold({ router }).encrypt("x", { context }) }
}

describe("settings", () => {
  test.each([
    ["bindingTtlMs", [0, 1, 60_000], [-1, 0.5, 60_001, Number.NaN, "1"]],
    ["bindingDeadlineMs", [1, 600_000], [0, -1, 1.5, 600_001, Number.POSITIVE_INFINITY]],
  ] as const)("%s has its limits, with a list as with a lookup", (name, allowed, refused) => {
    for (const bindings of [[], async () => []]) {
      for (const value of allowed) expect(createRouter({ managed, bindings, [name]: value })).toBeDefined()
      for (const value of refused)
        expect(() => createRouter({ managed, bindings, [name]: value })).toThrow(code("INVALID_ARGUMENT"))
    }
  })

  test.each([{}, "b", 7, new Map(), null])("bindings are a list or a function, not %o", (bindings) => {
    expect(() => createRouter({ managed, bindings: bindings as never })).toThrow(code("INVALID_ARGUMENT"))
  })

  test("no bindings, no providers: managed KEKs alone", async () => {
    const keyfold = createKeyfold({ router: createRouter({ managed }) })
    const envelope = await keyfold.encrypt("x", { context: { user: "u" } })
    expect(keyfold.inspect(envelope).wraps.map(({ providerId }) => providerId)).toEqual(["managed"])
  })
})

describe("what was looked up", () => {
  test("is asked for anew each time where it may not be kept", async () => {
    const { state, encrypt } = counting(() => [binding], { bindingTtlMs: 0 })
    for (let i = 0; i < 3; i++) await encrypt()
    expect(state.asked).toBe(3)
  })

  test("is kept for its time, and forgotten when that is asked for", async () => {
    const { state, router, encrypt } = counting(() => [binding], { bindingTtlMs: 60_000 })
    for (let i = 0; i < 3; i++) await encrypt()
    expect(state.asked).toBe(1)
    expect(router.forgetBindings()).toBeUndefined()
    await encrypt()
    expect(state.asked).toBe(2)
  })

  test("is as old as the question, not as the answer", async () => {
    const slow = async () => {
      await new Promise((resolve) => setTimeout(resolve, 150))
      return [binding]
    }
    const { state, encrypt } = counting(slow, { bindingTtlMs: 100 })
    await encrypt()
    await encrypt()
    expect(state.asked).toBe(2)
  })

  test("with one binding that is not valid is not read at all; which one is told", async () => {
    const proxy = new Proxy(
      {},
      {
        getPrototypeOf: () => {
          throw new Error("trap")
        },
        ownKeys: () => {
          throw new Error("trap")
        },
      },
    )
    for (const wrong of [{ ...binding, owner: "" }, undefined, proxy]) {
      const { encrypt } = counting(() => [binding, wrong] as never)
      await expect(encrypt()).rejects.toMatchObject({
        code: "STORE_CORRUPT",
        message: expect.stringMatching(/^binding 2 of those looked up is not valid: ./),
        cause: expect.anything(),
      })
    }
    const { encrypt } = counting(() => binding as never)
    await expect(encrypt()).rejects.toEqual(code("STORE_CORRUPT"))
  })
})

describe("a lookup that fails", () => {
  test("says so in its own words if it has some, and is kept as the cause otherwise", async () => {
    const named = new KeyfoldError("PERMISSION_DENIED", "the database denies it")
    await expect(counting(() => Promise.reject(named)).encrypt()).rejects.toBe(named)
    const cause = new Error("socket hang up")
    const failed = counting(() => Promise.reject(cause)).encrypt()
    await expect(failed).rejects.toMatchObject({ code: "UNAVAILABLE", cause })
    const hanging = counting(() => new Promise(() => {}), { bindingDeadlineMs: 20 }).encrypt()
    await expect(hanging).rejects.toMatchObject({ code: "TIMEOUT", cause: expect.anything() })
  })
})

describe("a pair without a route", () => {
  const closed = (failure: "NO_ROUTE" | "UNAVAILABLE") => {
    const state = { made: 0 }
    const kekFor = () => {
      state.made++
      throw new KeyfoldError(failure, "closed")
    }
    return { state, managed: { ...managed, kekFor } }
  }

  test("is looked up once more where what was kept may be old", async () => {
    for (const [failure, ttl, asked, made] of [
      ["NO_ROUTE", 60_000, 2, 2],
      ["NO_ROUTE", 0, 1, 1],
      ["UNAVAILABLE", 60_000, 1, 1],
    ] as const) {
      const shut = closed(failure)
      const { state, encrypt } = counting(() => [binding], { managed: shut.managed, bindingTtlMs: ttl })
      await expect(encrypt()).rejects.toEqual(code(failure))
      expect([state.asked, shut.state.made]).toEqual([asked, made])
    }
  })

  test("of a fixed list is not looked for again", async () => {
    const { state, managed } = closed("NO_ROUTE")
    const keyfold = createKeyfold({
      router: createRouter({ managed, providers: [aws], bindings: [binding] }),
    })
    await expect(keyfold.encrypt("x", { context })).rejects.toEqual(code("NO_ROUTE"))
    expect(state.made).toBe(1)
  })

  test("nor what fails without a code", async () => {
    const kekFor = () => {
      throw new TypeError("surprise")
    }
    const { state, encrypt } = counting(() => [binding], { managed: { ...managed, kekFor } })
    await expect(encrypt()).rejects.toEqual(code("UNKNOWN"))
    expect(state.asked).toBe(1)
  })

  test("without a managed provider is told by its name", async () => {
    const router = createRouter({ providers: [aws], bindings: [binding] })
    const keyfold = createKeyfold({ router })
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({
      code: "NO_ROUTE",
      pairNames: ["data_type"],
      message: expect.stringContaining("data_type"),
    })
    const envelope = await createKeyfold({
      router: createRouter({ managed, providers: [aws], bindings: [binding] }),
    }).encrypt("x", { context })
    await expect(keyfold.decrypt(envelope, { context })).rejects.toEqual(code("DECRYPTION_FAILED"))
  })
})

describe("a fixed list", () => {
  test("may hold removed bindings, whatever they overlap with", async () => {
    const active = binding
    const removed = await removeBinding({ ...active, id: "former" }, { managed, save: () => {} })
    for (const bindings of [
      [active, removed],
      [removed, active],
    ]) {
      expect(createRouter({ managed, providers: [aws], bindings })).toBeDefined()
    }
    const again = [active, { ...active, id: "second" }]
    expect(() => createRouter({ managed, providers: [aws], bindings: again })).toThrow(
      code("AMBIGUOUS_BINDING"),
    )
  })

  test("with a public-key binding needs a managed provider, unless that binding is removed", async () => {
    const azure = cloud("azure-keyvault", { publicKey: true })
    const draft = { id: "p", match: { user: "u" }, owner: "org_1" }
    const publicKey = await addBinding(draft, azure.kek("k"), [], { managed, save })
    const bare = (bindings: RouterOptions["bindings"]) => () =>
      createRouter({ providers: [aws, azure], ...(bindings !== undefined && { bindings }) })
    const symmetric = {
      ...binding,
      ...publicKey,
      id: "s",
      match: { user: "v" },
      publicKey: false,
      companion: undefined,
    }
    expect(bare([symmetric, publicKey])).toThrow(code("INVALID_ARGUMENT"))
    expect(bare([publicKey])).toThrow(code("INVALID_ARGUMENT"))
    expect(bare([symmetric])()).toBeDefined()
    expect(bare([{ ...publicKey, state: "removed" }])()).toBeDefined()
    expect(bare(() => [publicKey])()).toBeDefined()
    expect(createRouter({ managed, providers: [azure], bindings: [publicKey] })).toBeDefined()
  })
})

test("a binding that refuses does so before a managed KEK is made for another pair", async () => {
  const disabled: Binding = { ...binding, state: "disabled" }
  const router: Router = createRouter({ managed, providers: [aws], bindings: [disabled] })
  const fresh = { organization_id: "org_1", user: "never seen" }
  await expect(createKeyfold({ router }).encrypt("x", { context: fresh })).rejects.toEqual(
    code("KEY_DISABLED"),
  )
  expect(await managed.findKek({ name: "user", value: "never seen" })).toBeUndefined()
})

test("managed KEKs may come by promise, at once, or not at all, each for its own pair", async () => {
  const three = { a: "1", b: "2", c: "3" }
  const slow = new Set(["b", "c"])
  const { generation: _, ...plain } = managed
  const mixed: RouterOptions["managed"] = {
    ...plain,
    kekFor: (pair) => (slow.has(pair.name) ? Promise.resolve(managed.kekFor(pair)) : managed.kekFor(pair)),
    findKek: (pair) => (slow.has(pair.name) ? Promise.resolve(managed.findKek(pair)) : managed.findKek(pair)),
  }
  const keyfold = createKeyfold({ router: createRouter({ managed: mixed }) })
  const envelope = await keyfold.encrypt("x", { context: three })
  expect(keyfold.inspect(envelope).wraps.map(({ covers }) => covers)).toEqual([[0], [1], [2]])
  await expect(keyfold.decrypt(envelope, { context: three })).resolves.toMatchObject({ context: three })
  const plainly = createKeyfold({ router: createRouter({ managed }) })
  await expect(plainly.decrypt(envelope, { context: three })).resolves.toMatchObject({ context: three })
  for (const other of [
    { ...three, b: "never seen" },
    { ...three, c: "never seen" },
  ]) {
    await expect(keyfold.decrypt(envelope, { context: other })).rejects.toEqual(code("DECRYPTION_FAILED"))
  }
})

describe("a key that cannot be had", () => {
  const keyfoldWith = (provider: KekProvider | undefined) =>
    createKeyfold({
      router: createRouter({
        managed,
        providers: provider === undefined ? [] : [provider],
        bindings: [binding],
      }),
    })
  const says = (code: string, why: string, more: object = {}) => ({
    ...{ code, providerId: "aws-kms", keyId: "arn:b", pairNames: ["organization_id"] },
    message: `the aws-kms key arn:b for organization_id cannot be used: ${why}`,
    ...more,
  })
  const giving = (kek: () => Kek): KekProvider => ({ id: "aws-kms", kek })

  test("for want of its provider", async () => {
    const encrypted = keyfoldWith(undefined).encrypt("x", { context })
    await expect(encrypted).rejects.toMatchObject(
      says("NO_ROUTE", 'give the provider "aws-kms" to createRouter'),
    )
  })

  test("because its provider names it otherwise", async () => {
    const why = "its provider names it otherwise: keep the key id that the provider's kek has"
    const kek = aws.kek("arn:b")
    for (const other of [
      { ...kek, keyId: "arn:c" },
      { ...kek, providerId: "gcp-kms" },
    ]) {
      const encrypted = keyfoldWith(giving(() => other)).encrypt("x", { context })
      await expect(encrypted).rejects.toMatchObject(says("INVALID_ARGUMENT", why))
    }
    await expect(keyfoldWith(giving(() => ({ ...kek }))).encrypt("x", { context })).resolves.toBeDefined()
  })

  test("because its provider fails, with or without a code", async () => {
    for (const [cause, code, why] of [
      [new KeyfoldError("PERMISSION_DENIED", "no such role"), "PERMISSION_DENIED", "no such role"],
      [new TypeError("surprise"), "UNKNOWN", "its provider failed; see the cause"],
    ] as const) {
      const provider = giving(() => {
        throw cause
      })
      await expect(keyfoldWith(provider).encrypt("x", { context })).rejects.toMatchObject(
        says(code, why, { cause }),
      )
    }
  })

  test("because its binding is disabled", async () => {
    const router = createRouter({ managed, providers: [aws], bindings: [{ ...binding, state: "disabled" }] })
    const why = "the binding b is disabled: activate it to use this data"
    const encrypted = createKeyfold({ router }).encrypt("x", { context })
    await expect(encrypted).rejects.toMatchObject(says("KEY_DISABLED", why))
    const [candidate] = await router.forReading(parseContext(context), {})
    const kek = candidate?.kek as Kek
    await expect(kek.describe({})).rejects.toMatchObject(says("KEY_DISABLED", why))
    expect([kek.classify(new KeyfoldError("TIMEOUT", "late")), kek.classify(new Error("x"))]).toEqual([
      "TIMEOUT",
      "UNKNOWN",
    ])
  })

  test("for want of the managed provider whose KEK a former one was", async () => {
    const user = { user: "u" }
    const before = await createKeyfold({ router: createRouter({ managed }) }).encrypt("x", { context: user })
    const draft = { id: "u", match: user, owner: "org_1" }
    const bound = await addBinding(draft, aws.kek("arn:u"), [], { managed, save })
    const keyfold = createKeyfold({ router: createRouter({ providers: [aws], bindings: [bound] }) })
    const [former] = bound.history
    await expect(keyfold.decrypt(before, { context: user })).rejects.toMatchObject({
      ...{ code: "NO_ROUTE", providerId: "managed", keyId: former?.keyId, pairNames: ["user"] },
      message: expect.stringMatching(/it needs the managed provider: give it to createRouter$/),
    })
  })

  test("two providers of one id, or one of managed KEKs, are refused", () => {
    for (const providers of [[aws, { ...aws }], [{ ...aws, id: "managed" }]]) {
      expect(() => createRouter({ managed, providers })).toThrow(code("INVALID_ARGUMENT"))
    }
    expect(createRouter({ managed, providers: [aws, { ...aws, id: "other" }] })).toBeDefined()
  })
})

test("a former key opens no context but those of its own match", async () => {
  const narrow = { organization_id: "org_1", user: "u" }
  const former: Binding["history"][0] = {
    ...{ provider: "aws-kms", keyId: "arn:former", owner: "org_1", options: {}, publicKey: false },
    ...{ companion: undefined, leaseTtlMs: 0, match: narrow, pairs: ["user"] },
    ...{ lastVersion: undefined, closedAt: "2026-01-01T00:00:00Z" },
  }
  const router = createRouter({ providers: [aws], bindings: [{ ...binding, history: [former] }] })
  const candidates = async (context: Record<string, string>) =>
    (await router.forReading(parseContext(context), {})).map(({ kek, mask }) => [kek.keyId, mask])
  expect(await candidates(narrow)).toEqual([
    ["arn:b", 1],
    ["arn:former", 2],
  ])
  expect(await candidates({ ...narrow, user: "v" })).toEqual([["arn:b", 1]])
  expect(await candidates({ organization_id: "org_1" })).toEqual([["arn:b", 1]])
})

test("managed KEKs have no owner", async () => {
  const router = createRouter({ managed, providers: [aws], bindings: [binding] })
  const entries = await router.forWriting(parseContext(context), {})
  expect(entries.map(({ kek, owner }) => [kek.providerId, owner])).toEqual([
    ["aws-kms", "org_1"],
    ["managed", ""],
  ])
})

describe("the environment", () => {
  test("is that of the managed provider, and named only where there is none", () => {
    expect(createRouter({ managed, environment: "test" })).toBeDefined()
    expect(() => createRouter({ managed, environment: "other" })).toThrow(code("INVALID_ARGUMENT"))
    expect(createRouter({ environment: "other" })).toBeDefined()
  })

  test("keeps leased data apart", async () => {
    const leased = { ...binding, leaseTtlMs: 60_000 }
    const of = (more: Partial<RouterOptions>) =>
      createKeyfold({ router: createRouter({ providers: [aws], bindings: [leased], ...more }) })
    const one = { context: { organization_id: "org_1" } }
    const envelope = await of({ managed }).encrypt("x", one)
    await expect(of({ environment: "test" }).decrypt(envelope, one)).resolves.toBeDefined()
    for (const more of [{}, { environment: "" }, { environment: "other" }]) {
      await expect(of(more).decrypt(envelope, one)).rejects.toEqual(code("DECRYPTION_FAILED"))
    }
    const byDefault = await of({}).encrypt("x", one)
    await expect(of({ environment: "default" }).decrypt(byDefault, one)).resolves.toBeDefined()
    await expect(of({ environment: "" }).decrypt(byDefault, one)).rejects.toEqual(code("DECRYPTION_FAILED"))
  })
})
