/** A binding is plain data from anybody's database: every field of it is judged, with every limit from both sides. */
import { describe, expect, test } from "vitest"
import { parseBinding } from "../src/binding.ts"
import { copyPlain, shown } from "../src/plain-data.ts"

const invalid = expect.objectContaining({ name: "KeyfoldError", code: "INVALID_ARGUMENT" })
const managedKey = "0123456789abcdef".repeat(2)
const canary = {
  ...{ provider: "aws-kms", keyId: "arn:key/k", keyVersion: 3 },
  ...{ salt: "c2FsdA", wrapped: "d3JhcHBlZA", digest: "ZGln-_", madeAt: "2026-01-02T03:04:05.000Z" },
}
const former = {
  ...{ provider: "aws-kms", keyId: "arn:key/former", owner: "org_1", options: {}, publicKey: false },
  ...{ companion: undefined, leaseTtlMs: 0, match: { organization_id: "org_1", user: "u" } },
  ...{ pairs: ["organization_id"], lastVersion: 7, closedAt: "2026-01-02T03:04:05.000Z" },
}
const displaced = { ...former, provider: "managed", keyId: managedKey, owner: "" }
const binding = {
  ...{ id: "b", match: { organization_id: "org_1" }, provider: "azure-keyvault", keyId: "vault/key" },
  ...{ owner: "org_1", options: { region: "eu", nested: [{ a: null }] }, publicKey: true },
  ...{ companion: managedKey, leaseTtlMs: 1000, state: "active", expectedRegion: "eu" },
  ...{ history: [former, displaced], canaries: [canary] },
}
const symmetric = { ...binding, publicKey: false, companion: undefined }
/** 1,024 and 1,025 bytes of UTF-8, in fewer characters than the limit. */
const [atLimit, overLimit] = ["ä".repeat(512), `${"ä".repeat(512)}x`]

test("what is read is what was given, frozen", () => {
  const parsed = parseBinding(JSON.parse(JSON.stringify(binding)))
  expect(parsed.binding).toEqual(binding)
  expect(parsed.match).toEqual([{ name: "organization_id", value: "org_1" }])
  expect(parsed.history.map(({ covered, match }) => [covered, match.length])).toEqual([
    [[{ name: "organization_id", value: "org_1" }], 2],
    [[{ name: "organization_id", value: "org_1" }], 2],
  ])
  const all = [parsed.binding, ...parsed.binding.history, ...parsed.binding.canaries]
  expect([...all, parsed.binding.history, parsed.binding.canaries].every(Object.isFrozen)).toBe(true)
  const { canaries: _, leaseTtlMs: __, expectedRegion: ___, ...least } = symmetric
  expect(parseBinding(least).binding).toMatchObject({
    ...{ canaries: [], leaseTtlMs: 0, expectedRegion: undefined, publicKey: false },
  })
})

describe("a binding with", () => {
  test.each<[string, object, boolean]>([
    ["an id at its limit", { id: atLimit }, true],
    ["an id over it", { id: overLimit }, false],
    ["an id of 1,025 letters", { id: "x".repeat(1025) }, false],
    ["no id", { id: "" }, false],
    ["an id that is no text", { id: ["b"] }, false],
    ["a lone surrogate in its owner", { owner: "\ud800" }, false],
    ["an owner at its limit", { owner: atLimit }, true],
    ["an owner over it", { owner: overLimit }, false],
    ["an owner that is no text", { owner: 7 }, false],
    ["a state that is none", { state: "gone" }, false],
    ["the state verified", { state: "verified" }, true],
    ["a region that is none", { expectedRegion: "" }, false],
    ["a region that is a number", { expectedRegion: 7 }, false],
    ["a history that is no list", { history: {} }, false],
    ["a history that is a text", { history: "" }, false],
    ["canaries that are no list", { canaries: {} }, false],
    ["canaries that are like a list", { canaries: { length: 0 } }, false],
    ["100 canaries", { canaries: Array(100).fill(canary) }, true],
    ["101 canaries", { canaries: Array(101).fill(canary) }, false],
    ["a managed KEK", { provider: "managed", keyId: managedKey, owner: "" }, false],
    ["a provider in capitals", { provider: "AWS" }, false],
    ["a provider that is a list of one", { provider: ["aws-kms"] }, false],
    ["a provider of 32 characters", { provider: "p".repeat(32) }, true],
    ["a provider of 33 characters", { provider: "p".repeat(33) }, false],
    ["a key id of 1,024 characters", { keyId: "k".repeat(1024) }, true],
    ["a key id of 1,025 characters", { keyId: "k".repeat(1025) }, false],
    ["a key id with a space", { keyId: "a key" }, false],
    ["a key id that is a list of one", { keyId: ["k"] }, false],
    ["a public half that is a text", { publicKey: "yes", companion: managedKey }, false],
    ["a companion without a public half", { companion: managedKey }, false],
    ["a lease that is no number", { leaseTtlMs: "1000" }, false],
    ["a lease of an hour", { leaseTtlMs: 3_600_000 }, true],
    ["a lease of more", { leaseTtlMs: 3_600_001 }, false],
    ["options that are a list", { options: [] }, false],
    ["options with a function", { options: { credentials: () => {} } }, false],
    ["options with a date", { options: { at: new Date() } }, false],
    ["no options", { options: undefined }, false],
  ])("%s", (_, change, allowed) => {
    const read = () => parseBinding({ ...symmetric, ...change })
    if (allowed) expect(read().binding).toMatchObject(change)
    else expect(read).toThrow(invalid)
  })

  test.each<[string, unknown, boolean]>([
    ["a companion", managedKey, true],
    ["none", undefined, false],
    ["one in capitals", managedKey.toUpperCase(), false],
    ["one that is too long", `${managedKey}0`, false],
    ["one that is a list", [managedKey], false],
  ])("a public half and %s", (_, companion, allowed) => {
    const read = () => parseBinding({ ...binding, companion })
    if (allowed) expect(read().binding.companion).toBe(companion)
    else expect(read).toThrow(invalid)
  })

  test.each<[string, object, boolean]>([
    ["no last version", { lastVersion: undefined }, true],
    ["version 0", { lastVersion: 0 }, true],
    ["the highest version", { lastVersion: 0xffffffff }, true],
    ["a higher one", { lastVersion: 0x100000000 }, false],
    ["a negative version", { lastVersion: -1 }, false],
    ["half a version", { lastVersion: 0.5 }, false],
    ["a version that is a text", { lastVersion: "7" }, false],
    ["no time", { closedAt: undefined }, false],
    ["a time that is none", { closedAt: "yesterday" }, false],
    ["a time that is a number", { closedAt: 7 }, false],
    ["both pairs", { pairs: ["user", "organization_id"] }, true],
    ["no pairs", { pairs: [] }, false],
    ["pairs that are no list", { pairs: "user" }, false],
    ["a pair that is not in its match", { pairs: ["user", "data_type"] }, false],
    ["only such a pair", { pairs: ["data_type"] }, false],
    ["a pair named twice", { pairs: ["user", "user"] }, false],
    ["the match of its binding", { match: { organization_id: "org_1" } }, true],
    ["a match that does not hold its binding's", { match: { user: "u" }, pairs: ["user"] }, false],
    ["a match of another value", { match: { organization_id: "org_2" } }, false],
    ["no owner", { owner: "" }, false],
    ["a managed KEK without an owner", displaced, true],
    ["a managed KEK with an owner", { ...displaced, owner: "org_1" }, false],
    ["a managed KEK with a public half", { ...displaced, publicKey: true, companion: managedKey }, false],
    ["a managed KEK of a native id", { ...displaced, keyId: "arn:key/k" }, false],
  ])("a history entry of %s", (_, change, allowed) => {
    const read = () => parseBinding({ ...symmetric, history: [{ ...former, ...change }] })
    if (!allowed) expect(read).toThrow(invalid)
    else {
      const [entry] = read().history
      const { pairs, ...rest } = { ...former, ...change }
      expect(entry?.entry).toMatchObject(rest)
      expect(entry?.covered.map(({ name }) => name)).toEqual(pairs.toSorted())
    }
  })

  test.each<[string, object, boolean]>([
    ["as it was made", {}, true],
    ["of version 0", { keyVersion: 0 }, true],
    ["of a negative version", { keyVersion: -1 }, false],
    ["of a version that is a text", { keyVersion: "3" }, false],
    ["with a wrap as long as there is", { wrapped: "w".repeat(10_923) }, true],
    ["with a longer one", { wrapped: "w".repeat(10_924) }, false],
    ...["salt", "wrapped", "digest"].flatMap((field): [string, object, boolean][] => [
      [`without ${field}`, { [field]: "" }, false],
      [`whose ${field} is a list`, { [field]: ["c2FsdA"] }, false],
      [`whose ${field} is padded`, { [field]: "c2FsdA==" }, false],
      [`whose ${field} begins with a space`, { [field]: " c2FsdA" }, false],
    ]),
    ["of a provider in capitals", { provider: "AWS" }, false],
    ["of a provider that is a list", { provider: ["aws-kms"] }, false],
    ["of a key id with a space", { keyId: "a key" }, false],
    ["of a key id that is a list", { keyId: ["k"] }, false],
    ["without a time", { madeAt: undefined }, false],
    ["of a time that is none", { madeAt: "yesterday" }, false],
    ["of a time that is a number", { madeAt: 7 }, false],
  ])("a canary %s", (_, change, allowed) => {
    const read = () => parseBinding({ ...symmetric, canaries: [{ ...canary, ...change }] })
    if (allowed) expect(read().binding.canaries).toEqual([{ ...canary, ...change }])
    else expect(read).toThrow(invalid)
  })

  test("a canary or a history entry that is no object", () => {
    for (const wrong of [null, "x", 7, []]) {
      expect(() => parseBinding({ ...symmetric, canaries: [wrong] })).toThrow(/a canary/)
      expect(() => parseBinding({ ...symmetric, history: [wrong] })).toThrow(/a history entry/)
      expect(() => parseBinding(wrong)).toThrow(/a binding/)
    }
  })
})

describe("plain data", () => {
  test("is copied deep and frozen; what JSON cannot hold is refused", () => {
    const given = { a: [1, "b", true, null, { c: {} }], gone: undefined, bare: Object.create(null) }
    const copy = copyPlain(given) as typeof given
    expect(copy).toEqual({ a: [1, "b", true, null, { c: {} }], bare: {} })
    expect(Object.hasOwn(copy, "gone")).toBe(false)
    expect([copy, copy.a, copy.a[4], copy.bare].every(Object.isFrozen)).toBe(true)
    expect(Object.getPrototypeOf(copy)).toBeNull()
    const wrong = [Number.NaN, 1n, Symbol("s"), () => {}, undefined, new Map(), new (class A {})()]
    for (const value of wrong) {
      expect(() => copyPlain(value)).toThrow(invalid)
      expect(() => copyPlain([value])).toThrow(invalid)
    }
  })

  test("is eight levels deep at the most", () => {
    const nested = (depth: number): unknown =>
      depth === 0 ? 1 : depth % 2 ? { n: nested(depth - 1) } : [nested(depth - 1)]
    expect(copyPlain(nested(8))).toBeDefined()
    expect(() => copyPlain(nested(9))).toThrow(invalid)
    expect(() => copyPlain([nested(8)])).toThrow(invalid)
  })
})

test("names in a message stay on their line", () => {
  expect(shown(["a\n", "b\u2028c", "\u2029", "dä"])).toBe("a?, b?c, ?, dä")
})
