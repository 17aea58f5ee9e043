import { expect, test } from "vitest"
import { makeSamples } from "../fuzz/samples.ts"
import { tamper } from "../fuzz/tamper.ts"
import { openVault } from "../fuzz/vault.ts"

/** `pnpm fuzz --tamper` tries them all, which takes minutes. */
const STEP = 61

test("a part of every bit, byte, version, suite and kind of 200 envelopes: none opens changed", async () => {
  await using vault = await openVault()
  const samples = await makeSamples(vault, 1, 200)
  const kinds = new Set(samples.map(({ name }) => name.replace(/^\d+: /, "")))
  expect(kinds.size).toBeGreaterThan(50)
  const { tried, accepted, untyped } = await tamper(vault, samples, STEP)
  expect([accepted, untyped]).toEqual([[], []])
  expect(tried).toBeGreaterThan(20_000)
})
