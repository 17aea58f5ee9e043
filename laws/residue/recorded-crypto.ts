/** The crypto seam of core, which keeps a masked copy of every secret that passes through it. */
import * as real from "../../packages/core/src/crypto-node.ts"

export * from "../../packages/core/src/crypto-node.ts"

/** Masked, so that the record itself is no residue. */
export const MASK = 0xa5
export type Kind =
  | "random keys and shares"
  | "keys of envelopes"
  | "subkeys of KEKs"
  | "root key"
  | "plaintexts"
export const recorded = new Map<Kind, Uint8Array[]>()

export function record(kind: Kind, bytes: Uint8Array): void {
  const list = recorded.get(kind) ?? []
  list.push(bytes.map((byte) => byte ^ MASK))
  recorded.set(kind, list)
}

export function fillRandom(target: Uint8Array): void {
  real.fillRandom(target)
  // Salts have 16 bytes and IVs 12; keys and shares 32.
  if (target.length === 32) record("random keys and shares", target)
}

export function hmacSha512(...args: Parameters<typeof real.hmacSha512>): Uint8Array {
  const bytes = real.hmacSha512(...args)
  record("keys of envelopes", bytes.subarray(0, 32))
  return bytes
}

export function hmacSha256(...args: Parameters<typeof real.hmacSha256>): Uint8Array {
  const bytes = real.hmacSha256(...args)
  // The other use of it in managed KEKs names rows, which is no secret.
  if (!Buffer.from(args[1]).includes("kek-index")) record("subkeys of KEKs", bytes)
  return bytes
}
