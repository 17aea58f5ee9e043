import type { WrapContext, WrapRecord } from "@keyfold/core"
import { type Kek, type KekCallOptions, type KeyContext, parseContext, scopedBinding } from "@keyfold/core"
import { equalBytes, fillRandom, sha256 } from "@keyfold/core/crypto"
import type { Canary } from "@keyfold/router"

/** Whose canary it is: one of one tenant, match or environment opens for no other. */
export type CanaryScope = {
  readonly owner: string
  readonly match: KeyContext
  readonly environment: string
}

/** Wraps a new canary. @throws what the KEK throws */
export async function wrapCanary(kek: Kek, scope: CanaryScope, options: KekCallOptions): Promise<Canary> {
  const salt = new Uint8Array(SALT_BYTES)
  fillRandom(salt)
  const secret = new Uint8Array(SECRET_BYTES)
  fillRandom(secret)
  try {
    const { keyVersion, wrapped } = await kek.wrap(secret, contextOf(kek, scope, salt), options)
    return {
      provider: kek.providerId,
      keyId: kek.keyId,
      keyVersion,
      salt: encode(salt),
      wrapped: encode(wrapped),
      digest: encode(sha256(secret)),
      madeAt: new Date().toISOString(),
    }
  } finally {
    secret.fill(0)
  }
}

/**
 * Opens a canary, and tells whether it is whole.
 * @param kek the key that made it, or the same key in another region
 * @throws what the KEK throws
 */
export async function opensCanary(
  kek: Kek,
  canary: Canary,
  scope: CanaryScope,
  options: KekCallOptions,
): Promise<boolean> {
  return opens(kek, canary, contextOf(canaryKey(canary), scope, decode(canary.salt)), options)
}

/** The same under a binding that is not the canary's, which must be refused. */
export async function opensForeignCanary(
  kek: Kek,
  canary: Canary,
  scope: CanaryScope,
  options: KekCallOptions,
): Promise<boolean> {
  const salt = decode(canary.salt).map((byte) => byte ^ 0xff)
  return opens(kek, canary, contextOf(canaryKey(canary), scope, salt), options)
}

async function opens(kek: Kek, canary: Canary, context: WrapContext, options: KekCallOptions) {
  const { keyVersion, wrapped, digest } = canary
  const record: WrapRecord = { keyVersion, leased: false, wrapped: decode(wrapped) }
  const secret = await kek.unwrap(record, context, options)
  try {
    return secret.length === SECRET_BYTES && equalBytes(sha256(secret), decode(digest))
  } finally {
    secret.fill(0)
  }
}

/** The context of a wrap that is never made: for hints. */
export function sampleContext(kek: Kek, scope: CanaryScope): WrapContext {
  return contextOf(kek, scope, new Uint8Array(SALT_BYTES))
}

/** What a wrap of a canary is bound to (docs/format.md, "Wrap binding"). */
function contextOf(
  { providerId, keyId }: Pick<Kek, "providerId" | "keyId">,
  { owner, match, environment }: CanaryScope,
  salt: Uint8Array,
): WrapContext {
  const covered = parseContext(match).pairs
  const scope = { purpose: "canary", providerId, keyId, owner, environment, covered } as const
  return { binding: scopedBinding(scope, salt), covered, owner }
}

function canaryKey({ provider, keyId }: Canary): Pick<Kek, "providerId" | "keyId"> {
  return { providerId: provider, keyId }
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url")
}

function decode(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64url"))
}

const SALT_BYTES = 16
const SECRET_BYTES = 32
