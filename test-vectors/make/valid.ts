/** The valid vectors: written by core, over KEKs that the file shows. */
import { randomBytes } from "node:crypto"
import {
  createKeyfold,
  type EncryptOptions,
  type Kek,
  type ParsedContext,
  type Policy,
  parseContext,
  type ReadCandidate,
  type WrapContext,
} from "@keyfold/core"
import { vectorRouter } from "../vector-keks.ts"
import type { Vector, VectorCandidate, VectorFile } from "../vector-types.ts"

export type Made = {
  readonly vector: Vector
  readonly envelope: Buffer
  /** Known to the maker only, so that it can forge. */
  readonly dek: Buffer
}

export type Spec = {
  readonly id: string
  readonly flags: readonly string[]
  readonly comment: string
  readonly context: Readonly<Record<string, string>>
  readonly candidates: readonly VectorCandidate[]
  readonly writeCount?: number
  readonly plaintext?: Uint8Array
  readonly policy?: Policy
  readonly aad?: Uint8Array
  readonly embed?: boolean
  readonly authorize?: boolean
  readonly segmentBytes?: number
  readonly operation?: Vector["operation"]
  readonly range?: readonly [number, number | null]
  readonly text?: boolean
  /** Names of KEKs that write under a lease. */
  readonly leased?: readonly string[]
}

export const ENVIRONMENT = "vectors"

export async function makeValid(keks: VectorFile["keks"], spec: Spec): Promise<Made> {
  const shares: { slot: number; secret: Buffer }[] = []
  const router = vectorRouter(keks, spec.candidates, ENVIRONMENT, spec.writeCount)
  const spying = {
    forReading: router.forReading,
    forWriting: async (context: ParsedContext, options: object) =>
      (await router.forWriting(context, options)).map((entry) => ({
        ...entry,
        kek: spy(entry.kek, keks, spec, shares),
        companion: entry.companion && spy(entry.companion, keks, spec, shares),
      })) as ReadCandidate[],
  }
  const keyfold = createKeyfold({ router: spying })
  const plaintext = spec.plaintext ?? Buffer.from("attack at dawn")
  const options: EncryptOptions = {
    context: spec.context,
    ...(spec.policy && { policy: spec.policy }),
    ...(spec.aad && { aad: spec.aad }),
    embedContext: spec.embed ?? false,
  }
  const operation = spec.operation ?? "decrypt"
  let envelope: Uint8Array
  let expected: Uint8Array = plaintext
  if (operation === "decrypt-data-key") {
    const made = await keyfold.generateDataKey({
      context: spec.context,
      ...(spec.policy && { policy: spec.policy }),
    })
    envelope = made.sealed
    expected = made.key
  } else if (spec.segmentBytes !== undefined) {
    const source = new Blob([plaintext as Uint8Array<ArrayBuffer>]).stream()
    const sealed = await keyfold.encryptStream(source, { ...options, segmentBytes: spec.segmentBytes })
    envelope = new Uint8Array(
      await new Response(sealed as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer(),
    )
  } else {
    envelope = await keyfold.encrypt(plaintext, options)
  }
  if (spec.range) expected = expected.subarray(spec.range[0], spec.range[1] ?? undefined)
  const { object } = parseContext(spec.context)
  const embedded = spec.embed || operation === "decrypt-data-key"
  const vector: Vector = {
    id: spec.id,
    flags: spec.flags,
    comment: spec.comment,
    operation,
    range: spec.range ?? null,
    context: embedded && spec.authorize !== undefined ? null : spec.context,
    authorize: spec.authorize ?? null,
    aad: spec.aad ? Buffer.from(spec.aad).toString("hex") : null,
    candidates: spec.candidates,
    environment: ENVIRONMENT,
    encoding: spec.text ? "text" : "hex",
    envelope: Buffer.from(envelope).toString(spec.text ? "base64url" : "hex"),
    expect: { plaintext: Buffer.from(expected).toString("hex"), context: { ...object } },
  }
  const secrets = shares.sort((a, b) => a.slot - b.slot).map(({ secret }) => secret)
  const dek =
    spec.policy === "any"
      ? (secrets[0] as Buffer)
      : secrets.reduce((a, b) => Buffer.from(a.map((byte, i) => byte ^ (b[i] as number))))
  return { vector, envelope: Buffer.from(envelope), dek }
}

/** A KEK that also notes the secrets it is given, by the slot in their binding. */
function spy(
  kek: Kek,
  keks: VectorFile["keks"],
  spec: Spec,
  shares: { slot: number; secret: Buffer }[],
): Kek {
  const name = Object.entries(keks).find(
    ([, facts]) => facts.keyId === kek.keyId && facts.provider === kek.providerId,
  )?.[0]
  return {
    ...kek,
    wrap(secret: Uint8Array, context: WrapContext, options) {
      shares.push({ slot: context.binding[21] as number, secret: Buffer.from(secret) })
      ;(kek as { leaseNext?: boolean }).leaseNext = spec.leased?.includes(name as string) ?? false
      return kek.wrap(secret, context, options)
    },
  }
}

export function randomPlaintext(length: number): Buffer {
  return randomBytes(length)
}
