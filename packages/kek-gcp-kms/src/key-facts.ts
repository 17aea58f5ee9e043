import type { protos } from "@google-cloud/kms"
import type { KekFacts } from "@keyfold/core"

/** What GetCryptoKey says about a key. Its state is that of the primary version, which wraps. */
export function keyFacts(key: protos.google.cloud.kms.v1.ICryptoKey, keyId: string): KekFacts {
  const { primary, purpose, rotationPeriod, versionTemplate } = key
  const state = String(primary?.state)
  return {
    state: Object.hasOwn(STATES, state) ? (STATES[state] as KekFacts["state"]) : "unknown",
    algorithm: String(primary?.algorithm ?? versionTemplate?.algorithm ?? "unknown"),
    origin: primary?.importJob ? "IMPORTED" : "GENERATED",
    protectionLevel: protectionLevel(String(primary?.protectionLevel ?? versionTemplate?.protectionLevel)),
    publicKey: String(purpose).startsWith("ASYMMETRIC_"),
    keyVersion: Number(primary?.name?.slice(primary.name.lastIndexOf("/") + 1) ?? 0),
    automaticRotation: rotationPeriod != null,
    expiresAt: undefined,
    deletionAt:
      primary?.destroyTime == null ? undefined : new Date(Number(primary.destroyTime.seconds) * 1000),
    region: keyId.split("/")[3],
  }
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
