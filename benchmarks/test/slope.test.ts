import { expect, test } from "vitest"
import { slopeOf } from "../src/slope.ts"

test("points on a line have its slope, without an error", () => {
  expect(slopeOf([1, 2, 3, 4].map((x) => [x, 5 + 3 * x]))).toEqual({ slope: 3, error: 0 })
})

test("points that scatter about a level have a slope within its error", () => {
  const { slope, error } = slopeOf(Array.from({ length: 100 }, (_, i) => [i, i % 2]))
  expect(Math.abs(slope)).toBeLessThan(error)
  expect(error).toBeLessThan(0.01)
})
