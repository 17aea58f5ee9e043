/** Every array that keyfold allocates for a key is zero when the call is over, however it ended (design.md, law 9). */
import { createKeyfold, type Kek, type Keyfold, KeyfoldError, type Router } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest"

/** References to what the crypto seam was given, or gave, that is a secret of keyfold's own. */
const held = vi.hoisted(() => ({ secrets: [] as { what: string; bytes: Uint8Array }[] }))
vi.mock("@keyfold/core/crypto", async (original) => {
  const real = await original<typeof import("@keyfold/core/crypto")>()
  const hold = <T extends Uint8Array | undefined>(what: string, bytes: T): T => {
    if (bytes !== undefined) held.secrets.push({ what, bytes })
    return bytes
  }
  return {
    ...real,
    fillRandom(target: Uint8Array) {
      real.fillRandom(target)
      // Salts have 16 bytes and IVs 12; keys and shares 32.
      if (target.length === 32) hold("random key or share", target)
    },
    hmacSha512: (...args: Parameters<typeof real.hmacSha512>) =>
      hold("keys of an envelope", real.hmacSha512(...args)),
    open: (...args: Parameters<typeof real.open>) => hold("what was opened", real.open(...args)),
  }
})

const context = { organization_id: "org_1", data_type: "ssn", user: "u_1" }
const text = "a plaintext that is not 32 bytes long"
let managed: ManagedProvider
let router: Router
let keyfold: Keyfold
let envelopes: { readonly all: Uint8Array; readonly any: Uint8Array; readonly stream: Uint8Array }

beforeAll(async () => {
  const root = { key: new Uint8Array(32).fill(1) }
  // KEKs stay in memory while they are cached: none is loaded anew in the middle of a test.
  const stateTtlMs = 60_000
  managed = await createManagedProvider({ store: memoryStore(), root, environment: "test", stateTtlMs })
  router = createRouter({ managed })
  keyfold = createKeyfold({ router })
  await keyfold.encrypt(text, { context: { user: "u_2" } })
  envelopes = {
    all: await keyfold.encrypt(text, { context }),
    any: await keyfold.encrypt(text, { context, policy: "any" }),
    // Not zeros, which would look wiped.
    stream: await collect(
      await keyfold.encryptStream(streamOf(new Uint8Array(200_000).fill(7)), { context }),
    ),
  }
})
afterAll(() => managed.close())
beforeEach(() => {
  held.secrets.length = 0
})

/** Those that are not zero, but for what the caller was given. */
function left(...given: Uint8Array[]): string[] {
  const shared = (bytes: Uint8Array) =>
    given.some((each) => each.buffer === bytes.buffer && each.byteOffset === bytes.byteOffset)
  return held.secrets
    .filter(({ bytes }) => bytes.some((byte) => byte !== 0) && !shared(bytes))
    .map(({ what, bytes }) => `${what}, ${bytes.length} bytes`)
}

describe("after a call that succeeds", () => {
  const cases: Record<string, () => Promise<unknown>> = {
    encrypt: () => keyfold.encrypt(text, { context }),
    "encrypt under any": () => keyfold.encrypt(text, { context, policy: "any" }),
    "encrypt under one pair": () => keyfold.encrypt(text, { context: { user: "u_1" } }),
    rewrap: () => keyfold.rewrap(envelopes.all, { context }),
    "rewrap under any": () => keyfold.rewrap(envelopes.any, { context }),
    encryptStream: async () =>
      collect(await keyfold.encryptStream(streamOf(new Uint8Array(200_000)), { context })),
  }
  test.each(Object.keys(cases))("%s", async (name) => {
    await cases[name]?.()
    expect(held.secrets.length).toBeGreaterThan(1)
    expect(left()).toEqual([])
  })

  test("decrypt leaves the plaintext, which is the caller's", async () => {
    for (const envelope of [envelopes.all, envelopes.any]) {
      const { plaintext } = await keyfold.decrypt(envelope, { context })
      expect(held.secrets.length).toBeGreaterThan(2)
      expect(left(plaintext)).toEqual([])
      expect(left()).toHaveLength(1) // the test can fail
      held.secrets.length = 0
    }
  })

  test("reencrypt", async () => {
    await keyfold.reencrypt(envelopes.all, { context })
    expect(left()).toEqual([])
  })

  test("a plaintext of several segments leaves no copy of a segment", async () => {
    const envelope = await keyfold.encrypt(new Uint8Array(2.5 * 2 ** 20).fill(7), { context })
    held.secrets.length = 0
    const { plaintext } = await keyfold.decrypt(envelope, { context })
    expect(held.secrets.length).toBeGreaterThan(5)
    expect(left(plaintext)).toEqual([])
  })

  test("decryptMany leaves the plaintexts, also where items share a call that takes its time", async () => {
    const copied: Uint8Array[] = []
    const from = vi.spyOn(Uint8Array, "from").mockImplementation(((source: Uint8Array) => {
      const copy = new Uint8Array(source)
      copied.push(copy)
      return copy
    }) as typeof Uint8Array.from)
    const items = Array.from({ length: 3 }, () => ({ envelope: envelopes.all, context }))
    const results = await slowly()
      .decryptMany(items)
      .finally(() => from.mockRestore())
    await new Promise((resolve) => setTimeout(resolve))
    // Of each of three KEKs: what core took from it, and a copy for each item.
    expect(copied).toHaveLength(12)
    expect(copied.filter((bytes) => bytes.some((byte) => byte !== 0))).toEqual([])
    expect(left(...results.map((result) => (result.ok ? result.value.plaintext : new Uint8Array())))).toEqual(
      [],
    )
  })

  test("decryptStream and decryptRange leave what they handed out", async () => {
    const { plaintext } = await keyfold.decryptStream(streamOf(envelopes.stream), { context })
    const chunks: Uint8Array[] = []
    for await (const chunk of plaintext) chunks.push(chunk)
    expect(left(...chunks)).toEqual([])
    held.secrets.length = 0
    const { plaintext: range } = await keyfold.decryptRange(envelopes.stream, 70_000, 140_000, { context })
    expect(range.length).toBe(70_000)
    expect(left(range)).toEqual([])
  })

  test("a data key is the caller's, and nothing else is left", async () => {
    const { key, sealed } = await keyfold.generateDataKey({ context })
    expect(left(key)).toEqual([])
    held.secrets.length = 0
    const again = await keyfold.decryptDataKey(sealed, { authorize: () => true })
    expect(left(again.key)).toEqual([])
    held.secrets.length = 0
    await keyfold.rekeyDataKey(sealed, { authorize: () => true, newContext: { user: "u_2" } })
    expect(left()).toEqual([])
  })
})

describe("after a call that fails", () => {
  const flipped = (bytes: Uint8Array, at: number) => {
    const copy = bytes.slice()
    copy[at] = (copy[at] as number) ^ 1
    return copy
  }
  const macAt = () => keyfold.inspect(envelopes.all).headerBytes - 1
  const cases: Record<string, () => Promise<unknown>> = {
    "another context": () => keyfold.decrypt(envelopes.all, { context: { ...context, user: "u_2" } }),
    "a changed MAC": () => keyfold.decrypt(flipped(envelopes.all, macAt()), { context }),
    "a changed wrap": () => keyfold.decrypt(flipped(envelopes.all, macAt() - 40), { context }),
    "a changed payload": () => keyfold.decrypt(flipped(envelopes.all, envelopes.all.length - 1), { context }),
    "other additional data": () => keyfold.decrypt(envelopes.all, { context, aad: new Uint8Array(1) }),
    "a data key asked of a message": () => keyfold.decryptDataKey(envelopes.all, { context }),
    "a KEK that fails in the second slot": () => failing("wrap").encrypt(text, { context }),
    "a KEK that fails to open the second slot": () => failing("unwrap").decrypt(envelopes.all, { context }),
    "a KEK that fails at once": () => failing("throw").encrypt(text, { context }),
    "a rewrap to a KEK that fails": () => failing("wrap").rewrap(envelopes.all, { context }),
    "a rewrap under any to a KEK that wraps another secret": () =>
      failing("lie").rewrap(envelopes.any, { context }),
    "an abort meanwhile": () => slowly().encrypt(text, { context, signal: AbortSignal.timeout(5) }),
    "a range whose first segment was changed": () => {
      const first = keyfold.inspect(envelopes.stream).headerBytes
      return keyfold.decryptRange(flipped(envelopes.stream, first), 0, undefined, { context })
    },
    "a cut stream": async () => {
      const cut = envelopes.stream.slice(0, -70_000)
      const { plaintext } = await keyfold.decryptStream(streamOf(cut), { context })
      for await (const chunk of plaintext) chunk.fill(0) // what was handed out is the caller's
    },
  }
  test.each(Object.keys(cases))("%s", async (name) => {
    await expect(cases[name]?.()).rejects.toBeInstanceOf(KeyfoldError)
    await new Promise((resolve) => setTimeout(resolve, 30)) // also what comes late
    expect(left()).toEqual([])
  })
})

/** A keyfold whose KEK of the second pair fails, or lies in wrapping another secret, after the others have answered. */
function failing(call: "wrap" | "throw" | "unwrap" | "lie"): Keyfold {
  const broken = (kek: Kek): Kek => ({
    ...{ providerId: kek.providerId, keyId: kek.keyId },
    wrap: (secret, ...rest) =>
      call === "throw"
        ? thrown()
        : call === "wrap"
          ? refuse()
          : kek.wrap(call === "lie" ? new Uint8Array(32).fill(9) : secret, ...rest),
    unwrap: (...args) => (call === "unwrap" ? refuse() : kek.unwrap(...args)),
    describe: (options) => kek.describe(options),
    classify: () => "UNAVAILABLE",
  })
  const refuse = () => Promise.reject(new Error("out"))
  const thrown = (): never => {
    throw new Error("out")
  }
  const second = <Entry extends { readonly kek: Kek }>(entries: readonly Entry[]) =>
    entries.map((entry, i) => (i === 1 ? { ...entry, kek: broken(entry.kek) } : entry))
  return createKeyfold({
    router: {
      forWriting: async (...args) => second(await router.forWriting(...args)),
      forReading: async (...args) => second(await router.forReading(...args)),
    },
  })
}

/** A keyfold whose KEKs think before they answer. */
function slowly(): Keyfold {
  const thought = () => new Promise((resolve) => setTimeout(resolve, 20))
  const slow = (kek: Kek): Kek => ({
    ...{ providerId: kek.providerId, keyId: kek.keyId },
    wrap: (...args) => thought().then(() => kek.wrap(...args)),
    unwrap: (...args) => thought().then(() => kek.unwrap(...args)),
    describe: (options) => kek.describe(options),
    classify: () => "UNKNOWN",
  })
  const all = <Entry extends { readonly kek: Kek }>(entries: readonly Entry[]) =>
    entries.map((entry) => ({ ...entry, kek: slow(entry.kek) }))
  return createKeyfold({
    router: {
      forWriting: async (...args) => all(await router.forWriting(...args)),
      forReading: async (...args) => all(await router.forReading(...args)),
    },
  })
}

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return ReadableStream.from([bytes]) as ReadableStream<Uint8Array>
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}
