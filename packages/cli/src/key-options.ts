import { KeyfoldError } from "@keyfold/core"
import type { CloudId, CloudOptions } from "./clouds.ts"
import { pathOf } from "./files.ts"

/** What one cloud or the other needs to reach a key. */
export type KeyOptions = {
  region?: string
  endpoint?: string
  role?: string
  externalId?: string
  authority?: string
  caFile?: string
  algorithm?: string
  tenantId?: string
  insecureEmulator?: true
}

/** @throws KeyfoldError `INVALID_ARGUMENT` for an option of another provider */
export function cloudOptionsOf(
  options: KeyOptions & { readonly provider: CloudId; readonly keyId: string },
): CloudOptions {
  const own = OPTIONS[options.provider]
  const found: Record<string, unknown> = {}
  for (const [name, flag] of Object.entries(FLAGS)) {
    const value = options[name as keyof KeyOptions]
    if (value === undefined) continue
    const option = own[name as keyof KeyOptions]
    if (option === undefined)
      throw new KeyfoldError("INVALID_ARGUMENT", `${flag} is no option of ${options.provider}`)
    found[option] = name === "caFile" ? pathOf(String(value)) : value
  }
  const { provider, keyId } = options
  if (provider === "aws-kms" && !keyId.startsWith("arn:") && options.region === undefined) {
    const region = process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION
    if (region === undefined)
      throw new KeyfoldError("INVALID_ARGUMENT", "an aws-kms key id that is no ARN needs --region")
    return { ...found, region }
  }
  return found
}

const FLAGS: Readonly<Record<keyof KeyOptions, string>> = {
  region: "--region",
  endpoint: "--endpoint",
  role: "--role",
  externalId: "--external-id",
  authority: "--authority",
  caFile: "--ca-file",
  algorithm: "--algorithm",
  tenantId: "--tenant-id",
  insecureEmulator: "--insecure-emulator",
}
/** The options of each provider's keys, as it calls them. */
const OPTIONS: Readonly<Record<CloudId, { readonly [Name in keyof KeyOptions]?: string }>> = {
  "aws-kms": { region: "region", endpoint: "endpoint", role: "roleArn", externalId: "externalId" },
  "azure-keyvault": {
    authority: "authority",
    caFile: "caFile",
    algorithm: "algorithm",
    tenantId: "tenantId",
  },
  "gcp-kms": { endpoint: "endpoint", insecureEmulator: "insecureEmulator" },
}
