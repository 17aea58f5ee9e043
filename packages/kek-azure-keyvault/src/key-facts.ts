import type { KekFacts } from "@keyfold/core"
import type { VaultReply } from "./vault-client.ts"

/** What a KeyBundle, or a DeletedKeyBundle, says about a key. */
export function keyFacts(bundle: VaultReply): KekFacts {
  const { kty = "unknown", key_ops: keyOps } = membersOf(bundle.key)
  const { enabled, exp, nbf, recoveryLevel } = membersOf(bundle.attributes)
  const type = String(kty)
  return {
    state: bundle.deletedDate === undefined ? stateOf(enabled, exp, nbf) : "pending-deletion",
    algorithm: type.startsWith("RSA") && canWrap(keyOps) ? "RSA-OAEP-256" : type,
    origin: "unknown", // Key Vault does not tell whether a key was imported
    protectionLevel: type === "unknown" ? "unknown" : type.endsWith("-HSM") ? "hsm" : "software",
    publicKey: !type.startsWith("oct"),
    canWrap:
      (type.startsWith("RSA") && canWrap(keyOps)) ||
      (type.startsWith("oct") && (canWrap(keyOps) || permits(keyOps, "encrypt", "decrypt"))),
    purgeProtected: typeof recoveryLevel === "string" ? !recoveryLevel.includes("Purgeable") : undefined,
    keyVersion: 0,
    automaticRotation: undefined,
    expiresAt: dateOf(exp),
    deletionAt: dateOf(bundle.scheduledPurgeDate),
    region: undefined,
  }
}

/** By the same rule as the service: from its first second on a key is valid, in its last one it no longer is. */
function stateOf(enabled: unknown, exp: unknown, nbf: unknown): KekFacts["state"] {
  const now = Date.now() / 1000
  if (enabled === false) return "disabled"
  if (typeof exp === "number" && now >= exp) return "expired"
  if (typeof nbf === "number" && now < nbf) return "not-yet-valid"
  return enabled === true ? "enabled" : "unknown"
}

function canWrap(keyOps: unknown): boolean {
  return permits(keyOps, "wrapKey", "unwrapKey")
}

function permits(keyOps: unknown, ...operations: readonly string[]): boolean {
  return Array.isArray(keyOps) && operations.every((each) => keyOps.includes(each))
}

function dateOf(seconds: unknown): Date | undefined {
  return typeof seconds === "number" ? new Date(seconds * 1000) : undefined
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}
