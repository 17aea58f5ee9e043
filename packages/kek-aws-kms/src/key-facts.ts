import type { KeyMetadata } from "@aws-sdk/client-kms"
import type { KekFacts } from "@keyfold/core"

/** What DescribeKey says about a key. Whether it rotates is asked with a permission of its own, so it is not. */
export function keyFacts(key: KeyMetadata, arn: string): KekFacts {
  const state = String(key.KeyState)
  const spec = key.KeySpec ?? "unknown"
  const origin = key.Origin ?? "unknown"
  return {
    state: Object.hasOwn(STATES, state) ? (STATES[state] as KekFacts["state"]) : "unknown",
    algorithm: spec,
    origin,
    protectionLevel: origin === "EXTERNAL_KEY_STORE" ? "external" : origin === "unknown" ? "unknown" : "hsm",
    publicKey: !/^(SYMMETRIC_DEFAULT|HMAC_\d+|unknown)$/.test(spec),
    canWrap: spec === "SYMMETRIC_DEFAULT" && key.KeyUsage === "ENCRYPT_DECRYPT",
    purgeProtected: true, // a deletion waits for 7 days at least (AWS KMS API Reference, ScheduleKeyDeletion)
    keyVersion: 0,
    automaticRotation: undefined,
    expiresAt: key.ValidTo,
    deletionAt: key.DeletionDate,
    region: arn.split(":")[3],
  }
}

/** By `KeyState` (AWS KMS API Reference, KeyMetadata). */
const STATES: Readonly<Record<string, KekFacts["state"]>> = {
  Enabled: "enabled",
  Disabled: "disabled",
  PendingDeletion: "pending-deletion",
  PendingReplicaDeletion: "pending-deletion",
  PendingImport: "pending-import",
  Unavailable: "unavailable",
  Creating: "unavailable",
  Updating: "unavailable",
}
