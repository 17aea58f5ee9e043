/** Envelopes that open, of every shape there is: what the fuzzer and the tamper run begin with. */
import type { KeyContext, Policy } from "@keyfold/core"
import { digestOf } from "../../test-vectors/make/surgery.ts"
import { Chance, seedSystemRandom } from "./chance.ts"
import { MARKS, TENANTS, type Vault } from "./vault.ts"

export type Sample = {
  readonly name: string
  readonly bytes: Uint8Array
  readonly context: KeyContext
  readonly aad: Uint8Array | undefined
  readonly kind: "message" | "data-key"
  readonly policy: Policy
  readonly embedded: boolean
  readonly plaintext: Uint8Array
  /** What a sender knows who made it. */
  readonly dek: Uint8Array
  readonly digest: Uint8Array
}

/** Makes so many, and opens each once. Equal seeds give equal envelopes. */
export async function makeSamples(vault: Vault, seed: number, count: number): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let i = 0; i < count; i++) {
    seedSystemRandom(seed, 2 ** 31 + i)
    samples.push(await makeSample(vault, new Chance(seed, 2 ** 31 + i), i))
  }
  return samples
}

/** Opens an envelope the way its sample says. */
export async function openSample(vault: Vault, sample: Sample, bytes: Uint8Array | string = sample.bytes) {
  const { context, aad, kind } = sample
  if (kind === "data-key") return (await vault.keyfold.decryptDataKey(bytes, { context })).key
  return (await vault.keyfold.decrypt(bytes, { context, ...(aad && { aad }) })).plaintext
}

async function makeSample(vault: Vault, chance: Chance, i: number): Promise<Sample> {
  const { keyfold } = vault
  const tenant = i % 3 === 0 ? undefined : chance.pick(Object.values(TENANTS))
  const context = contextFor(chance, tenant)
  const policy: Policy = tenant === undefined && Object.keys(context).length > 1 && i % 2 ? "any" : "all"
  const kind = i % 5 === 4 ? ("data-key" as const) : ("message" as const)
  const embedded = kind === "data-key" || chance.oneIn(3)
  const aad = kind === "message" && chance.oneIn(3) ? chance.bytes(1 + chance.below(40)) : undefined
  const isLong = kind === "message" && i % 25 === 0
  let plaintext: Uint8Array = markedText(isLong ? 4097 + chance.below(200) : chance.below(90))
  let bytes: Uint8Array
  const extra = { ...(aad && { aad }), policy, embedContext: embedded }
  if (kind === "data-key") {
    const made = await keyfold.generateDataKey({ context, policy })
    plaintext = made.key
    bytes = made.sealed
  } else if (isLong) {
    const source = new Blob([plaintext as Uint8Array<ArrayBuffer>]).stream()
    const sealed = await keyfold.encryptStream(source, { context, ...extra, segmentBytes: 4096 })
    bytes = new Uint8Array(
      await new Response(sealed as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
    )
  } else {
    bytes = await keyfold.encrypt(plaintext, { context, ...extra })
  }
  if (chance.oneIn(6)) bytes = await keyfold.rewrap(bytes, { context })
  vault.beginCase()
  const { wraps } = keyfold.inspect(bytes)
  const providers = wraps.map(({ providerId, role }) => `${providerId}/${role}`).join("+")
  const name = `${i}: ${kind} ${policy} ${providers}${embedded ? " embedded" : ""}${isLong ? " segments" : ""}`
  const bare = { name, bytes, context, aad, kind, policy, embedded, plaintext, digest: digestOf(context) }
  const opened = await openSample(vault, { ...bare, dek: plaintext })
  if (!Buffer.from(opened).equals(plaintext)) throw new Error(`${name} does not open`)
  return { ...bare, dek: dekOf(vault.shares, policy) }
}

function contextFor(chance: Chance, tenant: string | undefined): KeyContext {
  const context: Record<string, string> = {}
  if (tenant !== undefined) context.organization_id = tenant
  const narrow = tenant === TENANTS.two && chance.oneIn(2)
  if (narrow) context.data_type = `${MARKS.value}-narrow`
  const more = chance.below(4) + (tenant === undefined ? 1 : 0)
  for (let i = 0; i < more; i++) {
    const name = chance.pick(NAMES)
    if (!Object.hasOwn(context, name)) context[name] = `${MARKS.value}-${chance.below(20)}`
  }
  return context
}

const NAMES = [
  "data_type",
  "region",
  "e\u0301tat",
  "\u00e9tat",
  "__proto__x",
  "constructor",
  "1",
  "naïve 💡",
  "user",
]

function markedText(length: number): Uint8Array {
  return Uint8Array.from(
    Buffer.from(MARKS.plaintext.repeat(Math.ceil(length / MARKS.plaintext.length))).subarray(0, length),
  )
}

/** The shares that the KEKs gave, put together. */
function dekOf(shares: readonly Uint8Array[], policy: Policy): Uint8Array {
  if (policy === "any") return shares[0] as Uint8Array
  const dek = new Uint8Array(32)
  for (const share of shares) for (let i = 0; i < 32; i++) dek[i] = (dek[i] as number) ^ (share[i] as number)
  return dek
}
