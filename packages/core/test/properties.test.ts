import { randomBytes } from "node:crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { headerLength, parseHeader, writeHeader } from "../src/envelope.ts"
import { createKeyfold, KeyfoldError } from "../src/index.ts"
import { keyContext, plaintext, policy } from "./arbitraries.ts"
import { leased, testKek, testRouter } from "./test-keks.ts"

const failed = expect.objectContaining({ name: "KeyfoldError", code: "DECRYPTION_FAILED" })
const refusal = (error: unknown) => error instanceof KeyfoldError

describe("decrypt undoes encrypt", () => {
  const router = testRouter()
  const keyfold = createKeyfold({ router })
  const aad = fc.option(fc.uint8Array({ maxLength: 100 }), { nil: undefined })

  test("in one shot, over contexts, policies, additional data and embedding", async () => {
    await fc.assert(
      fc.asyncProperty(
        keyContext,
        plaintext,
        policy,
        aad,
        fc.boolean(),
        async (context, data, policy, aad, embedContext) => {
          const extra = aad === undefined ? {} : { aad }
          const envelope = await keyfold.encrypt(data, { context, policy, embedContext, ...extra })
          const opened = await keyfold.decrypt(envelope, { context, ...extra })
          expect(opened.plaintext).toEqual(data)
          expect(opened.context).toEqual(context)
          if (embedContext) {
            const byAuthorize = await keyfold.decrypt(envelope, { authorize: () => true, ...extra })
            expect(byAuthorize).toEqual(opened)
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  test("as a stream in any chunks and segment sizes, whole and by ranges", async () => {
    const exponent = fc.integer({ min: 12, max: 16 })
    await fc.assert(
      fc.asyncProperty(
        keyContext,
        plaintext,
        exponent,
        fc.integer({ min: 1, max: 9000 }),
        fc.tuple(fc.nat(21_000), fc.nat(21_000)),
        async (context, data, exponent, chunk, [a, b]) => {
          const sealed = await keyfold.encryptStream(chunked(data, chunk), {
            context,
            segmentBytes: 2 ** exponent,
          })
          const envelope = await collect(sealed)
          expect((await keyfold.decrypt(envelope, { context })).plaintext).toEqual(data)
          const { plaintext } = await keyfold.decryptStream(chunked(envelope, chunk), { context })
          expect(await collect(plaintext)).toEqual(data)
          const [start, end] = [Math.min(a, b), Math.max(a, b)]
          const range = await keyfold.decryptRange(envelope, start, end, { context })
          expect(range.plaintext).toEqual(data.subarray(start, end))
          const rest = await keyfold.decryptRange(
            new Blob([envelope as Uint8Array<ArrayBuffer>]),
            start,
            undefined,
            { context },
          )
          expect(rest.plaintext).toEqual(data.subarray(start))
        },
      ),
      { numRuns: 100 },
    )
  })

  test("in one shot at every length around a segment of 1 MiB", async () => {
    const mib = 2 ** 20
    const data = new Uint8Array(2 * mib + 1).map((_, i) => i % 251)
    const context = { a: "1" }
    const overheads = []
    for (const length of [mib - 1, mib, mib + 1, 2 * mib, 2 * mib + 1]) {
      const envelope = await keyfold.encrypt(data.subarray(0, length), { context })
      overheads.push(envelope.length - length - keyfold.inspect(envelope).headerBytes)
      expect(keyfold.inspect(envelope).plaintextBytes).toBe(length)
      const { plaintext } = await keyfold.decrypt(envelope, { context })
      expect(Buffer.compare(plaintext, data.subarray(0, length))).toBe(0)
    }
    expect(overheads).toEqual([16, 16, 32, 32, 48]) // a tag for each segment
  })

  test("reencrypt keeps the additional data, and needs it", async () => {
    const [context, extra] = [{ a: "1" }, { aad: Buffer.from("row 7") }]
    const envelope = await keyfold.encrypt("x", { context, ...extra })
    await expect(keyfold.reencrypt(envelope, { context })).rejects.toEqual(failed)
    const again = await keyfold.reencrypt(envelope, { context, ...extra })
    await expect(keyfold.decrypt(again, { context })).rejects.toEqual(failed)
    await expect(keyfold.decrypt(again, { context, ...extra })).resolves.toMatchObject({ context })
  })

  test("through rewrap, reencrypt, text and data keys", async () => {
    await fc.assert(
      fc.asyncProperty(
        keyContext,
        keyContext,
        plaintext,
        policy,
        async (context, newContext, data, policy) => {
          const text = await keyfold.encrypt(data, { context, policy, output: "base64url" })
          const rewrapped = await keyfold.rewrap(text, { context })
          const headerBytes = keyfold.inspect(text).headerBytes
          expect(keyfold.inspect(rewrapped).headerBytes).toBe(headerBytes)
          const payload = (envelope: string) => Buffer.from(envelope, "base64url").subarray(headerBytes)
          expect(payload(rewrapped).equals(payload(text))).toBe(true)
          const other = policy === "all" ? "any" : "all"
          const reencrypted = await keyfold.reencrypt(rewrapped, { context, policy: other })
          expect(keyfold.inspect(reencrypted).policy).toBe(other)
          expect(payload(reencrypted).equals(payload(text))).toBe(false)
          for (const envelope of [rewrapped, reencrypted]) {
            expect((await keyfold.decrypt(envelope, { context })).plaintext).toEqual(data)
          }
          const { key, sealed } = await keyfold.generateDataKey({ context, policy })
          const rekeyed = await keyfold.rekeyDataKey(sealed, { context, newContext })
          const again = await keyfold.decryptDataKey(rekeyed, { authorize: () => true })
          expect(again.key).toEqual(key)
          expect(again.context).toEqual(newContext)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe("what was changed is refused", () => {
  const context = { organization_id: "org_1", data_type: "ssn", user: "u" }
  const aad = new TextEncoder().encode("row 7")

  test("every single bit of an envelope, of both policies, plain, embedded and leased", async () => {
    const cmk = leased(testKek("aws-kms", "arn:aws:kms:eu-central-1:111122223333:key/k"))
    const routers = [
      testRouter(),
      testRouter([{ names: ["organization_id"], kek: cmk, owner: "org_1", companion: undefined }]),
    ]
    let flips = 0
    for (const router of routers) {
      const keyfold = createKeyfold({ router })
      for (const policy of router === routers[0] ? (["all", "any"] as const) : (["all"] as const)) {
        const envelope = await keyfold.encrypt("a secret", { context, policy, aad, embedContext: true })
        await expect(keyfold.decrypt(envelope, { context, aad })).resolves.toBeDefined()
        for (let bit = 0; bit < envelope.length * 8; bit++) {
          const changed = envelope.slice()
          changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
          await expect(keyfold.decrypt(changed, { context, aad })).rejects.toSatisfy(refusal)
          flips++
        }
      }
    }
    expect(flips).toBeGreaterThan(10_000)
  })

  test("an envelope cut at every byte, or extended", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const envelope = await keyfold.encrypt("a secret", { context })
    for (let length = 0; length < envelope.length; length++) {
      await expect(keyfold.decrypt(envelope.subarray(0, length), { context })).rejects.toSatisfy(refusal)
    }
    await expect(keyfold.decrypt(Buffer.concat([envelope, Buffer.of(0)]), { context })).rejects.toEqual(
      failed,
    )
  })

  test("a stream cut at every byte, with segments dropped, swapped, doubled or appended", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const data = new Uint8Array(4096 * 4 + 100).map((_, i) => i % 256)
    const envelope = await collect(
      await keyfold.encryptStream(chunked(data, 5000), { context, segmentBytes: 4096 }),
    )
    const header = keyfold.inspect(envelope).headerBytes
    const stride = 4096 + 16
    const segment = (i: number) => envelope.subarray(header + i * stride, header + (i + 1) * stride)
    const build = (...order: number[]) => Buffer.concat([envelope.subarray(0, header), ...order.map(segment)])
    const readAll = async (bytes: Uint8Array) => {
      const { plaintext } = await keyfold.decryptStream(chunked(bytes, 3000), { context })
      return await collect(plaintext)
    }
    expect(await readAll(build(0, 1, 2, 3, 4))).toEqual(data)
    for (const order of [
      [0, 1, 2, 3],
      [0, 2, 1, 3, 4],
      [0, 1, 2, 3, 4, 4],
      [0, 0, 1, 2, 3, 4],
      [1, 2, 3, 4],
      [4],
      [0, 1, 2, 4],
    ]) {
      await expect(readAll(build(...order))).rejects.toEqual(failed)
    }
    for (let length = 0; length < envelope.length; length += length < header ? 1 : 97) {
      await expect(readAll(envelope.subarray(0, length))).rejects.toSatisfy(refusal)
    }
  })

  test("any change to the context or the additional data", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    await fc.assert(
      fc.asyncProperty(keyContext, keyContext, async (right, wrong) => {
        const same = Object.entries(right).sort().join() === Object.entries(wrong).sort().join()
        fc.pre(!same)
        const envelope = await keyfold.encrypt("x", { context: right, aad })
        await keyfold.encrypt("x", { context: wrong })
        await expect(keyfold.decrypt(envelope, { context: wrong, aad })).rejects.toEqual(failed)
        for (const [name, value] of Object.entries(right)) {
          const changed = { ...right, [name]: `${value}x`.slice(-500) }
          await expect(keyfold.decrypt(envelope, { context: changed, aad })).rejects.toEqual(failed)
        }
        await expect(keyfold.decrypt(envelope, { context: right })).rejects.toEqual(failed)
        await expect(keyfold.decrypt(envelope, { context: right, aad: randomBytes(5) })).rejects.toEqual(
          failed,
        )
      }),
      { numRuns: 100 },
    )
  })
})

test("the parser gives a header or a KeyfoldError for any bytes, and encodes what it parsed to the same bytes", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const valid = await keyfold.encrypt("x", { context: { a: "1", b: "2" }, embedContext: true })
  let parsed = 0
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated(valid)), (bytes) => {
      try {
        const header = parseHeader(bytes)
        const encoded = new Uint8Array(headerLength(header.wraps, header.embedded))
        writeHeader(encoded, header.bytes.subarray(0, 25), header.policy, header.wraps, header.embedded)
        expect(encoded.subarray(0, -32)).toEqual(header.bytes.subarray(0, -32))
        parsed++
      } catch (error) {
        expect(error).toSatisfy(refusal)
      }
    }),
    { numRuns: 20_000 },
  )
  expect(parsed).toBeGreaterThan(1000) // the mutations reach behind the first checks
})

test("decrypting under 100,000 random contexts makes no KEK and calls none", async () => {
  const router = testRouter()
  const keyfold = createKeyfold({ router })
  const envelope = await keyfold.encrypt("x", { context: { a: "1", b: "2" } })
  const made = router.keks.size
  const calls = () => [...router.keks.values()].reduce((sum, kek) => sum + kek.calls.unwrap, 0)
  for (let i = 0; i < 100_000; i++) {
    const context = { a: `x${i}`, b: "2" }
    const error = await keyfold.decrypt(envelope, { context }).catch((error: unknown) => error)
    if (!(error instanceof KeyfoldError) || error.code !== "DECRYPTION_FAILED") expect.fail(String(error))
  }
  expect(router.keks.size).toBe(made)
  expect(calls()).toBe(0)
})

/** Up to three bytes of `valid` replaced. */
function mutated(valid: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.nat(valid.length - 1), fc.nat(255))
  return fc.array(change, { maxLength: 3 }).map((changes) => {
    const bytes = valid.slice()
    for (const [at, byte] of changes) bytes[at] = byte
    return bytes
  })
}

function chunked(bytes: Uint8Array, size: number): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close()
      controller.enqueue(bytes.slice(at, at + size))
      at += size
    },
  })
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
}
