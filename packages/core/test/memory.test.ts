/** Who shares memory with whom (docs/performance.md, "Notes on safety"). */
import { describe, expect, test } from "vitest"
import type { Kek } from "../src/index.ts"
import { lend, Slab } from "../src/memory.ts"

describe("a slab", () => {
  test("is cut into zeroed arrays side by side, to its last byte, and then a new one is begun", () => {
    const slab = new Slab()
    const taken = Array.from({ length: 9 }, () => slab.take(1024))
    const [first] = taken as [Uint8Array]
    expect(taken.map(({ buffer }) => buffer === first.buffer)).toEqual([...Array(8).fill(true), false])
    expect(taken.map(({ byteOffset }) => byteOffset)).toEqual([...Array(8).keys(), 0].map((i) => i * 1024))
    expect(taken.every((bytes) => bytes.length === 1024 && bytes.every((byte) => byte === 0))).toBe(true)
  })

  test("that was transferred elsewhere is left behind", () => {
    const slab = new Slab()
    const buffer = slab.take(32).buffer as ArrayBuffer
    structuredClone(buffer, { transfer: [buffer] })
    expect(slab.take(32)).toHaveLength(32)
  })
})

describe("what a KEK is lent", () => {
  class Managed {
    readonly providerId: string
    constructor(providerId = "managed") {
      this.providerId = providerId
    }
    wrap() {}
    unwrap() {}
  }
  const lent = (kek: unknown) => lend(kek as Kek, 32)
  const shares = (a: unknown, b: unknown) => lent(a).buffer === lent(b).buffer

  test("is its own, but for managed KEKs of one code", () => {
    const kek = new Managed()
    expect(shares(kek, kek)).toBe(true)
    expect(shares(kek, new Managed())).toBe(true)
    expect(lent(kek)).toHaveLength(32)
    expect(lent(kek).byteOffset).not.toBe(lent(kek).byteOffset)
  })

  test.each([
    ["of another provider", new Managed("aws-kms")],
    ["that only claims to be managed", { providerId: "managed", wrap() {}, unwrap() {} }],
    ["with a wrap of its own", Object.assign(new Managed(), { wrap() {} })],
    ["with an unwrap of its own", Object.assign(new Managed(), { unwrap() {} })],
  ])("is never shared with one %s", (_, other) => {
    const kek = new Managed()
    lent(kek)
    expect(shares(kek, other)).toBe(false)
    expect(shares(other, kek)).toBe(false)
    expect(lent(other)).toHaveLength(32)
  })

  test("is not shared by two of another provider, nor by one with itself", () => {
    expect(shares(new Managed("aws-kms"), new Managed("aws-kms"))).toBe(false)
    const kek = new Managed("aws-kms")
    expect(shares(kek, kek)).toBe(false)
  })
})
