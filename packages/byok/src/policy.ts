import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"

/** For whom and for what a customer is to write policies. */
export type PolicyRequest = {
  readonly provider: string
  readonly keyId: string
  /** The pairs of the binding: what an AWS policy pins as encryption context. */
  readonly match: KeyContext
  /**
   * Who keyfold is in that cloud: an IAM ARN; the object id of a service principal; `serviceAccount:NAME@PROJECT….com`.
   */
  readonly principal: string
  /** AWS: the role in the customer's account that the principal assumes, */
  readonly roleArn?: string | undefined
  /** and the external id that its trust policy wants. */
  readonly externalId?: string | undefined
  /** Azure: the resource id of the vault, `/subscriptions/…/vaults/NAME`; a key id does not tell it. */
  readonly vaultResourceId?: string | undefined
  /** Azure: the tenant of the vault, for one with access policies. */
  readonly tenantId?: string | undefined
}

/** One policy, as JSON and as Terraform. It grants `actions` on that key and nothing else. */
export type Policy = {
  readonly kind:
    | "aws-key-policy"
    | "aws-iam-policy"
    | "aws-trust-policy"
    | "azure-role-assignment"
    | "azure-access-policy"
    | "azure-hsm-role-assignment"
    | "gcp-iam-binding"
  /** Where it goes, in one sentence. */
  readonly where: string
  /** What it allows, in the cloud's own words. */
  readonly actions: readonly string[]
  readonly json: object
  readonly terraform: string
}

/**
 * The least that wrap, unwrap and describe need, for one principal, one key and, on AWS, one tenant's pairs. Nothing is
 * asked or changed.
 * @throws KeyfoldError `INVALID_ARGUMENT` for an unknown provider, or for text that no such policy can hold
 */
export function policiesFor(request: PolicyRequest): readonly Policy[] {
  const make = Object.hasOwn(MAKERS, request.provider) ? MAKERS[request.provider] : undefined
  if (make === undefined) throw invalid(`there are policies for ${Object.keys(MAKERS).join(", ")}`)
  for (const [name, text] of Object.entries(request)) {
    if (name !== "match" && text !== undefined) checkPlain(name, String(text))
  }
  parseContext(request.match)
  return make(request)
}

/**
 * Names and ids of clouds have no quote, no control character, and nothing that Terraform would interpolate.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function checkPlain(name: string, text: string): void {
  if (!PLAIN.test(text)) throw invalid(`${name} holds a character that stands in no id of a cloud`)
}

/** The part of the policies that grants one denied action, as the JSON to add; undefined where none of them does. */
export function policyFor(
  request: PolicyRequest,
  action: string,
  side: string | undefined,
): string | undefined {
  if (!Object.hasOwn(MAKERS, request.provider)) return undefined
  const granting = policiesFor(request).filter(({ actions }) =>
    actions.some((each) => each.toLowerCase() === action.toLowerCase()),
  )
  const best =
    (side === "caller-identity" ? granting.find(({ kind }) => kind === "aws-iam-policy") : undefined) ??
    granting[0]
  return best && JSON.stringify(best.json, null, 2)
}

function awsPolicies(request: PolicyRequest): readonly Policy[] {
  const { keyId, match, principal, roleArn, externalId } = request
  const user = roleArn ?? principal
  const pinned: Record<string, string> = {}
  for (const { name, value } of parseContext(match).pairs) {
    pinned[`kms:EncryptionContext:${name}`] = literal(value)
  }
  const use = { Effect: "Allow", Action: ["kms:Encrypt", "kms:Decrypt"] }
  const look = { Effect: "Allow", Action: ["kms:DescribeKey"] }
  const Condition = { StringEquals: pinned }
  const Principal = { AWS: user }
  const actions = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"]
  const keyPolicy = document([
    { Sid: "KeyfoldUse", ...use, Principal, Resource: "*", Condition },
    { Sid: "KeyfoldDescribe", ...look, Principal, Resource: "*" },
  ])
  const iamPolicy = document([
    { Sid: "KeyfoldUse", ...use, Resource: keyId, Condition },
    { Sid: "KeyfoldDescribe", ...look, Resource: keyId },
  ])
  const policies: Policy[] = [
    {
      kind: "aws-key-policy",
      where: `add these statements to the key policy of ${keyId}`,
      actions,
      json: keyPolicy,
      terraform: block([
        'variable "key_policy" {',
        "  type        = string",
        '  description = "The policy that the key has today, JSON: it stays."',
        "}",
        'data "aws_iam_policy_document" "keyfold" {',
        `  source_policy_documents = [var.key_policy, jsonencode(${hcl(keyPolicy)})]`,
        "}",
        'resource "aws_kms_key_policy" "keyfold" {',
        `  key_id = "${keyId}"`,
        "  policy = data.aws_iam_policy_document.keyfold.json",
        "}",
      ]),
    },
    {
      kind: "aws-iam-policy",
      where: `attach it to ${user}; not needed where that is in the key's own account`,
      actions,
      json: iamPolicy,
      terraform: block([
        'resource "aws_iam_policy" "keyfold" {',
        `  policy = jsonencode(${hcl(iamPolicy)})`,
        "}",
      ]),
    },
  ]
  if (roleArn === undefined) return policies
  const trust = document([
    {
      Sid: "KeyfoldAssume",
      Effect: "Allow",
      Principal: { AWS: principal },
      Action: ["sts:AssumeRole"],
      ...(externalId !== undefined && { Condition: { StringEquals: { "sts:ExternalId": externalId } } }),
    },
  ])
  const roleName = roleArn.slice(roleArn.lastIndexOf("/") + 1)
  policies.push({
    kind: "aws-trust-policy",
    where: `make it the trust policy of ${roleArn}`,
    actions: ["sts:AssumeRole"],
    json: trust,
    terraform: block([
      'resource "aws_iam_role" "keyfold" {',
      `  name               = "${roleName}"`,
      `  assume_role_policy = jsonencode(${hcl(trust)})`,
      "}",
    ]),
  })
  return policies
}

function azurePolicies({
  keyId,
  principal,
  vaultResourceId,
  tenantId = "TENANT",
}: PolicyRequest): readonly Policy[] {
  const { host = "", pathname = "" } = URL.parse(keyId) ?? {}
  const keyName = pathname.split("/")[2] ?? ""
  const service = host.split(/[.:]/)[0] ?? ""
  if (keyName === "") throw invalid("an azure-keyvault key id is https://HOST/keys/NAME/VERSION")
  if (/\.managedhsm\./.test(host)) return [managedHsmPolicy(service, keyName, principal)]
  const vault =
    vaultResourceId ??
    `/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.KeyVault/vaults/${service}`
  const scope = `${vault}/keys/${keyName}`
  return [
    {
      kind: "azure-role-assignment",
      where: `assign the role on the key ${keyName}, in a vault with the permission model Azure RBAC`,
      actions: [
        "Microsoft.KeyVault/vaults/keys/read",
        "Microsoft.KeyVault/vaults/keys/wrap/action",
        "Microsoft.KeyVault/vaults/keys/unwrap/action",
      ],
      json: {
        type: "Microsoft.Authorization/roleAssignments",
        scope,
        properties: {
          roleDefinitionId: `/providers/Microsoft.Authorization/roleDefinitions/${CRYPTO_SERVICE_ENCRYPTION_USER}`,
          principalId: principal,
          principalType: "ServicePrincipal",
        },
      },
      terraform: block([
        'resource "azurerm_role_assignment" "keyfold" {',
        `  scope                = "${scope}"`,
        '  role_definition_name = "Key Vault Crypto Service Encryption User"',
        `  principal_id         = "${principal}"`,
        "}",
      ]),
    },
    {
      kind: "azure-access-policy",
      where: `or, in a vault with access policies, add this one to ${service}; it holds for all keys there`,
      actions: ACCESS_POLICY,
      json: { tenantId, objectId: principal, permissions: { keys: ACCESS_POLICY } },
      terraform: block([
        'resource "azurerm_key_vault_access_policy" "keyfold" {',
        `  key_vault_id    = "${vault}"`,
        `  tenant_id       = "${tenantId}"`,
        `  object_id       = "${principal}"`,
        `  key_permissions = ["Get", "WrapKey", "UnwrapKey"]`,
        "}",
      ]),
    },
  ]
}

/** Its own, local RBAC; keyfold encrypts and decrypts with a symmetric key there, which the lesser role does not allow. */
function managedHsmPolicy(service: string, keyName: string, principal: string): Policy {
  return {
    kind: "azure-hsm-role-assignment",
    where: `assign the local role on the key ${keyName} of the Managed HSM ${service}`,
    actions: ["read", "encrypt", "decrypt", "wrap", "unwrap"].map(
      (each) => `Microsoft.KeyVault/managedHsm/keys/${each}${each === "read" ? "" : "/action"}`,
    ),
    json: {
      hsmName: service,
      role: "Managed HSM Crypto User",
      scope: `/keys/${keyName}`,
      assignee: principal,
    },
    terraform: block([
      'variable "managed_hsm_id" {',
      "  type = string",
      "}",
      'resource "random_uuid" "keyfold" {}',
      'resource "azurerm_key_vault_managed_hardware_security_module_role_assignment" "keyfold" {',
      "  managed_hsm_id     = var.managed_hsm_id",
      "  name               = random_uuid.keyfold.result",
      `  scope              = "/keys/${keyName}"`,
      `  role_definition_id = "/Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/${HSM_CRYPTO_USER}"`,
      `  principal_id       = "${principal}"`,
      "}",
    ]),
  }
}

/** IAM of Google Cloud hangs on the key, never on a version. */
function gcpPolicies({ keyId, principal }: PolicyRequest): readonly Policy[] {
  const bindings = GCP_ROLES.map((role) => ({ role, members: [principal] }))
  return [
    {
      kind: "gcp-iam-binding",
      where: `add these bindings to the IAM policy of the key ${keyId}`,
      actions: [
        "cloudkms.cryptoKeyVersions.useToEncrypt",
        "cloudkms.cryptoKeyVersions.useToDecrypt",
        "cloudkms.cryptoKeys.get",
      ],
      json: { bindings },
      terraform: block(
        GCP_ROLES.flatMap((role, i) => [
          `resource "google_kms_crypto_key_iam_member" "keyfold_${i === 0 ? "use" : "describe"}" {`,
          `  crypto_key_id = "${keyId}"`,
          `  role          = "${role}"`,
          `  member        = "${principal}"`,
          "}",
        ]),
      ),
    },
  ]
}

function document(Statement: readonly object[]): object {
  return { Version: "2012-10-17", Statement }
}

/** In a value, "${" would begin a policy variable; "${$}" is its "$" (IAM User Guide, "Policy variables"). */
function literal(value: string): string {
  return value.replaceAll("\u0024{", () => "\u0024{$}{")
}

/** JSON is an expression of HCL, but for what a template would interpolate and two escapes. */
function hcl(json: object): string {
  return JSON.stringify(json)
    .replaceAll(/[$%]\{/g, (start) => `${start[0]}${start}`)
    .replaceAll(/\\(.)/g, (escaped, what) => ({ b: "\\u0008", f: "\\u000c" })[what as string] ?? escaped)
}

function block(lines: readonly string[]): string {
  return `${lines.join("\n")}\n`
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

const MAKERS: Readonly<Record<string, (request: PolicyRequest) => readonly Policy[]>> = {
  "aws-kms": awsPolicies,
  "azure-keyvault": azurePolicies,
  "gcp-kms": gcpPolicies,
}
const PLAIN = /^[\w+=,.@:/-]{1,2048}$/
/** "Key Vault Crypto Service Encryption User": read metadata, wrap, unwrap (Azure built-in roles). */
const CRYPTO_SERVICE_ENCRYPTION_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
const ACCESS_POLICY = ["get", "wrapKey", "unwrapKey"]
/** "Managed HSM Crypto User" (Managed HSM, "Local RBAC built-in roles"). */
const HSM_CRYPTO_USER = "21dbd100-6940-42c2-9190-5d6cb909625b"
/** The second one only so that the key's state can be read. */
const GCP_ROLES = ["roles/cloudkms.cryptoKeyEncrypterDecrypter", "roles/cloudkms.viewer"] as const
