import { randomBytes } from "node:crypto"
import fc from "fast-check"
import { expect, test, vi } from "vitest"
import * as node from "../src/crypto-node.ts"
import * as portable from "../src/crypto-portable.ts"
import { oneUseKeyForm } from "../src/key-form.ts"
import { RandomPool } from "../src/random-pool.ts"

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

test("the Node and the portable backend export the same names", () => {
  expect(Object.keys(portable).sort()).toEqual(Object.keys(node).sort())
  expect(node.backend).not.toBe(portable.backend)
})

test("both give the same bytes, and open what the other sealed", () => {
  fc.assert(
    fc.property(
      bytes(32),
      bytes(12),
      fc.uint8Array({ maxLength: 90 }),
      fc.uint8Array({ maxLength: 500 }),
      (key, iv, aad, data) => {
        const sealed = [node, portable].map((backend) => {
          const out = new Uint8Array(data.length + 20)
          backend.sealInto(key, iv, aad, data, out, 4)
          const { ciphertext, tag } = backend.seal(key, iv, aad, data)
          expect(Buffer.concat([ciphertext, tag]).equals(out.subarray(4))).toBe(true)
          return out.subarray(4)
        }) as [Uint8Array, Uint8Array]
        expect(sealed[0]).toEqual(sealed[1])
        expect(portable.open(key, iv, aad, sealed[0])).toEqual(data)
        expect(node.open(node.importLongLivedKey(key), iv, aad, sealed[1])).toEqual(data)
        const wrong = sealed[0].map((byte, i) => (i === 0 ? byte ^ 1 : byte))
        for (const backend of [node, portable]) {
          expect(backend.open(key, iv, aad, wrong)).toBeUndefined()
          expect(backend.open(key, iv, aad, sealed[0].subarray(0, 15))).toBeUndefined()
          expect(backend.equalBytes(data, data.slice())).toBe(true)
          expect(backend.equalBytes(sealed[0], wrong)).toBe(false)
          expect(backend.equalBytes(data, wrong)).toBe(false)
        }
        const same = <T>(call: (backend: typeof portable) => T) =>
          expect(new Uint8Array(call(node as never) as never)).toEqual(
            new Uint8Array(call(portable) as never),
          )
        same((backend) => backend.hmacSha256(key, data))
        same((backend) => backend.hmacSha512(key, data))
        same((backend) => backend.sha256(data))
      },
    ),
    { numRuns: 300 },
  )
})

test("a key for one use is a KeyObject on Node 24 only, and opens what raw bytes sealed", () => {
  const versions = ["20.19.0", "22.4.1", "24.0.0", "24.11.2", "25.2.4", "26.10.0"]
  expect(versions.map(oneUseKeyForm)).toEqual(["raw", "raw", "keyObject", "keyObject", "raw", "raw"])
  const [bytes, iv, aad, data] = [randomBytes(32), randomBytes(12), randomBytes(9), randomBytes(24)]
  const { ciphertext, tag } = portable.seal(bytes, iv, aad, data)
  const opened = node.open(node.importKey(bytes), iv, aad, Buffer.concat([ciphertext, tag]))
  expect(opened).toEqual(new Uint8Array(data))
})

test("payloads above one update are the same too", () => {
  const [key, iv, aad, data] = [randomBytes(32), randomBytes(12), randomBytes(9), randomBytes(600_000)]
  const out = new Uint8Array(data.length + 16)
  node.sealInto(key, iv, aad, data, out, 0)
  expect(Buffer.from(portable.open(key, iv, aad, out) as Uint8Array).equals(data)).toBe(true)
  expect(Buffer.from(node.open(key, iv, aad, out) as Uint8Array).equals(data)).toBe(true)
  out[300_000] = (out[300_000] as number) ^ 1
  expect(node.open(key, iv, aad, out)).toBeUndefined()
})

test.each([
  ["node", node],
  ["portable", portable],
])("random bytes of %s do not repeat, in any size, and reseed is safe", (_, backend) => {
  const seen = new Set<string>()
  for (let i = 0; i < 20_000; i++) {
    const target = new Uint8Array([12, 16, 32][i % 3] as number)
    backend.fillRandom(target)
    seen.add(Buffer.from(target).toString("hex"))
    if (i % 1000 === 0) backend.reseed()
  }
  expect(seen.size).toBe(20_000)
  const large = new Uint8Array(200_000)
  backend.fillRandom(large)
  expect(new Set(large).size).toBe(256)
})

test("pooled bytes are given once, dropped after a second, and by reseed", () => {
  const fills: number[] = []
  const pool = new RandomPool((target) => {
    fills.push(target.length)
    target.fill(fills.length)
  })
  const take = (length = 32) => {
    const target = new Uint8Array(length)
    pool.take(target)
    return new Set(target)
  }
  const now = vi.spyOn(performance, "now").mockReturnValue(10_000)
  try {
    expect([take(), take()]).toEqual([new Set([1]), new Set([1])])
    now.mockReturnValue(11_000)
    expect(take()).toEqual(new Set([1]))
    // A copy of the process, restored later, would go on here.
    now.mockReturnValue(11_001)
    expect(take()).toEqual(new Set([2]))
    pool.reseed()
    expect(take()).toEqual(new Set([3]))
    expect(take(1025)).toEqual(new Set([4])) // more than a quarter of the pool is asked for by itself
    for (let i = 0; i < 127; i++) expect(take()).toEqual(new Set([3]))
    expect(take()).toEqual(new Set([5]))
  } finally {
    now.mockRestore()
  }
  expect(fills).toEqual([4096, 4096, 4096, 1025, 4096])
  const unpooled = new RandomPool(
    (target) => target.fill(9),
    () => false,
  )
  const target = new Uint8Array(32)
  unpooled.take(target)
  expect(new Set(target)).toEqual(new Set([9]))
})
