/** Faults that a review found: buffers that alias, detach or change, faulty providers, routers, options and sources. */
import { createHash } from "node:crypto"
import { describe, expect, test } from "vitest"
import * as portable from "../src/crypto-portable.ts"
import {
  createKeyfold,
  type Kek,
  KeyfoldError,
  leasedBinding,
  parseContext,
  type RouteEntry,
  type Router,
  scopedBinding,
} from "../src/index.ts"
import { callUnwrap, callWrap } from "../src/kek-call.ts"
import { allocate } from "../src/message.ts"
import { type CustomEntry, randomKeyId, type TestKek, testKek, testRouter } from "./test-keks.ts"

const context = { a: "1", b: "2" }
const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })
const cloudKek = () => testKek("aws-kms", "arn:key/k")
const routed = (kek: TestKek) =>
  createKeyfold({
    router: testRouter([{ names: ["a"], kek, owner: "o", companion: undefined } satisfies CustomEntry]),
  })

test("a long-lived key of the portable backend is a copy, also of a Buffer", () => {
  const bytes = Buffer.alloc(32, 7)
  const key = portable.importLongLivedKey(bytes) as Uint8Array
  bytes.fill(0)
  expect(key.every((byte) => byte === 7)).toBe(true)
})

test("scopes of distinct fields have distinct bindings, or are refused", () => {
  const scope = {
    purpose: "leaseKey",
    providerId: "aws-kms",
    keyId: "k",
    owner: "o",
    environment: "e",
    covered: [],
  } as const
  const salt = new Uint8Array(16)
  for (const owner of ["o".repeat(1025), "o".repeat(65_537), "\ud800"]) {
    expect(() => scopedBinding({ ...scope, owner }, salt)).toThrow(code("INVALID_ARGUMENT"))
  }
  for (const length of [0, 15, 17])
    expect(() => scopedBinding(scope, new Uint8Array(length))).toThrow(code("INVALID_ARGUMENT"))
  expect(scopedBinding({ ...scope, owner: "oe", environment: "" }, salt)).not.toEqual(
    scopedBinding({ ...scope, owner: "o", environment: "e" }, salt),
  )
  expect(scopedBinding({ ...scope, owner: "o".repeat(1024) }, salt)).toHaveLength(71)
})

test("a scope's binding is that of docs/format.md; a lease's differs in its role alone", () => {
  const salt = new Uint8Array(16).fill(9)
  const field = (bytes: Buffer) =>
    Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
  const texts = ["aws-kms", "arn:key/k", "org_1", "produktion-ä"] as const
  const [providerId, keyId, owner, environment] = texts
  const { pairs, canonical } = parseContext(context)
  for (const [purpose, number, covered, encoded] of [
    ["leaseKey", 3, pairs, Buffer.from(canonical)],
    ["rootKey", 4, [], Buffer.alloc(0)],
    ["canary", 5, pairs, Buffer.from(canonical)],
  ] as const) {
    const scope = { purpose, providerId, keyId, owner, environment, covered }
    const digest = createHash("sha256")
      .update("keyfold/v1/scope")
      .update(Buffer.from([number]))
    for (const text of texts) digest.update(field(Buffer.from(text)))
    const fixed = Buffer.from([1, number, 0, 0, 0, 0, 0, 0])
    const expected = [Buffer.from("keyfold/v1/wrap"), fixed, salt, digest.update(field(encoded)).digest()]
    const binding = scopedBinding(scope, salt)
    expect(Buffer.from(binding).toString("hex")).toBe(Buffer.concat(expected).toString("hex"))
    const copy = binding.slice()
    expect(leasedBinding(binding)).toEqual(copy.map((byte, i) => (i === 22 ? 1 : byte)))
    expect(binding).toEqual(copy)
  }
})

describe("a router that does not cover every pair once", () => {
  const parsed = parseContext(context)
  const entry = (mask: number, covered = parsed.pairs.filter((_, i) => mask & (1 << i))): RouteEntry => ({
    kek: testKek("managed", randomKeyId()),
    covered,
    mask,
    owner: "",
    companion: undefined,
  })
  test.each([
    ["one twice", [entry(1), entry(1)]],
    ["one twice, by a wider entry", [entry(1), entry(3)]],
    ["one twice, the other way", [entry(2), entry(3)]],
    ["an empty entry", [entry(1), entry(2), entry(0, [])]],
    ["one not at all", [entry(1)]],
    ["none", []],
    ["other pairs than its bitmap says", [entry(1, [parsed.pairs[1] as never]), entry(2)]],
    ["fewer pairs than its bitmap says", [entry(3, [parsed.pairs[0] as never])]],
    ["more pairs than its bitmap says", [entry(1, [...parsed.pairs]), entry(2)]],
    ["a pair of another value", [entry(1, [{ name: "a", value: "9" }]), entry(2)]],
    ["a pair of another name", [entry(1, [{ name: "z", value: "1" }]), entry(2)]],
  ])("%s", async (_, entries) => {
    const router: Router = { forWriting: () => entries, forReading: () => [] }
    await expect(createKeyfold({ router }).encrypt("x", { context })).rejects.toEqual(code("NO_ROUTE"))
    expect(entries.every(({ kek }) => (kek as TestKek).calls.wrap === 0)).toBe(true)
    const sound = testRouter()
    const envelope = await createKeyfold({ router: sound }).encrypt("x", { context })
    const changed = createKeyfold({ router: { forWriting: () => entries, forReading: sound.forReading } })
    await expect(changed.rewrap(envelope, { context })).rejects.toEqual(code("NO_ROUTE"))
  })

  test("pairs that are equal to the context's, but other objects, are as good", async () => {
    const entries = [entry(1, [{ name: "a", value: "1" }]), entry(2)]
    const router: Router = { forWriting: () => entries, forReading: () => [] }
    await expect(createKeyfold({ router }).encrypt("x", { context })).resolves.toBeDefined()
  })

  test.each([
    ["aws-kms", "has space"],
    ["aws-kms", ""],
    ["AWS KMS", "arn:key/k"],
    ["p".repeat(33), "k"],
    ["managed", "0123"],
    ["managed", "A".repeat(32)],
  ])("an id that no envelope can hold is refused before a KEK is called: %s %s", async (provider, id) => {
    const kek = testKek(provider, id)
    await expect(routed(kek).encrypt("x", { context })).rejects.toEqual(code("INVALID_ARGUMENT"))
    expect(kek.calls.wrap).toBe(0)
  })
})

test("a plaintext that is transferred, before or meanwhile, is refused and never sealed as empty", async () => {
  const keyfold = routed(cloudKek())
  const gone = new Uint8Array(100)
  structuredClone(gone, { transfer: [gone.buffer] })
  await expect(keyfold.encrypt(gone, { context })).rejects.toEqual(code("INVALID_ARGUMENT"))
  await expect(keyfold.encrypt("x", { context, aad: gone })).rejects.toEqual(code("INVALID_ARGUMENT"))
  for (const length of [100, 3 * 2 ** 20]) {
    const going = new Uint8Array(length)
    const sealing = keyfold.encrypt(going, { context })
    structuredClone(going, { transfer: [going.buffer] })
    await expect(sealing).rejects.toEqual(code("INVALID_ARGUMENT"))
    const shrinking = new Uint8Array(new ArrayBuffer(length, { maxByteLength: length }))
    const shortened = keyfold.encrypt(shrinking, { context })
    shrinking.buffer.resize(length - 1)
    await expect(shortened).rejects.toEqual(code("INVALID_ARGUMENT"))
  }
  const forWriting = () => {
    throw new Error("asked")
  }
  const unasked = createKeyfold({ router: { forWriting, forReading: () => [] } })
  await expect(unasked.encrypt(gone, { context })).rejects.toEqual(code("INVALID_ARGUMENT"))
})

test("what no array holds is an invalid argument with its cause", () => {
  const cause = expect.any(RangeError)
  expect(() => allocate(2 ** 53)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", cause }))
})

test("a plaintext whose text form would be too long is refused before a KEK is made", async () => {
  const router: Router = {
    forWriting: () => {
      throw new Error("asked")
    },
    forReading: () => [],
  }
  const long = new Uint8Array(2 ** 28)
  const keyfold = createKeyfold({ router })
  const text = keyfold.encrypt(long, { context, output: "base64url" })
  await expect(text).rejects.toEqual(code("INVALID_ARGUMENT"))
  const bytes = keyfold.encrypt(long, { context, output: "bytes" })
  await expect(bytes).rejects.toEqual(code("UNKNOWN")) // the router was asked
})

test("decryptMany with a KEK whose secrets are Buffers", async () => {
  const kek = cloudKek()
  const { unwrap } = kek
  kek.unwrap = async (...args) => Buffer.from(await unwrap(...args))
  const keyfold = routed(kek)
  const envelope = await keyfold.encrypt("x", { context })
  const results = await keyfold.decryptMany(Array(5).fill({ envelope, context }))
  expect(results.map(({ ok }) => ok)).toEqual(Array(5).fill(true))
})

describe("a faulty provider", () => {
  test.each([
    [
      "classify throws",
      {
        classify: () => {
          throw new Error("broken")
        },
      },
    ],
    ["classify gives what is no code", { classify: () => "NOPE" as never }],
  ])("%s: UNKNOWN, from a synchronous and an asynchronous KEK", async (_, fault) => {
    for (const id of ["managed", "aws-kms"]) {
      const kek = testKek(id, id === "managed" ? randomKeyId() : "k")
      Object.assign(kek, fault, {
        wrap:
          id === "managed"
            ? () => {
                throw new Error("x")
              }
            : async () => {
                throw new Error("x")
              },
      })
      await expect(routed(kek).encrypt("x", { context })).rejects.toEqual(code("UNKNOWN"))
    }
  })

  test.each([undefined, "secret", new Uint8Array(31), new Uint8Array(33)])(
    "a secret that is none opens nothing",
    async (secret) => {
      const kek = cloudKek()
      const keyfold = routed(kek)
      const envelope = await keyfold.encrypt("x", { context })
      for (const unwrap of [async () => secret as never, () => secret as never]) {
        kek.unwrap = unwrap
        await expect(keyfold.decrypt(envelope, { context })).rejects.toEqual(code("DECRYPTION_FAILED"))
      }
    },
  )

  describe("what cannot be looked at", () => {
    const fail = () => {
      throw new Error("no")
    }
    const hidden = () => new Proxy({}, { getPrototypeOf: fail })
    const answers: Record<string, () => unknown> = {
      rejected: () => Promise.reject(hidden()),
      thrown: () => {
        throw hidden()
      },
      resolved: () => Promise.resolve(hidden()),
      returned: () => hidden(),
      // biome-ignore lint/suspicious/noThenProperty: a promise that fails when it is asked is what is tested
      "a promise that throws": () => ({ then: fail }),
      "resolved with what throws when it is asked for then": () => {
        const answer = new Proxy(new Uint8Array(32), { get: fail })
        // biome-ignore lint/suspicious/noThenProperty: a promise that hands on what no real one would
        return { then: (done: (value: unknown) => void) => done(answer) }
      },
      "resolved with what throws when it is asked for then once more": () => {
        let asked = 0
        const then = { get: () => (asked++ === 0 ? undefined : fail()) }
        // biome-ignore lint/suspicious/noThenProperty: an array that turns into a promise is what is tested
        return Promise.resolve(Object.defineProperty(new Uint8Array(32), "then", then))
      },
    }
    test("after the deadline: the call has ended by name, and no rejection is left", async () => {
      const rejections: unknown[] = []
      const onRejection = (reason: unknown) => void rejections.push(reason)
      process.on("unhandledRejection", onRejection)
      try {
        const kek = cloudKek()
        const router = testRouter([{ names: ["a"], kek, owner: "o", companion: undefined }])
        const keyfold = createKeyfold({ router, deadlineMs: 10 })
        const envelope = await keyfold.encrypt("x", { context })
        let answered = false
        const late = async () => {
          await new Promise((resolve) => setTimeout(resolve, 30))
          answered = true
          return hidden() as never
        }
        Object.assign(kek, { wrap: late, unwrap: late })
        for (const call of [
          () => keyfold.encrypt("x", { context }),
          () => keyfold.decrypt(envelope, { context }),
        ]) {
          answered = false
          await expect(call()).rejects.toEqual(code("TIMEOUT"))
          await expect.poll(() => answered).toBe(true)
        }
        await new Promise((resolve) => setTimeout(resolve, 5))
        expect(rejections).toEqual([])
      } finally {
        process.off("unhandledRejection", onRejection)
      }
    })

    test.each(Object.keys(answers))("%s: a named failure at once, and no rejection is left", async (name) => {
      const rejections: unknown[] = []
      const onRejection = (reason: unknown) => void rejections.push(reason)
      process.on("unhandledRejection", onRejection)
      try {
        for (const onEvent of [undefined, () => {}]) {
          const kek = cloudKek()
          const router = testRouter([{ names: ["a"], kek, owner: "o", companion: undefined }])
          const keyfold = createKeyfold({ router, ...(onEvent && { onEvent }) })
          const envelope = await keyfold.encrypt("x", { context })
          Object.assign(kek, { wrap: answers[name], unwrap: answers[name] })
          const started = performance.now()
          for (const call of [keyfold.encrypt("x", { context }), keyfold.decrypt(envelope, { context })]) {
            await expect(call).rejects.toSatisfy(
              (error) => error instanceof KeyfoldError && error.code !== "TIMEOUT",
            )
          }
          expect(performance.now() - started).toBeLessThan(2000)
        }
        // A call that nobody waits for any more, because another one ended the operation, must not reject either.
        const operation = {
          name: "decrypt",
          deadlineMs: 1000,
          signal: undefined,
          onEvent: undefined,
          inFlight: undefined,
        }
        const kek = Object.assign(cloudKek(), { wrap: answers[name], unwrap: answers[name] })
        const wrapContext = { binding: new Uint8Array(71), covered: [], owner: "o" }
        const record = { keyVersion: 0, leased: false, wrapped: new Uint8Array(60) }
        await callWrap(operation as never, kek, new Uint8Array(32), wrapContext)
        await callUnwrap(operation as never, kek, record, wrapContext)
        await new Promise((resolve) => setTimeout(resolve, 5))
        expect(rejections).toEqual([])
      } finally {
        process.off("unhandledRejection", onRejection)
      }
    })
  })

  test("a promise of another kind is waited for", async () => {
    const kek = cloudKek()
    const { wrap } = kek
    kek.wrap = ((...args: Parameters<typeof wrap>) => ({
      // biome-ignore lint/suspicious/noThenProperty: a promise of another library is what is tested
      then: (done: (value: unknown) => void) => done(Promise.resolve(wrap(...args)) as never),
    })) as never
    await expect(routed(kek).encrypt("x", { context })).resolves.toBeDefined()
  })

  test("wraps that do not fit 64 KiB of header together are refused", async () => {
    const pairs = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`n${i}`, "v"]))
    const ofBytes = (wrappedBytes: number) => {
      const custom = Object.keys(pairs).map((name): CustomEntry => {
        const kek = testKek("aws-kms", `arn:key/${name}`)
        kek.wrap = async () => ({ keyVersion: 0, leased: false, wrapped: new Uint8Array(wrappedBytes) })
        return { names: [name], kek, owner: "", companion: undefined }
      })
      return createKeyfold({ router: testRouter(custom) }).encrypt("x", { context: pairs })
    }
    await expect(ofBytes(8192)).rejects.toEqual(code("INVALID_ARGUMENT"))
    expect(createKeyfold({ router: testRouter() }).inspect(await ofBytes(8100)).headerBytes).toBeLessThan(
      65_537,
    )
  })

  test("pair names cannot break the line of a message", async () => {
    const kek = cloudKek()
    kek.fault.wrap = async () => {
      throw new KeyfoldError("KEY_DISABLED", "off")
    }
    const name = "a\n\u001b[31m"
    const keyfold = createKeyfold({
      router: testRouter([{ names: [name], kek, owner: "o", companion: undefined }]),
    })
    const error = await keyfold.encrypt("x", { context: { [name]: "1" } }).catch((error: Error) => error)
    expect((error as Error).message).not.toMatch(/\p{Cc}/u)
  })
})

/** A KEK that shares its code with others of its class, as managed KEKs do; `seen` are the buffers it was shown. */
class SharedCodeKek implements Kek {
  readonly providerId = "managed"
  readonly keyId = randomKeyId()
  readonly inner = testKek("managed", this.keyId)
  readonly seen: ArrayBufferLike[] = []
  wrap(...args: Parameters<Kek["wrap"]>) {
    this.seen.push(args[1].binding.buffer)
    return this.inner.wrap(...args)
  }
  unwrap(...args: Parameters<Kek["unwrap"]>) {
    this.seen.push(args[1].binding.buffer)
    return this.inner.unwrap(...args)
  }
  describe = this.inner.describe
  classify = this.inner.classify
}

class RuiningKek extends SharedCodeKek {
  override unwrap(...args: Parameters<Kek["unwrap"]>) {
    const secret = super.unwrap(...args)
    new Uint8Array(args[1].binding.buffer).fill(0)
    return secret
  }
}

test("a KEK never shares the memory of its binding with one that runs other code, whatever it claims to be", async () => {
  const ruining = new RuiningKek()
  const [one, two] = [new SharedCodeKek(), new SharedCodeKek()]
  const keks = [ruining, one, two]
  const parsed = parseContext({ a: "1", b: "2", c: "3" })
  const entries = keks.map((kek, i) => ({
    ...{ kek, covered: [parsed.pairs[i] as never], mask: 1 << i, owner: "" },
    ...{ companion: undefined, lastVersion: undefined },
  }))
  const keyfold = createKeyfold({ router: { forWriting: () => entries, forReading: () => entries } })
  const envelope = await keyfold.encrypt("x", { context: parsed.object })
  const { plaintext } = await keyfold.decrypt(envelope, { context: parsed.object })
  expect(plaintext).toEqual(new TextEncoder().encode("x"))
  for (const buffer of ruining.seen) expect([...one.seen, ...two.seen]).not.toContain(buffer)
})

/** Keeps and spoils all that it was lent, and takes the memory behind it away when told to. */
class KeepingKek extends SharedCodeKek {
  readonly lent: Uint8Array[] = []
  takes = false
  override wrap(secret: Uint8Array, ...rest: [Parameters<Kek["wrap"]>[1], Parameters<Kek["wrap"]>[2]]) {
    const record = super.wrap(secret, ...rest)
    this.lent.push(secret)
    secret.fill(7)
    if (this.takes) structuredClone(secret, { transfer: [secret.buffer as ArrayBuffer] })
    return record
  }
}

describe("a KEK that spoils what it is lent", () => {
  const routerOf = (keks: readonly Kek[]): Router => {
    const parsed = parseContext({ a: "1", b: "2" })
    const entries = keks.map((kek, i) => ({
      ...{ kek, covered: [parsed.pairs[i] as never], mask: 1 << i, owner: "" },
      ...{ companion: undefined, lastVersion: undefined },
    }))
    return { forWriting: () => entries, forReading: () => entries }
  }

  test.each(["all", "any"] as const)(
    "spoils its copy under %s, and neither the DEK nor another",
    async (policy) => {
      const keeping = new KeepingKek()
      const keyfold = createKeyfold({ router: routerOf([keeping, new SharedCodeKek()]) })
      const context = { a: "1", b: "2" }
      const envelope = await keyfold.encrypt("x", { context, policy })
      expect((await keyfold.decrypt(envelope, { context })).plaintext).toEqual(new TextEncoder().encode("x"))
      expect(keeping.lent.map((secret) => secret.every((byte) => byte === 0))).toEqual([true])
    },
  )

  test("by transferring it: the next operation has memory again", async () => {
    const [keeping, other] = [new KeepingKek(), new KeepingKek()]
    const keyfold = createKeyfold({ router: routerOf([other, keeping]) })
    const context = { a: "1", b: "2" }
    keeping.takes = true
    await keyfold.encrypt("x", { context }).catch(() => undefined)
    keeping.takes = false
    const envelope = await keyfold.encrypt("x", { context })
    expect((await keyfold.decrypt(envelope, { context })).plaintext).toEqual(new TextEncoder().encode("x"))
  })
})

describe("an abort", () => {
  test("while the router thinks: no KEK is called after it", async () => {
    const router = testRouter()
    const slow: Router = {
      forWriting: async (...args) => {
        await new Promise((resolve) => setTimeout(resolve, 40))
        return router.forWriting(...args)
      },
      forReading: router.forReading,
    }
    const call = createKeyfold({ router: slow }).encrypt("x", { context, signal: AbortSignal.timeout(10) })
    await expect(call).rejects.toEqual(code("ABORTED"))
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect([...router.keks.values()].reduce((sum, kek) => sum + kek.calls.wrap, 0)).toBe(0)
  })

  test("by authorize itself, which then hangs", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const envelope = await keyfold.encrypt("x", { context, embedContext: true })
    const abort = new AbortController()
    const authorize = () => {
      abort.abort()
      return new Promise<never>(() => undefined)
    }
    await expect(keyfold.decrypt(envelope, { authorize, signal: abort.signal })).rejects.toEqual(
      code("ABORTED"),
    )
  })

  test("by a KEK that wraps or unwraps: no later KEK is called, and what the first still does is cancelled", async () => {
    const keks = [cloudKek(), testKek("aws-kms", "arn:key/l")] as const
    const custom = keks.map(
      (kek, i): CustomEntry => ({ names: [i === 0 ? "a" : "b"], kek, owner: "o", companion: undefined }),
    )
    const events: unknown[] = []
    const keyfold = createKeyfold({
      router: testRouter(custom),
      onEvent: (event) => events.push([event.type, event.code]),
    })
    const envelope = await keyfold.encrypt("x", { context })
    const before = { ...keks[1].calls }
    for (const action of ["wrap", "unwrap"] as const) {
      const abort = new AbortController()
      let cancelled: AbortSignal | undefined
      keks[0][action] = (
        _first: unknown,
        _context: unknown,
        options: { signal?: AbortSignal | undefined },
      ) => {
        cancelled = options.signal
        abort.abort()
        return new Promise<never>(() => undefined)
      }
      events.length = 0
      const { signal } = abort
      const call =
        action === "wrap"
          ? keyfold.encrypt("x", { context, signal })
          : keyfold.decrypt(envelope, { context, signal })
      await expect(call).rejects.toEqual(code("ABORTED"))
      expect(cancelled?.aborted).toBe(true)
      expect(events).toEqual([
        ["kek", "ABORTED"],
        ["operation", "ABORTED"],
      ])
    }
    expect(keks[1].calls).toEqual(before)
  })

  test("by a local KEK, while a stream begins: no stream, and the source is given up", async () => {
    const abort = new AbortController()
    const kek = testKek("managed", randomKeyId())
    const { wrap } = kek
    kek.wrap = (...args) => {
      abort.abort(new Error("enough"))
      return wrap(...args)
    }
    const reasons: unknown[] = []
    const source = new ReadableStream<Uint8Array>({ cancel: (reason) => void reasons.push(reason) })
    const one = { a: "1" }
    await expect(routed(kek).encryptStream(source, { context: one, signal: abort.signal })).rejects.toEqual(
      code("ABORTED"),
    )
    expect(reasons).toEqual([new Error("enough")])
  })

  test("by the source of a stream itself: nothing is handed out after it, and no rejection is left", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const rejections: unknown[] = []
    const onRejection = (reason: unknown) => void rejections.push(reason)
    process.on("unhandledRejection", onRejection)
    try {
      const sealed = await keyfold.encryptStream(new Blob([new Uint8Array(9000)]).stream(), {
        context,
        segmentBytes: 4096,
      })
      const envelope = new Uint8Array(await new Response(sealed as never).arrayBuffer())
      const { headerBytes } = keyfold.inspect(envelope)
      for (const action of ["encryptStream", "decryptStream"] as const) {
        const abort = new AbortController()
        let pulls = 0
        let cancelled = 0
        const source = new ReadableStream<Uint8Array>(
          {
            pull(controller) {
              if (++pulls === 3) return abort.abort()
              const first = headerBytes + 4112
              controller.enqueue(pulls === 1 ? envelope.slice(0, first) : envelope.slice(first, first + 100))
            },
            cancel: () => void cancelled++,
          },
          { highWaterMark: 0 },
        )
        const options = { context, signal: abort.signal }
        const stream =
          action === "encryptStream"
            ? await keyfold.encryptStream(source, { ...options, segmentBytes: 4096 })
            : (await keyfold.decryptStream(source, options)).plaintext
        const handedOut: number[] = []
        const readAll = async () => {
          for await (const chunk of stream) handedOut.push(abort.signal.aborted ? -1 : chunk.length)
        }
        await expect(readAll()).rejects.toEqual(code("ABORTED"))
        expect(handedOut.length).toBeGreaterThan(0)
        expect(handedOut).not.toContain(-1)
        expect(cancelled).toBe(1)
      }
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(rejections).toEqual([])
    } finally {
      process.off("unhandledRejection", onRejection)
    }
  })

  test("reaches a source of empty chunks without end", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const empty = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(0)),
    })
    await expect(keyfold.decryptStream(empty, { context, signal: AbortSignal.timeout(30) })).rejects.toEqual(
      code("ABORTED"),
    )
  })
})

test("a source that fills one buffer again and again is encrypted as it was read", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const buffer = new Uint8Array(4096)
  let fills = 0
  const source = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (fills === 3) return controller.close()
        controller.enqueue(buffer.fill(++fills))
      },
    },
    { highWaterMark: 0 },
  )
  const sealed = await keyfold.encryptStream(source, { context, segmentBytes: 4096 })
  const envelope = new Uint8Array(
    await new Response(sealed as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
  )
  const { plaintext } = await keyfold.decrypt(envelope, { context })
  expect([plaintext[0], plaintext[4096], plaintext[8192]]).toEqual([1, 2, 3])
})

test.each(["at once", "while it is read"])(
  "a chunk that its source transfers %s is refused, and never left out of what is sealed",
  async (when) => {
    const keyfold = createKeyfold({ router: testRouter() })
    const chunk = new Uint8Array(10_000)
    const transfer = () => structuredClone(chunk, { transfer: [chunk.buffer] })
    let pulls = 0
    const source = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          if (++pulls === 3) return controller.close()
          controller.enqueue(pulls === 1 ? chunk : new Uint8Array(10))
          if (pulls === 1 && when === "at once") transfer()
        },
      },
      { highWaterMark: 0 },
    )
    const reader = (await keyfold.encryptStream(source, { context, segmentBytes: 4096 })).getReader()
    await reader.read() // the header
    if (when === "while it is read") {
      await reader.read()
      transfer()
    }
    const rest = async () => {
      while (!(await reader.read()).done);
    }
    await expect(rest()).rejects.toEqual(code("INVALID_ARGUMENT"))
  },
)

test("two candidates alike but for their companions: the one that fits is taken", async () => {
  const kek = testKek("azure-keyvault", "https://k")
  const [one, two] = [testKek("managed", randomKeyId()), testKek("managed", randomKeyId())]
  const writing = testRouter([{ names: ["a"], kek, owner: "o", companion: two }])
  const envelope = await createKeyfold({ router: writing }).encrypt("x", { context })
  const both: Router = {
    ...writing,
    forReading: async (parsed, options) => {
      const found = await writing.forReading(parsed, options)
      return [
        ...found.map((entry) => (entry.companion === undefined ? entry : { ...entry, companion: one })),
        ...found,
      ]
    },
  }
  await expect(createKeyfold({ router: both }).decrypt(envelope, { context })).resolves.toBeDefined()
})

describe("contexts that cost too much are refused before the work", () => {
  const long = "v".repeat(2 ** 26)
  test.each([
    ["ten huge values", Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`n${i}`, long]))],
    ["a typed array", new Uint8Array(2 ** 22)],
    ["a String object", new String("abc")],
    [
      "a proxy that fails",
      new Proxy(
        {},
        {
          ownKeys: () => {
            throw new Error("no")
          },
        },
      ),
    ],
  ])("%s", (_, value) => {
    const started = performance.now()
    expect(() => parseContext(value as never)).toThrow(code("INVALID_CONTEXT"))
    expect(performance.now() - started).toBeLessThan(200)
  })
})

describe("options and sources", () => {
  const keyfold = createKeyfold({ router: testRouter() })

  test("Object.prototype opens and embeds nothing", async () => {
    const envelope = await keyfold.encrypt("x", { context, embedContext: true })
    const prototype = Object.prototype as Record<string, unknown>
    Object.assign(prototype, { authorize: () => true, embedContext: true })
    try {
      await expect(keyfold.decrypt(envelope, {})).rejects.toEqual(code("INVALID_ARGUMENT"))
      expect(keyfold.inspect(await keyfold.encrypt("x", { context })).embedsContext).toBe(false)
    } finally {
      for (const name of ["authorize", "embedContext"]) delete prototype[name]
    }
  })

  test("ranges of nothing, anywhere, are empty; those of a source that lies are refused", async () => {
    const data = new Uint8Array(9000)
    const sealed = await keyfold.encryptStream(new Blob([data]).stream(), { context, segmentBytes: 4096 })
    const envelope = new Uint8Array(
      await new Response(sealed as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
    )
    for (const at of [0, 1, 4096, 8192, 8999, 9000, 9001]) {
      expect((await keyfold.decryptRange(envelope, at, at, { context })).plaintext).toHaveLength(0)
    }
    const read = async (offset: number, length: number) => envelope.subarray(offset, offset + length)
    for (const source of [
      null,
      {},
      { size: Number.NaN, read },
      { size: -1, read },
      { size: 1.5, read },
      { size: 500, read: async () => undefined },
    ]) {
      await expect(keyfold.decryptRange(source as never, 0, 1, { context })).rejects.toEqual(
        code("INVALID_ARGUMENT"),
      )
    }
    // Fewer bytes than asked for, or more, at any read: the prefix, the header, a segment.
    for (const wrong of [-1, 1]) {
      for (const lie of [1, 2, 3]) {
        let reads = 0
        const lying = {
          size: envelope.length,
          read: async (offset: number, length: number) =>
            Buffer.concat([envelope, new Uint8Array(9)]).subarray(
              offset,
              offset + length + (++reads === lie ? wrong : 0),
            ),
        }
        await expect(keyfold.decryptRange(lying, 0, 1, { context })).rejects.toEqual(
          code("DECRYPTION_FAILED"),
        )
        expect(reads).toBe(lie)
      }
    }
    await expect(
      keyfold.decryptRange({ size: 2 ** 50, read }, 0, undefined, { context }),
    ).rejects.toBeInstanceOf(KeyfoldError)
  })

  test("a source whose chunks are text is refused, and given up", async () => {
    const given: string[] = []
    const text = (what: string) =>
      new ReadableStream<never>({
        pull: (controller) => controller.enqueue("text" as never),
        cancel: () => void given.push(what),
      })
    const sealed = await keyfold.encryptStream(text("sealing"), { context })
    await expect(new Response(sealed as never).arrayBuffer()).rejects.toEqual(code("INVALID_ARGUMENT"))
    await expect(keyfold.decryptStream(text("opening"), { context })).rejects.toEqual(
      code("INVALID_ARGUMENT"),
    )
    expect(given).toEqual(["sealing", "opening"])
  })

  test("a source that another reader has is refused, and left to it", async () => {
    const source = new Blob(["x"]).stream()
    const reader = source.getReader()
    for (const call of [
      keyfold.encryptStream(source, { context }),
      keyfold.decryptStream(source, { context }),
    ]) {
      await expect(call).rejects.toEqual(code("INVALID_ARGUMENT"))
    }
    await expect(reader.read()).resolves.toMatchObject({ done: false })
  })

  test("a text longer than 2^28 characters is refused before it is looked at", async () => {
    const long = "S0ZMRA".repeat(Math.ceil((2 ** 28 + 1) / 6))
    const started = performance.now()
    await expect(keyfold.decrypt(long, { context })).rejects.toEqual(code("MALFORMED_ENVELOPE"))
    expect(performance.now() - started).toBeLessThan(200)
  })

  test.each([
    [
      "an authorize that is no function",
      () => keyfold.decrypt(new Uint8Array(0), { authorize: "yes" as never }),
    ],
    ["a signal that is none", () => keyfold.encrypt("x", { context, signal: { aborted: true } as never })],
    [
      "options whose getter throws",
      () =>
        keyfold.encrypt("x", {
          get context(): never {
            throw new Error("no")
          },
        }),
    ],
    [
      "a segment size just below a power of two",
      () => keyfold.encryptStream(new Blob().stream(), { context, segmentBytes: 2 ** 20 - 1.2e-10 }),
    ],
    ["items that are none", () => keyfold.encryptMany(null as never)],
    [
      "an iterable that throws",
      () =>
        keyfold.decryptMany({
          [Symbol.iterator]: () => {
            throw new Error("no")
          },
        }),
    ],
    [
      "too long a text form",
      () => keyfold.encrypt(new Uint8Array(2 ** 28), { context, output: "base64url" }),
    ],
  ])("%s is refused with a KeyfoldError", async (_, call) => {
    await expect(call()).rejects.toBeInstanceOf(KeyfoldError)
  })

  test("an item that is no object fails alone", async () => {
    const results = await keyfold.encryptMany([null as never, { plaintext: "x", context }])
    expect(results.map((result) => (result.ok ? "ok" : result.error.code))).toEqual([
      "INVALID_ARGUMENT",
      "ok",
    ])
  })

  test("an item whose getter throws fails alone, with a KeyfoldError", async () => {
    const item = {
      plaintext: "x",
      get context(): never {
        throw new Error("no")
      },
    }
    for (const options of [{}, { signal: new AbortController().signal }]) {
      const [first, second] = await keyfold.encryptMany([item, { plaintext: "x", context }], options)
      expect(first).toEqual({ ok: false, error: code("UNKNOWN") })
      expect(second).toMatchObject({ ok: true })
    }
  })

  test("a keyfold without a router, and lengths that are none", () => {
    for (const options of [undefined, {}, { router: {} }, { router: testRouter(), onEvent: 7 }]) {
      expect(() => createKeyfold(options as never)).toThrow(code("INVALID_ARGUMENT"))
    }
    for (const length of [Number.NaN, 1.5, -1, 2 ** 53, "9" as never]) {
      expect(() => keyfold.inspect(new Uint8Array(0), length)).toThrow(code("INVALID_ARGUMENT"))
    }
  })

  test("an observer that rejects later harms nothing", async () => {
    const observed = createKeyfold({
      router: testRouter(),
      onEvent: (async () => {
        throw new Error("late")
      }) as never,
    })
    await expect(observed.encrypt("x", { context })).resolves.toBeDefined()
  })
})

test("arguments are judged before a KEK is called", async () => {
  const kek = cloudKek()
  const keyfold = routed(kek)
  const envelope = await keyfold.encrypt("x", { context })
  await expect(keyfold.reencrypt(envelope, { context, aad: new Uint8Array(65_537) })).rejects.toEqual(
    code("INVALID_ARGUMENT"),
  )
  for (const call of [keyfold.rewrap, keyfold.reencrypt]) {
    await expect(call(envelope, { context, policy: "most" as never })).rejects.toEqual(
      code("INVALID_ARGUMENT"),
    )
  }
  expect(kek.calls.unwrap).toBe(0)
})
