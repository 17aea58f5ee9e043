import { KeyfoldError } from "@keyfold/core"
import { equalBytes } from "@keyfold/core/crypto"
import type { VaultReply } from "./vault-client.ts"

/** How a key wraps. The first one is public-key: anyone who has the public half can do it. */
export type AzureKeyAlgorithm = "RSA-OAEP-256" | "A256GCM" | "A256KW"

/** An operation with a key: its name as access policies have it, and the body of the request. */
export type KeyOperation = {
  readonly verb: "wrapKey" | "unwrapKey" | "encrypt" | "decrypt"
  readonly body: Readonly<Record<string, string>>
}

/** What wraps 32 secret bytes, bound to the 32 bytes of B. */
export function wrapOperation(algorithm: AzureKeyAlgorithm, secret: Uint8Array, b: Uint8Array): KeyOperation {
  if (algorithm === "A256GCM") {
    return { verb: "encrypt", body: { alg: algorithm, value: encode(secret), aad: encode(b) } }
  }
  const payload = Buffer.concat([secret, b])
  const value = encode(payload)
  payload.fill(0)
  return { verb: "wrapKey", body: { alg: algorithm, value } }
}

/**
 * The wrapped bytes of docs/format.md.
 * @throws KeyfoldError `UNAVAILABLE` where the reply does not hold what it should
 */
export function readWrapped(algorithm: AzureKeyAlgorithm, { iv, value, tag }: VaultReply): Uint8Array {
  const form = FORM[algorithm]
  const members = form === FORM.A256GCM ? [iv, value, tag] : [value]
  const wrapped = Uint8Array.from(Buffer.concat([Uint8Array.of(form), ...members.map(decode)]))
  if (formOf(wrapped) === form) return wrapped
  throw new KeyfoldError("UNAVAILABLE", "Key Vault's answer has no wrapped key of the right length", {
    side: "network",
    fix: "try again later, and look for a proxy that changes the traffic",
  })
}

/**
 * What unwraps them again.
 * @param algorithm of the key: whether it is symmetric decides what it may have wrapped
 * @throws KeyfoldError `DECRYPTION_FAILED` for bytes that no such key wraps
 */
export function unwrapOperation(
  algorithm: AzureKeyAlgorithm,
  wrapped: Uint8Array,
  b: Uint8Array,
): KeyOperation {
  const form = formOf(wrapped)
  if (form === undefined || (form === FORM["RSA-OAEP-256"]) !== (algorithm === "RSA-OAEP-256"))
    throw refused()
  if (form !== FORM.A256GCM) {
    const alg = form === FORM.A256KW ? "A256KW" : "RSA-OAEP-256"
    return { verb: "unwrapKey", body: { alg, value: encode(wrapped.subarray(1)) } }
  }
  const [iv, value, tag] = [wrapped.subarray(1, 13), wrapped.subarray(13, 45), wrapped.subarray(45)]
  return {
    verb: "decrypt",
    body: { alg: "A256GCM", iv: encode(iv), value: encode(value), tag: encode(tag), aad: encode(b) },
  }
}

/**
 * The secret, of which the caller has the only copy.
 * @throws KeyfoldError `DECRYPTION_FAILED` where it was bound to something else than B
 */
export function readSecret({ verb }: KeyOperation, reply: VaultReply, b: Uint8Array): Uint8Array {
  const payload = decode(reply.value)
  try {
    const isBound =
      verb === "decrypt"
        ? payload.length === SECRET_BYTES // the tag vouched for B
        : payload.length === SECRET_BYTES + b.length && equalBytes(payload.subarray(SECRET_BYTES), b)
    if (!isBound) throw refused()
    return Uint8Array.from(payload.subarray(0, SECRET_BYTES))
  } finally {
    payload.fill(0)
  }
}

/** The algorithm byte, if the length fits it. */
function formOf(wrapped: Uint8Array): number | undefined {
  const form = wrapped[0]
  return form !== undefined && LENGTHS.get(form)?.includes(wrapped.length - 1) ? form : undefined
}

function refused(): KeyfoldError {
  return new KeyfoldError("DECRYPTION_FAILED", "not a direct wrap of this Azure key")
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url")
}

function decode(text: unknown): Buffer {
  return Buffer.from(typeof text === "string" ? text : "", "base64url")
}

/** docs/format.md, "Wrapped bytes". */
const FORM = { "RSA-OAEP-256": 0x01, A256GCM: 0x02, A256KW: 0x03 } as const
/** A modulus of 2,048, 3,072 or 4,096 bits; IV, ciphertext and tag; secret, B and the eight bytes of RFC 3394. */
const LENGTHS: ReadonlyMap<number, readonly number[]> = new Map([
  [FORM["RSA-OAEP-256"], [256, 384, 512]],
  [FORM.A256GCM, [60]],
  [FORM.A256KW, [72]],
])
const SECRET_BYTES = 32
