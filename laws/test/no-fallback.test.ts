import { type EnvelopeFacts, KeyfoldError } from "@keyfold/core"
import type { Fault } from "@keyfold/provider-testkit"
import { afterAll, beforeAll, expect, test } from "vitest"
import { CLOUDS, type CloudName, startWorld, type World } from "../src/world.ts"

/**
 * Fallback means "no binding", never "binding failed" (design.md, law 4): whatever goes wrong with a CMK, no envelope is
 * written without its wrap, nothing wrong is read, and every call ends with a named failure by its deadline.
 */
const DEADLINE_MS = 200
/** Also where the machine is busy; what a call may take beside waiting. */
const SLACK_MS = 5 * DEADLINE_MS
const OPERATIONS = 10_000
const AT_ONCE = 50

/** Twelve kinds of trouble: nine of the service, two of the key, one of the vault's own database. */
const FAULTS: readonly Fault[] = [
  { kind: "latency", ms: 400 },
  { kind: "reset" },
  { kind: "hang" },
  { kind: "throttle" },
  { kind: "throttle", retryAfterSeconds: 30 },
  { kind: "server-error" },
  { kind: "deny" },
  { kind: "other-key" },
  { kind: "truncated" },
]
const KINDS = [...FAULTS, "garbage", "disabled", "lookup"] as const

let world: World
beforeAll(async () => {
  world = await startWorld()
  for (const name of CLOUDS) await world.bind(name)
})
afterAll(() => world[Symbol.asyncDispose]())

test(`${OPERATIONS} operations under ${KINDS.length} kinds of fault`, async () => {
  const found = { written: 0, read: 0, failed: 0, unbound: 0, wrong: 0, untyped: 0, late: 0, slowestMs: 0 }
  const codes = new Map<string, number>()
  for (const kind of KINDS) {
    for (const name of CLOUDS) {
      const share = Math.ceil(OPERATIONS / KINDS.length / CLOUDS.length)
      await underTrouble(kind, name, share, found, codes)
    }
  }
  console.log("no fallback:", JSON.stringify(found), JSON.stringify(Object.fromEntries(codes)))
  expect(found.written + found.read + found.failed).toBeGreaterThanOrEqual(OPERATIONS)
  expect(found).toMatchObject({ unbound: 0, wrong: 0, untyped: 0, late: 0 })
  // The trouble was real, and so was the service between it.
  expect(found.failed).toBeGreaterThan(OPERATIONS / 10)
  expect(found.written).toBeGreaterThan(OPERATIONS / 10)
  expect(found.read).toBeGreaterThan(OPERATIONS / 10)
  for (const code of [
    "TIMEOUT",
    "UNAVAILABLE",
    "THROTTLED",
    "PERMISSION_DENIED",
    "KEY_DISABLED",
    "UNKNOWN",
  ]) {
    expect(codes.get(code)).toBeGreaterThan(0)
  }
})

type Found = Record<
  "written" | "read" | "failed" | "unbound" | "wrong" | "untyped" | "late" | "slowestMs",
  number
>

async function underTrouble(
  kind: (typeof KINDS)[number],
  name: CloudName,
  operations: number,
  found: Found,
  codes: Map<string, number>,
): Promise<void> {
  const { emulator, disable, enable } = world.clouds[name]
  const keyId = world.bindings.find(({ id }) => id === name)?.keyId as string
  const context = (i: number) => ({ organization_id: name, data_type: `type_${i % 7}`, user: `u_${i}` })
  // No breaker here, for an open one would keep the trouble away.
  const calm = world.keyfold({ deadlineMs: 10_000 }, { resilience: false })
  const envelopes = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => ({
      i,
      bytes: await calm.encrypt(`secret ${i}`, { context: context(i) }),
    })),
  )
  let asked = 0
  const bindings = () => {
    if (kind === "lookup" && ++asked % 2 === 0) throw new Error("the database is out")
    return world.bindings
  }
  // With retries and without: of each pair of calls one is in trouble.
  const keyfolds = [false, {}].map((resilience) =>
    world.keyfold({ deadlineMs: DEADLINE_MS }, { bindings, resilience: resilience && { breakAfter: 1000 } }),
  )
  const fault: Fault = typeof kind === "object" ? kind : { kind: "garbage" }
  const undos =
    typeof kind === "object" || kind === "garbage"
      ? Array.from({ length: operations * 3 }, (_, i) =>
          emulator.inject(fault, { keyId, afterCalls: 2 * i, times: 1 }),
        )
      : []

  for (let from = 0; from < operations; from += AT_ONCE) {
    if (kind === "disabled") from % (2 * AT_ONCE) === 0 ? disable(keyId) : enable(keyId)
    const batch = Array.from({ length: Math.min(AT_ONCE, operations - from) }, async (_, j) => {
      const i = from + j
      const keyfold = keyfolds[i % 2] as (typeof keyfolds)[number]
      const started = performance.now()
      try {
        if (i % 4 < 2) {
          const envelope = await keyfold.encrypt("x", { context: context(i) })
          found.written++
          if (!isWrappedBy(keyfold.inspect(envelope), name, keyId)) found.unbound++
        } else {
          const { i: which, bytes } = envelopes[i % envelopes.length] as (typeof envelopes)[number]
          const { plaintext } = await keyfold.decrypt(bytes, { context: context(which) })
          found.read++
          if (new TextDecoder().decode(plaintext) !== `secret ${which}`) found.wrong++
        }
      } catch (error) {
        found.failed++
        if (!(error instanceof KeyfoldError)) found.untyped++
        else codes.set(error.code, (codes.get(error.code) ?? 0) + 1)
      }
      const took = performance.now() - started
      found.slowestMs = Math.max(found.slowestMs, Math.round(took))
      if (took > DEADLINE_MS + SLACK_MS) found.late++
    })
    await Promise.all(batch)
  }
  for (const undo of undos) undo()
  enable(keyId)
}

/** Whether the tenant's CMK made a wrap of the first pair but its companion, and no managed KEK stands in for it. */
function isWrappedBy({ wraps }: EnvelopeFacts, name: CloudName, keyId: string): boolean {
  const [direct, ...more] = wraps.filter(({ covers }) => covers.includes(ORGANIZATION))
  return (
    direct?.keyId === keyId &&
    direct.covers.length === 1 &&
    more.length === (name === "azure" ? 1 : 0) &&
    more.every(({ role }) => role === "companion")
  )
}

/** Its position among the sorted pairs: data_type, organization_id, user. */
const ORGANIZATION = 1
