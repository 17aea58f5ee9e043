/**
 * Broken set-ups × clouds: what a validation says of each. `pnpm matrix` prints them; matrix.test.ts asserts them, and
 * every word of them is here.
 */
import { type Check, type CmkBinding, type Report, validateCmk } from "@keyfold/byok"
import type { Fault } from "@keyfold/provider-testkit"
import type { AwsEmulator } from "@keyfold/provider-testkit/aws"
import type { AzureEmulator } from "@keyfold/provider-testkit/azure"
import type { GcpEmulator } from "@keyfold/provider-testkit/gcp"
import { awsLab, azureLab, bindingOf, gcpLab, kmsCalls, type Lab } from "./clouds.ts"

/** What is validated in a cell: a key id, or a binding of one. */
type Subject = string | CmkBinding

export type Cell = {
  readonly cloud: "aws" | "azure" | "gcp"
  readonly setUp: string
  readonly check: Check["id"]
  readonly status: Check["status"]
  readonly reason: Check["reason"]
  readonly action: string | null
  readonly side: Check["side"]
  readonly fix: string | null
  /** Runs it in an emulator of its own. */
  readonly run: () => Promise<{ readonly report: Report; readonly kmsCalls: number }>
}

type Says = readonly [
  check: Check["id"],
  status: Check["status"],
  reason: Check["reason"],
  action: string | null,
  side: Check["side"],
  fix: string | null,
]

function aws(
  setUp: string,
  prepare: (emulator: AwsEmulator, keyId: string, lab: Lab<AwsEmulator>) => Subject | Promise<Subject>,
  says: Says,
  start = () => awsLab(),
): Cell {
  return cell("aws", setUp, says, start, prepare)
}

function azure(
  setUp: string,
  prepare: (emulator: AzureEmulator, keyId: string, lab: Lab<AzureEmulator>) => Subject | Promise<Subject>,
  says: Says,
  start = () => azureLab(),
): Cell {
  return cell("azure", setUp, says, start, prepare)
}

function gcp(
  setUp: string,
  prepare: (emulator: GcpEmulator, keyId: string, lab: Lab<GcpEmulator>) => Subject | Promise<Subject>,
  says: Says,
  start = () => gcpLab(),
): Cell {
  return cell("gcp", setUp, says, start, prepare)
}

function cell<Emulator extends AwsEmulator | AzureEmulator | GcpEmulator>(
  cloud: Cell["cloud"],
  setUp: string,
  [check, status, reason, action, side, fix]: Says,
  start: () => Promise<Lab<Emulator>>,
  prepare: (emulator: Emulator, keyId: string, lab: Lab<Emulator>) => Subject | Promise<Subject>,
): Cell {
  const expected = { check, status, reason, action, side, fix }
  const run = async () => {
    const lab = await start()
    try {
      const subject = await prepare(lab.emulator, lab.emulator.createKey(), lab)
      const from = kmsCalls(lab.emulator)
      const binding = typeof subject === "string" ? bindingOf(subject) : subject
      const report = await validateCmk(lab.provider, binding, { deadlineMs: 10_000 })
      return { report, kmsCalls: kmsCalls(lab.emulator) - from }
    } finally {
      await lab.close()
    }
  }
  return { cloud, setUp, ...expected, run }
}

/** Breaks something for one key, and validates that. */
const broken =
  <Emulator>(how: (emulator: Emulator, keyId: string) => unknown) =>
  (emulator: Emulator, keyId: string): Subject => {
    how(emulator, keyId)
    return keyId
  }
const fault = (fault: Fault, operations?: readonly string[]) =>
  broken((emulator: AwsEmulator | AzureEmulator | GcpEmulator) =>
    emulator.inject(fault, operations && { operations }),
  )

/** A role in the customer's account, its key, and what keyfold is told of them. */
const role = (required: string | undefined, told: string | undefined) => (emulator: AwsEmulator) => {
  const accountId = "444455556666"
  const options = required === undefined ? {} : { externalId: required }
  const roleArn = emulator.createRole({ accountId, name: "keyfold", ...options })
  const keyId = emulator.createKey({ accountId })
  return bindingOf(keyId, { options: { roleArn, ...(told !== undefined && { externalId: told }) } })
}

/** A multi-Region key whose replica is broken. */
const replica =
  (how: (emulator: AwsEmulator, replicaId: string) => void) =>
  (emulator: AwsEmulator): Subject => {
    const keyId = emulator.createKey({ multiRegion: true })
    const replicaId = emulator.replicateKey(keyId, "us-east-1")
    how(emulator, replicaId)
    return bindingOf(keyId, { options: { replicaKeyIds: [replicaId] } })
  }

/** A key that was validated once, and a version or key of it that broke since. */
const former =
  <Emulator extends AwsEmulator | AzureEmulator | GcpEmulator>(
    how: (emulator: Emulator, keyId: string) => string | undefined,
  ) =>
  async (emulator: Emulator, keyId: string, { provider }: Lab<Emulator>): Promise<Subject> => {
    const { canary } = await validateCmk(provider, bindingOf(keyId))
    const now = how(emulator, keyId)
    const entry = { ...FORMER, keyId, provider: provider.id }
    const canaries = canary === undefined ? [] : [canary]
    return bindingOf(now ?? keyId, { canaries, history: now === undefined ? [] : [entry] })
  }
const FORMER = {
  ...{ match: bindingOf("").match, pairs: ["organization_id"], owner: "acme", options: {} },
  ...{ publicKey: false, companion: undefined, leaseTtlMs: 0, lastVersion: undefined },
  closedAt: "2026-01-01T00:00:00.000Z",
}

const NOWHERE = "00000000-0000-0000-0000-000000000000"
const use = (which: string) => `cloudkms.cryptoKeyVersions.${which}`

export const CELLS: readonly Cell[] = [
  aws("an alias that is not there", () => "arn:aws:kms:eu-central-1:111122223333:alias/none", [
    "key-id",
    "fail",
    "KEY_NOT_FOUND",
    null,
    "key",
    "check the ARN of the binding; data under a deleted key is lost",
  ]),
  aws("a text that is no key id", () => "my key", [
    "key-id",
    "fail",
    "MALFORMED_KEY_ID",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  aws(
    "a region that is not the ARN's",
    (_, keyId) => bindingOf(keyId, { options: { region: "us-east-1" } }),
    [
      "key-id",
      "fail",
      "INVALID_KEY_OPTION",
      null,
      "key",
      "correct the key id, or the options that go with it",
    ],
  ),
  aws("no such key", () => `arn:aws:kms:eu-central-1:111122223333:key/${NOWHERE}`, [
    "describe",
    "fail",
    "KEY_NOT_FOUND",
    null,
    "key",
    "check the ARN of the binding; data under a deleted key is lost",
  ]),
  aws(
    "credentials that are wrong",
    (_, keyId) => keyId,
    [
      "authenticate",
      "fail",
      "CREDENTIALS_REFUSED",
      "token",
      "caller-identity",
      "give the SDK's client valid credentials, and set the clock of this machine",
    ],
    () => awsLab({ secret: "wrong" }),
  ),
  aws(
    "kms:DescribeKey missing in IAM",
    broken((e, k) => e.deny("identity-policy", "kms:DescribeKey", k)),
    [
      "describe",
      "fail",
      "PERMISSION_MISSING",
      "kms:DescribeKey",
      "caller-identity",
      "allow it on the key in the IAM policy of the identity that keyfold runs as",
    ],
  ),
  aws(
    "kms:DescribeKey missing in the key policy",
    broken((e, k) => e.deny("key-policy", "kms:DescribeKey", k)),
    [
      "describe",
      "fail",
      "PERMISSION_MISSING",
      "kms:DescribeKey",
      "key-policy",
      "allow it to that identity in the key policy",
    ],
  ),
  aws(
    "kms:Encrypt missing in IAM",
    broken((e, k) => e.deny("identity-policy", "kms:Encrypt", k)),
    [
      "wrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Encrypt",
      "caller-identity",
      "allow it on the key in the IAM policy of the identity that keyfold runs as",
    ],
  ),
  aws(
    "kms:Encrypt missing in the key policy",
    broken((e, k) => e.deny("key-policy", "kms:Encrypt", k)),
    [
      "wrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Encrypt",
      "key-policy",
      "allow it to that identity in the key policy",
    ],
  ),
  aws(
    "kms:Decrypt missing in IAM",
    broken((e, k) => e.deny("identity-policy", "kms:Decrypt", k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Decrypt",
      "caller-identity",
      "allow it on the key in the IAM policy of the identity that keyfold runs as",
    ],
  ),
  aws(
    "kms:Decrypt missing in the key policy",
    broken((e, k) => e.deny("key-policy", "kms:Decrypt", k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Decrypt",
      "key-policy",
      "allow it to that identity in the key policy",
    ],
  ),
  aws(
    "a Deny statement on kms:Decrypt",
    broken((e, k) => e.deny("explicit-deny", "kms:Decrypt", k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Decrypt",
      "key-policy",
      "look for a Deny statement, often with a condition on the encryption context, and let this call through",
    ],
  ),
  aws("another account's key, not shared", (e) => e.createKey({ accountId: "444455556666" }), [
    "describe",
    "fail",
    "PERMISSION_MISSING",
    "kms:DescribeKey",
    "key-policy",
    "allow it to that identity in the key policy",
  ]),
  aws(
    "disabled",
    broken((e, k) => e.setState(k, "Disabled")),
    ["state", "fail", "KEY_DISABLED", null, "key", "enable it"],
  ),
  aws(
    "pending deletion",
    broken((e, k) => e.setState(k, "PendingDeletion")),
    [
      "state",
      "fail",
      "KEY_PENDING_DELETION",
      null,
      "key",
      "cancel its deletion, or recover it, and enable it",
    ],
  ),
  aws("no key material", (e) => e.createKey({ origin: "EXTERNAL" }), [
    "state",
    "fail",
    "KEY_MATERIAL_MISSING",
    null,
    "key",
    "import its key material",
  ]),
  aws(
    "its key store disconnected",
    broken((e, k) => e.setState(k, "Unavailable")),
    ["state", "fail", "KEY_UNAVAILABLE", null, "key", "connect its key store, or try again later"],
  ),
  aws("a key for signing", (e) => e.createKey({ spec: "RSA_2048", usage: "SIGN_VERIFY" }), [
    "usage",
    "fail",
    "WRONG_KEY_USAGE",
    null,
    "key",
    "use a symmetric key with the key usage ENCRYPT_DECRYPT",
  ]),
  aws("another region than expected", (_, keyId) => bindingOf(keyId, { expectedRegion: "us-east-1" }), [
    "region",
    "fail",
    "WRONG_REGION",
    null,
    "key",
    "use a key in us-east-1, or expect eu-central-1",
  ]),
  aws("the wrong external id", role("tenant-1", "tenant-2"), [
    "authenticate",
    "fail",
    "ROLE_DENIED",
    "sts:AssumeRole",
    "key-policy",
    "check the role's ARN, and that its trust policy allows that identity with this external id",
  ]),
  aws("the external id left out", role("tenant-1", undefined), [
    "authenticate",
    "fail",
    "ROLE_DENIED",
    "sts:AssumeRole",
    "key-policy",
    "check the role's ARN, and that its trust policy allows that identity with this external id",
  ]),
  aws("a role that asks for no external id", role(undefined, "tenant-1"), [
    "external-id",
    "fail",
    "EXTERNAL_ID_NOT_ENFORCED",
    "sts:AssumeRole",
    "key-policy",
    "require the external id in the role's trust policy",
  ]),
  aws("a role used without an external id", role(undefined, undefined), [
    "external-id",
    "fail",
    "EXTERNAL_ID_MISSING",
    "sts:AssumeRole",
    "caller-identity",
    "give this customer an external id, and have the role's trust policy require it",
  ]),
  aws(
    "a replica that is disabled",
    replica((e, id) => e.setState(id, "Disabled")),
    ["state", "fail", "KEY_DISABLED", null, "key", "enable it"],
  ),
  aws(
    "a replica without kms:Decrypt",
    replica((e, id) => e.deny("key-policy", "kms:Decrypt", id)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "kms:Decrypt",
      "key-policy",
      "allow it to that identity in the key policy",
    ],
  ),
  aws(
    "a former key that is disabled",
    former((e, k) => {
      e.setState(k, "Disabled")
      return e.createKey()
    }),
    [
      "former-versions",
      "fail",
      "FORMER_VERSION_SHUT",
      null,
      "key",
      "enable it in AWS KMS to use this data again",
    ],
  ),
  aws("throttled", fault({ kind: "throttle" }), [
    "describe",
    "fail",
    "THROTTLED",
    null,
    "caller-identity",
    "try again later, or raise the quota of cryptographic operations",
  ]),
  aws("an outage", fault({ kind: "server-error" }), [
    "describe",
    "fail",
    "UNREACHABLE",
    null,
    "network",
    "try again later",
  ]),
  aws(
    "no answer",
    fault({ kind: "hang" }),
    ["describe", "fail", "TIMED_OUT", null, "network", "try again later"],
    () => awsLab({ timeoutMs: 500 }),
  ),
  aws("a proxy that mixes up answers", fault({ kind: "other-key" }), [
    "describe",
    "fail",
    "ANOTHER_KEY_ANSWERED",
    null,
    "network",
    "look for a proxy that mixes up answers",
  ]),

  azure("a text that is no key id", () => "my key", [
    "key-id",
    "fail",
    "MALFORMED_KEY_ID",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  azure("an option of another cloud", (_, keyId) => bindingOf(keyId, { options: { region: "westeurope" } }), [
    "key-id",
    "fail",
    "INVALID_KEY_OPTION",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  azure("no such key", (e) => `${e.url}/keys/none/${"0".repeat(32)}`, [
    "describe",
    "fail",
    "KEY_NOT_FOUND",
    null,
    "key",
    "check the key id of the binding; a deleted key can be recovered until it is purged",
  ]),
  azure(
    "the wrong secret",
    (_, keyId) => keyId,
    [
      "authenticate",
      "fail",
      "CREDENTIALS_REFUSED",
      "token",
      "caller-identity",
      "give the provider a valid credential, which may ask for tokens of the vault's tenant",
    ],
    () => azureLab({ secret: "wrong" }),
  ),
  azure(
    "the wrong tenant",
    (_, keyId) => keyId,
    [
      "authenticate",
      "fail",
      "CREDENTIALS_REFUSED",
      "token",
      "caller-identity",
      "name the tenant of the vault in the key's option tenantId, and set the clock of this machine",
    ],
    () => azureLab({ tenant: NOWHERE }),
  ),
  azure(
    "get missing, RBAC",
    broken((e, k) => e.deny("rbac", "get", k)),
    [
      "describe",
      "fail",
      "PERMISSION_MISSING",
      "Microsoft.KeyVault/vaults/keys/read",
      "key-policy",
      "assign that identity the role Key Vault Crypto Service Encryption User on the key; a new role takes minutes",
    ],
  ),
  azure(
    "get missing, access policy",
    broken((e, k) => e.deny("access-policy", "get", k)),
    [
      "describe",
      "fail",
      "PERMISSION_MISSING",
      "get",
      "key-policy",
      "allow it to the identity that keyfold runs as in the vault's access policies",
    ],
  ),
  azure(
    "wrapKey missing, RBAC",
    broken((e, k) => e.deny("rbac", "wrapKey", k)),
    [
      "wrap",
      "fail",
      "PERMISSION_MISSING",
      "Microsoft.KeyVault/vaults/keys/wrap/action",
      "key-policy",
      "assign that identity the role Key Vault Crypto Service Encryption User on the key; a new role takes minutes",
    ],
  ),
  azure(
    "wrapKey missing, access policy",
    broken((e, k) => e.deny("access-policy", "wrapKey", k)),
    [
      "wrap",
      "fail",
      "PERMISSION_MISSING",
      "wrapKey",
      "key-policy",
      "allow it to the identity that keyfold runs as in the vault's access policies",
    ],
  ),
  azure(
    "unwrapKey missing, RBAC",
    broken((e, k) => e.deny("rbac", "unwrapKey", k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "Microsoft.KeyVault/vaults/keys/unwrap/action",
      "key-policy",
      "assign that identity the role Key Vault Crypto Service Encryption User on the key; a new role takes minutes",
    ],
  ),
  azure(
    "unwrapKey missing, access policy",
    broken((e, k) => e.deny("access-policy", "unwrapKey", k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "unwrapKey",
      "key-policy",
      "allow it to the identity that keyfold runs as in the vault's access policies",
    ],
  ),
  azure(
    "the firewall of the vault",
    broken((e) => e.setFirewall("closed")),
    [
      "describe",
      "fail",
      "NETWORK_DENIED",
      "ForbiddenByFirewall",
      "network",
      "allow that address or network in the vault's network settings",
    ],
  ),
  azure(
    "disabled",
    broken((e, k) => e.setState(k, "disabled")),
    ["state", "fail", "KEY_DISABLED", null, "key", "enable it"],
  ),
  azure(
    "disabled, where that still wraps",
    broken((e, k) => e.setState(k, "disabled")),
    ["state", "fail", "KEY_DISABLED", null, "key", "enable it"],
    () => azureLab({}, { purgeProtection: true, disabledKeysWrap: true }),
  ),
  azure(
    "expired",
    broken((e, k) => e.setState(k, "expired")),
    [
      "state",
      "fail",
      "KEY_EXPIRED",
      null,
      "key",
      "move its expiry date, or make a new version and bind that",
    ],
  ),
  azure(
    "not valid yet",
    broken((e, k) => e.setState(k, "not-yet-valid")),
    ["state", "fail", "KEY_NOT_YET_VALID", null, "key", "move its activation date, or wait for it"],
  ),
  azure(
    "deleted, and recoverable",
    broken((e, k) => e.setState(k, "deleted")),
    [
      "state",
      "fail",
      "KEY_PENDING_DELETION",
      null,
      "key",
      "cancel its deletion, or recover it, and enable it",
    ],
  ),
  azure(
    "purged",
    broken((e, k) => {
      e.setState(k, "deleted")
      e.setState(k, "purged")
    }),
    [
      "describe",
      "fail",
      "KEY_NOT_FOUND",
      null,
      "key",
      "check the key id of the binding; a deleted key can be recovered until it is purged",
    ],
  ),
  azure("a key that may not wrap", (e) => e.createKey({ keyOps: ["sign", "verify"] }), [
    "usage",
    "fail",
    "WRONG_KEY_USAGE",
    null,
    "key",
    "use an RSA key, or a symmetric one of a Managed HSM, with wrapKey and unwrapKey among its permitted operations",
  ]),
  azure("a key for signing", (e) => e.createKey({ kty: "EC" }), [
    "usage",
    "fail",
    "WRONG_KEY_USAGE",
    null,
    "key",
    "use an RSA key, or a symmetric one of a Managed HSM, with wrapKey and unwrapKey among its permitted operations",
  ]),
  azure(
    "no purge protection",
    (_, keyId) => keyId,
    ["purge-protection", "warn", "NO_PURGE_PROTECTION", null, "key", "turn purge protection on in the vault"],
    () => azureLab({}, {}),
  ),
  azure("a region is expected", (_, keyId) => bindingOf(keyId, { expectedRegion: "westeurope" }), [
    "region",
    "warn",
    "REGION_UNKNOWN",
    null,
    "key",
    "look it up in the cloud's own console",
  ]),
  azure(
    "a former version that is disabled",
    former((e, k) => {
      const next = e.rotate(k)
      e.setState(k, "disabled")
      return next
    }),
    [
      "former-versions",
      "fail",
      "FORMER_VERSION_SHUT",
      null,
      "key",
      "enable it in Key Vault to use this data again",
    ],
  ),
  azure("throttled", fault({ kind: "throttle" }, ["getKey"]), [
    "describe",
    "fail",
    "THROTTLED",
    null,
    "key",
    "try again later, or spread the load over more vaults",
  ]),
  azure("an outage", fault({ kind: "server-error" }, ["getKey"]), [
    "describe",
    "fail",
    "UNREACHABLE",
    null,
    "network",
    "try again later; a vault that was deleted has no address any more",
  ]),
  azure(
    "no answer",
    fault({ kind: "hang" }, ["getKey"]),
    ["describe", "fail", "TIMED_OUT", null, "network", "try again later"],
    () => azureLab({ timeoutMs: 500 }),
  ),
  azure("an outage of Microsoft Entra", fault({ kind: "server-error" }, ["token"]), [
    "describe",
    "fail",
    "UNREACHABLE",
    null,
    "network",
    "try again later, and check the tenant id",
  ]),
  azure("a proxy that mixes up answers", fault({ kind: "other-key" }), [
    "describe",
    "fail",
    "ANOTHER_KEY_ANSWERED",
    null,
    "network",
    "look for a proxy that mixes up answers",
  ]),

  gcp("a text that is no key id", () => "my key", [
    "key-id",
    "fail",
    "MALFORMED_KEY_ID",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  gcp("a key id with a version", (_, keyId) => `${keyId}/cryptoKeyVersions/1`, [
    "key-id",
    "fail",
    "MALFORMED_KEY_ID",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  gcp("an option of another cloud", (_, keyId) => bindingOf(keyId, { options: { region: "europe-west3" } }), [
    "key-id",
    "fail",
    "INVALID_KEY_OPTION",
    null,
    "key",
    "correct the key id, or the options that go with it",
  ]),
  gcp("no such key", (_, keyId) => `${keyId}-none`, [
    "describe",
    "fail",
    "KEY_NOT_FOUND",
    null,
    "key",
    "check the key id of the binding",
  ]),
  gcp(
    "cryptoKeys.get missing",
    broken((e, k) => e.deny("cloudkms.cryptoKeys.get", k)),
    [
      "describe",
      "fail",
      "PERMISSION_MISSING",
      "cloudkms.cryptoKeys.get",
      "key-policy",
      "check the key id and grant roles/cloudkms.viewer on the key to the identity that keyfold runs as",
    ],
  ),
  gcp(
    "useToEncrypt missing",
    broken((e, k) => e.deny(use("useToEncrypt"), k)),
    [
      "wrap",
      "fail",
      "PERMISSION_MISSING",
      "cloudkms.cryptoKeyVersions.useToEncrypt",
      "key-policy",
      "check the key id and grant roles/cloudkms.cryptoKeyEncrypterDecrypter on the key to the identity that keyfold runs as",
    ],
  ),
  gcp(
    "useToDecrypt missing",
    broken((e, k) => e.deny(use("useToDecrypt"), k)),
    [
      "unwrap",
      "fail",
      "PERMISSION_MISSING",
      "cloudkms.cryptoKeyVersions.useToDecrypt",
      "key-policy",
      "check the key id and grant roles/cloudkms.cryptoKeyEncrypterDecrypter on the key to the identity that keyfold runs as",
    ],
  ),
  gcp(
    "the API is off",
    broken((e) => e.setApiEnabled(false)),
    [
      "describe",
      "fail",
      "API_DISABLED",
      "serviceusage.services.enable",
      "caller-identity",
      "enable cloudkms.googleapis.com there",
    ],
  ),
  gcp(
    "disabled",
    broken((e, k) => e.setState(k, "DISABLED")),
    ["state", "fail", "KEY_DISABLED", null, "key", "enable it"],
  ),
  gcp(
    "scheduled for destruction",
    broken((e, k) => e.setState(k, "DESTROY_SCHEDULED")),
    ["state", "fail", "KEY_PENDING_DELETION", null, "key", "restore that version, and enable it"],
  ),
  gcp(
    "destroyed",
    broken((e, k) => e.setState(k, "DESTROYED")),
    [
      "state",
      "fail",
      "KEY_DESTROYED",
      null,
      "key",
      "make an enabled version the primary one; data under the destroyed one is lost",
    ],
  ),
  gcp("a key for signing", (e) => e.createKey({ purpose: "ASYMMETRIC_SIGN" }), [
    "usage",
    "fail",
    "WRONG_KEY_USAGE",
    null,
    "key",
    "use a key with the purpose ENCRYPT_DECRYPT",
  ]),
  gcp("another region than expected", (_, keyId) => bindingOf(keyId, { expectedRegion: "us-east1" }), [
    "region",
    "fail",
    "WRONG_REGION",
    null,
    "key",
    "use a key in us-east1, or expect europe-west3",
  ]),
  gcp("no rotation", (_, keyId) => keyId, [
    "rotation",
    "warn",
    "NO_ROTATION",
    null,
    "key",
    "set a rotation period",
  ]),
  gcp(
    "a former version that is disabled",
    former((e, k) => {
      e.rotate(k)
      e.setState(k, "DISABLED", 1)
      return undefined
    }),
    [
      "former-versions",
      "fail",
      "FORMER_VERSION_SHUT",
      null,
      "key",
      "enable that version to use this data again",
    ],
  ),
  gcp(
    "a former version that is destroyed",
    former((e, k) => {
      e.rotate(k)
      e.setState(k, "DESTROYED", 1)
      return undefined
    }),
    [
      "former-versions",
      "fail",
      "FORMER_VERSION_SHUT",
      null,
      "key",
      "data under that version is lost; make another version the primary one",
    ],
  ),
  gcp("throttled", fault({ kind: "throttle" }), [
    "describe",
    "fail",
    "THROTTLED",
    null,
    null,
    "try again later, or raise the quota of cryptographic requests",
  ]),
  gcp("an outage", fault({ kind: "server-error" }), [
    "describe",
    "fail",
    "UNREACHABLE",
    null,
    "network",
    "try again later",
  ]),
  gcp(
    "no answer",
    fault({ kind: "hang" }),
    ["describe", "fail", "TIMED_OUT", null, "network", "try again later"],
    () => gcpLab({ timeoutMs: 500 }),
  ),
  gcp("a proxy that mixes up answers", fault({ kind: "other-key" }), [
    "describe",
    "fail",
    "ANOTHER_KEY_ANSWERED",
    null,
    "network",
    "look for a proxy that mixes up answers",
  ]),
  gcp("answers damaged on the way", fault({ kind: "crc", where: "reply" }), [
    "wrap",
    "fail",
    "UNREACHABLE",
    null,
    "network",
    "try again later, and look for a proxy that changes the traffic",
  ]),
]
