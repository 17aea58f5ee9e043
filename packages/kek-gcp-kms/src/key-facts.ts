import type { protos } from "@google-cloud/kms"
import type { KekFacts } from "@keyfold/core"

/** What GetCryptoKey says about a key. Its state is that of the primary version, which wraps; without one it cannot. */
export function keyFacts(key: protos.google.cloud.kms.v1.ICryptoKey, keyId: string): KekFacts {
  const { primary, purpose, rotationPeriod, versionTemplate } = key
  const level = protectionLevel(String(primary?.protectionLevel ?? versionTemplate?.protectionLevel))
  return {
    state: primary == null ? "unavailable" : stateOf(String(primary.state)),
    algorithm: String(primary?.algorithm ?? versionTemplate?.algorithm ?? "unknown"),
    origin: level === "external" ? "EXTERNAL" : primary?.importJob ? "IMPORTED" : "GENERATED",
    protectionLevel: level,
    publicKey: String(purpose).startsWith("ASYMMETRIC_"),
    canWrap: purpose === "ENCRYPT_DECRYPT",
    purgeProtected: true, // a version waits for 24 hours at least (Cloud KMS, "Destroy and restore key versions")
    keyVersion: Number(primary?.name?.slice(primary.name.lastIndexOf("/") + 1) ?? 0),
    automaticRotation: rotationPeriod != null,
    expiresAt: undefined,
    deletionAt:
      primary?.destroyTime == null ? undefined : new Date(Number(primary.destroyTime.seconds) * 1000),
    region: keyId.split("/")[3],
  }
}

function stateOf(state: string): KekFacts["state"] {
  return (Object.hasOwn(STATES, state) ? STATES[state] : undefined) ?? "unknown"
}

function protectionLevel(level: string): KekFacts["protectionLevel"] {
  if (level === "SOFTWARE") return "software"
  if (level.startsWith("HSM")) return "hsm"
  return level.startsWith("EXTERNAL") ? "external" : "unknown"
}

/** By `CryptoKeyVersionState`, in the SDK's resources.proto. */
const STATES: Readonly<Record<string, KekFacts["state"]>> = {
  ENABLED: "enabled",
  DISABLED: "disabled",
  DESTROY_SCHEDULED: "pending-deletion",
  PENDING_EXTERNAL_DESTRUCTION: "pending-deletion",
  DESTROYED: "destroyed",
  EXTERNAL_DESTRUCTION_FAILED: "destroyed",
  PENDING_IMPORT: "pending-import",
  PENDING_GENERATION: "unavailable",
  IMPORT_FAILED: "unavailable",
  GENERATION_FAILED: "unavailable",
}
