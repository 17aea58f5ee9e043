import { createPublicKey, publicEncrypt, randomBytes } from "node:crypto"
import { KeyfoldError, parseContext } from "@keyfold/core"
import { sha256 } from "@keyfold/core/crypto"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  headerLength,
  immutableBytes,
  KIND,
  parseHeader,
  saltOf,
  type Wrap,
  writeHeader,
} from "../../packages/core/src/envelope.ts"
import { deriveKeys, writeMac } from "../../packages/core/src/key-schedule.ts"
import { digestAad, Segments } from "../../packages/core/src/payload.ts"
import { PURPOSE, ROLE, SUITE, wrapBinding } from "../../packages/core/src/wrap-binding.ts"
import { CLOUDS, startWorld, type World } from "../src/world.ts"

/** The envelope never chooses a key (design.md, law 5), and nobody makes one with a public key alone (law 2). */
let world: World
beforeAll(async () => {
  world = await startWorld()
  for (const name of CLOUDS) await world.bind(name)
})
afterAll(() => world[Symbol.asyncDispose]())

const text = (bytes: string) => Uint8Array.from(Buffer.from(bytes, "latin1"))
const contextOf = (tenant: string) => ({ data_type: "ssn", organization_id: tenant, user: "u_1" })

describe("an envelope rewritten to name", () => {
  test.each(CLOUDS)("another key of %s, or fewer and wider wraps, causes no call", async (name) => {
    const keyfold = world.keyfold({ onEvent: (event) => void (event.type === "kek" && kekCalls++) })
    let kekCalls = 0
    const context = contextOf(name)
    const envelope = await keyfold.encrypt("x", { context })
    const other = world.clouds[name].createKey().keyId
    const { wraps } = parseHeader(envelope)
    const own = wraps.findIndex(({ identity }) =>
      Buffer.from(identity).toString("latin1").includes(other.slice(0, 8)),
    )
    expect(own).toBeGreaterThanOrEqual(0)
    const ownWrap = wraps[own] as Wrap
    const strangers = CLOUDS.filter((each) => each !== name)
    const foreign = await Promise.all(
      strangers.map(
        async (tenant) => parseHeader(await keyfold.encrypt("x", { context: contextOf(tenant) })).wraps,
      ),
    )
    const rewritten: (readonly Wrap[])[] = [
      // Another key of the same cloud, and every flipped bit of the key id.
      replaced(wraps, own, { identity: identityOf(ownWrap, other) }),
      ...Array.from({ length: ownWrap.identity.length * 8 }, (_, bit) =>
        replaced(wraps, own, { identity: flipped(ownWrap.identity, bit) }),
      ),
      // Another tenant's key, in its place and beside.
      ...foreign.flatMap((theirs) => theirs.map((wrap) => replaced(wraps, own, { identity: wrap.identity }))),
      ...foreign,
      // One weak wrap that claims more pairs: a managed one, and the CMK's.
      ...wraps.flatMap((wrap) =>
        Array.from({ length: 7 }, (_, mask) => [{ ...wrap, mask: mask + 1, role: ROLE.direct }]),
      ),
      // Every pair's wrap with another pair's mask, a version of its own, and each left out.
      ...wraps.flatMap((own, i) =>
        wraps.filter(({ mask }) => mask !== own.mask).map(({ mask }) => replaced(wraps, i, { mask })),
      ),
      ...wraps.map((_, i) => wraps.filter((_, j) => j !== i)),
      ...wraps.map((wrap, i) => [...wraps.slice(0, i), wrap, wrap, ...wraps.slice(i + 1)]),
    ]
    const before = world.calls()
    kekCalls = 0
    let refused = 0
    for (const each of rewritten) {
      for (const policy of ["all", "any"] as const) {
        const error = await failureOf(() => keyfold.decrypt(enveloped(envelope, each, policy), { context }))
        expect(["DECRYPTION_FAILED", "MALFORMED_ENVELOPE", "UNSUPPORTED_VERSION"]).toContain(error.code)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(300)
    expect({ kms: world.calls() - before, keks: kekCalls }).toEqual({ kms: 0, keks: 0 })
  })
})

test("with an Azure tenant's public key and the whole context, 0 of 1,000 self-made envelopes are accepted", async () => {
  const context = contextOf("azure")
  const parsed = parseContext(context)
  const keyfold = world.keyfold()
  const genuine = await keyfold.encrypt("genuine", { context })
  await keyfold.decrypt(genuine, { context })
  const { wraps } = parseHeader(genuine)
  const slot = wraps.findIndex(({ role }, i) => role === ROLE.direct && wraps[i + 1]?.role === ROLE.companion)
  expect(slot).toBeGreaterThanOrEqual(0)
  const { keyId } = world.bindings.find(({ id }) => id === "azure") as { keyId: string }
  const publicKey = createPublicKey({ key: await world.azurePublicKey(keyId), format: "jwk" })

  /** What an outsider can make: everything but a managed wrap of a share that it chose. */
  function forge(n: number): Uint8Array {
    const keepsSalt = n % 2 === 0 // a genuine salt, so that the companion there was bound to it
    const isBare = n % 5 === 4 // without a companion at all
    const immutable = keepsSalt ? genuine.slice(0, 25) : immutableBytes(KIND.message, 20, 3)
    const mask = isBare ? 7 : (wraps[slot] as Wrap).mask
    const wrapCount = isBare ? 1 : wraps.length
    const at = isBare ? 0 : slot
    const dek = Uint8Array.from(randomBytes(32))
    const binding = wrapBinding(
      {
        suite: SUITE,
        kind: PURPOSE.message,
        policy: n % 3 === 2 ? 2 : 1,
        wrapCount,
        salt: saltOf(immutable),
        contextDigest: parsed.digest,
      },
      mask,
      at,
      ROLE.direct,
    )
    const secret = Buffer.concat([dek, sha256(binding)])
    const wrapped = publicEncrypt({ key: publicKey, oaepHash: "sha256" }, secret)
    const own = { ...(wraps[slot] as Wrap), mask, wrapped: Uint8Array.from([1, ...wrapped]) }
    const forged = isBare ? [own] : wraps.map((wrap, i) => (i === slot ? own : garbled(wrap, n)))
    return sealed(immutable, forged, n % 3 === 2 ? "any" : "all", dek)
  }

  /** The other wraps as they were, or with bytes that an outsider made up. */
  function garbled(wrap: Wrap, n: number): Wrap {
    return n % 4 < 2 ? wrap : { ...wrap, wrapped: Uint8Array.from(randomBytes(wrap.wrapped.length)) }
  }

  function sealed(
    immutable: Uint8Array,
    forged: readonly Wrap[],
    policy: "all" | "any",
    dek: Uint8Array,
  ): Uint8Array {
    const header = new Uint8Array(headerLength(forged, undefined))
    writeHeader(header, immutable, policy, forged, undefined)
    const keys = deriveKeys(dek, immutable, parsed.digest)
    writeMac(keys.header, header)
    const plaintext = text("forged")
    const envelope = new Uint8Array(header.length + plaintext.length + 16)
    envelope.set(header)
    const payload = new Segments(keys.content, immutable, parsed.digest, digestAad(undefined))
    payload.sealInto(plaintext, 0, true, envelope, header.length)
    return envelope
  }

  let accepted = 0
  for (let n = 0; n < 1_000; n++) {
    const envelope = forge(n)
    const error = await failureOf(() => keyfold.decrypt(envelope, { context })).catch(() => undefined)
    if (error?.code !== "DECRYPTION_FAILED") accepted++
  }
  expect(accepted).toBe(0)
})

function replaced(wraps: readonly Wrap[], at: number, change: Partial<Wrap>): readonly Wrap[] {
  return wraps.map((wrap, i) => (i === at ? { ...wrap, ...change } : wrap))
}

/** The same provider, another key id. */
function identityOf({ identity }: Wrap, keyId: string): Uint8Array {
  const provider = identity.subarray(0, 1 + (identity[0] as number))
  const id = text(keyId)
  return new Uint8Array([...provider, id.length >> 8, id.length & 0xff, ...id])
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice()
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
  return copy
}

/** The payload under another header, whose MAC is kept: no forger could make one. */
function enveloped(envelope: Uint8Array, wraps: readonly Wrap[], policy: "all" | "any"): Uint8Array {
  const { bytes } = parseHeader(envelope)
  const header = new Uint8Array(headerLength(wraps, undefined))
  writeHeader(header, envelope.subarray(0, 25), policy, wraps, undefined)
  header.set(bytes.subarray(-32), header.length - 32)
  return new Uint8Array([...header, ...envelope.subarray(bytes.length)])
}

async function failureOf(run: () => Promise<unknown>): Promise<KeyfoldError> {
  const error = await run().then(
    () => expect.unreachable("it was accepted"),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(KeyfoldError)
  return error as KeyfoldError
}
