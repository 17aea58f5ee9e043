/** Every limit of a header (docs/format.md, "Limits"): one below, at, and above it, when it is read and when it is written. */
import { describe, expect, test } from "vitest"
import {
  headerLength,
  identityOf,
  immutableBytes,
  KIND,
  MAC_BYTES,
  parseHeader,
  parsePrefix,
  readIdentity,
  saltOf,
  sameIdentity,
  type Wrap,
  writeHeader,
} from "../src/envelope.ts"
import { type Kek, parseContext } from "../src/index.ts"

const ascii = (text: string) => new TextEncoder().encode(text)
const malformed = expect.objectContaining({ code: "MALFORMED_ENVELOPE" })
const invalid = expect.objectContaining({ code: "INVALID_ARGUMENT" })

/** As a header has it, whether it may be so or not. */
function identity(providerId: Uint8Array, keyId: Uint8Array): Uint8Array {
  return Uint8Array.from([providerId.length, ...providerId, keyId.length >> 8, keyId.length & 0xff, ...keyId])
}
const some = identity(ascii("aws-kms"), ascii("key"))
const wrapOf = (more: Partial<Wrap> = {}): Wrap => ({
  ...{ identity: some, keyVersion: 0, mask: 1, role: 0, leased: false, wrapped: new Uint8Array([1]) },
  ...more,
})
/** A header whose lengths fit, and whose MAC nobody has written. */
function header(wraps: readonly Wrap[], pairCount = 10): Uint8Array {
  let length = 31 + 2 + MAC_BYTES
  for (const { identity, wrapped } of wraps) length += identity.length + 9 + wrapped.length
  const bytes = new Uint8Array(length)
  writeHeader(bytes, immutableBytes(KIND.message, 16, pairCount), "all", wraps, undefined)
  return bytes
}
const reads = (bytes: Uint8Array) => {
  try {
    parseHeader(bytes)
    return true
  } catch (error) {
    expect(error).toEqual(malformed)
    return false
  }
}

test("the largest header takes less than five milliseconds, whether it is refused or not", () => {
  const wide = "\u{1f511}"
  const context = Object.fromEntries(
    Array.from({ length: 10 }, (_, i) => [`${i}${wide.repeat(119)}`, wide.repeat(500)]),
  )
  const embedded = parseContext(context)
  const wraps = Array.from({ length: 10 }, (_, i) =>
    wrapOf({
      identity: identity(ascii("p".repeat(32)), ascii("k".repeat(1024))),
      ...{ mask: 1 << i, wrapped: new Uint8Array(i < 3 ? 8192 : 500) },
    }),
  )
  const bytes = new Uint8Array(headerLength(wraps, embedded))
  writeHeader(bytes, immutableBytes(KIND.message, 16, 10), "all", wraps, embedded)
  expect(bytes.length).toBeGreaterThan(60_000)
  const disordered = bytes.slice()
  disordered[bytes.length - MAC_BYTES - 1] = 0 // NUL at the very end of the context
  for (const [header, allowed] of [
    [bytes, true],
    [disordered, false],
  ] as const) {
    // The least of several: what else runs on the machine can only add to it.
    const times = Array.from({ length: 9 }, () => {
      const started = performance.now()
      expect(reads(header)).toBe(allowed)
      return performance.now() - started
    })
    expect(Math.min(...times)).toBeLessThan(5)
  }
})

describe("a header that is read", () => {
  test("has the magic, and each of its bytes counts", () => {
    const bytes = header([wrapOf()])
    for (let length = 0; length < 4; length++)
      expect(() => parsePrefix(bytes.subarray(0, length))).toThrow(malformed)
    for (let at = 0; at < 4; at++) {
      const changed = bytes.slice()
      changed[at] = (changed[at] as number) ^ 1
      expect(() => parsePrefix(changed)).toThrow(
        expect.objectContaining({ message: expect.stringContaining("begin") }),
      )
    }
  })

  test("says which version, suite or kind is not known", () => {
    for (const [at, what] of [
      [4, "version"],
      [5, "suite"],
      [6, "kind"],
    ] as const) {
      const changed = header([wrapOf()])
      changed[at] = 9
      expect(() => parsePrefix(changed)).toThrow(
        expect.objectContaining({
          code: "UNSUPPORTED_VERSION",
          message: expect.stringContaining(`${what} 9`),
        }),
      )
    }
  })

  test("has a length of 65 KiB at most, and of one wrap at least", () => {
    const bytes = header([wrapOf()])
    const withLength = (length: number) => {
      const changed = new Uint8Array(Math.max(length, 29))
      changed.set(bytes.subarray(0, 29))
      new DataView(changed.buffer).setUint32(25, length)
      return changed
    }
    expect(parsePrefix(withLength(65_536))).toBe(65_536)
    for (const length of [0, 29, 64, 65_537, 131_072, 0x0100_0000])
      expect(() => parsePrefix(withLength(length)), `${length}`).toThrow(malformed)
  })

  test("has 1 to 10 pairs, and 1 to 20 wraps", () => {
    for (const count of [1, 10]) expect(reads(header([wrapOf()], count))).toBe(true)
    for (const count of [0, 11, 255]) expect(reads(header([wrapOf()], count))).toBe(false)
    const managed = identity(ascii("managed"), new Uint8Array(16))
    const both = Array.from({ length: 10 }, (_, i) => [
      wrapOf({ mask: 1 << i }),
      wrapOf({ mask: 1 << i, role: 2, identity: managed, keyVersion: 1, wrapped: new Uint8Array(76) }),
    ]).flat()
    expect(parseHeader(header(both)).wraps).toHaveLength(20)
    for (const [count, told] of [
      [0, "number of wraps"],
      [21, "number of wraps"],
      [255, "number of wraps"],
      [19, "does not fit"],
    ] as const) {
      const changed = header(both)
      changed[30] = count
      expect(() => parseHeader(changed), `${count}`).toThrow(
        expect.objectContaining({ message: expect.stringContaining(told) }),
      )
    }
  })

  test("a provider id is 1 to 32 of a to z, 0 to 9 and -", () => {
    for (let byte = 0; byte < 256; byte++) {
      const allowed = /[a-z0-9-]/.test(String.fromCharCode(byte))
      const wrap = wrapOf({ identity: identity(Uint8Array.from([0x61, byte]), ascii("k")) })
      expect([byte, reads(header([wrap]))]).toEqual([byte, allowed])
    }
    for (const [length, allowed] of [
      [0, false],
      [1, true],
      [2, true],
      [31, true],
      [32, true],
      [33, false],
    ] as const) {
      // Long enough that no header is refused for its length alone.
      const wrap = wrapOf({
        identity: identity(ascii("p".repeat(length)), ascii("k")),
        wrapped: new Uint8Array(9),
      })
      expect([length, reads(header([wrap]))]).toEqual([length, allowed])
    }
  })

  test("is as short as one wrap of one byte allows", () => {
    const shortest = header([wrapOf({ identity: identity(ascii("p"), ascii("k")) })])
    expect(shortest).toHaveLength(80)
    expect(reads(shortest)).toBe(true)
  })

  test("a provider whose id only begins like managed, or begins with it, is another provider", () => {
    for (const [id, allowed] of [
      ["m", true],
      ["manage", true],
      ["managed", false], // its key ids have 16 bytes
      ["managed-2", true],
    ] as const) {
      const wrap = wrapOf({ identity: identity(ascii(id), ascii("k")), wrapped: new Uint8Array(9) })
      expect([id, reads(header([wrap]))]).toEqual([id, allowed])
    }
  })

  test("a key id is 1 to 1,024 of printable ASCII without spaces", () => {
    for (let byte = 0; byte < 256; byte++) {
      const wrap = wrapOf({ identity: identity(ascii("aws-kms"), Uint8Array.from([0x61, byte])) })
      expect([byte, reads(header([wrap]))]).toEqual([byte, byte >= 0x21 && byte <= 0x7e])
    }
    for (const [length, allowed] of [
      [0, false],
      [1, true],
      [1023, true],
      [1024, true],
      [1025, false],
    ] as const) {
      const wrap = wrapOf({ identity: identity(ascii("aws-kms"), new Uint8Array(length).fill(0x6b)) })
      expect([length, reads(header([wrap]))]).toEqual([length, allowed])
    }
  })

  test("a wrap is 1 to 8,192 bytes", () => {
    for (const [length, allowed] of [
      [0, false],
      [1, true],
      [2, true],
      [8191, true],
      [8192, true],
      [8193, false],
    ] as const)
      expect([length, reads(header([wrapOf({ wrapped: new Uint8Array(length) })]))]).toEqual([
        length,
        allowed,
      ])
  })

  test("a managed wrap has 16, a version, and 76 bytes; it is direct or a companion, and no other is that", () => {
    const managed = (more: Partial<Wrap>, keyBytes = 16) =>
      wrapOf({
        ...{ identity: identity(ascii("managed"), new Uint8Array(keyBytes)), keyVersion: 1 },
        ...{ wrapped: new Uint8Array(76), ...more },
      })
    expect(reads(header([managed({})]))).toBe(true)
    expect(reads(header([wrapOf(), managed({ role: 2 })]))).toBe(true)
    for (const wrong of [
      managed({}, 15),
      managed({}, 17),
      managed({ keyVersion: 0 }),
      managed({ wrapped: new Uint8Array(75) }),
      managed({ wrapped: new Uint8Array(77) }),
      managed({ role: 1 }),
    ]) {
      expect(reads(header([wrong]))).toBe(false)
    }
    expect(reads(header([wrapOf({ role: 1, leased: true })]))).toBe(true)
    expect(reads(header([wrapOf({ role: 3 })]))).toBe(false)
    expect(reads(header([wrapOf(), wrapOf({ role: 2 })]))).toBe(false)
  })

  test("that says more than it holds ends inside itself, wherever that is", () => {
    const bytes = header([wrapOf({ wrapped: new Uint8Array(3) }), wrapOf({ mask: 2 })])
    expect(reads(bytes)).toBe(true)
    for (let length = 66; length < bytes.length; length++) {
      const cut = bytes.slice(0, length)
      new DataView(cut.buffer).setUint32(25, length)
      expect(() => parseHeader(cut), `${length}`).toThrow(malformed)
      expect(() => parseHeader(bytes.subarray(0, length)), `${length}`).toThrow(malformed)
    }
  })
})

describe("a header that is written", () => {
  test("takes wraps of 1 to 8,192 bytes, and 64 KiB in all", () => {
    const lengthOf = (...sizes: number[]) =>
      headerLength(
        sizes.map((size) => wrapOf({ wrapped: new Uint8Array(size) })),
        undefined,
      )
    expect(lengthOf(8192)).toBe(31 + 2 + MAC_BYTES + some.length + 9 + 8192)
    for (const size of [0, 8193]) {
      expect(() => lengthOf(size)).toThrow(
        expect.objectContaining({
          code: "INVALID_ARGUMENT",
          message: expect.stringContaining(`${size} bytes`),
        }),
      )
    }
    const rest = 65_536 - lengthOf(8192, 8192, 8192, 8192, 8192, 8192, 8192, 1) + 1
    expect(lengthOf(8192, 8192, 8192, 8192, 8192, 8192, 8192, rest)).toBe(65_536)
    expect(() => lengthOf(8192, 8192, 8192, 8192, 8192, 8192, 8192, rest + 1)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringContaining("65537 bytes") }),
    )
    const { canonical, ...context } = parseContext({ a: "b" })
    expect(headerLength([wrapOf()], { canonical, ...context })).toBe(
      header([wrapOf()]).length + canonical.length,
    )
  })

  test("begins with a fresh random salt each time", () => {
    const salts = Array.from({ length: 100 }, () => saltOf(immutableBytes(KIND.message, 16, 1)).join())
    expect(new Set(salts).size).toBe(100)
  })

  test("reads back as it was, to the last bit of every number", () => {
    const wraps = [
      wrapOf({ keyVersion: 0xfedc_ba98, mask: 0b11_0000_0001, wrapped: new Uint8Array(300).fill(7) }),
      wrapOf({ keyVersion: 1, mask: 0b10, role: 1, leased: true }),
    ]
    expect(parseHeader(header(wraps)).wraps).toEqual(wraps)
  })
})

describe("the identity of a KEK", () => {
  const kek = (providerId: string, keyId: string) => ({ providerId, keyId }) as Kek
  const long = "k".repeat(1024)

  test.each([
    ["aws-kms", "arn:aws:kms:eu-central-1:111122223333:key/1"],
    ["p", "k"],
    ["p".repeat(32), long],
    ["managed", "00112233445566778899aabbccddeeff"],
  ])("of %s is encoded and read back", (providerId, keyId) => {
    const encoded = identityOf(kek(providerId, keyId))
    const bytes = providerId === "managed" ? Buffer.from(keyId, "hex") : ascii(keyId)
    expect(encoded).toEqual(identity(ascii(providerId), new Uint8Array(bytes)))
    expect(readIdentity(encoded)).toEqual({ providerId, keyId })
  })

  test.each([
    ["", "k"],
    ["p".repeat(33), "k"],
    ["AWS", "k"],
    ["p", ""],
    ["p", `${long}k`],
    ["p", "a b"],
    ["p", "é"],
    ["managed", "0".repeat(31)],
    ["managed", "0".repeat(33)],
    ["managed", `x${"0".repeat(32)}`],
    ["managed", `${"0".repeat(32)}x`],
    ["managed", "A".repeat(32)],
  ])("of %j %j is refused, in words", (providerId, keyId) => {
    expect(() => identityOf(kek(providerId, keyId))).toThrow(invalid)
    expect(() => identityOf(kek(providerId, keyId))).toThrow(/provider id|key id/)
  })

  test("is kept for a KEK, and equal for equal ones", () => {
    const one = kek("aws-kms", "a")
    expect(identityOf(one)).toBe(identityOf(one))
    const same = (keyId: string) => sameIdentity(identityOf(one), identityOf(kek("aws-kms", keyId)))
    expect([same("a"), same("b"), same("aa")]).toEqual([true, false, false])
  })
})
