import { AwsError, invalidState } from "./aws-error.ts"
import type { AwsKey, AwsKeyState } from "./key-store.ts"

/**
 * How the state of a key affects an operation on it (AWS KMS Developer Guide, "Key states of AWS KMS keys").
 * Where the guide leaves two answers open, for a key that is pending deletion, this gives the one that names it.
 * @throws AwsError the service's refusal
 */
export function checkState(operation: string, key: AwsKey): void {
  const refused = REFUSALS[operation]?.[key.state]
  if (refused === "disabled") throw new AwsError("DisabledException", `${key.arn} is disabled.`)
  if (refused !== undefined) throw invalidState(key.arn, refused)
}

const GOING = "is pending deletion"
const REPLICAS_GOING = "is pending replica deletion"
const IMPORT = "is pending import"

/** The key material is used. */
const CRYPTOGRAPHIC = {
  Disabled: "disabled",
  PendingDeletion: GOING,
  PendingReplicaDeletion: REPLICAS_GOING,
  PendingImport: IMPORT,
  Unavailable: "is unavailable",
  Creating: "is creating",
} as const
/** The key is switched on or off. */
const SWITCH = {
  PendingDeletion: GOING,
  PendingReplicaDeletion: REPLICAS_GOING,
  PendingImport: IMPORT,
  Creating: "is creating",
  Updating: "is updating",
} as const
const ROTATION = { ...SWITCH, Disabled: "disabled" } as const
const NOT_GOING = "is not pending deletion"

const REFUSALS: Readonly<Record<string, Readonly<Partial<Record<AwsKeyState, string>>>>> = {
  Encrypt: CRYPTOGRAPHIC,
  Decrypt: CRYPTOGRAPHIC,
  GenerateDataKey: CRYPTOGRAPHIC,
  ReEncrypt: CRYPTOGRAPHIC,
  EnableKey: SWITCH,
  DisableKey: SWITCH,
  EnableKeyRotation: ROTATION,
  DisableKeyRotation: ROTATION,
  RotateKeyOnDemand: ROTATION,
  ReplicateKey: ROTATION,
  CreateAlias: { PendingDeletion: GOING, PendingReplicaDeletion: REPLICAS_GOING },
  UpdateAlias: { PendingDeletion: GOING, PendingReplicaDeletion: REPLICAS_GOING },
  ScheduleKeyDeletion: {
    PendingDeletion: GOING,
    PendingReplicaDeletion: REPLICAS_GOING,
    Creating: "is creating",
    Updating: "is updating",
  },
  CancelKeyDeletion: {
    Enabled: NOT_GOING,
    Disabled: NOT_GOING,
    PendingImport: NOT_GOING,
    Unavailable: NOT_GOING,
    Creating: NOT_GOING,
    Updating: NOT_GOING,
  },
}
