import type { CmkOptions } from "@keyfold/byok"
import type { PortalCloud, ProviderId } from "./clouds.ts"

/** A key as a form names it. */
export type GivenKey = { readonly keyId: string; readonly options: CmkOptions }

/** One text field of a form. */
export type Field = {
  readonly name: "keyId" | "roleArn" | "tenantId"
  readonly label: string
  readonly hint: string
  readonly example: string
  readonly isRequired: boolean
}

/** What was typed, by the names of the fields; empty where nothing was. */
export type Typed = Readonly<Record<Field["name"], string>>

/** What each cloud's form asks for. */
export const FIELDS: Readonly<Record<ProviderId, readonly Field[]>> = {
  "aws-kms": [
    {
      name: "keyId",
      label: "Key ARN",
      hint: "KMS shows it at the top of the key's page.",
      example: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
      isRequired: true,
    },
    {
      name: "roleArn",
      label: "Role ARN",
      hint: "The role of step 2. Leave it empty only where the key policy names us directly.",
      example: "arn:aws:iam::111122223333:role/keyfold",
      isRequired: false,
    },
  ],
  "azure-keyvault": [
    {
      name: "keyId",
      label: "Key identifier",
      hint: "The key's page shows it. Without a version, the current one is taken.",
      example: "https://your-vault.vault.azure.net/keys/keyfold/0123456789abcdef0123456789abcdef",
      isRequired: true,
    },
    {
      name: "tenantId",
      label: "Directory (tenant) ID",
      hint: "Of the directory that your vault is in. Leave it empty where that is ours.",
      example: "72f988bf-86f1-41af-91ab-2d7cd011db47",
      isRequired: false,
    },
  ],
  "gcp-kms": [
    {
      name: "keyId",
      label: "Key resource name",
      hint: "In the key's menu: Copy resource name.",
      example: "projects/your-project/locations/europe-west3/keyRings/your-ring/cryptoKeys/keyfold",
      isRequired: true,
    },
  ],
}

/** What a form sent, without the white space that copying brings along. */
export function readTyped(body: Readonly<Record<string, unknown>>): Typed {
  const text = (name: Field["name"]) => {
    const value = body[name]
    return typeof value === "string" ? value.trim().slice(0, MAX_FIELD) : ""
  }
  return { keyId: text("keyId"), roleArn: text("roleArn"), tenantId: text("tenantId") }
}

/** The key that was meant; what the operator set stands in its options as well, and wins. */
export function keyOf(
  provider: ProviderId,
  typed: Typed,
  externalId: string,
  { options = {} }: PortalCloud,
): GivenKey {
  const { keyId, roleArn, tenantId } = typed
  const own: CmkOptions =
    provider === "aws-kms" && roleArn !== ""
      ? { roleArn, externalId }
      : provider === "azure-keyvault" && tenantId !== ""
        ? { tenantId }
        : {}
  return { keyId, options: { ...own, ...options } }
}

/** Longer than any id of a cloud, in UTF-16 units. */
const MAX_FIELD = 2048
