/** KEKs for core's own tests: they really enforce key id and binding, and can be told to fail, wait or lie. */
import { fillRandom, open, sealInto } from "@keyfold/core/crypto"
import {
  type Kek,
  type KekCallOptions,
  type KekFacts,
  KeyfoldError,
  leasedBinding,
  type Pair,
  type ParsedContext,
  type ReadCandidate,
  type RouteEntry,
  type Router,
  type WrapContext,
  type WrapRecord,
} from "../src/index.ts"

export type TestKek = Kek & {
  /** How often it was called. */
  calls: { wrap: number; unwrap: number }
  /** What the next calls do instead of answering. */
  fault: { wrap?: () => never | Promise<never>; unwrap?: () => never | Promise<never> }
}

/** A KEK in memory. `managed` answers at once with 76 bytes; another provider answers by promise. */
export function testKek(
  providerId: string,
  keyId: string,
  keyVersion = providerId === "managed" ? 1 : 0,
): TestKek {
  const secretKey = new Uint8Array(32)
  fillRandom(secretKey)
  const kek: TestKek = {
    providerId,
    keyId,
    calls: { wrap: 0, unwrap: 0 },
    fault: {},
    wrap(secret: Uint8Array, context: WrapContext, _options: KekCallOptions) {
      kek.calls.wrap++
      if (kek.fault.wrap) return kek.fault.wrap()
      const wrapped = new Uint8Array(76)
      fillRandom(wrapped.subarray(0, 28))
      sealInto(secretKey, wrapped.subarray(16, 28), context.binding, secret, wrapped, 28)
      const record: WrapRecord = { keyVersion, leased: false, wrapped }
      return providerId === "managed" ? record : Promise.resolve(record)
    },
    unwrap(record: WrapRecord, context: WrapContext, _options: KekCallOptions) {
      kek.calls.unwrap++
      if (kek.fault.unwrap) return kek.fault.unwrap()
      const secret = open(
        secretKey,
        record.wrapped.subarray(16, 28),
        context.binding,
        record.wrapped.subarray(28),
      )
      if (secret === undefined || record.keyVersion !== keyVersion) {
        throw new KeyfoldError("DECRYPTION_FAILED", "wrong wrap")
      }
      return providerId === "managed" ? secret : Promise.resolve(secret)
    },
    describe: async (): Promise<KekFacts> => {
      throw new KeyfoldError("UNKNOWN", "a test KEK has no facts")
    },
    classify: () => "UNKNOWN",
  }
  return kek
}

/** The same KEK as one whose wraps are made under a lease. */
export function leased(kek: TestKek): TestKek {
  const { wrap } = kek
  kek.wrap = async (secret, context, options) => {
    const record = await wrap(secret, { ...context, binding: leasedBinding(context.binding) }, options)
    return { ...record, leased: true }
  }
  return kek
}

/** A router over fixed entries by pair: those in `custom` first, then one managed KEK per pair, made as needed. */
export function testRouter(custom: readonly CustomEntry[] = []): Router & { keks: Map<string, TestKek> } {
  const keks = new Map<string, TestKek>()
  const kekOf = (pair: Pair, make: boolean): TestKek | undefined => {
    const key = JSON.stringify([pair.name, pair.value])
    if (!keks.has(key) && make) keks.set(key, testKek("managed", randomKeyId()))
    return keks.get(key)
  }
  const route = (context: ParsedContext, make: boolean): RouteEntry[] => {
    const entries: RouteEntry[] = []
    const taken = new Set<string>()
    for (const { names, kek, owner, companion } of custom) {
      const covered = context.pairs.filter((pair) => names.includes(pair.name))
      if (covered.length !== names.length) continue
      for (const { name } of covered) taken.add(name)
      entries.push({ kek, covered, mask: maskOf(context, covered), owner, companion })
    }
    for (const pair of context.pairs) {
      if (taken.has(pair.name)) continue
      const kek = kekOf(pair, make)
      if (kek === undefined) continue
      entries.push({ kek, covered: [pair], mask: maskOf(context, [pair]), owner: "", companion: undefined })
    }
    return entries
  }
  return {
    keks,
    forWriting: (context) => route(context, true),
    forReading: (context): ReadCandidate[] =>
      route(context, false).map((entry) => ({ ...entry, lastVersion: undefined })),
  }
}

export type CustomEntry = {
  readonly names: readonly string[]
  readonly kek: Kek
  readonly owner: string
  readonly companion: Kek | undefined
}

export function randomKeyId(): string {
  const bytes = new Uint8Array(16)
  fillRandom(bytes)
  return Buffer.from(bytes).toString("hex")
}

function maskOf(context: ParsedContext, covered: readonly Pair[]): number {
  return covered.reduce((mask, pair) => mask | (1 << context.pairs.indexOf(pair)), 0)
}
