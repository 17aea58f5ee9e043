/** How the engine calls KEKs: in parallel, under deadlines, cancelled for real, with errors wrapped once. */
import { getEventListeners } from "node:events"
import { inspect } from "node:util"
import { describe, expect, test, vi } from "vitest"
import {
  createKeyfold,
  type FailureCode,
  type Kek,
  KeyfoldError,
  type KeyfoldEvent,
  type Router,
} from "../src/index.ts"
import { type CustomEntry, type TestKek, testKek, testRouter } from "./test-keks.ts"

const context = { organization_id: "org_canary", data_type: "ssn_canary", user: "u_canary" }
const names = ["data_type", "organization_id", "user"]

function setUp(options: { deadlineMs?: number; onEvent?: (event: KeyfoldEvent) => void } = {}) {
  const keks = names.map((name) => testKek("aws-kms", `arn:key/${name}`))
  const custom = names.map(
    (name, i): CustomEntry => ({ names: [name], kek: keks[i] as Kek, owner: "", companion: undefined }),
  )
  const keyfold = createKeyfold({ router: testRouter(custom), ...options })
  return { keks: keks as [TestKek, TestKek, TestKek], keyfold }
}

/** A KEK call that never answers, and records whether it was told to stop. */
function hang(kek: TestKek, action: "wrap" | "unwrap"): { cancelled: boolean } {
  const state = { cancelled: false }
  kek[action] = (_first: unknown, _context: unknown, { signal }: { signal?: AbortSignal | undefined }) =>
    new Promise<never>((_, reject) => {
      signal?.addEventListener("abort", () => {
        state.cancelled = true
        reject(signal.reason)
      })
    })
  return state
}

describe("deadlines and aborts", () => {
  test("a KEK that hangs ends at its deadline, is cancelled, and is named", async () => {
    const { keks, keyfold } = setUp({ deadlineMs: 50 })
    const envelope = await keyfold.encrypt("x", { context })
    const wrapping = hang(keks[1], "wrap")
    const unwrapping = hang(keks[1], "unwrap")
    const started = performance.now()
    for (const call of [keyfold.encrypt("x", { context }), keyfold.decrypt(envelope, { context })]) {
      const error = await call.catch((error: KeyfoldError) => error)
      expect(error).toMatchObject({
        code: "TIMEOUT",
        retryable: true,
        keyId: "arn:key/organization_id",
        pairNames: ["organization_id"],
      })
    }
    expect(performance.now() - started).toBeLessThan(1000)
    expect(wrapping.cancelled && unwrapping.cancelled).toBe(true)
  })

  test("the caller's signal ends every call at once", async () => {
    const { keks, keyfold } = setUp()
    const states = keks.map((kek) => hang(kek, "wrap"))
    const abort = new AbortController()
    const call = keyfold.encrypt("x", { context, signal: abort.signal })
    setTimeout(() => abort.abort(), 20)
    await expect(call).rejects.toMatchObject({ code: "ABORTED", retryable: false })
    expect(states.every((state) => state.cancelled)).toBe(true)
    await expect(keyfold.encrypt("x", { context, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    })
  })

  test("wraps run side by side", async () => {
    const { keks, keyfold } = setUp()
    let running = 0
    let most = 0
    for (const kek of keks) {
      const { wrap } = kek
      kek.wrap = async (...args) => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setTimeout(resolve, 20))
        running--
        return wrap(...args)
      }
    }
    await keyfold.encrypt("x", { context })
    expect(most).toBe(3)
  })

  test("a secret that comes after the deadline is wiped", async () => {
    const { keks, keyfold } = setUp({ deadlineMs: 20 })
    const envelope = await keyfold.encrypt("x", { context })
    const { unwrap } = keks[0]
    let late: Uint8Array | undefined
    keks[0].unwrap = async (...args) => {
      const secret = await unwrap(...args)
      await new Promise((resolve) => setTimeout(resolve, 60))
      late = secret
      return secret
    }
    await expect(keyfold.decrypt(envelope, { context })).rejects.toMatchObject({ code: "TIMEOUT" })
    await expect.poll(() => late?.every((byte) => byte === 0)).toBe(true)
  })

  test("a source that hangs does not outlive the signal, and is given up where no stream comes of it", async () => {
    const { keks, keyfold } = setUp()
    let cancelled = 0
    const hanging = () => new ReadableStream<Uint8Array>({ cancel: () => void cancelled++ })
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 20)
    const opening = keyfold.decryptStream(hanging(), { context, signal: abort.signal })
    await expect(opening).rejects.toMatchObject({ code: "ABORTED" })
    const range = { size: 500, read: () => new Promise<never>(() => undefined) }
    const reading = keyfold.decryptRange(range, 0, 1, { context, signal: AbortSignal.timeout(20) })
    await expect(reading).rejects.toMatchObject({ code: "ABORTED" })
    keks[0].fault.wrap = async () => {
      throw new KeyfoldError("KEY_DISABLED", "off")
    }
    await expect(keyfold.encryptStream(hanging(), { context })).rejects.toMatchObject({
      code: "KEY_DISABLED",
    })
    expect(cancelled).toBe(2)
  })

  test("a KEK that asks for the signal after its deadline finds it aborted", async () => {
    const { keks, keyfold } = setUp({ deadlineMs: 20 })
    let aborted: boolean | undefined
    keks[0].wrap = async (_secret, _context, options) => {
      await new Promise((resolve) => setTimeout(resolve, 50))
      aborted = options.signal?.aborted
      return { keyVersion: 0, leased: false, wrapped: new Uint8Array(76) }
    }
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({ code: "TIMEOUT" })
    await expect.poll(() => aborted).toBe(true)
  })

  test.each([
    ["a version that is no number", { keyVersion: Number.NaN }],
    ["a version above 32 bits", { keyVersion: 2 ** 32 }],
    ["no bytes", { wrapped: new Uint8Array(0) }],
    ["too many bytes", { wrapped: new Uint8Array(8193) }],
    ["what is no array", { wrapped: "text" as never }],
  ])("a wrap that no envelope can hold is refused in writing: %s", async (_, fault) => {
    const { keks, keyfold } = setUp()
    keks[1].wrap = async () => ({ keyVersion: 0, leased: false, wrapped: new Uint8Array(76), ...fault })
    await expect(keyfold.encrypt("x", { context })).rejects.toBeInstanceOf(KeyfoldError)
  })

  test("a stream stops where it is aborted, and gives up its source", async () => {
    const { keyfold } = setUp()
    const abort = new AbortController()
    let cancelled = false
    const source = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(70_000)),
      cancel: () => {
        cancelled = true
      },
    })
    const reader = (await keyfold.encryptStream(source, { context, signal: abort.signal })).getReader()
    await reader.read()
    await reader.read()
    abort.abort()
    await expect(reader.read()).rejects.toMatchObject({ code: "ABORTED" })
    expect(cancelled).toBe(true)
  })
})

describe("a caller who has aborted", () => {
  const counting = (router: Router) => {
    const asked = { writing: 0, reading: 0 }
    const counted: Router = {
      forWriting: (...args) => {
        asked.writing++
        return router.forWriting(...args)
      },
      forReading: (...args) => {
        asked.reading++
        return router.forReading(...args)
      },
    }
    return { asked, keyfold: createKeyfold({ router: counted }) }
  }

  test("beforehand: not even the router is asked", async () => {
    const { asked, keyfold } = counting(testRouter())
    const envelope = await keyfold.encrypt("x", { context })
    const signal = AbortSignal.abort("gone")
    const aborted = { code: "ABORTED", cause: "gone" }
    await expect(keyfold.encrypt("x", { context, signal })).rejects.toMatchObject(aborted)
    await expect(keyfold.decrypt(envelope, { context, signal })).rejects.toMatchObject({ code: "ABORTED" })
    expect(asked).toEqual({ writing: 1, reading: 0 })
  })

  test("while it authorizes: likewise", async () => {
    const { asked, keyfold } = counting(testRouter())
    const envelope = await keyfold.encrypt("x", { context, embedContext: true })
    const controller = new AbortController()
    const authorize = () => {
      controller.abort()
      return true
    }
    const decrypted = keyfold.decrypt(envelope, { authorize, signal: controller.signal })
    await expect(decrypted).rejects.toMatchObject({ code: "ABORTED" })
    expect(asked.reading).toBe(0)
  })

  test("before another failure: is told of the abort", async () => {
    const controller = new AbortController()
    const aborting = {
      get a() {
        controller.abort()
        return 7
      },
    }
    const { signal } = controller
    const encrypted = createKeyfold({ router: testRouter() }).encrypt("x", {
      context: aborting as never,
      signal,
    })
    await expect(encrypted).rejects.toMatchObject({ code: "ABORTED" })
  })

  test("a signal keeps nothing of an operation that is over", async () => {
    const { keks, keyfold } = setUp()
    const { signal } = new AbortController()
    const envelope = await keyfold.encrypt("x", { context, signal })
    keks[0].fault.unwrap = async () => {
      throw new Error("down")
    }
    await keyfold.decrypt(envelope, { context, signal }).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve))
    expect(getEventListeners(signal, "abort")).toEqual([])
  })
})

test("a router is not asked about a context of more or fewer pairs than an envelope has", async () => {
  const router = testRouter()
  const envelope = await createKeyfold({ router }).encrypt("x", { context: { a: "1", b: "2" } })
  const forReading = () => {
    throw new Error("asked")
  }
  const keyfold = createKeyfold({ router: { forWriting: router.forWriting, forReading } })
  for (const other of [{ a: "1" }, { a: "1", b: "2", c: "3" }]) {
    await expect(keyfold.decrypt(envelope, { context: other })).rejects.toMatchObject({
      code: "DECRYPTION_FAILED",
    })
  }
  await expect(keyfold.decrypt(envelope, { context: { a: "1", b: "3" } })).rejects.toMatchObject({
    code: "UNKNOWN",
  })
})

describe("what a KEK answers", () => {
  const late = (kek: TestKek, ms: number) => {
    const { unwrap } = kek
    kek.unwrap = async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, ms))
      return unwrap(...args)
    }
  }

  test("late is told once, as what it was: too late", async () => {
    const events: KeyfoldEvent[] = []
    const { keks, keyfold } = setUp({ deadlineMs: 20, onEvent: (event) => events.push(event) })
    const envelope = await keyfold.encrypt("x", { context })
    events.length = 0
    late(keks[0], 60)
    const { unwrap } = keks[1]
    keks[1].unwrap = async (...args) => {
      await unwrap(...args)
      await new Promise((resolve) => setTimeout(resolve, 60))
      throw new KeyfoldError("KEY_DISABLED", "off")
    }
    const message = "the aws-kms key arn:key/data_type for data_type: no answer within 20 ms"
    const copied = vi.spyOn(Uint8Array, "from")
    await expect(keyfold.decrypt(envelope, { context })).rejects.toMatchObject({ code: "TIMEOUT", message })
    await new Promise((resolve) => setTimeout(resolve, 80))
    expect(copied).toHaveBeenCalledTimes(1) // of the secret that came in time: no other is kept
    copied.mockRestore()
    expect(events.map(({ type, code }) => [type, code])).toEqual([
      ["kek", undefined],
      ["kek", "TIMEOUT"],
      ["kek", "TIMEOUT"],
      ["operation", "TIMEOUT"],
    ])
  })

  test("in time leaves no timer behind", async () => {
    const { keyfold } = setUp({ deadlineMs: 600_000 })
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length
    const before = timers()
    await keyfold.encrypt("x", { context })
    expect(timers()).toBe(before)
  })

  test("is wiped, also where it has another length, which opens nothing", async () => {
    const events: KeyfoldEvent[] = []
    const { keks, keyfold } = setUp({ onEvent: (event) => events.push(event) })
    const envelope = await keyfold.encrypt("x", { context })
    const kek = keks[2]
    const { unwrap } = kek
    for (const [bytes, opens] of [
      [32, true],
      [31, false],
      [33, false],
    ] as const) {
      let given = new Uint8Array(0)
      kek.unwrap = async (...args) => {
        given = new Uint8Array(bytes).fill(7)
        given.set((await unwrap(...args)).subarray(0, bytes))
        return given
      }
      events.length = 0
      const decrypted = keyfold.decrypt(envelope, { context })
      if (opens) await expect(decrypted).resolves.toMatchObject({ context })
      else await expect(decrypted).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
      expect(given.every((byte) => byte === 0)).toBe(true)
      const event = events.find((each) => each.type === "kek" && each.keyId === kek.keyId)
      expect(event?.code).toBe(opens ? undefined : "DECRYPTION_FAILED")
    }
  })

  test("at once with another length is wiped and opens nothing either", async () => {
    const keks = ["a", "b"].map((letter) => testKek("managed", letter.repeat(32)))
    const custom = ["a", "b"].map(
      (name, i): CustomEntry => ({ names: [name], kek: keks[i] as Kek, owner: "", companion: undefined }),
    )
    const keyfold = createKeyfold({ router: testRouter(custom) })
    const pairs = { a: "1", b: "2" }
    const envelope = await keyfold.encrypt("x", { context: pairs })
    const [, second] = keks as [TestKek, TestKek]
    const { unwrap } = second
    const given = new Uint8Array(33)
    second.unwrap = (...args) => {
      given.set(unwrap(...args) as Uint8Array)
      return given
    }
    await expect(keyfold.decrypt(envelope, { context: pairs })).rejects.toMatchObject({
      code: "DECRYPTION_FAILED",
    })
    expect(given.every((byte) => byte === 0)).toBe(true)
  })

  test("that cannot even be looked at is UNKNOWN, thrown or given", async () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    const { keks, keyfold } = setUp()
    for (const wrap of [
      () => {
        throw proxy
      },
      () => Promise.reject(proxy),
      async () => ({
        get keyVersion() {
          throw proxy
        },
      }),
    ]) {
      keks[0].wrap = wrap as never
      const encrypted = keyfold.encrypt("x", { context })
      await expect(encrypted).rejects.toMatchObject({ code: "UNKNOWN", keyId: keks[0].keyId })
      await expect(encrypted).rejects.toThrow(/it failed with an error that cannot be looked at$/)
    }
  })

  test("to the question whether a lease served it is told", async () => {
    const events: KeyfoldEvent[] = []
    const { keks, keyfold } = setUp({ onEvent: (event) => events.push(event) })
    for (const [kek, hit] of [
      [keks[0], true],
      [keks[1], false],
    ] as const) {
      const { wrap } = kek
      kek.wrap = (secret, context, options) => {
        options.onLease?.(hit)
        return wrap(secret, context, options)
      }
    }
    await keyfold.encrypt("x", { context })
    const told = events.map((event) =>
      event.type === "kek" ? [event.action, event.keyId, event.leaseHit] : [],
    )
    expect(told).toEqual([
      ["wrap", "arn:key/data_type", true],
      ["wrap", "arn:key/organization_id", false],
      ["wrap", "arn:key/user", undefined],
      [],
    ])
  })
})

test("a failing KEK is named with its provider, its id and its pairs, on one line", async () => {
  const names = ["a\n", "b\u2028", "c\u2029", "dä"]
  const kek = testKek("gcp-kms", "projects/p/key")
  kek.fault.wrap = () => {
    throw new KeyfoldError("UNAVAILABLE", "down")
  }
  const keyfold = createKeyfold({ router: testRouter([{ names, kek, owner: "", companion: undefined }]) })
  const pairs = Object.fromEntries(names.map((name) => [name, "v"]))
  await expect(keyfold.encrypt("x", { context: pairs })).rejects.toMatchObject({
    message: "the gcp-kms key projects/p/key for a?, b?, c?, dä: down",
    pairNames: names,
  })
})

describe("under any", () => {
  test("a KEK that says ABORTED, though nobody aborted, does not keep the next from opening", async () => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context, policy: "any" })
    keks[0].fault.unwrap = async () => {
      throw new KeyfoldError("ABORTED", "the KMS hung up")
    }
    await expect(keyfold.decrypt(envelope, { context })).resolves.toMatchObject({ context })
  })

  test("no further KEK is called once the caller has aborted", async () => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context, policy: "any" })
    const first = hang(keks[0], "unwrap")
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 20)
    const opening = keyfold.decrypt(envelope, { context, signal: abort.signal })
    await expect(opening).rejects.toMatchObject({ code: "ABORTED" })
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(first.cancelled).toBe(true)
    expect([keks[1].calls.unwrap, keks[2].calls.unwrap]).toEqual([0, 0])
  })
})

describe("which failure is told", () => {
  const cases: [string, (FailureCode | undefined)[], "all" | "any", FailureCode][] = [
    [
      "a denial before a failed decryption and an outage",
      ["UNAVAILABLE", "DECRYPTION_FAILED", "KEY_DISABLED"],
      "all",
      "KEY_DISABLED",
    ],
    [
      "a failed decryption before an outage",
      ["TIMEOUT", "DECRYPTION_FAILED", undefined],
      "all",
      "DECRYPTION_FAILED",
    ],
    [
      "a key that is gone before a failed decryption",
      ["DECRYPTION_FAILED", "KEY_NOT_FOUND", "UNAVAILABLE"],
      "all",
      "KEY_NOT_FOUND",
    ],
    [
      "what is neither denial nor outage between a failed decryption and an outage",
      ["UNAVAILABLE", "STORE_FAILED", undefined],
      "all",
      "STORE_FAILED",
    ],
    [
      "the same after a failed decryption",
      ["STORE_FAILED", "DECRYPTION_FAILED", undefined],
      "all",
      "DECRYPTION_FAILED",
    ],
    [
      "under any it goes before a denial",
      ["KEY_DISABLED", "STORE_FAILED", "DECRYPTION_FAILED"],
      "any",
      "STORE_FAILED",
    ],
    ["and after an outage", ["STORE_FAILED", "THROTTLED", "KEY_NOT_FOUND"], "any", "THROTTLED"],
    ["the lowest slot of a kind", ["THROTTLED", "UNAVAILABLE", undefined], "all", "THROTTLED"],
    [
      "under any the outage first",
      ["KEY_DISABLED", "DECRYPTION_FAILED", "UNAVAILABLE"],
      "any",
      "UNAVAILABLE",
    ],
    [
      "under any a denial before a failed decryption",
      ["DECRYPTION_FAILED", "PERMISSION_DENIED", "DECRYPTION_FAILED"],
      "any",
      "PERMISSION_DENIED",
    ],
  ]
  test.each(cases)("%s", async (_, codes, policy, expected) => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context, policy })
    codes.forEach((code, i) => {
      if (code === undefined) return
      keks[i as 0].fault.unwrap = async () => {
        throw new KeyfoldError(code, "told to fail")
      }
    })
    await expect(keyfold.decrypt(envelope, { context })).rejects.toMatchObject({ code: expected })
  })

  test("an error of an SDK is classified once, kept as cause, and shows no context value", async () => {
    const { keks, keyfold } = setUp()
    const sdkError = new Error("socket hang up")
    keks[2].classify = () => "UNAVAILABLE"
    keks[2].fault.wrap = async () => {
      throw sdkError
    }
    const error = await keyfold.encrypt("plaintext_canary", { context }).catch((error: KeyfoldError) => error)
    expect(error).toMatchObject({
      code: "UNAVAILABLE",
      providerId: "aws-kms",
      keyId: "arn:key/user",
      pairNames: ["user"],
    })
    expect((error as KeyfoldError).cause).toBe(sdkError)
    expect(inspect(error, { depth: 9 }) + JSON.stringify(error)).not.toMatch(/canary/)
  })

  test("what a KEK says of its failure is kept: the permission, whose side, the remedy, how long to wait", async () => {
    const { keks, keyfold } = setUp()
    const sdkError = new Error("AccessDenied")
    const details = { action: "kms:Encrypt", side: "key-policy", fix: "grant it", cause: sdkError } as const
    keks[1].fault.wrap = async () => {
      throw new KeyfoldError("PERMISSION_DENIED", "denied", details)
    }
    const place = { providerId: "aws-kms", keyId: "arn:key/organization_id", pairNames: ["organization_id"] }
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({
      ...{ code: "PERMISSION_DENIED", retryAfterMs: undefined },
      ...details,
      ...place,
    })
    keks[1].fault.wrap = async () => {
      throw new KeyfoldError("THROTTLED", "slower", { retryAfterMs: 1500 })
    }
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({
      ...{ code: "THROTTLED", retryAfterMs: 1500, action: undefined, side: undefined, fix: undefined },
      ...place,
    })
  })

  test("an error that names its key already is not wrapped again", async () => {
    const { keks, keyfold } = setUp()
    const named = new KeyfoldError("UNAVAILABLE", "both regions are down", {
      ...{ providerId: "aws-kms", keyId: "arn:key/replica", pairNames: ["user"] },
    })
    keks[2].fault.wrap = async () => {
      throw named
    }
    await expect(keyfold.encrypt("x", { context })).rejects.toBe(named)
  })

  test("an error that no one can name is UNKNOWN, also from a router", async () => {
    const { keks, keyfold } = setUp()
    keks[0].fault.wrap = () => {
      throw new TypeError("surprise")
    }
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({ code: "UNKNOWN" })
    const broken = () => Promise.reject(new TypeError("surprise"))
    const other = createKeyfold({ router: { forWriting: broken, forReading: broken } })
    const cause = expect.objectContaining({ message: "surprise" })
    await expect(other.encrypt("x", { context })).rejects.toMatchObject({ code: "UNKNOWN", cause })
  })
})

test("one failed decryption looks like every other", async () => {
  const { keks, keyfold } = setUp()
  const envelope = await keyfold.encrypt("x", { context })
  const errors: unknown[] = []
  const note = (error: unknown) =>
    errors.push(
      inspect({ ...(error as object), message: (error as Error).message, cause: (error as Error).cause }),
    )
  const flip = (at: number) => envelope.map((byte, i) => (i === at ? byte ^ 1 : byte))
  await keyfold.decrypt(flip(envelope.length - 1), { context }).catch(note) // payload
  await keyfold.decrypt(flip(100), { context }).catch(note) // inside a wrap
  await keyfold.decrypt(envelope, { context: { ...context, user: "other" } }).catch(note)
  await keyfold.decrypt(envelope, { context, aad: new Uint8Array(1) }).catch(note)
  keks[0].fault.unwrap = async () => {
    throw new KeyfoldError("DECRYPTION_FAILED", "the KMS says: wrong ciphertext")
  }
  await keyfold.decrypt(envelope, { context }).catch(note)
  expect(errors).toHaveLength(5)
  expect(new Set(errors).size).toBe(1)
})

describe("the observer", () => {
  test("is told of each KEK call and each operation, and never a value", async () => {
    const events: KeyfoldEvent[] = []
    const { keks, keyfold } = setUp({ onEvent: (event) => events.push(event) })
    const envelope = await keyfold.encrypt("plaintext_canary", { context })
    keks[1].fault.unwrap = async () => {
      throw new KeyfoldError("KEY_DISABLED", "off")
    }
    await keyfold.decrypt(envelope, { context }).catch(() => undefined)
    const told = events.map((event) => [
      event.type === "kek" ? event.action : event.type,
      event.operation,
      event.type === "kek" ? event.keyId : "",
      event.code,
    ])
    expect(told).toEqual([
      ["wrap", "encrypt", "arn:key/data_type", undefined],
      ["wrap", "encrypt", "arn:key/organization_id", undefined],
      ["wrap", "encrypt", "arn:key/user", undefined],
      ["operation", "encrypt", "", undefined],
      ["unwrap", "decrypt", "arn:key/data_type", undefined],
      ["unwrap", "decrypt", "arn:key/organization_id", "KEY_DISABLED"],
      ["unwrap", "decrypt", "arn:key/user", undefined],
      ["operation", "decrypt", "", "KEY_DISABLED"],
    ])
    expect(events.every(({ durationMs }) => durationMs >= 0)).toBe(true)
    expect(JSON.stringify(events)).not.toMatch(/canary/)
  })

  test("is told of KEKs that answer at once likewise, and how long all took", async () => {
    const events: KeyfoldEvent[] = []
    const router = testRouter()
    const keyfold = createKeyfold({ router, onEvent: (event) => events.push(event) })
    const began = performance.now()
    await keyfold.encrypt("x", { context: { a: "1" } })
    const took = performance.now() - began
    expect(events.map(({ type, code }) => [type, code])).toEqual([
      ["kek", undefined],
      ["operation", undefined],
    ])
    for (const { durationMs } of events) {
      expect(durationMs).toBeGreaterThanOrEqual(0)
      expect(durationMs).toBeLessThanOrEqual(took)
    }
    const [kek] = router.keks.values()
    const { wrap } = kek as TestKek
    ;(kek as TestKek).wrap = async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 30))
      return wrap(...args)
    }
    await keyfold.encrypt("x", { context: { a: "1" } })
    for (const { durationMs } of events.slice(2)) expect(durationMs).toBeGreaterThan(25)
  })

  test("cannot make an operation fail", async () => {
    const { keyfold } = setUp({
      onEvent: () => {
        throw new Error("broken observer")
      },
    })
    await expect(keyfold.encrypt("x", { context })).resolves.toBeInstanceOf(Uint8Array)
  })
})

describe("many", () => {
  test("one bad item fails alone, in order", async () => {
    const { keyfold } = setUp()
    const sealed = await keyfold.encryptMany([
      { plaintext: "a", context },
      { plaintext: "b", context: {} },
      { plaintext: "c", context, output: "base64url" },
    ])
    expect(sealed.map((result) => (result.ok ? typeof result.value : result.error.code))).toEqual([
      "object",
      "INVALID_CONTEXT",
      "string",
    ])
    const envelopes = sealed.flatMap((result) => (result.ok ? [result.value] : []))
    const items = [...envelopes, new Uint8Array(40)].map((envelope) => ({ envelope, context }))
    const opened = await keyfold.decryptMany(items)
    expect(
      opened.map((result) =>
        result.ok ? new TextDecoder().decode(result.value.plaintext) : result.error.code,
      ),
    ).toEqual(["a", "c", "MALFORMED_ENVELOPE"])
  })

  test("the signal ends what is not done yet, and leaves what is", async () => {
    const { keks, keyfold } = setUp()
    const abort = new AbortController()
    const { wrap } = keks[0]
    keks[0].wrap = (...args) => {
      if (keks[0].calls.wrap < 2) return wrap(...args)
      abort.abort()
      return new Promise<never>(() => undefined)
    }
    const items = Array.from({ length: 5 }, () => ({ plaintext: "x", context }))
    const results = await keyfold.encryptMany(items, { concurrency: 1, signal: abort.signal })
    expect(results.map((result) => (result.ok ? "ok" : result.error.code))).toEqual([
      ...["ok", "ok"],
      ...["ABORTED", "ABORTED", "ABORTED"],
    ])
  })

  test("no options, given as null, are none", async () => {
    const { keyfold } = setUp()
    const results = await keyfold.encryptMany([{ plaintext: "x", context }], null as never)
    expect(results).toMatchObject([{ ok: true }])
  })

  test("no more run at once than asked for", async () => {
    const { keks, keyfold } = setUp()
    let running = 0
    let most = 0
    const { wrap } = keks[0]
    keks[0].wrap = async (...args) => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, 2))
      running--
      return wrap(...args)
    }
    const items = Array.from({ length: 50 }, () => ({ plaintext: "x", context }))
    const results = await keyfold.encryptMany(items, { concurrency: 4 })
    expect(results.every((result) => result.ok)).toBe(true)
    expect(most).toBe(4)
  })

  test("equal unwraps under way share one call; a failure is not shared", async () => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context })
    const other = await keyfold.encrypt("y", { context })
    const { unwrap } = keks[0]
    let left = 0
    keks[0].unwrap = async (...args) => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      if (left-- > 0) throw new KeyfoldError("UNAVAILABLE", "down")
      return unwrap(...args)
    }
    const items = Array.from({ length: 30 }, (_, i) => ({ envelope: i === 7 ? other : envelope, context }))
    const before = keks[0].calls.unwrap
    const results = await keyfold.decryptMany(items)
    expect(results.every((result) => result.ok)).toBe(true)
    expect(keks[0].calls.unwrap - before).toBe(2)
    left = 1
    const again = await keyfold.decryptMany(items.slice(0, 5))
    const failures = again.filter((result) => !result.ok)
    expect(failures).toMatchObject([{ error: { code: "UNAVAILABLE", keyId: keks[0].keyId } }])
  })

  test("a call that is over is not shared any more", async () => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context })
    const { unwrap } = keks[0]
    keks[0].unwrap = async (...args) => unwrap(...args)
    const before = keks[0].calls.unwrap
    const items = Array.from({ length: 3 }, () => ({ envelope, context }))
    const results = await keyfold.decryptMany(items, { concurrency: 1 })
    expect(results.every((result) => result.ok)).toBe(true)
    expect(keks[0].calls.unwrap - before).toBe(3)
  })

  test("an unwrap that differs in anything is a call of its own", async () => {
    // Two KEKs that could both have made the wrap, as a KEK and one in history; both take their time.
    const keks = ["a", "b"].map((last) =>
      testKek("aws-kms", `arn:aws:kms:eu-central-1:111122223333:key/${last}`),
    )
    const asked: string[] = []
    for (const kek of keks) {
      const { unwrap } = kek
      kek.unwrap = async (...args) => {
        asked.push(kek.keyId.slice(-1))
        await new Promise((resolve) => setTimeout(resolve, 5))
        return unwrap(...args)
      }
    }
    const routers = keks.map((kek) => testRouter([{ names: ["a"], kek, owner: "o", companion: undefined }]))
    const one = { a: "1" }
    const keyfold = createKeyfold({
      router: {
        forWriting: (...args) => (routers[0] as Router).forWriting(...args),
        forReading: async (...args) =>
          (await Promise.all(routers.map((router) => router.forReading(...args)))).flat(),
      },
    })
    const envelope = await keyfold.encrypt("x", { context: one })
    const changed = (at: number, byte: number) => {
      const copy = envelope.slice()
      copy[at] = byte
      return copy
    }
    const keyAt = Buffer.from(envelope).indexOf("key/a") + 4
    const otherKey = changed(keyAt, "b".charCodeAt(0))
    const otherSalt = changed(9, (envelope[9] as number) ^ 1)
    const otherVersion = changed(keyAt + 4, 1)
    const otherWrap = changed(keyAt + 20, (envelope[keyAt + 20] as number) ^ 1)
    const envelopes = [envelope, otherKey, otherSalt, otherVersion, otherWrap, envelope]
    const results = await keyfold.decryptMany(envelopes.map((each) => ({ envelope: each, context: one })))
    expect(results.map(({ ok }) => ok)).toEqual([true, false, false, false, false, true])
    expect(asked.toSorted()).toEqual(["a", "a", "a", "a", "b"])
  })
})

describe("embedded context and authorize", () => {
  test("authorize is asked once, before any KEK, with a frozen copy; only true lets pass", async () => {
    const { keks, keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context, embedContext: true })
    const asked: object[] = []
    const answer = (value: unknown) =>
      keyfold.decrypt(envelope, {
        authorize: (given) => {
          asked.push(given)
          return value as boolean
        },
      })
    for (const no of [false, undefined, 1, "true", Promise.resolve(false), Promise.reject(new Error("no"))]) {
      await expect(answer(no)).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
    }
    expect(keks.every((kek) => kek.calls.unwrap === 0)).toBe(true)
    await expect(answer(Promise.resolve(true))).resolves.toMatchObject({ context })
    expect(asked).toHaveLength(7)
    expect(asked.every((given) => Object.isFrozen(given))).toBe(true)
  })

  test("a context given as well must be equal and spares the question", async () => {
    const { keyfold } = setUp()
    const envelope = await keyfold.encrypt("x", { context, embedContext: true })
    const authorize = () => expect.fail("asked")
    await expect(keyfold.decrypt(envelope, { context, authorize })).resolves.toBeDefined()
    await expect(
      keyfold.decrypt(envelope, { context: { ...context, user: "v" }, authorize }),
    ).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
  })

  test("neither context nor authorize, or authorize without an embedded context, is a bad call", async () => {
    const { keyfold } = setUp()
    const plain = await keyfold.encrypt("x", { context })
    await expect(keyfold.decrypt(plain, {})).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    await expect(keyfold.decrypt(plain, { authorize: () => true })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    })
  })
})

test.each([
  [
    "a number as plaintext",
    (k: ReturnType<typeof setUp>["keyfold"]) => k.encrypt(7 as never, { context }),
    "INVALID_ARGUMENT",
  ],
  ["ill-formed text", (k) => k.encrypt("\ud800", { context }), "INVALID_ARGUMENT"],
  ["an unknown policy", (k) => k.encrypt("x", { context, policy: "most" as never }), "INVALID_ARGUMENT"],
  ["an unknown output", (k) => k.encrypt("x", { context, output: "hex" as never }), "INVALID_ARGUMENT"],
  [
    "additional data that is text",
    (k) => k.encrypt("x", { context, aad: "row" as never }),
    "INVALID_ARGUMENT",
  ],
  [
    "additional data over 64 KiB",
    (k) => k.encrypt("x", { context, aad: new Uint8Array(65_537) }),
    "INVALID_ARGUMENT",
  ],
  ["no options", (k) => k.encrypt("x", undefined as never), "INVALID_ARGUMENT"],
  [
    "a signal that is none",
    (k) => k.encrypt("x", { context, signal: { aborted: false } as never }),
    "INVALID_ARGUMENT",
  ],
  [
    "an authorize that is no function",
    async (k) =>
      k.decrypt(await k.encrypt("x", { context, embedContext: true }), { authorize: true as never }),
    "INVALID_ARGUMENT",
  ],
  ["no context", (k) => k.encrypt("x", {} as never), "INVALID_CONTEXT"],
  ["an envelope that is a number", (k) => k.decrypt(7 as never, { context }), "INVALID_ARGUMENT"],
  ["an empty envelope", (k) => k.decrypt(new Uint8Array(0), { context }), "MALFORMED_ENVELOPE"],
  ["text with padding", (k) => k.decrypt("S0ZMRA==", { context }), "MALFORMED_ENVELOPE"],
  ["text with spare bits", (k) => k.decrypt("S0ZMRB", { context }), "MALFORMED_ENVELOPE"],
  ["text with white space", (k) => k.decrypt("S0ZM RA", { context }), "MALFORMED_ENVELOPE"],
  ["a source that is no stream", (k) => k.encryptStream([] as never, { context }), "INVALID_ARGUMENT"],
  [
    "an odd segment size",
    (k) => k.encryptStream(new Blob().stream(), { context, segmentBytes: 5000 }),
    "INVALID_ARGUMENT",
  ],
  [
    "a range that ends before it starts",
    (k) => k.decryptRange(new Uint8Array(9), 3, 2, { context }),
    "INVALID_ARGUMENT",
  ],
  ["a negative range", (k) => k.decryptRange(new Uint8Array(9), -1, 2, { context }), "INVALID_ARGUMENT"],
  ["no concurrency", (k) => k.encryptMany([], { concurrency: 0 }), "INVALID_ARGUMENT"],
] satisfies [string, (k: ReturnType<typeof setUp>["keyfold"]) => Promise<unknown>, FailureCode][])(
  "refuses %s",
  async (_, call, code) => {
    await expect(call(setUp().keyfold)).rejects.toMatchObject({ name: "KeyfoldError", code })
  },
)

test.each([0, 1.5, 600_001, Number.NaN])("refuses a deadline of %s ms", (deadlineMs) => {
  expect(() => createKeyfold({ router: testRouter(), deadlineMs })).toThrow(KeyfoldError)
})
