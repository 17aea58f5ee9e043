/** The laws of wraps: policies, shares, matching, companions, forgeries. */
import { createHash } from "node:crypto"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { headerLength, parseHeader, type Wrap, writeHeader } from "../src/envelope.ts"
import { createKeyfold, KeyfoldError, parseContext, type ReadCandidate, type Router } from "../src/index.ts"
import { deriveKeys, writeMac } from "../src/key-schedule.ts"
import { checkSegmentCount, layoutOf, Segments, segmentCount } from "../src/payload.ts"
import { keyContext } from "./arbitraries.ts"
import { type CustomEntry, leased, randomKeyId, type TestKek, testKek, testRouter } from "./test-keks.ts"

const context = { organization_id: "org_1", data_type: "ssn", user: "u" }
const failed = expect.objectContaining({ name: "KeyfoldError", code: "DECRYPTION_FAILED" })
const code = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })

describe("policies", () => {
  test("under all, every proper subset of KEKs opens nothing; under any, every KEK alone opens", async () => {
    await fc.assert(
      fc.asyncProperty(
        keyContext,
        fc.constantFrom("all" as const, "any" as const),
        async (context, policy) => {
          const router = testRouter()
          const keyfold = createKeyfold({ router })
          const envelope = await keyfold.encrypt("x", { context, policy })
          const keks = [...router.keks.values()]
          for (const lost of keks) {
            for (const kek of keks) {
              const refused = policy === "all" ? kek === lost : kek !== lost
              if (refused) kek.fault.unwrap = disabled
              else delete kek.fault.unwrap
            }
            const opening = keyfold.decrypt(envelope, { context })
            if (policy === "all") await expect(opening).rejects.toEqual(code("KEY_DISABLED"))
            else await expect(opening).resolves.toBeDefined()
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  test("any is refused in writing beside a customer's key, another owner or a public key, and rewrap says so", async () => {
    const cases: CustomEntry[][] = [
      [entry(["user"], "aws-kms", "org_1")],
      [entry(["user"], "aws-kms", "org_1"), entry(["data_type", "organization_id"], "aws-kms", "org_2")],
      [entry(["user", "data_type", "organization_id"], "azure-keyvault", "org_1", true)],
    ]
    for (const custom of cases) {
      const router = testRouter(custom)
      const keyfold = createKeyfold({ router })
      await expect(keyfold.encrypt("x", { context, policy: "any" })).rejects.toEqual(code("INVALID_ARGUMENT"))
      const envelope = await keyfold.encrypt("x", { context })
      await expect(keyfold.rewrap(envelope, { context, policy: "any" })).rejects.toThrow(/policy: "all"/)
      expect(calls(custom)).toBeGreaterThan(0)
    }
  })

  test("any is refused over a customer's key beside managed KEKs also where nobody is its owner", async () => {
    const custom = [entry(["user"], "aws-kms", "")]
    const keyfold = createKeyfold({ router: testRouter(custom) })
    await expect(keyfold.encrypt("x", { context, policy: "any" })).rejects.toEqual(code("INVALID_ARGUMENT"))
  })

  test("any over one customer's key that covers all is allowed", async () => {
    const custom = [entry(["user", "data_type", "organization_id"], "aws-kms", "org_1")]
    const keyfold = createKeyfold({ router: testRouter(custom) })
    const envelope = await keyfold.encrypt("x", { context, policy: "any" })
    await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
  })

  test("what was written under any before a binding existed still opens by managed KEKs, and rewraps only to all", async () => {
    const router = testRouter()
    const envelope = await createKeyfold({ router }).encrypt("x", { context, policy: "any" })
    const cmk = entry(["user"], "aws-kms", "org_1")
    const bound = testRouter([cmk])
    for (const [key, kek] of router.keks) bound.keks.set(key, kek)
    const withHistory: Router = {
      forWriting: bound.forWriting,
      forReading: async (parsed, options) => [
        ...(await bound.forReading(parsed, options)),
        ...(await router.forReading(parsed, options)),
      ],
    }
    const keyfold = createKeyfold({ router: withHistory })
    await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
    await expect(keyfold.rewrap(envelope, { context })).rejects.toThrow(/policy: "all"/)
    const moved = await keyfold.rewrap(envelope, { context, policy: "all" })
    expect(keyfold.inspect(moved).wraps.map((wrap) => wrap.providerId)).toContain("aws-kms")
  })
})

describe("an envelope never chooses a key", () => {
  test("another key id, another provider, more pairs or a later version cause no call", async () => {
    const cmk = entry(["organization_id"], "aws-kms", "org_1")
    const router = testRouter([cmk])
    const keyfold = createKeyfold({ router })
    const envelope = await keyfold.encrypt("x", { context })
    const all = () => calls([cmk]) + [...router.keks.values()].reduce((sum, kek) => sum + kek.calls.unwrap, 0)
    const before = all()
    const text = Buffer.from(envelope).toString("latin1")
    const bounded: Router = {
      ...router,
      forReading: async (parsed, options) =>
        (await router.forReading(parsed, options)).map(
          (each): ReadCandidate => ({ ...each, lastVersion: 0 }),
        ),
    }
    await expect(createKeyfold({ router: bounded }).decrypt(envelope, { context })).rejects.toEqual(failed)
    for (const changed of [text.replace("key/k", "key/l"), text.replace("aws-kms", "gcp-kms")]) {
      await expect(keyfold.decrypt(Buffer.from(changed, "latin1"), { context })).rejects.toEqual(failed)
    }
    await expect(
      keyfold.decrypt(
        remade(envelope, (wraps) => [{ ...(wraps[0] as Wrap), mask: 7 }]),
        { context },
      ),
    ).rejects.toEqual(failed)
    await expect(
      keyfold.decrypt(
        remade(envelope, (wraps) => wraps.slice(1)),
        { context },
      ),
    ).rejects.toEqual(failed)
    expect(all()).toBe(before)
  })

  test("a pair that two wraps cover, each one that it could have, causes no call", async () => {
    const router = testRouter()
    const single = await createKeyfold({ router }).encrypt("x", { context })
    const both = testRouter([entry(["data_type", "organization_id"], "aws-kms", "org_1")])
    for (const [pair, kek] of router.keks) both.keks.set(pair, kek)
    const nested: Router = {
      forWriting: (...args) => both.forWriting(...args),
      forReading: async (...args) => [
        ...(await both.forReading(...args)),
        ...(await router.forReading(...args)),
      ],
    }
    const keyfold = createKeyfold({ router: nested })
    const envelope = await keyfold.encrypt("x", { context })
    await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
    await expect(keyfold.decrypt(single, { context })).resolves.toBeDefined()
    const unwraps = () => [...router.keks.values()].reduce((sum, { calls }) => sum + calls.unwrap, 0)
    const before = unwraps()
    const ofPair = parseHeader(single).wraps.filter(({ mask }) => mask === 2)
    expect(ofPair).toHaveLength(1)
    const twice = remade(envelope, ([first, ...rest]) => [first as Wrap, ...ofPair, ...rest])
    expect(parseHeader(twice).wraps.map(({ mask }) => mask)).toEqual([3, 2, 4])
    await expect(keyfold.decrypt(twice, { context })).rejects.toEqual(failed)
    expect(unwraps()).toBe(before)
  })

  test("a public-key wrap without its companion, or with another, causes no call", async () => {
    const rsa = entry(["organization_id"], "azure-keyvault", "org_1", true)
    const keyfold = createKeyfold({ router: testRouter([rsa]) })
    const envelope = await keyfold.encrypt("x", { context })
    expect(keyfold.inspect(envelope).wraps.map((wrap) => wrap.role)).toEqual([
      "direct",
      "direct",
      "companion",
      "direct",
    ])
    await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
    const before = calls([rsa])
    const without = remade(envelope, (wraps) => wraps.filter((wrap) => wrap.role !== 2))
    const other = remade(envelope, (wraps) =>
      wraps.map((wrap) => (wrap.role === 2 ? { ...wrap, identity: (wraps[0] as Wrap).identity } : wrap)),
    )
    for (const changed of [without, other]) {
      await expect(keyfold.decrypt(changed, { context })).rejects.toEqual(failed)
    }
    expect(calls([rsa])).toBe(before)
  })

  test("a companion beside a key that needs none is refused without a call", async () => {
    const router = testRouter()
    const keyfold = createKeyfold({ router })
    const envelope = await keyfold.encrypt("x", { context })
    const doubled = remade(envelope, (wraps) =>
      [{ ...(wraps[0] as Wrap), role: 2 }, ...wraps].toSorted((a, b) => a.mask - b.mask || a.role - b.role),
    )
    await expect(keyfold.decrypt(doubled, { context })).rejects.toEqual(failed)
    expect([...router.keks.values()].every((kek) => kek.calls.unwrap === 0)).toBe(true)
  })
})

describe("leased wraps", () => {
  test("stand in the envelope as such, and open", async () => {
    const cmk = entry(["organization_id"], "aws-kms", "org_1")
    leased(cmk.kek as TestKek)
    const keyfold = createKeyfold({ router: testRouter([cmk]) })
    const envelope = await keyfold.encrypt("x", { context })
    expect(keyfold.inspect(envelope).wraps.map(({ role }) => role)).toEqual(["direct", "leased", "direct"])
    await expect(keyfold.decrypt(envelope, { context })).resolves.toMatchObject({ context })
  })

  test("of a managed KEK, or in a companion's place, are refused in writing", async () => {
    for (const cmk of [
      entry(["organization_id"], "managed", ""),
      entry(["organization_id"], "azure-keyvault", "org_1", true),
    ]) {
      const kek = (cmk.companion ?? testKek("managed", randomKeyId())) as TestKek
      const { wrap } = kek
      kek.wrap = async (...args) => ({ ...(await wrap(...args)), leased: true })
      const custom = cmk.companion === undefined ? { ...cmk, kek } : cmk
      const keyfold = createKeyfold({ router: testRouter([custom]) })
      await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({
        ...{ code: "UNKNOWN", providerId: "managed", keyId: kek.keyId },
      })
    }
  })

  test("of a KEK of another provider, in a companion's place, are refused too", async () => {
    const companion = leased(testKek("aws-kms", "arn:key/c"))
    const cmk = { ...entry(["organization_id"], "azure-keyvault", "org_1"), companion }
    const keyfold = createKeyfold({ router: testRouter([cmk]) })
    await expect(keyfold.encrypt("x", { context })).rejects.toMatchObject({
      ...{ code: "UNKNOWN", providerId: "aws-kms" },
    })
  })
})

describe("a wrap that no envelope can hold is refused in writing, and its KEK named", () => {
  const CLOUD = "aws-kms"
  test.each([
    ["managed", { keyVersion: 0 }, false],
    ["managed", { keyVersion: 1 }, true],
    ["managed", { keyVersion: 0xffffffff }, true],
    ["managed", { keyVersion: 0x100000000 }, false],
    ["managed", { keyVersion: 1.5 }, false],
    ["managed", { wrapped: new Uint8Array(75) }, false],
    ["managed", { wrapped: new Uint8Array(77) }, false],
    ["managed", { wrapped: "text" }, false],
    [CLOUD, { keyVersion: 0 }, true],
    [CLOUD, { keyVersion: -1 }, false],
    [CLOUD, { keyVersion: Number.NaN }, false],
    [CLOUD, { keyVersion: 0.5 }, false],
    [CLOUD, { wrapped: new Uint8Array(75) }, true],
    [CLOUD, { wrapped: [1] }, false],
  ])("%s %o", async (providerId, part, fits) => {
    const kek = testKek(providerId, providerId === "managed" ? randomKeyId() : "arn:key/k")
    const { wrap } = kek
    kek.wrap = (async (...args: Parameters<typeof wrap>) => ({ ...(await wrap(...args)), ...part })) as never
    const keyfold = createKeyfold({
      router: testRouter([{ names: ["a"], kek, owner: "", companion: undefined }]),
    })
    const encrypted = keyfold.encrypt("x", { context: { a: "1" } })
    if (fits) await expect(encrypted).resolves.toBeInstanceOf(Uint8Array)
    else await expect(encrypted).rejects.toMatchObject({ code: "UNKNOWN", providerId, keyId: kek.keyId })
  })
})

test("of several KEKs that fail in writing, a denial is told before what is temporary, wherever it stands", async () => {
  const failing = async (codes: readonly ("UNAVAILABLE" | "KEY_DISABLED" | "TIMEOUT")[]) => {
    const custom = codes.map((failure, i): CustomEntry => {
      const kek = testKek("aws-kms", `arn:key/${i}`)
      kek.fault.wrap = async () => {
        throw new KeyfoldError(failure, "it fails")
      }
      return { names: [`n${i}`], kek, owner: "o", companion: undefined }
    })
    const pairs = Object.fromEntries(codes.map((_, i) => [`n${i}`, "v"]))
    return createKeyfold({ router: testRouter(custom) }).encrypt("x", { context: pairs })
  }
  await expect(failing(["UNAVAILABLE", "KEY_DISABLED"])).rejects.toMatchObject({ keyId: "arn:key/1" })
  await expect(failing(["KEY_DISABLED", "UNAVAILABLE"])).rejects.toMatchObject({ keyId: "arn:key/0" })
  await expect(failing(["UNAVAILABLE", "TIMEOUT"])).rejects.toMatchObject({ keyId: "arn:key/0" })
})

describe("forgeries", () => {
  test("policy turned over, with a MAC under a DEK of zeros", async () => {
    const router = testRouter()
    const keyfold = createKeyfold({ router })
    for (const policy of ["all", "any"] as const) {
      const envelope = await keyfold.encrypt("x", { context, policy })
      const forged = remade(envelope, (wraps) => [...wraps], policy === "all" ? "any" : "all")
      await expect(keyfold.decrypt(forged, { context })).rejects.toEqual(failed)
    }
  })

  test("one wrap copied to two slots, whose shares would cancel", async () => {
    // Two KEKs that are one and the same, so that only the slot in the binding tells the copies apart.
    const kek = testKek("managed", randomKeyId())
    const custom = ["data_type", "organization_id"].map(
      (name): CustomEntry => ({ names: [name], kek, owner: "", companion: undefined }),
    )
    const keyfold = createKeyfold({ router: testRouter(custom) })
    const pairs = { organization_id: "org_1", data_type: "ssn" }
    const envelope = await keyfold.encrypt("x", { context: pairs })
    const forged = remade(envelope, ([first, second]) => [
      first as Wrap,
      { ...(first as Wrap), mask: (second as Wrap).mask },
    ])
    await expect(keyfold.decrypt(forged, { context: pairs })).rejects.toEqual(failed)
  })

  test("KEKs that answer zeros: a DEK of zeros is refused though its MAC and its payload hold", async () => {
    const one = { a: "1" }
    const { digest } = parseContext(one)
    for (const [answer, opens] of [
      [new Uint8Array(32), false],
      [new Uint8Array(32).fill(1, 31), true], // the test can fail
    ] as const) {
      const kek = testKek("managed", randomKeyId())
      kek.unwrap = () => Uint8Array.from(answer)
      const router = testRouter([{ names: ["a"], kek, owner: "", companion: undefined }])
      const keyfold = createKeyfold({ router })
      const header = parseHeader(await keyfold.encrypt("x", { context: one })).bytes.slice()
      const keys = deriveKeys(answer, header, digest)
      writeMac(keys.header, header)
      const payload = new Segments(keys.content, header, digest, createHash("sha256").digest())
      const { ciphertext, tag } = payload.seal(new Uint8Array(1), 0, true)
      const forged = Buffer.concat([header, ciphertext, tag])
      const decrypted = keyfold.decrypt(forged, { context: one })
      if (opens) await expect(decrypted).resolves.toMatchObject({ plaintext: new Uint8Array(1) })
      else await expect(decrypted).rejects.toEqual(failed)
    }
  })

  test("wraps of a message never open as a data key, nor the other way round", async () => {
    const keyfold = createKeyfold({ router: testRouter() })
    const message = await keyfold.encrypt(new Uint8Array(32), { context, embedContext: true })
    const { sealed } = await keyfold.generateDataKey({ context })
    const swapped = (bytes: Uint8Array) => bytes.map((byte, i) => (i === 6 ? 3 - byte : byte))
    await expect(keyfold.decryptDataKey(message, { context })).rejects.toEqual(failed)
    await expect(keyfold.decrypt(sealed, { context })).rejects.toEqual(failed)
    await expect(
      keyfold.decryptStream(new Blob([sealed as Uint8Array<ArrayBuffer>]).stream(), { context }),
    ).rejects.toEqual(failed)
    await expect(keyfold.decryptRange(sealed, 0, 1, { context })).rejects.toEqual(failed)
    await expect(keyfold.decryptDataKey(swapped(message), { context })).rejects.toEqual(failed)
    await expect(keyfold.decrypt(swapped(sealed), { context })).rejects.toEqual(failed)
  })
})

test("a failed rewrap leaves the old envelope usable, and one that cannot be read again is not given out", async () => {
  const cmk = entry(["organization_id"], "aws-kms", "org_1")
  const router = testRouter([cmk])
  const keyfold = createKeyfold({ router })
  const envelope = await keyfold.encrypt("x", { context })
  const copy = envelope.slice()
  const kek = cmk.kek as TestKek
  kek.fault.wrap = disabled
  await expect(keyfold.rewrap(envelope, { context })).rejects.toEqual(code("KEY_DISABLED"))
  delete kek.fault.wrap
  const lying: TestKek = {
    ...kek,
    wrap: async (...args) => ({ ...(await kek.wrap(...args)), wrapped: new Uint8Array(76) }),
  }
  const bad = testRouter([{ ...cmk, kek: lying }])
  for (const [key, managed] of router.keks) bad.keks.set(key, managed)
  await expect(createKeyfold({ router: bad }).rewrap(envelope, { context })).rejects.toEqual(failed)
  expect(envelope).toEqual(copy)
  await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
})

test("a payload whose last segment is empty, though it is not the only one, is refused however it is read", async () => {
  const one = { a: "1" }
  const kek = testKek("managed", randomKeyId())
  const keyfold = createKeyfold({
    router: testRouter([{ names: ["a"], kek, owner: "", companion: undefined }]),
  })
  let dek = new Uint8Array(0)
  const { wrap } = kek
  kek.wrap = (secret, ...rest) => {
    dek = Uint8Array.from(secret) // with one wrap the share is the DEK
    return wrap(secret, ...rest)
  }
  const sealed = await keyfold.encryptStream(new Blob(["x"]).stream(), { context: one, segmentBytes: 4096 })
  const header = parseHeader(new Uint8Array(await new Response(sealed as never).arrayBuffer()))
  const { digest } = parseContext(one)
  const keys = deriveKeys(dek, header.bytes, digest)
  const segments = new Segments(keys.content, header.bytes, digest, createHash("sha256").digest())
  const segment = (bytes: number, i: number) => {
    const { ciphertext, tag } = segments.seal(new Uint8Array(bytes), i, i === 1)
    return Buffer.concat([ciphertext, tag])
  }
  const withLast = (bytes: number) =>
    new Uint8Array(Buffer.concat([header.bytes, segment(4096, 0), segment(bytes, 1)]))
  const readings = (envelope: Uint8Array<ArrayBuffer>) => [
    keyfold.decrypt(envelope, { context: one }),
    keyfold.decryptRange(envelope, 0, 10, { context: one }),
    keyfold
      .decryptStream(new Blob([envelope]).stream(), { context: one })
      .then(({ plaintext }) => new Response(plaintext as never).arrayBuffer()),
  ]
  for (const reading of readings(withLast(1))) await expect(reading).resolves.toBeDefined()
  for (const reading of readings(withLast(0))) await expect(reading).rejects.toEqual(failed)
  expect(keyfold.inspect(withLast(0)).plaintextBytes).toBeUndefined()
})

test("a payload has at most 2^32 segments", () => {
  expect(segmentCount(2 ** 44, 4096)).toBe(2 ** 32)
  expect(() => segmentCount(2 ** 44 + 1, 4096)).toThrow(code("INVALID_ARGUMENT"))
  expect(() => checkSegmentCount(2 ** 32 + 1)).toThrow(code("INVALID_ARGUMENT"))
  expect(layoutOf(2 ** 32 * 4112, 4096)).toEqual({ plaintextBytes: 2 ** 44, segments: 2 ** 32 })
  expect(() => layoutOf(2 ** 32 * 4112 + 17, 4096)).toThrow(code("DECRYPTION_FAILED"))
})

describe("a rewrap under any tries every wrap before it gives the header out", () => {
  /** KEKs of one kind and owner, so that `any` is allowed, and an envelope under them. */
  const setUp = async (policy: "all" | "any") => {
    const custom = Object.keys(context).map((name): CustomEntry => {
      return { names: [name], kek: testKek("aws-kms", `arn:key/${name}`), owner: "o", companion: undefined }
    })
    const keks = custom.map(({ kek }) => kek as TestKek)
    const keyfold = createKeyfold({ router: testRouter(custom) })
    return { keks, keyfold, envelope: await keyfold.encrypt("x", { context, policy }) }
  }
  const slots = Object.keys(context)
    .toSorted()
    .map((name, slot) => [slot, `arn:key/${name}`] as const)

  test.each(slots)(
    "a KEK that wraps wrongly in slot %i is noticed, and the old header stands",
    async (_, keyId) => {
      const { keks, keyfold, envelope } = await setUp("any")
      const copy = envelope.slice()
      const kek = keks.find((each) => each.keyId === keyId) as TestKek
      const { wrap } = kek
      const faults: TestKek["wrap"][] = [
        async (...args) => ({ ...(await wrap(...args)), wrapped: new Uint8Array(76) }),
        // What unwraps well, but to another secret: only the MAC tells.
        (_secret, ...rest) => wrap(new Uint8Array(32).fill(9), ...rest),
        (_secret, ...rest) => wrap(new Uint8Array(32), ...rest),
        (secret, binding, options) => wrap(secret, { ...binding, binding: new Uint8Array(71) }, options),
      ]
      for (const fault of faults) {
        kek.wrap = fault
        await expect(keyfold.rewrap(envelope, { context })).rejects.toEqual(failed)
        await expect(keyfold.decrypt(envelope, { context })).resolves.toMatchObject({ context })
      }
      kek.wrap = wrap
      expect(envelope).toEqual(copy)
      await expect(keyfold.rewrap(envelope, { context })).resolves.toBeInstanceOf(Uint8Array)
    },
  )

  test("from all to any as well", async () => {
    const { keks, keyfold, envelope } = await setUp("all")
    const { wrap } = keks[2] as TestKek
    ;(keks[2] as TestKek).wrap = (_secret, ...rest) => wrap(new Uint8Array(32).fill(9), ...rest)
    await expect(keyfold.rewrap(envelope, { context, policy: "any" })).rejects.toEqual(failed)
  })

  test("each KEK is asked once more, and a denial is told by name before what is temporary", async () => {
    const { keks, keyfold, envelope } = await setUp("any")
    await keyfold.rewrap(envelope, { context })
    // One of them has opened the old header too.
    expect(keks.map((kek) => kek.calls.unwrap).toSorted()).toEqual([1, 1, 2])
    const [first, , third] = keks.toSorted((a, b) => (a.keyId < b.keyId ? -1 : 1)) as [
      TestKek,
      TestKek,
      TestKek,
    ]
    third.fault.unwrap = disabled
    await expect(keyfold.rewrap(envelope, { context })).rejects.toMatchObject({
      code: "KEY_DISABLED",
      keyId: third.keyId,
    })
    first.fault.unwrap = async () => {
      throw new KeyfoldError("UNAVAILABLE", "down")
    }
    await expect(keyfold.rewrap(envelope, { context })).rejects.toMatchObject({ code: "KEY_DISABLED" })
    await expect(keyfold.decrypt(envelope, { context })).resolves.toBeDefined()
  })
})

test("overhead: at most 224 bytes with one pair and 112 for each further one", async () => {
  const keyfold = createKeyfold({ router: testRouter() })
  const sizes: number[] = []
  for (let count = 1; count <= 10; count++) {
    const pairs = Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, "v"]))
    sizes.push((await keyfold.encrypt(new Uint8Array(100), { context: pairs })).length - 100)
  }
  expect(sizes[0]).toBe(192)
  expect(sizes.slice(1).map((size, i) => size - (sizes[i] as number))).toEqual(Array(9).fill(111))
})

/**
 * The envelope with other wraps, or another policy, under a MAC that an attacker can make: one under a DEK of zeros.
 */
function remade(
  envelope: Uint8Array,
  change: (wraps: readonly Wrap[]) => readonly Wrap[],
  policy?: "all" | "any",
  under: Record<string, string> = context,
): Uint8Array {
  const header = parseHeader(envelope)
  const wraps = change(header.wraps)
  const bytes = new Uint8Array(headerLength(wraps, header.embedded))
  writeHeader(bytes, header.bytes.subarray(0, 25), policy ?? header.policy, wraps, header.embedded)
  const keys = deriveKeys(new Uint8Array(32), bytes, parseContext(under).digest)
  writeMac(keys.header, bytes)
  return Buffer.concat([bytes, envelope.subarray(header.bytes.length)])
}

function entry(names: readonly string[], providerId: string, owner: string, publicKey = false): CustomEntry {
  const kek = testKek(providerId, `arn:${owner}:key/k`)
  return { names, kek, owner, companion: publicKey ? testKek("managed", randomKeyId()) : undefined }
}

function calls(entries: readonly CustomEntry[]): number {
  return entries.reduce((sum, { kek, companion }) => {
    const of = (each: unknown) => (each as TestKek | undefined)?.calls.unwrap ?? 0
    return sum + of(kek) + of(companion)
  }, 0)
}

function disabled(): never {
  throw new KeyfoldError("KEY_DISABLED", "it is disabled")
}
