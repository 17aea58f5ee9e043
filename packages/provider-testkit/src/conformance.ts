import { strict as assert } from "node:assert"
import { BINDING_LAWS } from "./binding-laws.ts"
import { FAILURE_LAWS, LAST_LAWS, PHYSICAL_LAWS } from "./failure-laws.ts"
import { type Bench, createBench, type KekHarness, type Law } from "./law.ts"
import { watchOutput } from "./watch-output.ts"

/** A law that a provider may go without, where its KMS cannot do what the law is about. */
export type PhysicalLaw = (typeof PHYSICAL_LAWS)[number]["name"]

export type KekConformance = {
  /** Heads the report. */
  readonly name: string
  /** Makes the provider and its KMS. Called once. */
  readonly setup: () => Promise<KekHarness>
  /** What the provider's KMS is reached through. `store` turns an outage into `STORE_FAILED`. */
  readonly medium: "network" | "store"
  /** The laws that its KMS makes impossible, each with the reason. No other law can be left out. */
  readonly notApplicable: Readonly<Partial<Record<PhysicalLaw, string>>>
  /** How many laws that are: a second place to change, so that none is left out unseen. */
  readonly notApplicableCount: number
}

/** What the suite needs of a test runner: these of vitest do. */
export type TestRunner = {
  readonly describe: (name: string, body: () => void) => unknown
  readonly test: (name: string, body: () => Promise<void>, timeoutMs: number) => unknown
  readonly beforeAll: (body: () => Promise<void>) => unknown
  readonly afterAll: (body: () => Promise<void>) => unknown
}

/**
 * Declares a suite that holds any provider of KEKs to the laws of keyfold: what a wrap is bound to, which code each
 * failure has, that time-outs and aborts close their connection, and that nothing is logged or told. Prints one row
 * per law: pass, fail or `n/a: reason`.
 */
export function runKekConformance(suite: KekConformance, runner: TestRunner): void {
  const { describe, test, beforeAll, afterAll } = runner
  const rows = new Map<string, string>()
  let bench: Bench | undefined
  let output: { readonly written: readonly string[]; restore(): void } | undefined

  describe(`${suite.name} keeps the laws of a KEK`, () => {
    beforeAll(async () => {
      output = watchOutput()
      bench = createBench(await suite.setup(), suite.medium)
    })
    afterAll(async () => {
      output?.restore()
      await bench?.harness.close()
      console.log(
        [`KEK conformance of ${suite.name}`, ...[...rows].map((row) => row.join(": "))].join("\n  "),
      )
    })

    const declare = (law: Law) => {
      rows.set(law.name, "did not run")
      test(
        law.name,
        async () => {
          rows.set(law.name, "FAIL")
          await law.run(bench as Bench)
          rows.set(law.name, "pass")
        },
        LAW_TIMEOUT_MS,
      )
    }
    for (const law of [...BINDING_LAWS, ...FAILURE_LAWS]) declare(law)
    for (const law of PHYSICAL_LAWS) {
      const reason = suite.notApplicable[law.name]
      if (reason === undefined) declare(law)
      else rows.set(law.name, `n/a: ${reason}`)
    }
    for (const law of LAST_LAWS) declare(law)
    declare({
      name: "nothing is logged",
      run: async () => assert.deepEqual(output?.written, []),
    })
    test(
      `${suite.notApplicableCount} laws are not applicable`,
      async () => {
        const reasons = Object.entries(suite.notApplicable)
        const known = new Set<string>(PHYSICAL_LAWS.map((law) => law.name))
        for (const [name, reason] of reasons) assert.ok(known.has(name) && reason.trim() !== "", name)
        assert.equal(reasons.length, suite.notApplicableCount)
      },
      LAW_TIMEOUT_MS,
    )
  })
}

/** A law makes some hundred calls at most, and three of them may take an SDK's three tries. */
const LAW_TIMEOUT_MS = 60_000
