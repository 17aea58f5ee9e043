import {
  createKeyfold,
  type KeyContext,
  KeyfoldError,
  parseContext,
  type ReadCandidate,
  type Router,
} from "@keyfold/core"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import fc from "fast-check"
import { beforeEach, describe, expect, test } from "vitest"
import {
  activateBinding,
  addBinding,
  type Binding,
  createRouter,
  disableBinding,
  type NewBinding,
  removeBinding,
  replaceKey,
  withoutHistory,
} from "../src/index.ts"
import { type Cloud, cloud } from "./cloud.ts"

const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const org = { organization_id: "org_1" }
const data = { data_type: "ssn" }
const both = { ...org, ...data }

let managed: ManagedProvider
let aws: Cloud
let azure: Cloud
let bindings: Map<string, Binding>
const save = (binding: Binding) => void bindings.set(binding.id, JSON.parse(JSON.stringify(binding)))
const list = () => [...bindings.values()]
const routerOf = (found: readonly Binding[] = list()) =>
  createRouter({ managed, providers: [aws, azure], bindings: found })
const keyfoldOf = (found?: readonly Binding[]) => createKeyfold({ router: routerOf(found) })
const add = (match: KeyContext, more: Partial<NewBinding> = {}, provider = aws) =>
  addBinding(
    { id: `b${bindings.size}`, match, owner: "org_1", ...more },
    provider.kek(`arn:${bindings.size}`),
    list(),
    { managed, save },
  )
const providers = (envelope: Uint8Array) =>
  keyfoldOf([])
    .inspect(envelope)
    .wraps.map(({ providerId }) => providerId)

beforeEach(async () => {
  managed = await createManagedProvider({
    store: memoryStore(),
    root: { key: new Uint8Array(32) },
    environment: "test",
  })
  aws = cloud("aws-kms")
  azure = cloud("azure-keyvault", { publicKey: true })
  bindings = new Map()
})

describe("which KEK serves", () => {
  test("a binding takes its pair, managed KEKs take the rest, and other contexts do not notice", async () => {
    await add(org)
    const keyfold = keyfoldOf()
    expect(providers(await keyfold.encrypt("x", { context: both }))).toEqual(["managed", "aws-kms"])
    expect(providers(await keyfold.encrypt("x", { context: { ...both, organization_id: "org_2" } }))).toEqual(
      ["managed", "managed"],
    )
    const envelope = await keyfold.encrypt("x", { context: both })
    await expect(keyfold.decrypt(envelope, { context: both })).resolves.toBeDefined()
  })

  test("the most specific of nested bindings of one owner; what the wider one wrapped still opens", async () => {
    const wide = await add(org)
    const before = await keyfoldOf().encrypt("x", { context: both })
    const narrow = await add(both)
    const keyfold = keyfoldOf()
    const envelope = await keyfold.encrypt("x", { context: both })
    expect(keyfold.inspect(envelope).wraps.map(({ keyId, covers }) => [keyId, covers])).toEqual([
      [narrow.keyId, [0, 1]],
    ])
    await expect(keyfold.decrypt(envelope, { context: both })).resolves.toBeDefined()
    await expect(keyfold.decrypt(before, { context: both })).resolves.toBeDefined()
    expect(keyfold.inspect(await keyfold.encrypt("x", { context: org })).wraps[0]?.keyId).toBe(wide.keyId)
  })

  test("a public-key binding has its companion, and cannot be without a managed provider", async () => {
    await add(org, {}, azure)
    const keyfold = keyfoldOf()
    const envelope = await keyfold.encrypt("x", { context: both })
    expect(keyfold.inspect(envelope).wraps.map(({ role }) => role)).toEqual(["direct", "direct", "companion"])
    await expect(keyfold.decrypt(envelope, { context: both })).resolves.toBeDefined()
    const bare = addBinding({ id: "x", match: org, owner: "o" }, azure.kek("k"), [], {
      managed: undefined,
      save,
    })
    await expect(bare).rejects.toEqual(code("INVALID_ARGUMENT"))
  })

  test("no managed provider: only what bindings cover has a route", async () => {
    await add(org)
    const keyfold = createKeyfold({ router: createRouter({ providers: [aws], bindings: list() }) })
    await expect(keyfold.encrypt("x", { context: org })).resolves.toBeDefined()
    await expect(keyfold.encrypt("x", { context: both })).rejects.toThrow(/data_type/)
    const without = createKeyfold({ router: createRouter({ managed, bindings: list() }) })
    await expect(without.encrypt("x", { context: org })).rejects.toEqual(code("NO_ROUTE"))
  })

  test("reading makes no KEK and gives what writing uses", async () => {
    await add(org)
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          fc.constantFrom("organization_id", "data_type", "user"),
          fc.constantFrom("org_1", "a", "b"),
          { minKeys: 1 },
        ),
        async (context) => {
          const parsed = parseContext(context)
          const count = async () => {
            let keks = 0
            for await (const _ of managed.list()) keks++
            return keks
          }
          const before = await count()
          await routerOf().forReading(parsed, {})
          expect(await count()).toBe(before)
          const writing = await routerOf().forWriting(parsed, {})
          expect(writing.reduce((mask, entry) => mask + entry.mask, 0)).toBe(2 ** parsed.pairs.length - 1)
          const reading = await routerOf().forReading(parsed, {})
          const named = ({ kek, mask }: Pick<ReadCandidate, "kek" | "mask">) =>
            `${kek.providerId} ${kek.keyId} ${mask}`
          expect(reading.map(named)).toEqual(expect.arrayContaining(writing.map(named)))
        },
      ),
      { numRuns: 100 },
    )
  })
})

describe("managed KEKs that a router knows", () => {
  const context = parseContext(both)
  const ask = (router: Router) => ({
    write: async () => (await router.forWriting(context, {})).map(({ kek }) => kek.keyId),
    read: async () => (await router.forReading(context, {})).map(({ kek }) => kek.keyId),
  })

  test("are not asked for again until the provider may know of a change", async () => {
    let asked = 0
    const counting = {
      ...managed,
      get generation() {
        return managed.generation
      },
      kekFor: (pair: Parameters<ManagedProvider["kekFor"]>[0]) => {
        asked++
        return managed.kekFor(pair)
      },
    }
    const { write, read } = ask(createRouter({ managed: counting }))
    expect([await read(), await read()]).toEqual([[], []])
    const first = await write()
    expect(await read()).toEqual(first)
    await write()
    const before = asked
    await write()
    expect(asked).toBe(before)
    await managed.closePair({ name: "data_type", value: "ssn" })
    expect(await read()).toEqual(first.slice(1))
    await expect(write()).rejects.toEqual(code("NO_ROUTE"))
    await managed.reopenPair({ name: "data_type", value: "ssn" })
    const again = await write()
    expect([again[0] === first[0], again[1]]).toEqual([false, first[1]])
    expect(await read()).toEqual(again)
  })

  test("are asked for each time where it has no generation", async () => {
    const { generation: _, ...plain } = managed
    const { write, read } = ask(createRouter({ managed: plain }))
    const first = await write()
    await managed.closePair({ name: "data_type", value: "ssn" })
    expect(await read()).toEqual(first.slice(1))
  })
})

describe("a binding that matches is used or fails, never passed over", () => {
  test("a disabled one refuses writing and reading, and is named", async () => {
    const binding = await add(org)
    const envelope = await keyfoldOf().encrypt("x", { context: both })
    await disableBinding(binding, { save })
    const { calls } = aws
    for (const call of [
      keyfoldOf().encrypt("x", { context: both }),
      keyfoldOf().decrypt(envelope, { context: both }),
    ]) {
      await expect(call).rejects.toMatchObject({
        code: "KEY_DISABLED",
        providerId: "aws-kms",
        pairNames: ["organization_id"],
      })
    }
    expect(aws.calls).toBe(calls)
    await activateBinding(list()[0] as Binding, list(), { managed, save })
    await expect(keyfoldOf().decrypt(envelope, { context: both })).resolves.toBeDefined()
  })

  test("a CMK that its customer disables shuts the data, whatever managed KEKs are at hand", async () => {
    const { keyId } = await add(org)
    const keyfold = keyfoldOf()
    const envelopes = await Promise.all(
      Array.from({ length: 50 }, () => keyfold.encrypt("x", { context: both })),
    )
    aws.denied.add(keyId)
    for (const envelope of envelopes) {
      await expect(keyfold.decrypt(envelope, { context: both })).rejects.toEqual(code("KEY_DISABLED"))
    }
    await expect(keyfold.encrypt("x", { context: both })).rejects.toEqual(code("KEY_DISABLED"))
  })

  test("a pending one does not match, and displaces nothing before it is active", async () => {
    const before = await keyfoldOf().encrypt("x", { context: org })
    const pending = await add(org, { state: "pending" })
    expect(providers(await keyfoldOf().encrypt("x", { context: org }))).toEqual(["managed"])
    await activateBinding(pending, list(), { managed, save })
    expect(providers(await keyfoldOf().encrypt("x", { context: org }))).toEqual(["aws-kms"])
    await expect(keyfoldOf().decrypt(before, { context: org })).resolves.toBeDefined()
  })

  test("a lookup that hangs is ended: by its deadline, or by its caller", async () => {
    const seen: AbortSignal[] = []
    const bindings = (_: unknown, { signal }: { signal?: AbortSignal | undefined }) => {
      if (signal !== undefined) seen.push(signal)
      return new Promise<never>(() => {})
    }
    const options = { managed, bindings, bindingDeadlineMs: 50 }
    const keyfold = createKeyfold({ router: createRouter(options) })
    await expect(keyfold.encrypt("x", { context: org })).rejects.toEqual(code("TIMEOUT"))
    const signal = AbortSignal.timeout(10)
    await expect(keyfold.encrypt("x", { context: org, signal })).rejects.toEqual(code("ABORTED"))
    expect(seen.map(({ aborted }) => aborted)).toEqual([true, true])
    for (const bindingDeadlineMs of [0, 1.5, 600_001]) {
      expect(() => createRouter({ ...options, bindingDeadlineMs })).toThrow(code("INVALID_ARGUMENT"))
    }
  })

  test("a lookup that fails is an error, is asked again, and never means that there is no binding", async () => {
    await add(org)
    let fails = true
    let asked = 0
    const router = createRouter({
      managed,
      providers: [aws],
      bindings: async () => {
        asked++
        if (fails) throw new Error("the database is down")
        return list()
      },
    })
    const keyfold = createKeyfold({ router })
    for (let i = 0; i < 2; i++) {
      await expect(keyfold.encrypt("x", { context: org })).rejects.toMatchObject({
        code: "UNAVAILABLE",
        retryable: true,
      })
    }
    fails = false
    expect(providers(await keyfold.encrypt("x", { context: org }))).toEqual(["aws-kms"])
    await keyfold.encrypt("x", { context: org })
    expect(asked).toBe(3)
    const wrong = createKeyfold({
      router: createRouter({ managed, bindings: async () => undefined as never }),
    })
    await expect(wrong.encrypt("x", { context: org })).rejects.toEqual(code("STORE_CORRUPT"))
  })
})

describe("ambiguity", () => {
  const overlapping: [string, KeyContext, string, boolean][] = [
    ["the same match", org, "org_1", false],
    ["neither holds the other", { organization_id: "org_1", user: "u" }, "org_1", false],
    ["neither holds the other, and one is longer", { ...org, user: "u", zone: "z" }, "org_1", false],
    ["nested, of another owner", { ...both, user: "u" }, "org_2", false],
    ["nested, of the same owner", { ...both, user: "u" }, "org_1", true],
    ["another value of a shared name", { organization_id: "org_1", data_type: "name" }, "org_2", true],
    ["no shared pair", { user: "u" }, "org_2", true],
  ]
  test.each(overlapping)("%s", async (_, match, owner, allowed) => {
    await add(both)
    if (_ === "the same match") match = both
    const adding = add(match, { owner })
    if (allowed) await expect(adding).resolves.toBeDefined()
    else {
      const pairNames = Object.keys(both).filter((name) => name in match)
      const error = { code: "AMBIGUOUS_BINDING", pairNames: pairNames.toSorted() }
      await expect(adding).rejects.toMatchObject(error)
    }
  })

  test("is refused when routing as well, whoever made the list", async () => {
    const first = await add(both)
    const second: Binding = {
      ...first,
      id: "second",
      match: { organization_id: "org_1", user: "u" },
      history: [],
    }
    expect(() => createRouter({ managed, providers: [aws], bindings: [first, second] })).toThrow(
      code("AMBIGUOUS_BINDING"),
    )
    const keyfold = createKeyfold({
      router: createRouter({ managed, providers: [aws], bindings: async () => [first, second] }),
    })
    await expect(keyfold.encrypt("x", { context: { ...both, user: "u" } })).rejects.toEqual(
      code("AMBIGUOUS_BINDING"),
    )
  })
})

describe("history", () => {
  test("data from before a binding opens by history, moves by rewrap, and is shut to managed KEKs after that", async () => {
    const old = await keyfoldOf().encrypt("x", { context: both })
    const binding = await add(org)
    const keyfold = keyfoldOf()
    await expect(keyfold.decrypt(old, { context: both })).resolves.toBeDefined()
    const moved = await keyfold.rewrap(old, { context: both })
    expect(providers(moved)).toEqual(["managed", "aws-kms"])
    const [entry] = (list()[0] as Binding).history
    expect(entry).toMatchObject({ provider: "managed", lastVersion: 1, pairs: ["organization_id"] })
    const closed = keyfoldOf([withoutHistory(binding, entry?.keyId as string)])
    await expect(closed.decrypt(old, { context: both })).rejects.toEqual(code("DECRYPTION_FAILED"))
    await expect(closed.decrypt(moved, { context: both })).resolves.toBeDefined()
  })

  test("a one-pair binding closes its managed KEK: a process that does not know of it yet cannot write", async () => {
    const unaware = keyfoldOf([])
    await unaware.encrypt("x", { context: both })
    await add(org)
    await expect(unaware.encrypt("x", { context: both })).rejects.toEqual(code("NO_ROUTE"))
  })

  test("a process that has not seen the binding yet looks again, and reads what was written before and after", async () => {
    let lookups = 0
    const lookup = async () => {
      lookups++
      return list()
    }
    const options = { managed, providers: [aws], bindings: lookup, bindingTtlMs: 60_000 }
    const late = createKeyfold({ router: createRouter(options) })
    const old = await late.encrypt("x", { context: both })
    await add(org)
    const fresh = await keyfoldOf().encrypt("x", { context: both })
    for (const envelope of [old, fresh, old])
      await expect(late.decrypt(envelope, { context: both })).resolves.toBeDefined()
    expect(lookups).toBe(2)
  })

  test("a binding of two pairs leaves their managed KEKs open for other contexts", async () => {
    const residency = { data_residency: "eu" }
    const old = await keyfoldOf().encrypt("x", { context: { ...org, ...residency } })
    await add({ ...org, ...residency })
    const keyfold = keyfoldOf()
    expect(
      providers(await keyfold.encrypt("x", { context: { organization_id: "org_2", ...residency } })),
    ).toEqual(["managed", "managed"])
    expect(providers(await keyfold.encrypt("x", { context: { ...org, ...residency } }))).toEqual(["aws-kms"])
    await expect(keyfold.decrypt(old, { context: { ...org, ...residency } })).resolves.toBeDefined()
    expect((list()[0] as Binding).history.map(({ lastVersion }) => lastVersion ?? null)).toEqual([null, null])
  })

  test("a removed binding's data stays readable; the pair gets a new KEK with a new id", async () => {
    const before = keyfoldOf([]).inspect(await keyfoldOf().encrypt("x", { context: org })).wraps[0]?.keyId
    const binding = await add(org)
    const envelope = await keyfoldOf().encrypt("x", { context: org })
    const order: string[] = []
    await removeBinding(binding, {
      managed: {
        ...managed,
        reopenPair: async (pair) => {
          order.push("reopened")
          await managed.reopenPair(pair)
        },
      },
      save: (removed) => {
        order.push("saved")
        save(removed)
      },
    })
    expect(order).toEqual(["saved", "reopened"])
    const keyfold = keyfoldOf()
    await expect(keyfold.decrypt(envelope, { context: org })).resolves.toBeDefined()
    const after = keyfold.inspect(await keyfold.encrypt("x", { context: org })).wraps[0]
    expect(after?.providerId).toBe("managed")
    expect(after?.keyId).not.toBe(before)
  })

  test("a binding moves to another key of its owner, keeps its companion, and reads under both", async () => {
    const binding = await add(org, {}, azure)
    const envelope = await keyfoldOf().encrypt("x", { context: org })
    const replaced = await replaceKey(binding, { kek: azure.kek("new") }, list(), { managed, save })
    expect([replaced.companion, replaced.owner]).toEqual([binding.companion, binding.owner])
    const keyfold = keyfoldOf()
    await expect(keyfold.decrypt(envelope, { context: org })).resolves.toBeDefined()
    expect(keyfold.inspect(await keyfold.encrypt("x", { context: org })).wraps[0]?.keyId).toBe("new")
  })

  test("a last version bounds what a former managed KEK opens", async () => {
    const old = await keyfoldOf().encrypt("x", { context: org })
    const binding = await add(org)
    const [entry] = binding.history
    const bounded = keyfoldOf([
      { ...binding, history: [{ ...(entry as Binding["history"][0]), lastVersion: 0 }] },
    ])
    await expect(bounded.decrypt(old, { context: org })).rejects.toEqual(code("DECRYPTION_FAILED"))
  })
})

test.each([
  ["no owner", { owner: "" }],
  ["no pair", { match: {} }],
  ["a reserved name", { match: { "keyfold:x": "1" } }],
  ["an inherited match", { match: Object.create(org) as KeyContext }],
])("refuses to add a binding with %s", async (_, more) => {
  await expect(add((more as { match?: KeyContext }).match ?? org, more)).rejects.toBeInstanceOf(KeyfoldError)
  expect(bindings.size).toBe(0)
})

test.each([
  ["a state that is none", { state: "maybe" as never }],
  ["a companion that no key needs", { companion: "00".repeat(16) }],
  ["a public key without a companion", { publicKey: true }],
  ["an empty id", { id: "" }],
])("refuses a list with %s", async (_, change) => {
  const binding = await add(org)
  const make = (): Router => routerOf([{ ...binding, ...change }])
  expect(make).toThrow(code("INVALID_ARGUMENT"))
})
