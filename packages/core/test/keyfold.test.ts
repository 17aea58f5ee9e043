import { expect, test } from "vitest"
import { createKeyfold } from "../src/index.ts"
import { testRouter } from "./test-keks.ts"

const context = { organization_id: "org_1", data_type: "ssn" }

test("what was encrypted under a context decrypts under it and no other", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const envelope = await keyfold.encrypt("hello", { context })
  const { plaintext, context: found } = await keyfold.decrypt(envelope, { context })
  expect(new TextDecoder().decode(plaintext)).toBe("hello")
  expect({ ...found }).toEqual(context)
  await expect(
    keyfold.decrypt(envelope, { context: { ...context, data_type: "name" } }),
  ).rejects.toMatchObject({ code: "DECRYPTION_FAILED" })
})

test("streams", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const data = new Uint8Array(300_000).map((_, i) => i % 251)
  const sealed = await keyfold.encryptStream(new Blob([data]).stream(), { context })
  const envelope = new Uint8Array(await new Response(sealed).arrayBuffer())
  const { plaintext } = await keyfold.decryptStream(new Blob([envelope]).stream(), { context })
  expect(new Uint8Array(await new Response(plaintext).arrayBuffer())).toEqual(data)
  expect((await keyfold.decryptRange(envelope, 65_000, 200_001, { context })).plaintext).toEqual(
    data.subarray(65_000, 200_001),
  )
  const text = await keyfold.encrypt(data, { context, output: "base64url", policy: "any" })
  const again = await keyfold.rewrap(text, { context, policy: "all" })
  expect((await keyfold.decrypt(again, { context })).plaintext).toEqual(data)
})

test("rewrap and reencrypt give the form that they were given, and keep what is embedded", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  for (const embedContext of [true, false]) {
    const bytes = await keyfold.encrypt("x", { context, embedContext, output: "bytes" })
    expect(bytes).toBeInstanceOf(Uint8Array)
    const text = Buffer.from(bytes).toString("base64url")
    for (const given of [bytes, text] as readonly string[]) {
      for (const made of [
        await keyfold.rewrap(given, { context }),
        await keyfold.reencrypt(given, { context }),
      ]) {
        expect(typeof made).toBe(typeof given)
        expect(keyfold.inspect(made).embedsContext).toBe(embedContext)
        expect((await keyfold.decrypt(made, { context })).plaintext).toEqual(new TextEncoder().encode("x"))
      }
    }
  }
})

test("a stream of nothing is a header and one tag, in no empty chunk, and opens to nothing", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const sealed = await keyfold.encryptStream(new Blob([]).stream(), { context })
  const chunks: Uint8Array[] = []
  for await (const chunk of sealed) chunks.push(chunk)
  const envelope = new Uint8Array(Buffer.concat(chunks))
  expect(chunks.map(({ length }) => length)).toEqual([keyfold.inspect(envelope).headerBytes, 16])
  const { plaintext } = await keyfold.decryptStream(new Blob([envelope]).stream(), { context })
  for await (const chunk of plaintext) expect.fail(`handed out ${chunk.length} bytes`)
  expect((await keyfold.decrypt(envelope, { context })).plaintext).toHaveLength(0)
})

test("a stream that its reader gives up gives up its source, for the same reason", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const sealed = await keyfold.encrypt(new Uint8Array(100), { context })
  const reasons: unknown[] = []
  const source = () =>
    new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(sealed),
      cancel: (reason) => void reasons.push(reason),
    })
  await (await keyfold.encryptStream(source(), { context })).cancel("enough")
  await (await keyfold.decryptStream(source(), { context })).plaintext.cancel("too much")
  expect(reasons).toEqual(["enough", "too much"])
})

test("inspect says what stands in an envelope, of a whole one and of its beginning", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const message = await keyfold.encrypt(new Uint8Array(1000), { context, policy: "any" })
  const facts = keyfold.inspect(message)
  expect(facts).toMatchObject({
    ...{ version: 1, suite: 1, kind: "message", policy: "any", pairCount: 2, segmentBytes: 2 ** 20 },
    ...{ plaintextBytes: 1000, embedsContext: false },
    wraps: [{ covers: [0], role: "direct" }, { covers: [1] }],
  })
  const { sealed } = await keyfold.generateDataKey({ context })
  expect(keyfold.inspect(sealed)).toMatchObject({ kind: "data-key", plaintextBytes: 32, embedsContext: true })

  const header = message.subarray(0, facts.headerBytes)
  expect(keyfold.inspect(header).plaintextBytes).toBeUndefined()
  expect(keyfold.inspect(header, message.length)).toEqual(facts)
  // No payload has 15 bytes, nor less than none.
  for (const total of [header.length + 15, header.length - 1, 0]) {
    expect(keyfold.inspect(header, total).plaintextBytes).toBeUndefined()
  }
})

test("the text form is the same where the runtime has no base64 of its own, before Node 25", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const data = new Uint8Array(20_000).map((_, i) => i % 256)
  const own = [
    [Uint8Array.prototype, "toBase64"],
    [Uint8Array, "fromBase64"],
  ] as const
  const kept = own.map(([holder, name]) => Object.getOwnPropertyDescriptor(holder, name))
  const without = async <T>(work: () => Promise<T>): Promise<T> => {
    for (const [holder, name] of own) Reflect.deleteProperty(holder, name)
    try {
      return await work()
    } finally {
      own.forEach(([holder, name], i) => {
        const descriptor = kept[i]
        if (descriptor !== undefined) Object.defineProperty(holder, name, descriptor)
      })
    }
  }
  for (const length of [0, 1, 2, 3, 20_000]) {
    const plaintext = data.subarray(0, length)
    const text = await without(() => keyfold.encrypt(plaintext, { context, output: "base64url" }))
    const bytes = Buffer.from(text, "base64url")
    expect(bytes.toString("base64url")).toBe(text)
    expect((await keyfold.decrypt(bytes, { context })).plaintext).toEqual(plaintext)
    const again = await keyfold.rewrap(text, { context })
    expect((await without(() => keyfold.decrypt(again, { context }))).plaintext).toEqual(plaintext)
  }
})
