import { strict as assert } from "node:assert"
import { inspect } from "node:util"
import { type FailureCode, KeyfoldError } from "@keyfold/core"
import {
  type Bench,
  CANARY,
  CONTEXT,
  codeOf,
  type Direction,
  expectFailure,
  type KekFault,
  keyfoldOver,
  type Law,
  PLAINTEXT,
  randomSecret,
  rejection,
  untilConnections,
  untilQuiet,
  wrapContext,
} from "./law.ts"

/** How a KEK fails that any KMS has. No provider may go without any of them. */
export const FAILURE_LAWS = [
  {
    name: "a disabled key does not unwrap, until it is enabled",
    async run(bench) {
      const { states, kek } = bench.harness
      const envelope = await anEnvelope(bench)
      assert.equal((await kek.describe({})).state, "enabled")
      await states.disable()
      try {
        await expectFailure(bench, "unwrap", envelope, "KEY_DISABLED")
        assert.equal((await bench.harness.kek.describe({})).state, "disabled")
      } finally {
        await states.enable()
      }
      await bench.keyfold.decrypt(envelope, { context: CONTEXT })
    },
  },
] as const satisfies readonly Law[]

/** What a provider may go without where its KMS cannot do it; it must say why. */
export const PHYSICAL_LAWS = [
  {
    name: "a disabled key does not wrap",
    async run(bench) {
      const { states } = bench.harness
      const envelope = await anEnvelope(bench)
      await states.disable()
      try {
        await expectFailure(bench, "wrap", envelope, "KEY_DISABLED")
      } finally {
        await states.enable()
      }
    },
  },
  {
    name: "a key that is pending deletion does nothing, until that is cancelled",
    async run(bench) {
      const { states } = bench.harness
      const envelope = await anEnvelope(bench)
      await states.scheduleDeletion()
      try {
        for (const direction of BOTH) await expectFailure(bench, direction, envelope, "KEY_PENDING_DELETION")
        assert.equal((await bench.harness.kek.describe({})).state, "pending-deletion")
      } finally {
        await states.cancelDeletion()
      }
      await bench.keyfold.decrypt(envelope, { context: CONTEXT })
    },
  },
  {
    name: "a denied wrap names the action and who can mend it",
    run: (bench) => assertDenied(bench, "wrap"),
  },
  {
    name: "a denied unwrap names the action and who can mend it",
    run: (bench) => assertDenied(bench, "unwrap"),
  },
  {
    name: "throttled",
    run: (bench) => assertFault(bench, "throttle", "THROTTLED"),
  },
  {
    name: "unreachable",
    run: (bench) =>
      assertFault(bench, "unreachable", bench.medium === "network" ? "UNAVAILABLE" : "STORE_FAILED"),
  },
  {
    name: "internal error",
    run: (bench) => assertFault(bench, "server-error", "UNAVAILABLE"),
  },
  {
    name: "truncated answer",
    run: (bench) =>
      assertFault(bench, "truncated", bench.medium === "network" ? "UNAVAILABLE" : "STORE_CORRUPT"),
  },
  {
    name: "garbage answer",
    run: (bench) =>
      assertFault(bench, "garbage", bench.medium === "network" ? "UNAVAILABLE" : "STORE_CORRUPT"),
  },
  {
    name: "hung: the deadline ends the call and its connection",
    async run(bench) {
      const envelope = await anEnvelope(bench)
      const undo = bench.harness.fault("hang")
      const keyfold = keyfoldOver(bench.harness, SHORT_DEADLINE_MS)
      try {
        for (const direction of BOTH) {
          await expectFailure({ ...bench, keyfold }, direction, envelope, "TIMEOUT")
          await untilQuiet(bench.harness)
        }
      } finally {
        undo()
      }
    },
  },
  {
    name: "abort ends the call and its connection",
    async run(bench) {
      const envelope = await anEnvelope(bench)
      const undo = bench.harness.fault("hang")
      try {
        for (const direction of BOTH) {
          const controller = new AbortController()
          const options = { context: CONTEXT, signal: controller.signal }
          const call =
            direction === "wrap"
              ? bench.keyfold.encrypt(PLAINTEXT, options)
              : bench.keyfold.decrypt(envelope, options)
          const outcome = call.then(
            () => undefined,
            (error: unknown) => error,
          )
          await untilConnections(bench.harness, (count) => count > 0)
          controller.abort()
          const error = await outcome
          assert.ok(error instanceof KeyfoldError && error.code === "ABORTED")
          await untilQuiet(bench.harness)
        }
      } finally {
        undo()
      }
    },
  },
  {
    name: "a KEK called with a fired signal calls nobody",
    async run({ harness: { kek, openConnections } }) {
      const context = wrapContext()
      const record = await kek.wrap(randomSecret(), context, {})
      const options = { signal: AbortSignal.abort() }
      await rejection((async () => kek.wrap(randomSecret(), context, options))())
      await rejection((async () => kek.unwrap(record, context, options))())
      await rejection(kek.describe(options))
      assert.equal(openConnections(), 0)
    },
  },
  {
    name: "a wrap made by another key is thrown away",
    async run({ harness }) {
      const undo = harness.fault("other-key")
      try {
        const { kek } = harness
        assert.equal(await codeOf(kek, () => kek.wrap(randomSecret(), wrapContext(), {})), "UNKNOWN")
      } finally {
        undo()
      }
    },
  },
  {
    name: "an unwrap made by another key is thrown away",
    async run({ harness }) {
      const context = wrapContext()
      const record = await harness.kek.wrap(randomSecret(), context, {})
      const undo = harness.fault("other-key")
      try {
        const { kek } = harness
        assert.equal(await codeOf(kek, () => kek.unwrap(record, context, {})), "UNKNOWN")
      } finally {
        undo()
      }
    },
  },
] as const satisfies readonly Law[]

/** The last ones: they look back at all that happened, and end the key. No provider may go without them. */
export const LAST_LAWS = [
  {
    name: "no failure holds a secret or a context value",
    async run({ harness, failures }) {
      const secret = randomSecret()
      const context = wrapContext()
      const record = await harness.kek.wrap(secret, context, {})
      await harness.states.disable()
      const { kek } = harness
      for (const call of [() => kek.wrap(secret, context, {}), () => kek.unwrap(record, context, {})]) {
        await (async () => call())().catch((failure: unknown) => failures.push(failure))
      }
      await harness.states.enable()
      assert.ok(failures.length > 0)
      const secrets = (["hex", "base64", "base64url"] as const).map((form) =>
        Buffer.from(secret).toString(form),
      )
      secrets.push([...secret].join(", "))
      for (const failure of failures) {
        const shown = `${inspect(failure, { depth: 8, maxArrayLength: null })}${JSON.stringify(failure)}`
        assert.ok(!shown.includes(CANARY), `a failure shows the plaintext or a context value: ${failure}`)
        assert.ok(!secrets.some((form) => shown.includes(form)), `a failure shows the secret: ${failure}`)
      }
    },
  },
  {
    name: "a deleted key is not found",
    async run(bench) {
      const envelope = await anEnvelope(bench)
      await bench.harness.states.delete()
      for (const direction of BOTH) await expectFailure(bench, direction, envelope, "KEY_NOT_FOUND")
    },
  },
] as const satisfies readonly Law[]

async function anEnvelope({ keyfold }: Bench): Promise<Uint8Array> {
  return keyfold.encrypt(PLAINTEXT, { context: CONTEXT })
}

async function assertDenied(bench: Bench, direction: Direction): Promise<void> {
  const { states } = bench.harness
  const envelope = await anEnvelope(bench)
  await states.deny(direction)
  try {
    const failure = await expectFailure(bench, direction, envelope, "PERMISSION_DENIED")
    assert.ok(failure.action, "the denied action is not named")
    assert.ok(failure.side, "it is not said who can mend it")
    assert.ok(failure.fix, "it is not said what to do")
    assert.equal(failure.keyId, bench.harness.kek.keyId)
  } finally {
    await states.allow(direction)
  }
  await bench.keyfold.decrypt(envelope, { context: CONTEXT })
}

/** Both directions fail with the code while the fault lasts, and work again after it. */
async function assertFault(bench: Bench, fault: KekFault, code: FailureCode): Promise<void> {
  const envelope = await anEnvelope(bench)
  const undo = bench.harness.fault(fault)
  try {
    for (const direction of BOTH) await expectFailure(bench, direction, envelope, code)
  } finally {
    undo()
  }
  await untilQuiet(bench.harness)
  await bench.keyfold.decrypt(await anEnvelope(bench), { context: CONTEXT })
}

const BOTH: readonly Direction[] = ["wrap", "unwrap"]
/** Long enough for a call to leave, short enough to wait for. */
const SHORT_DEADLINE_MS = 400
