import { KeyfoldError, type WrapRecord } from "@keyfold/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { BINDING_LAWS } from "../src/binding-laws.ts"
import { FAILURE_LAWS, LAST_LAWS, PHYSICAL_LAWS } from "../src/failure-laws.ts"
import { runKekConformance } from "../src/index.ts"
import { CANARY, createBench, type Law } from "../src/law.ts"
import { watchOutput } from "../src/watch-output.ts"
import { type MemoryKekOptions, memoryHarness } from "./memory-kek.ts"

runKekConformance(
  {
    name: "a correct provider in memory",
    setup: async () => memoryHarness(),
    medium: "network",
    notApplicable: {},
    notApplicableCount: 0,
  },
  { describe, test, beforeAll, afterAll },
)

/** The laws that fail for a provider which is broken in one way. */
async function broken(breakage: MemoryKekOptions): Promise<string[]> {
  const laws: readonly Law[] = [...BINDING_LAWS, ...FAILURE_LAWS, ...PHYSICAL_LAWS, ...LAST_LAWS]
  const bench = createBench(memoryHarness(breakage), "network")
  const names: string[] = []
  for (const law of laws) await law.run(bench).catch(() => names.push(law.name))
  return names
}

describe("the suite notices a provider that", () => {
  test("ignores the binding", async () => {
    expect(await broken({ ignoreBinding: true })).toEqual([
      "another binding is refused",
      "another context is refused",
      "another purpose is refused",
      "another slot is refused",
    ])
  })

  test("opens a cut wrap", async () => {
    const unwrap: MemoryKekOptions["unwrap"] = (kek) => async (record, context, options) => {
      if (record.wrapped.length > 60)
        return kek.unwrap({ ...record, wrapped: record.wrapped.subarray(0, 60) }, context, options)
      return kek.unwrap(record, context, options)
    }
    expect(await broken({ unwrap })).toEqual(["a shorter or longer wrap is refused"])
  })

  test("always makes the same wrap", async () => {
    let first: WrapRecord | undefined
    const wrap: MemoryKekOptions["wrap"] = (kek) => async (secret, context, options) => {
      first ??= await kek.wrap(secret, context, options)
      return first
    }
    expect(await broken({ wrap })).toContain("two wraps of one secret differ")
  })

  test("keeps the secret that it was given", async () => {
    const kept = new Map<Uint8Array, Uint8Array>()
    const wrap: MemoryKekOptions["wrap"] = (kek) => async (secret, context, options) => {
      const record = await kek.wrap(secret, context, options)
      kept.set(record.wrapped, secret)
      return record
    }
    const unwrap: MemoryKekOptions["unwrap"] = (kek) => async (record, context, options) => {
      const secret = await kek.unwrap(record, context, options)
      return kept.get(record.wrapped) ?? secret
    }
    expect(await broken({ wrap, unwrap })).toContain("round trip")
  })

  test("does not hear the signal", async () => {
    const wrap: MemoryKekOptions["wrap"] = (kek) => (secret, context) => kek.wrap(secret, context, {})
    expect(await broken({ wrap })).toEqual([
      "hung: the deadline ends the call and its connection",
      "abort ends the call and its connection",
      "a KEK called with a fired signal calls nobody",
    ])
  })

  test("tells its secret in an error", async () => {
    const wrap: MemoryKekOptions["wrap"] = (kek) => async (secret, context, options) => {
      try {
        return await kek.wrap(secret, context, options)
      } catch (error) {
        if (!(error instanceof KeyfoldError) || error.code !== "KEY_DISABLED") throw error
        throw new KeyfoldError(error.code, `no wrap for ${JSON.stringify(context.covered)}`)
      }
    }
    expect(await broken({ wrap })).toEqual(["no failure holds a secret or a context value"])
  })
})

test("output is noticed on the console, on the streams and as a warning", async () => {
  const output = watchOutput()
  try {
    console.log(CANARY, 1)
    process.stdout.write("to stdout")
    process.stderr.write("to stderr")
    process.emitWarning("a warning")
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    output.restore()
  }
  expect(output.written).toEqual([
    `${CANARY} 1`,
    "to stdout",
    "to stderr",
    expect.stringContaining("a warning"), // as Node writes it to stderr
    "Warning: a warning",
  ])
})
