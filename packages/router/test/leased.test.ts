import { setTimeout as sleep } from "node:timers/promises"
import {
  createKeyfold,
  type Kek,
  KeyfoldError,
  type KeyfoldEvent,
  leasedBinding,
  type Pair,
  scopedBinding,
  type WrapRecord,
} from "@keyfold/core"
import { sealInto } from "@keyfold/core/crypto"
import { describe, expect, test, vi } from "vitest"
import { createRouter, type LeaseOptions, leased } from "../src/index.ts"
import { type Cloud, cloud } from "./cloud.ts"
import { createVault, failure } from "./vault.ts"

const covered: readonly Pair[] = [{ name: "organization_id", value: "org_1" }]
const entry: LeaseOptions = { owner: "org_1", covered, environment: "test", ttlMs: 60_000 }
const secret = new Uint8Array(32).fill(7)
const inEnvelope = (owner = "org_1") => ({ binding: new Uint8Array(71).fill(1), covered, owner })

/** A key of its own for each test, because leases are kept for the whole process. */
function fresh(more: Partial<LeaseOptions> = {}, from: Cloud = cloud("aws-kms")) {
  const keyId = `key-${Math.random()}`
  const lease = (over: Partial<LeaseOptions> = {}) => leased(from.kek(keyId), { ...entry, ...more, ...over })
  return { from, keyId, lease, kek: lease() }
}

const wrapOnce = (kek: Kek) => kek.wrap(secret, inEnvelope(), {})
const outage = () => {
  throw new KeyfoldError("UNAVAILABLE", "out")
}

describe("a lease", () => {
  test("costs one call to write and one to read, whatever is wrapped", async () => {
    const { from, kek } = fresh()
    const records: WrapRecord[] = []
    for (let i = 0; i < 100; i++) records.push(await wrapOnce(kek))
    expect(from.calls).toBe(1)
    for (const record of records) expect(await kek.unwrap(record, inEnvelope(), {})).toEqual(secret)
    expect(from.calls).toBe(2)
    expect(new Set(records.map(({ wrapped }) => String(wrapped))).size).toBe(100)
    expect(records.every(({ leased }) => leased)).toBe(true)
  })

  test("answers at once while it lasts", async () => {
    const { kek } = fresh()
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    expect(kek.wrap(secret, inEnvelope(), {})).not.toBeInstanceOf(Promise)
    expect(kek.unwrap(record, inEnvelope(), {})).toBeInstanceOf(Uint8Array)
  })

  test("tells whether it answered without its CMK", async () => {
    const { kek } = fresh()
    const hits: boolean[] = []
    const options = { onLease: (hit: boolean) => void hits.push(hit) }
    const record = await kek.wrap(secret, inEnvelope(), options)
    await kek.wrap(secret, inEnvelope(), options)
    await kek.unwrap(record, inEnvelope(), options)
    await kek.unwrap(record, inEnvelope(), options)
    expect(hits).toEqual([false, true, false, true])
  })

  test("is off by default in a binding: each call reaches the CMK, and leased wraps still open", async () => {
    const { from, kek, lease } = fresh()
    const record = await wrapOnce(kek)
    const off = lease({ ttlMs: 0 })
    for (let i = 0; i < 3; i++) expect(await off.unwrap(record, inEnvelope(), {})).toEqual(secret)
    expect((await wrapOnce(off)).leased).toBe(false)
    expect(from.calls).toBe(5)
  })

  test("opens direct wraps too, each with a call", async () => {
    const { from, kek, lease } = fresh()
    const record = await wrapOnce(lease({ ttlMs: 0 }))
    await kek.unwrap(record, inEnvelope(), {})
    await kek.unwrap(record, inEnvelope(), {})
    expect(from.calls).toBe(3)
  })

  test("makes no more wraps than maxUses, also of many at once", async () => {
    const { from, kek } = fresh({ maxUses: 10 })
    const records = await Promise.all(Array.from({ length: 35 }, () => wrapOnce(kek)))
    const leases = Map.groupBy(records, ({ wrapped }) => String(wrapped.subarray(0, 16)))
    expect([...leases.values()].map((wraps) => wraps.length)).toEqual([10, 10, 10, 5])
    expect(from.calls).toBe(4)
  })

  test("makes no more wraps than maxUses, also of one after the other, and may make a single one", async () => {
    for (const [maxUses, calls] of [
      [3, 4],
      [1, 10],
    ] as const) {
      const { from, kek } = fresh({ maxUses })
      for (let i = 0; i < 10; i++) await wrapOnce(kek)
      expect(from.calls).toBe(calls)
    }
  })

  test("has a random key of its own, which is wiped once it is wrapped or opened", async () => {
    const { from, keyId, lease } = fresh()
    const native = from.kek(keyId)
    const seen: { readonly held: Uint8Array; readonly copy: Uint8Array }[] = []
    const hold = (held: Uint8Array) => {
      seen.push({ held, copy: held.slice() })
      return held
    }
    const records: WrapRecord[] = []
    const spying: Kek = {
      ...native,
      wrap: (leaseKey, ...rest) => native.wrap(hold(leaseKey), ...rest),
      unwrap: async (record, ...rest) => {
        records.push(record)
        return hold(await native.unwrap(record, ...rest))
      },
    }
    const made = [leased(spying, entry), leased(spying, entry)]
    const [record] = [await wrapOnce(made[0] as Kek), await wrapOnce(made[1] as Kek)]
    await (made[1] as Kek).unwrap(record as WrapRecord, inEnvelope(), {})
    const keys = seen.map(({ copy }) => Buffer.from(copy).toString("hex"))
    expect(seen.map(({ copy }) => copy.length)).toEqual([32, 32, 32])
    expect([keys[0] === keys[1], keys[0] === keys[2], keys.includes("00".repeat(32))]).toEqual([
      ...[false, true, false],
    ])
    expect(seen.every(({ held }) => held.every((byte) => byte === 0))).toBe(true)
    expect(records).toMatchObject([{ leased: false, keyVersion: 0 }])
    await expect(lease().unwrap(record as WrapRecord, inEnvelope(), {})).resolves.toEqual(secret)
  })

  test("is refused where its CMK gives what no lease can be", async () => {
    const { from, keyId } = fresh()
    const native = from.kek(keyId)
    const giving = (change: Partial<WrapRecord>) =>
      leased({ ...native, wrap: async (...args) => ({ ...(await native.wrap(...args)), ...change }) }, entry)
    for (const change of [{ leased: true }, { wrapped: new Uint8Array(8115) }]) {
      await expect(wrapOnce(giving(change))).rejects.toEqual(failure("UNKNOWN"))
    }
    const longest = await wrapOnce(giving({ wrapped: new Uint8Array(8114) }))
    expect(longest.wrapped).toHaveLength(8192)
    const record = await wrapOnce(leased(native, entry))
    for (const length of [0, 31, 33]) {
      const opening = leased({ ...native, unwrap: async () => new Uint8Array(length) }, entry)
      await expect(opening.unwrap(record, inEnvelope(), {})).rejects.toEqual(failure("DECRYPTION_FAILED"))
    }
  })

  test("that is off is told as not used, and each opening reaches the CMK, whose call its caller can end", async () => {
    const { from, lease } = fresh()
    const record = await wrapOnce(lease())
    const off = lease({ ttlMs: 0 })
    const told: boolean[] = []
    const { calls } = from
    for (let i = 0; i < 2; i++) await off.unwrap(record, inEnvelope(), { onLease: (hit) => told.push(hit) })
    expect([told, from.calls - calls]).toEqual([[false, false], 2])
    for (const kek of [off, lease()]) {
      const controller = new AbortController()
      let heard: AbortSignal | undefined
      from.trouble = (_, signal) => {
        heard = signal
        return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)))
      }
      const waiting = kek.unwrap(record, inEnvelope(), { signal: controller.signal })
      await sleep(0)
      controller.abort("enough")
      await expect(waiting).rejects.toBe("enough")
      expect(heard?.aborted).toBe(true)
    }
  })

  test("ends with its time, counted from the beginning of the call that proved it", async () => {
    const { from, kek } = fresh({ ttlMs: 200 })
    from.trouble = async () => void (await sleep(150))
    const record = await wrapOnce(kek)
    from.trouble = outage
    expect((await wrapOnce(kek)).leased).toBe(true)
    await sleep(60) // 210 ms after the call began, 60 ms after it ended
    await expect(wrapOnce(kek)).rejects.toEqual(failure("UNAVAILABLE"))
    await expect(kek.unwrap(record, inEnvelope(), {})).rejects.toEqual(failure("UNAVAILABLE"))
  })

  test.each([
    ["a day forward", 86_400_000, true],
    ["fifty years forward", 50 * 365 * 86_400_000, true],
    ["a day back", -86_400_000, false],
  ])("never lasts longer for a clock that is set %s", async (_, stepMs, endsAtOnce) => {
    const { from, kek } = fresh({ ttlMs: 150 })
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    from.trouble = outage
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + stepMs })
    try {
      if (!endsAtOnce) expect((await wrapOnce(kek)).leased).toBe(true)
      await sleep(endsAtOnce ? 0 : 160)
      await expect(wrapOnce(kek)).rejects.toEqual(failure("UNAVAILABLE"))
      await expect(kek.unwrap(record, inEnvelope(), {})).rejects.toEqual(failure("UNAVAILABLE"))
    } finally {
      vi.useRealTimers()
    }
  })

  test("is asked for again ahead of its end, so that nobody waits", async () => {
    const { from, kek } = fresh({ ttlMs: 400 })
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    for (let i = 0; i < 12; i++) {
      await sleep(100)
      expect(kek.unwrap(record, inEnvelope(), {})).toBeInstanceOf(Uint8Array)
    }
    // Once about every 300 ms, not once for each of the twelve.
    expect(from.calls).toBeGreaterThan(3)
    expect(from.calls).toBeLessThan(9)
  })

  test("rides an outage out, but no further than its end", async () => {
    const { from, kek } = fresh({ ttlMs: 400 })
    await wrapOnce(kek)
    from.trouble = outage
    await sleep(320)
    expect((await wrapOnce(kek)).leased).toBe(true) // its refresh fails in vain
    await sleep(10)
    expect((await wrapOnce(kek)).leased).toBe(true)
    await sleep(100)
    await expect(wrapOnce(kek)).rejects.toEqual(failure("UNAVAILABLE"))
  })
})

describe("revocation", () => {
  test("a denial that a refresh hears ends all leases of the CMK at once, of every entry", async () => {
    const { from, keyId, kek, lease } = fresh({ ttlMs: 400 })
    const other = lease({
      owner: "org_1",
      covered: [...covered, { name: "region", value: "eu" }],
      ttlMs: 60_000,
    })
    const otherContext = { ...inEnvelope(), covered: [...covered, { name: "region", value: "eu" }] }
    const record = await wrapOnce(kek)
    const otherRecord = await other.wrap(secret, otherContext, {})
    await kek.unwrap(record, inEnvelope(), {})
    await other.unwrap(otherRecord, otherContext, {})
    from.denied.add(keyId)
    await sleep(320)
    await kek.unwrap(record, inEnvelope(), {}) // within the time of its lease; starts the refresh
    await sleep(10)
    await expect(kek.unwrap(record, inEnvelope(), {})).rejects.toEqual(failure("KEY_DISABLED"))
    await expect(wrapOnce(kek)).rejects.toEqual(failure("KEY_DISABLED"))
    await expect(other.unwrap(otherRecord, otherContext, {})).rejects.toEqual(failure("KEY_DISABLED"))
    await expect(other.wrap(secret, otherContext, {})).rejects.toEqual(failure("KEY_DISABLED"))
  })

  test("a denial of a direct wrap counts as well", async () => {
    const { from, keyId, kek, lease } = fresh()
    await wrapOnce(kek)
    from.denied.add(keyId)
    expect((await wrapOnce(kek)).leased).toBe(true)
    await expect(wrapOnce(lease({ ttlMs: 0 }))).rejects.toEqual(failure("KEY_DISABLED"))
    await expect(wrapOnce(kek)).rejects.toEqual(failure("KEY_DISABLED"))
  })

  test("a lease that was under way when the CMK denied something is not kept", async () => {
    const { from, keyId, kek, lease } = fresh()
    let release = () => {}
    from.trouble = () => new Promise((resolve) => (release = resolve))
    const waiting = wrapOnce(kek)
    from.trouble = () => {}
    from.denied.add(keyId)
    await expect(wrapOnce(lease({ ttlMs: 0 }))).rejects.toEqual(failure("KEY_DISABLED"))
    from.denied.clear()
    release()
    expect((await waiting).leased).toBe(true)
    await wrapOnce(kek)
    expect(from.calls).toBe(3)
  })

  test("ends no lease of another CMK, whether it is kept or asked for", async () => {
    const { from, keyId, lease } = fresh()
    const kept = fresh({}, from)
    await wrapOnce(kept.kek)
    const asking = fresh({}, from)
    let release = () => {}
    from.trouble = () => new Promise((resolve) => (release = resolve))
    const waiting = wrapOnce(asking.kek)
    from.trouble = () => {}
    from.denied.add(keyId)
    await expect(wrapOnce(lease({ ttlMs: 0 }))).rejects.toEqual(failure("KEY_DISABLED"))
    release()
    await waiting
    const before = from.calls
    expect((await wrapOnce(kept.kek)).leased).toBe(true)
    expect((await wrapOnce(asking.kek)).leased).toBe(true)
    expect(from.calls).toBe(before)
  })

  test("a denial that a KEK throws at once counts likewise", async () => {
    const { from, keyId, kek } = fresh()
    await wrapOnce(kek)
    const denying = {
      ...from.kek(keyId),
      wrap: () => {
        throw new KeyfoldError("PERMISSION_DENIED", "no")
      },
    }
    expect(() => leased(denying, { ...entry, ttlMs: 0 }).wrap(secret, inEnvelope(), {})).toThrow(
      failure("PERMISSION_DENIED"),
    )
    const { calls } = from
    await wrapOnce(kek)
    expect(from.calls).toBe(calls + 1)
  })

  test("a KEK that cannot even name its failure is told as it failed", async () => {
    const { from, keyId } = fresh()
    const failed = new Error("who knows")
    const native = from.kek(keyId)
    const nameless: Kek = {
      ...native,
      wrap: () => Promise.reject(failed),
      classify: () => {
        throw new Error("classify")
      },
    }
    await expect(wrapOnce(leased(nameless, { ...entry, ttlMs: 0 }))).rejects.toBe(failed)
    await expect(wrapOnce(leased(nameless, entry))).rejects.toBe(failed)
  })

  test("a key that is described as enabled keeps its leases", async () => {
    const { from, kek } = fresh()
    await wrapOnce(kek)
    from.facts = { state: "enabled" }
    await kek.describe({})
    await wrapOnce(kek)
    expect(from.calls).toBe(1)
  })

  test("an outage is not asked about again with every use", async () => {
    const { from, kek } = fresh({ ttlMs: 800 })
    await wrapOnce(kek)
    await sleep(620)
    from.trouble = outage
    for (let i = 0; i < 6; i++) {
      expect((await wrapOnce(kek)).leased).toBe(true)
      await sleep(10)
    }
    expect(from.calls).toBe(2)
  })

  test("an outage drops nothing", async () => {
    const { from, kek, lease } = fresh()
    await wrapOnce(kek)
    from.trouble = outage
    await expect(wrapOnce(lease({ ttlMs: 0 }))).rejects.toEqual(failure("UNAVAILABLE"))
    expect((await wrapOnce(kek)).leased).toBe(true)
  })

  test("a failure without a name ends the lease that it was asked for", async () => {
    const { from, kek } = fresh({ ttlMs: 400 })
    await wrapOnce(kek)
    from.trouble = () => {
      throw new Error("who knows")
    }
    await sleep(320)
    await wrapOnce(kek)
    await sleep(10)
    await expect(wrapOnce(kek)).rejects.toThrow("who knows")
  })

  test("a key that is described as disabled ends its leases", async () => {
    const { from, kek } = fresh()
    await wrapOnce(kek)
    from.facts = { state: "disabled" }
    await kek.describe({})
    await wrapOnce(kek)
    expect(from.calls).toBe(2)
  })
})

describe("callers that share a call", () => {
  test("3,000 concurrent decrypts cost exactly one", async () => {
    const { from, kek, lease } = fresh()
    const record = await wrapOnce(lease({ ttlMs: 1000 }))
    from.calls = 0
    from.trouble = async () => void (await sleep(20))
    const answers = await Promise.all(
      Array.from({ length: 3000 }, async () => kek.unwrap(record, inEnvelope(), {})),
    )
    expect(from.calls).toBe(1)
    answers[0]?.fill(0)
    expect(answers[1]).toEqual(secret) // a copy of its own
  })

  test("a failure is told to all who waited and kept for nobody", async () => {
    const { from, kek } = fresh()
    from.trouble = async () => {
      await sleep(10)
      outage()
    }
    const answers = await Promise.allSettled(Array.from({ length: 50 }, () => wrapOnce(kek)))
    expect(answers.every(({ status }) => status === "rejected")).toBe(true)
    expect(from.calls).toBe(1)
    from.trouble = () => {}
    expect((await wrapOnce(kek)).leased).toBe(true)
  })

  test("one that gives up leaves the others their call; when all have, it is aborted", async () => {
    const { from, kek } = fresh()
    const seen: AbortSignal[] = []
    from.trouble = (_, signal) => {
      seen.push(signal as AbortSignal)
      return sleep(50)
    }
    const [impatient, last] = [new AbortController(), new AbortController()]
    const first = kek.wrap(secret, inEnvelope(), { signal: impatient.signal })
    const second = kek.wrap(secret, inEnvelope(), { signal: last.signal })
    impatient.abort(new Error("enough"))
    await expect(first).rejects.toThrow("enough")
    expect(seen[0]?.aborted).toBe(false)
    expect((await second).leased).toBe(true)
    const other = fresh({}, from)
    const third = other.kek.wrap(secret, inEnvelope(), { signal: last.signal })
    last.abort(new Error("enough"))
    await expect(third).rejects.toThrow("enough")
    expect(seen[1]?.aborted).toBe(true)
  })

  test("nobody joins a call that is older than the time of a lease", async () => {
    const { from, kek } = fresh({ ttlMs: 50 })
    from.trouble = () => sleep(120)
    const first = wrapOnce(kek)
    await sleep(70)
    await Promise.all([first, wrapOnce(kek)])
    expect(from.calls).toBe(2)
  })
})

describe("what never passes for a lease", () => {
  test("a known secret that the CMK wrapped for another purpose", async () => {
    const { from, keyId, kek } = fresh()
    const known = new Uint8Array(32).fill(9)
    const salt = new Uint8Array(16).fill(3)
    const native = from.kek(keyId)
    for (const purpose of ["rootKey", "canary"] as const) {
      const scope = { purpose, providerId: "aws-kms", keyId, owner: "org_1", environment: "test", covered }
      const context = { binding: scopedBinding(scope, salt), covered, owner: "org_1" }
      const { wrapped } = await native.wrap(known, context, {})
      await expect(kek.unwrap(leasedRecord(known, salt, wrapped), inEnvelope(), {})).rejects.toEqual(
        failure("DECRYPTION_FAILED"),
      )
    }
    const { wrapped } = await native.wrap(known, inEnvelope(), {}) // as of a message
    await expect(kek.unwrap(leasedRecord(known, salt, wrapped), inEnvelope(), {})).rejects.toEqual(
      failure("DECRYPTION_FAILED"),
    )
    // Wrapped as a lease key it is one, so nothing else than the purpose was wrong above.
    const scope = {
      purpose: "leaseKey",
      providerId: "aws-kms",
      keyId,
      owner: "org_1",
      environment: "test",
      covered,
    } as const
    const context = { binding: scopedBinding(scope, salt), covered, owner: "org_1" }
    const lease = await native.wrap(known, context, {})
    expect(await kek.unwrap(leasedRecord(known, salt, lease.wrapped), inEnvelope(), {})).toEqual(secret)
  })

  test("that of another owner, of other pairs or of another environment, under the same CMK", async () => {
    const { kek, lease } = fresh()
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    const stranger = lease({ owner: "org_2" })
    await expect(stranger.unwrap(record, inEnvelope("org_2"), {})).rejects.toEqual(
      failure("DECRYPTION_FAILED"),
    )
    await expect(lease({ environment: "prod" }).unwrap(record, inEnvelope(), {})).rejects.toEqual(
      failure("DECRYPTION_FAILED"),
    )
    const pairs = [{ name: "organization_id", value: "org_2" }]
    const others = lease({ covered: pairs })
    await expect(others.unwrap(record, { ...inEnvelope(), covered: pairs }, {})).rejects.toEqual(
      failure("DECRYPTION_FAILED"),
    )
  })

  test("a lease KEK refuses another owner or other pairs than its own, and makes or opens nothing", async () => {
    const [a, b] = [
      { name: "a", value: "1" },
      { name: "b", value: "2" },
    ] as const
    const { from, lease } = fresh({ covered: [a, b] })
    const kek = lease()
    const context = (covered: readonly Pair[], owner = "org_1") => ({ ...inEnvelope(owner), covered })
    const record = await kek.wrap(secret, context([{ ...a }, { ...b }]), {})
    const { calls } = from
    for (const other of [
      context([a, b], "org_2"),
      context([]),
      context([a]),
      context([a, b, { name: "c", value: "3" }]),
      context([a, { ...b, value: "3" }]),
      context([{ ...a, value: "3" }, b]),
      context([a, { ...b, name: "c" }]),
      context([{ ...a, name: "c" }, b]),
    ]) {
      expect(() => kek.wrap(secret, other, {})).toThrow(failure("INVALID_ARGUMENT"))
      expect(() => kek.unwrap(record, other, {})).toThrow(failure("INVALID_ARGUMENT"))
    }
    expect(from.calls).toBe(calls)
    for (const owner of ["\ud800", "o".repeat(1025)])
      expect(() => lease({ owner })).toThrow(failure("INVALID_ARGUMENT"))
  })

  test("bytes that are cut, too long or changed, with the lease at hand or not", async () => {
    const { from, kek, lease } = fresh()
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    for (const reader of [kek, lease(), lease({ ttlMs: 0 })]) {
      const { calls } = from
      for (let length = 0; length < record.wrapped.length; length++) {
        const cut = { ...record, wrapped: record.wrapped.slice(0, length) }
        await expect(async () => reader.unwrap(cut, inEnvelope(), {})).rejects.toEqual(
          failure("DECRYPTION_FAILED"),
        )
      }
      const longer = { ...record, wrapped: new Uint8Array([...record.wrapped, 0]) }
      await expect(async () => reader.unwrap(longer, inEnvelope(), {})).rejects.toEqual(
        failure("DECRYPTION_FAILED"),
      )
      expect(from.calls).toBe(calls) // what has the wrong length is no question for the CMK
      for (let i = 0; i < record.wrapped.length; i++) {
        const wrapped = record.wrapped.slice()
        wrapped[i] = (wrapped[i] as number) ^ 1
        await expect(async () => reader.unwrap({ ...record, wrapped }, inEnvelope(), {})).rejects.toEqual(
          failure("DECRYPTION_FAILED"),
        )
      }
    }
  })

  test("a version of the CMK that the envelope merely claims", async () => {
    const { from, kek } = fresh()
    const record = await wrapOnce(kek)
    await kek.unwrap(record, inEnvelope(), {})
    const { calls } = from
    await kek.unwrap({ ...record, keyVersion: 2 }, inEnvelope(), {})
    expect(from.calls).toBe(calls + 1) // the CMK is asked, which knows
  })
})

test("each setting out of range is refused, and a minute is the default", async () => {
  const { lease } = fresh()
  for (const ttlMs of [-1, 0.5, 3_600_001, Number.NaN, "60" as never]) {
    expect(() => lease({ ttlMs })).toThrow(failure("INVALID_ARGUMENT"))
  }
  for (const maxUses of [0, 1.5, 2 ** 20 + 1]) {
    expect(() => lease({ maxUses })).toThrow(failure("INVALID_ARGUMENT"))
  }
  expect(() => lease({ ttlMs: 3_600_000, maxUses: 2 ** 20 })).not.toThrow()
  const { ttlMs: _, ...withoutTtl } = entry
  await expect(wrapOnce(leased(cloud("aws-kms").kek("key"), withoutTtl))).resolves.toMatchObject({
    leased: true,
  })
})

describe("through router and engine", () => {
  test("a binding's lease serves every context that holds its pairs, and its companion stays", async () => {
    const vault = await createVault()
    const keyId = `key-${Math.random()}`
    await vault.add({ organization_id: "org_1" }, { leaseTtlMs: 60_000 }, keyId, vault.azure)
    const events: KeyfoldEvent[] = []
    const router = createRouter({
      managed: vault.managed,
      providers: [vault.aws, vault.azure],
      bindings: vault.list(),
    })
    const keyfold = createKeyfold({ router, onEvent: (event) => void events.push(event) })
    const contexts = Array.from({ length: 1000 }, (_, i) => ({ organization_id: "org_1", user: `u_${i}` }))
    vault.azure.calls = 0
    const envelopes = await Promise.all(contexts.map((context) => keyfold.encrypt("x", { context })))
    expect(vault.azure.calls).toBe(1)
    expect(keyfold.inspect(envelopes[0] as Uint8Array).wraps.map(({ role }) => role)).toEqual([
      "leased",
      "companion",
      "direct",
    ])
    for (const [i, context] of contexts.entries()) {
      const { plaintext } = await keyfold.decrypt(envelopes[i] as Uint8Array, { context })
      expect(new TextDecoder().decode(plaintext)).toBe("x")
    }
    expect(vault.azure.calls).toBe(2)
    const hits = events.filter((event) => event.type === "kek" && event.leaseHit === true)
    expect(hits.length).toBeGreaterThanOrEqual(999)
    await vault.managed.close()
  })

  test("what was written under leases opens after they were turned off, and after the key became a former one", async () => {
    const vault = await createVault()
    const keyId = `key-${Math.random()}`
    const binding = await vault.add({ organization_id: "org_1" }, { leaseTtlMs: 60_000 }, keyId)
    const context = { organization_id: "org_1" }
    const envelope = await vault.keyfold().encrypt("x", { context })
    vault.save({ ...binding, leaseTtlMs: 0 })
    await vault.keyfold().decrypt(envelope, { context })
    expect(vault.keyfold().inspect(await vault.keyfold().encrypt("x", { context })).wraps[0]?.role).toBe(
      "direct",
    )
    vault.aws.denied.add(keyId)
    await expect(vault.keyfold().decrypt(envelope, { context })).rejects.toEqual(failure("KEY_DISABLED"))
    await vault.managed.close()
  })
})

/** A leased wrap of the secret, sealed under a lease key that is known. */
function leasedRecord(leaseKey: Uint8Array, salt: Uint8Array, wrapped: Uint8Array): WrapRecord {
  const head = [...salt, wrapped.length >> 8, wrapped.length & 0xff, ...wrapped]
  const bytes = new Uint8Array([...head, ...new Array(60).fill(5)])
  const iv = bytes.subarray(head.length, head.length + 12)
  sealInto(leaseKey, iv, leasedBinding(inEnvelope().binding), secret, bytes, head.length + 12)
  return { keyVersion: 0, leased: true, wrapped: bytes }
}
