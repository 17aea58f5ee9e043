import { expect, test } from "vitest"
import { ByteReader } from "../src/byte-reader.ts"

const of = (...chunks: Uint8Array[]) => new ByteReader(ReadableStream.from(chunks))
const bytes = (from: number, to: number) => Uint8Array.from({ length: to - from }, (_, i) => from + i)

test("pieces of any size, whatever the chunks", async () => {
  for (const cuts of [[10], [3, 3, 4], Array(10).fill(1), [0, 9, 0, 1, 0]]) {
    for (const size of [1, 2, 3, 7, 10, 11]) {
      const starts = cuts.map((_, i) => cuts.slice(0, i).reduce((sum, length) => sum + length, 0))
      const reader = of(...cuts.map((length, i) => bytes(starts[i] ?? 0, (starts[i] ?? 0) + length)))
      for (let from = 0; from < 10; from += size) {
        expect(await reader.atEnd()).toBe(false)
        expect(await reader.read(size)).toEqual(bytes(from, Math.min(10, from + size)))
      }
      expect(await reader.atEnd()).toBe(true)
      expect(await reader.read(size)).toHaveLength(0)
    }
  }
})

test("a piece that lies in one chunk is not copied", async () => {
  const [first, second] = [bytes(0, 10), bytes(10, 20)]
  const reader = of(first, second)
  const pieces = [await reader.read(4), await reader.read(6), await reader.read(4), await reader.read(100)]
  expect(pieces.map(({ length }) => length)).toEqual([4, 6, 4, 6])
  expect(pieces[0]?.buffer).toBe(first.buffer)
  expect(pieces[1]?.buffer).toBe(first.buffer)
  expect(pieces[2]?.buffer).toBe(second.buffer)
})

test("many empty chunks are nothing, and let timers run", async () => {
  const empty = Array.from({ length: 300 }, () => new Uint8Array(0))
  let ticks = 0
  const timer = setInterval(() => ticks++)
  expect(await of(...empty, bytes(0, 3), ...empty).read(5)).toEqual(bytes(0, 3))
  clearInterval(timer)
  expect(ticks).toBeGreaterThan(1)
})
