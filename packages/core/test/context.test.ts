import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { BoundedCache } from "../src/bounded-cache.ts"
import { decodeContext, sameContext } from "../src/context.ts"
import { type KeyContext, parseContext } from "../src/index.ts"
import { keyContext } from "./arbitraries.ts"

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")
const invalid = expect.objectContaining({ name: "KeyfoldError", code: "INVALID_CONTEXT" })
const parse = (context: unknown) => parseContext(context as KeyContext)

describe("limits of a key context, one below, at and above", () => {
  const wide = "\u{1f511}" // one code point, two UTF-16 units, four bytes
  test.each([
    ["a name of 119", { [wide.repeat(119)]: "v" }, true],
    ["a name of 120", { [wide.repeat(120)]: "v" }, true],
    ["a name of 121", { [wide.repeat(121)]: "v" }, false],
    ["an ASCII name of 121", { ["n".repeat(121)]: "v" }, false],
    ["a value of 499", { n: wide.repeat(499) }, true],
    ["a value of 500", { n: wide.repeat(500) }, true],
    ["a value of 501", { n: wide.repeat(501) }, false],
    ["an ASCII value of 501", { n: "v".repeat(501) }, false],
    ["an empty name", { "": "v" }, false],
    ["an empty value", { n: "" }, false],
    ["no pair", {}, false],
    ["9 pairs", pairs(9), true],
    ["10 pairs", pairs(10), true],
    ["11 pairs", pairs(11), false],
    ["the reserved prefix", { "keyfold:x": "v" }, false],
    ["almost the reserved prefix", { "Keyfold:x": "v", keyfold: "v" }, true],
  ])("%s", (_, context, allowed) => {
    if (allowed) expect(parse(context).pairs).toHaveLength(Object.keys(context).length)
    else expect(() => parse(context)).toThrow(invalid)
  })
})

test.each([
  ["null", null],
  ["undefined", undefined],
  ["a string", "organization_id=org_1"],
  ["an array", ["a"]],
  ["a Map", new Map([["a", "b"]])],
  ["a number as value", { a: 1 }],
  ["a boolean as value", { a: true }],
  ["null as value", { a: null }],
  ["an object as value", { a: { b: "c" } }],
  ["a String object as value", { a: new String("b") }],
  ["a symbol as name", { [Symbol("a")]: "b" }],
  ["inherited properties only", Object.create({ a: "b" })],
  ["a lone high surrogate", { a: "\ud800" }],
  ["a lone low surrogate as name", { "\udfff": "a" }],
  ["NUL", { a: "b\0" }],
])("refuses %s", (_, context) => {
  expect(() => parse(context)).toThrow(invalid)
})

const LONE = "a value must be well-formed Unicode (it has a lone surrogate)"
const SHAPE = 'a key context is an object of name/value strings, such as {"organization_id":"org_1"}'
test.each([
  [null, SHAPE],
  ["organization_id=org_1", SHAPE],
  [7, SHAPE],
  [new Uint8Array(1), SHAPE],
  [{}, "a key context needs at least one pair"],
  [pairs(12), "a key context has at most 10 pairs, this one has 12"],
  [{ a: "b", [Symbol("a")]: "b" }, "pair 2: a name must be a string, not a symbol"],
  [{ a: "b", c: 1 }, "pair 2: a value must be a string, not number"],
  [{ a: null }, "pair 1: a value must be a string, not null"],
  [{ a: "b", "": "v" }, "pair 2: a name must not be empty"],
  [{ a: "b", c: "" }, "pair 2: a value must not be empty"],
  [{ a: "\ud800" }, `pair 1: ${LONE}`],
  [{ "a\0": "b" }, "pair 1: a name must not contain NUL"],
  [{ a: "v".repeat(501) }, "pair 1: a value has at most 500 code points, this one has 501"],
  [{ a: "b", ["n".repeat(241)]: "v" }, "pair 2: a name has at most 120 code points"],
  [{ a: "v".repeat(1001) }, "pair 1: a value has at most 500 code points"],
  [{ "keyfold:x": "v" }, 'pair 1: a name must not begin with "keyfold:"'],
  [
    new Proxy(
      { a: "b" },
      {
        ownKeys: () => {
          throw new Error("s3cret")
        },
      },
    ),
    "the key context could not be read: a proxy or a getter of it failed",
  ],
])("says what is wrong, and of which pair: case %#", (context, message) => {
  expect(() => parse(context)).toThrow(expect.objectContaining({ code: "INVALID_CONTEXT", message }))
})

test("names that objects inherit are plain data", () => {
  const context = JSON.parse('{"__proto__":"p","constructor":"c","toString":"t","1":"n"}')
  const { pairs, object } = parse(context)
  expect(pairs.map(({ name }) => name)).toEqual(["1", "__proto__", "constructor", "toString"])
  expect(Object.entries(object)).toHaveLength(4)
  expect(Object.getPrototypeOf(object)).toBeNull()
})

test("a polluted Object.prototype adds no pair", () => {
  const prototype = Object.prototype as Record<string, unknown>
  prototype.organization_id = "org_evil"
  try {
    expect(parse({ a: "b" }).pairs).toEqual([{ name: "a", value: "b" }])
  } finally {
    delete prototype.organization_id
  }
})

test("a getter is read once", () => {
  let reads = 0
  const context = {
    get a() {
      reads++
      return `v${reads}`
    },
  }
  expect(parse(context).pairs).toEqual([{ name: "a", value: "v1" }])
  expect(reads).toBe(1)
})

test("errors show no name and no value", () => {
  const secret = "s3cret"
  for (const context of [{ [secret]: `${secret}\0` }, { [`${secret}\ud800`]: secret }, { [secret]: 7 }]) {
    expect(() => parse(context)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining(secret) }),
    )
  }
})

test("nothing is normalised", () => {
  expect(hex(parse({ a: "\u00e9" }).canonical)).not.toBe(hex(parse({ a: "e\u0301" }).canonical))
})

test("pairs sort by UTF-8 bytes, not by UTF-16 units or locale", () => {
  const names = ["\u{10000}", "\uffff", "\ue000", "z", "a", "B", "ä"]
  const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const context = Object.fromEntries(names.map((name) => [name, "v"]))
  expect(parse(context).pairs.map(({ name }) => name)).toEqual(sorted)
})

test("a name sorts before those that it begins", () => {
  const names = ["org", "organization", "o", "org_id", "or"]
  const context = Object.fromEntries(names.map((name) => [name, "v"]))
  expect(parse(context).pairs.map(({ name }) => name)).toEqual(["o", "or", "org", "org_id", "organization"])
})

test("contexts of different lengths are different, and so are those of one length", () => {
  const same = (a: KeyContext, b: KeyContext) => sameContext(parse(a), parse(b))
  expect(same({ a: "b" }, { a: "b" })).toBe(true)
  expect(same({ a: "b" }, { a: "c" })).toBe(false)
  expect(same({ a: "b" }, { a: "bc" })).toBe(false)
  expect(same({ a: "bc" }, { a: "b" })).toBe(false)
  expect(same({ a: "b" }, { a: "b", c: "d" })).toBe(false)
})

test("canonical bytes are those of docs/format.md", () => {
  expect(hex(parse({ b: "2", a: "é" }).canonical)).toBe("02" + "000161" + "0002c3a9" + "000162" + "000132")
})

test("equal canonical bytes if and only if equal context", () => {
  const entries = (context: KeyContext) => JSON.stringify(Object.entries(context).sort())
  fc.assert(
    fc.property(keyContext, keyContext, (a, b) => {
      const same = hex(parse(a).canonical) === hex(parse(b).canonical)
      expect(same).toBe(entries(a) === entries(b))
      const shuffled = Object.fromEntries(Object.entries(a).reverse())
      expect(hex(parse(shuffled).digest)).toBe(hex(parse(a).digest))
    }),
    { numRuns: 2000 },
  )
})

test("canonical bytes decode to the context, and nothing else decodes", () => {
  fc.assert(
    fc.property(keyContext, fc.nat(), fc.nat(255), (context, at, byte) => {
      const { canonical, pairs } = parse(context)
      expect(decodeContext(canonical)?.pairs).toEqual(pairs)
      const changed = canonical.slice()
      changed[at % changed.length] = byte
      const decoded = decodeContext(changed)
      if (decoded !== undefined) expect(hex(decoded.canonical)).toBe(hex(changed))
      expect(decodeContext(canonical.subarray(0, at % canonical.length))).toBeUndefined()
    }),
    { numRuns: 2000 },
  )
})

function pairs(count: number): KeyContext {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, "v"]))
}

test("canonical bytes that are cut anywhere decode to nothing", () => {
  const { canonical } = parse({ organization_id: "org_1", data_type: "ssn" })
  for (let length = 0; length < canonical.length; length++) {
    expect(decodeContext(canonical.slice(0, length))).toBeUndefined()
  }
  expect(decodeContext(canonical)).toBeDefined()
})

test("canonical bytes of no pair, of eleven, or in another order decode to nothing", () => {
  const pair = (name: string) => `0001${Buffer.from(name).toString("hex")}000176`
  const decode = (count: number, names: string) =>
    decodeContext(
      new Uint8Array(Buffer.from(`${hex(new Uint8Array([count]))}${[...names].map(pair).join("")}`, "hex")),
    )
  expect(decode(10, "abcdefghij")?.pairs).toHaveLength(10)
  for (const [count, names] of [
    [0, ""],
    [11, "abcdefghijk"],
    [2, "ba"],
    [2, "aa"],
    [2, "a"],
    [1, "ab"],
  ] as const) {
    expect(decode(count, names)).toBeUndefined()
  }
  expect(decodeContext(new Uint8Array())).toBeUndefined()
})

test("an equal context is parsed once, in any of its orders, and one that is too long is not kept", () => {
  const [a, b] = [
    { organization_id: "an id that is kept", data_type: "ssn" },
    { organization_id: "an id that is kept", data_type: "iban" },
  ]
  for (const context of [a, b]) expect(parse({ ...context })).toBe(parse({ ...context }))
  const long = Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`n${i}`, "v".repeat(500)]))
  expect(parse({ ...long })).not.toBe(parse({ ...long }))
  expect(parse({ ...long })).toEqual(parse({ ...long }))
})

test("contexts that share their longest value, or are one object that changes, are told apart", () => {
  const id = "a long id that all of these have"
  const contexts: KeyContext[] = [
    { organization_id: id },
    { user_id: id },
    { organization_id: id, data_type: "ssn" },
    { organization_id: id, data_type: "iban" },
    { data_type: "iban", organization_id: id },
    { data_type: id, organization_id: "iban" },
  ]
  for (let round = 0; round < 3; round++) {
    for (const context of contexts) expect({ ...parse(context).object }).toEqual(context)
  }
  const changing: Record<string, string> = { organization_id: id }
  expect(parse(changing).object).toEqual(parse({ organization_id: id }).object)
  changing.organization_id = "another"
  expect(parse(changing).object).toEqual({ ...parse({ organization_id: "another" }).object })
})

test("the cache of parsed contexts forgets what is not used, keeps what is, and stays bounded", () => {
  const cache = new BoundedCache<number, string>(2)
  cache.set(1, "one")
  cache.set(2, "two")
  cache.set(3, "three") // 1 and 2 are the old generation now
  expect(cache.get(1)).toBe("one") // and 1 a young one again
  cache.set(4, "four") // 1 and 3 are old, 2 is gone
  expect([2, 3, 4].map((key) => cache.get(key))).toEqual([undefined, "three", "four"])
  cache.set(5, "five")
  expect([1, 3, 4, 5].map((key) => cache.get(key))).toEqual([undefined, "three", "four", "five"])
})
