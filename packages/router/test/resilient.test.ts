import { setTimeout as sleep } from "node:timers/promises"
import { createKeyfold, type FailureCode, type FailureDetails, type Kek, KeyfoldError } from "@keyfold/core"
import { describe, expect, test, vi } from "vitest"
import { createRouter, type ResilienceOptions, resilient } from "../src/index.ts"
import { cloud } from "./cloud.ts"
import { createVault, failure } from "./vault.ts"

const context = { binding: new Uint8Array(71), covered: [], owner: "org_1" }
const secret = new Uint8Array(32).fill(7)
const wrapWith = (kek: Kek, signal?: AbortSignal) => Promise.resolve(kek.wrap(secret, context, { signal }))

function fresh(options: ResilienceOptions = {}, keyId = "key") {
  const from = cloud("aws-kms")
  return { from, kek: resilient(from.kek(keyId), options) }
}

/** Fails the first calls. */
function failing(code: FailureCode, times = Number.POSITIVE_INFINITY, details: FailureDetails = {}) {
  let left = times
  return () => {
    if (left-- > 0) throw new KeyfoldError(code, "trouble", details)
  }
}

describe("tries", () => {
  test.each(["UNAVAILABLE", "THROTTLED"] as const)("%s is tried again", async (code) => {
    const { from, kek } = fresh()
    from.trouble = failing(code, 2)
    const record = await wrapWith(kek)
    expect(from.calls).toBe(3)
    from.trouble = failing(code, 2)
    expect(await kek.unwrap(record, context, {})).toEqual(secret)
    expect(from.calls).toBe(6)
  })

  test.each([
    "PERMISSION_DENIED",
    "KEY_DISABLED",
    "KEY_NOT_FOUND",
    "KEY_PENDING_DELETION",
    "DECRYPTION_FAILED",
    "INVALID_ARGUMENT",
    "UNKNOWN",
    "TIMEOUT",
  ] as const)("%s is not", async (code) => {
    const { from, kek } = fresh()
    from.trouble = failing(code)
    await expect(wrapWith(kek)).rejects.toEqual(failure(code))
    expect(from.calls).toBe(1)
  })

  test("they end with the last failure", async () => {
    const { from, kek } = fresh({ maxRetries: 1 })
    from.trouble = failing("UNAVAILABLE", undefined, { fix: "mend the network" })
    await expect(wrapWith(kek)).rejects.toMatchObject({ code: "UNAVAILABLE", fix: "mend the network" })
    expect(from.calls).toBe(2)
  })

  test("each is counted by whoever counts requests", async () => {
    const { from, kek } = fresh()
    from.trouble = failing("UNAVAILABLE", 2)
    let requests = 0
    const counting: Kek = {
      ...{ providerId: kek.providerId, keyId: kek.keyId, classify: (error) => kek.classify(error) },
      describe: (options) => kek.describe(options),
      unwrap: (...args) => kek.unwrap(...args),
      async wrap(given, at, options) {
        options.onRequest?.()
        return from.kek("key").wrap(given, at, options)
      },
    }
    const options = { onRequest: () => void requests++ }
    await resilient(counting).wrap(secret, context, options)
    expect([requests, from.calls]).toEqual([3, 3])
  })

  test("the pauses between them double, with full jitter", async () => {
    const random = vi.spyOn(Math, "random")
    try {
      for (const [jitter, least, most] of [
        [0, 0, 80],
        [0.999, 290, 600],
      ] as const) {
        random.mockReturnValue(jitter)
        const { from, kek } = fresh()
        from.trouble = failing("UNAVAILABLE")
        const start = performance.now()
        await expect(wrapWith(kek)).rejects.toEqual(failure("UNAVAILABLE"))
        const took = performance.now() - start
        expect(from.calls).toBe(3)
        expect(took).toBeGreaterThanOrEqual(least)
        expect(took).toBeLessThan(most)
      }
    } finally {
      random.mockRestore()
    }
  })

  test("unwrapping and describing are tried, counted and ended likewise", async () => {
    const { from, kek } = fresh()
    const record = await wrapWith(kek)
    const told: unknown[] = []
    const native: Kek = {
      ...from.kek("key"),
      describe: async (options) => {
        options.onRequest?.()
        told.push(options.signal)
        if (told.length < 3) throw new KeyfoldError("UNAVAILABLE", "trouble")
        return { state: "enabled" } as never
      },
      unwrap: async (record, context, options) => {
        options.onRequest?.()
        told.push(options.signal)
        if (told.length < 3) throw new KeyfoldError("UNAVAILABLE", "trouble")
        return from.kek("key").unwrap(record, context, options)
      },
    }
    for (const call of [
      (options: Parameters<Kek["describe"]>[0]) => resilient(native).describe(options),
      (options: Parameters<Kek["describe"]>[0]) => resilient(native).unwrap(record, context, options),
    ]) {
      told.length = 0
      let requests = 0
      const { signal } = new AbortController()
      await call({ signal, onRequest: () => void requests++ })
      expect(requests).toBe(3)
      expect(told.every((each) => each instanceof AbortSignal)).toBe(true)
    }
  })

  test("what has no name is told as it was, and not tried again", async () => {
    const { from } = fresh()
    const failed = new Error("who knows")
    from.trouble = () => {
      throw failed
    }
    const classify = () => {
      throw new Error("classify")
    }
    await expect(wrapWith(resilient({ ...from.kek("key"), classify }))).rejects.toBe(failed)
    expect(from.calls).toBe(1)
  })

  test("Retry-After is waited for", async () => {
    const { from, kek } = fresh()
    from.trouble = failing("THROTTLED", 1, { retryAfterMs: 300 })
    const start = performance.now()
    await wrapWith(kek)
    expect(performance.now() - start).toBeGreaterThanOrEqual(299)
  })

  test("one that does not fit into the deadline is told at once", async () => {
    const { from, kek } = fresh({ deadlineMs: 2_000 })
    from.trouble = failing("THROTTLED", undefined, { retryAfterMs: 2_000 })
    const start = performance.now()
    await expect(wrapWith(kek)).rejects.toMatchObject({ code: "THROTTLED", retryAfterMs: 2_000 })
    expect(performance.now() - start).toBeLessThan(1_000)
    expect(from.calls).toBe(1)
  })

  test("an error of its own kind is named by the KEK's classify", async () => {
    const { from } = fresh()
    const native = { ...from.kek("key"), classify: () => "UNAVAILABLE" as const }
    from.trouble = () => {
      if (from.calls < 3) throw new Error("ECONNRESET")
    }
    await wrapWith(resilient(native, {}))
    expect(from.calls).toBe(3)
  })
})

describe("the deadline", () => {
  test("ends a call that hangs, whether it hears the signal or not", async () => {
    const { from, kek } = fresh({ deadlineMs: 100 })
    for (const hangs of [
      () => new Promise<void>(() => {}),
      (_: unknown, signal: AbortSignal | undefined) => sleep(60_000, undefined, { signal }),
    ]) {
      let heard = false
      from.trouble = (call, signal) => {
        signal?.addEventListener("abort", () => (heard = true))
        return hangs(call, signal)
      }
      const start = performance.now()
      await expect(wrapWith(kek)).rejects.toMatchObject({ code: "TIMEOUT", retryable: true })
      expect(performance.now() - start).toBeLessThan(1_000)
      expect(heard).toBe(true)
    }
  })

  test("bounds all tries together", async () => {
    const { from, kek } = fresh({ deadlineMs: 150, maxRetries: 10 })
    from.trouble = async () => {
      await sleep(60)
      failing("UNAVAILABLE")()
    }
    const start = performance.now()
    await expect(wrapWith(kek)).rejects.toMatchObject({ retryable: true })
    expect(performance.now() - start).toBeLessThan(1_000)
  })

  test("a secret that comes too late is wiped", async () => {
    const { from, kek } = fresh({ deadlineMs: 50 })
    const late = new Uint8Array(32).fill(1)
    const native: Kek = { ...from.kek("key"), unwrap: () => sleep(120, late) }
    const slow = resilient(native, { deadlineMs: 50 })
    await expect(slow.unwrap(await wrapWith(kek), context, {})).rejects.toEqual(failure("TIMEOUT"))
    await sleep(150)
    expect(late.every((byte) => byte === 0)).toBe(true)
  })

  test("the caller's signal ends it at once, and no other try is made", async () => {
    const { from, kek } = fresh()
    from.trouble = failing("UNAVAILABLE")
    const controller = new AbortController()
    const waiting = wrapWith(kek, controller.signal)
    await sleep(0)
    controller.abort(new Error("enough"))
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED", cause: new Error("enough") })
    const { calls } = from
    await sleep(300)
    expect(from.calls).toBe(calls)
    await expect(wrapWith(kek, AbortSignal.abort())).rejects.toEqual(failure("ABORTED"))
    expect(from.calls).toBe(calls)
  })

  test("the reason that the engine gives is kept", async () => {
    const { from, kek } = fresh()
    from.trouble = () => new Promise(() => {})
    const controller = new AbortController()
    const waiting = wrapWith(kek, controller.signal)
    controller.abort(new KeyfoldError("TIMEOUT", "the engine's"))
    await expect(waiting).rejects.toThrow("the engine's")
  })
})

describe("the breaker", () => {
  const options = { maxRetries: 0, breakAfter: 3, breakMs: 200 }

  test("opens after outages in a row, says UNAVAILABLE, and tries again after its time", async () => {
    const { from, kek } = fresh(options)
    from.trouble = failing("UNAVAILABLE")
    for (let i = 0; i < 3; i++) await expect(wrapWith(kek)).rejects.toThrow("trouble")
    const open = { code: "UNAVAILABLE", retryAfterMs: 200, side: "network" }
    await expect(wrapWith(kek)).rejects.toMatchObject(open)
    expect(from.calls).toBe(3)
    from.trouble = () => {}
    await sleep(210)
    await wrapWith(kek)
    await wrapWith(kek)
    expect(from.calls).toBe(5)
  })

  test("is no failure that is tried again, whatever the KEK calls it, nor one that counts", async () => {
    const { from } = fresh()
    const native = { ...from.kek("key"), classify: () => "UNAVAILABLE" as const }
    const kek = resilient(native, { ...options, maxRetries: 2, breakAfter: 3 })
    from.trouble = () => {
      throw new Error("ECONNRESET")
    }
    const random = vi.spyOn(Math, "random").mockReturnValue(0)
    await expect(wrapWith(kek)).rejects.toThrow("ECONNRESET")
    random.mockReturnValue(0.999)
    const start = performance.now()
    await expect(wrapWith(kek)).rejects.toMatchObject({ code: "UNAVAILABLE", retryAfterMs: 200 })
    expect(performance.now() - start).toBeLessThan(60)
    random.mockRestore()
    expect(from.calls).toBe(3)
  })

  test("counts calls that hang, also those that the engine gives up", async () => {
    const { from, kek } = fresh({ ...options, deadlineMs: 20 })
    from.trouble = () => new Promise(() => {})
    for (let i = 0; i < 2; i++) await expect(wrapWith(kek)).rejects.toEqual(failure("TIMEOUT"))
    const controller = new AbortController()
    const waiting = wrapWith(kek, controller.signal)
    controller.abort(new KeyfoldError("TIMEOUT", "the engine's"))
    await expect(waiting).rejects.toEqual(failure("TIMEOUT"))
    await sleep(0)
    await expect(wrapWith(kek)).rejects.toEqual(failure("UNAVAILABLE"))
    expect(from.calls).toBe(3)
  })

  test.each(["PERMISSION_DENIED", "KEY_DISABLED", "DECRYPTION_FAILED"] as const)(
    "never counts %s, and closes on it",
    async (code) => {
      const { from, kek } = fresh(options)
      from.trouble = failing(code)
      for (let i = 0; i < 20; i++) await expect(wrapWith(kek)).rejects.toEqual(failure(code))
      expect(from.calls).toBe(20)
      from.trouble = failing("UNAVAILABLE", 3)
      for (let i = 0; i < 3; i++) await expect(wrapWith(kek)).rejects.toThrow("trouble")
      from.trouble = failing(code)
      await sleep(210)
      for (let i = 0; i < 5; i++) await expect(wrapWith(kek)).rejects.toEqual(failure(code))
    },
  )

  test("does not count callers that go away", async () => {
    const { from, kek } = fresh(options)
    from.trouble = () => sleep(20)
    for (let i = 0; i < 10; i++) {
      const controller = new AbortController()
      const waiting = wrapWith(kek, controller.signal)
      controller.abort()
      await expect(waiting).rejects.toEqual(failure("ABORTED"))
    }
    expect((await wrapWith(kek)).leased).toBe(false)
  })

  test("of one key leaves another's alone", async () => {
    const { from, kek } = fresh(options)
    const other = resilient(from.kek("key-2"), options)
    from.trouble = failing("UNAVAILABLE", 3)
    for (let i = 0; i < 3; i++) await expect(wrapWith(kek)).rejects.toThrow("trouble")
    await expect(wrapWith(kek)).rejects.toEqual(failure("UNAVAILABLE"))
    await wrapWith(other)
  })
})

describe("calls at a time", () => {
  test("are limited, and the others wait for their turn", async () => {
    const { from, kek } = fresh({ maxConcurrent: 4 })
    let [now, most] = [0, 0]
    from.trouble = async () => {
      most = Math.max(most, ++now)
      await sleep(5)
      now--
    }
    await Promise.all(Array.from({ length: 40 }, () => wrapWith(kek)))
    expect(most).toBe(4)
    expect(from.calls).toBe(40)
  })

  test("more than may wait are THROTTLED, by us", async () => {
    const { from, kek } = fresh({ maxConcurrent: 1, maxQueued: 2 })
    from.trouble = () => sleep(20)
    const answers = await Promise.allSettled(Array.from({ length: 5 }, () => wrapWith(kek)))
    const failures = answers.filter((answer) => answer.status === "rejected")
    expect(failures.map(({ reason }) => reason)).toEqual([failure("THROTTLED"), failure("THROTTLED")])
    expect(failures[0]?.reason).toMatchObject({ side: "caller-identity" })
    expect(from.calls).toBe(3)
  })

  test("a full queue is no outage", async () => {
    const { from } = fresh()
    const native = { ...from.kek("key"), classify: () => "UNAVAILABLE" as const }
    const kek = resilient(native, { maxConcurrent: 1, maxQueued: 0, breakAfter: 2 })
    from.trouble = () => sleep(30)
    const answers = await Promise.allSettled(Array.from({ length: 6 }, () => wrapWith(kek)))
    expect(answers.map(({ status }) => status)).toEqual(["fulfilled", ...Array(5).fill("rejected")])
    expect((await wrapWith(kek)).leased).toBe(false)
  })

  test("one who gives up while it waits for its turn is not called for", async () => {
    const { from, kek } = fresh({ maxConcurrent: 1 })
    from.trouble = () => sleep(30)
    const first = wrapWith(kek)
    const controller = new AbortController()
    const second = wrapWith(kek, controller.signal)
    await sleep(5)
    controller.abort("enough")
    await expect(second).rejects.toEqual(failure("ABORTED"))
    await first
    await sleep(20)
    expect(from.calls).toBe(1)
  })

  test("leave no timer behind, and mind nothing that comes too late", async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length
    const { from, kek } = fresh({ deadlineMs: 600_000 })
    const before = timers()
    await wrapWith(kek)
    expect(timers()).toBe(before)
    const native: Kek = { ...from.kek("key"), unwrap: () => sleep(30).then(() => null as never) }
    const record = await wrapWith(kek)
    const late = resilient(native, { deadlineMs: 10 }).unwrap(record, context, {})
    await expect(late).rejects.toMatchObject({ code: "TIMEOUT", side: "network" })
    await sleep(40) // a rejection that nobody awaits would fail the run
  })

  test("one that hangs gives its place up at its deadline", async () => {
    const { from, kek } = fresh({ maxConcurrent: 1, deadlineMs: 50 })
    from.trouble = () => (from.calls === 1 ? new Promise(() => {}) : undefined)
    await expect(wrapWith(kek)).rejects.toEqual(failure("TIMEOUT"))
    await wrapWith(kek)
  })
})

test.each([
  ["deadlineMs", 1, 600_000],
  ["maxRetries", 0, 10],
  ["maxConcurrent", 1, 10_000],
  ["maxQueued", 0, 1_000_000],
  ["breakAfter", 1, 1_000],
  ["breakMs", 1, 600_000],
] as const)("%s is a whole number from %i to %i", (name, least, most) => {
  for (const value of [least, most]) expect(fresh({ [name]: value }).kek).toBeDefined()
  for (const value of [least - 1, most + 1, least + 0.5, String(least), Number.NaN]) {
    expect(() => fresh({ [name]: value })).toThrow(failure("INVALID_ARGUMENT"))
  }
})

test("a router puts it before every CMK, and leaves it out when told", async () => {
  const vault = await createVault()
  await vault.add({ organization_id: "org_1" })
  const context = { organization_id: "org_1" }
  const keyfold = vault.keyfold()
  vault.aws.calls = 0
  vault.aws.trouble = failing("UNAVAILABLE", 1)
  await keyfold.encrypt("x", { context })
  expect(vault.aws.calls).toBe(2)
  const [bindings, providers] = [vault.list(), [vault.aws]]
  const bare = createRouter({ managed: vault.managed, providers, bindings, resilience: false })
  vault.aws.trouble = failing("UNAVAILABLE", 1)
  await expect(createKeyfold({ router: bare }).encrypt("x", { context })).rejects.toEqual(
    failure("UNAVAILABLE"),
  )
  expect(vault.aws.calls).toBe(3)
  await vault.managed.close()
})
