import { KeyfoldError } from "@keyfold/core"
import type { AzureKeyAlgorithm } from "./wrapped-form.ts"

/** How to use a key. */
export type AzureKeyOptions = {
  /**
   * How it wraps: `RSA-OAEP-256`, unless told; `A256GCM` or `A256KW` with a symmetric key of a Managed HSM. What
   * either of these two wrapped, the other unwraps as well.
   */
  readonly algorithm?: AzureKeyAlgorithm | undefined
  /** The Microsoft Entra tenant of its vault, where that is not the credential's own. */
  readonly tenantId?: string | undefined
}

/** Where a key is. */
export type KeyAddress = {
  /** Of its vault or Managed HSM, without a slash at its end. */
  readonly vaultUrl: string
  /** What tokens for that are issued for. */
  readonly resource: string
  readonly name: string
  /** `""` where the id has none. */
  readonly version: string
}

/**
 * Reads a key id in its normal form (docs/format.md, "Key ids").
 * @param hosts hosts beside Azure's own, each with its resource
 * @throws KeyfoldError `INVALID_ARGUMENT` for any other form, and for a host that is not known: it would be sent a
 * token and key material
 */
export function parseKeyId(keyId: string, hosts: Readonly<Record<string, string>>): KeyAddress {
  const [, host, name, version = ""] = KEY_ID.exec(keyId) ?? []
  if (host === undefined || name === undefined) {
    throw invalid("an azure-keyvault key id is https://HOST/keys/NAME/VERSION, HOST in lower case")
  }
  const suffix = AZURE_HOST.exec(host)?.[1]
  const resource = Object.hasOwn(hosts, host) ? hosts[host] : suffix && `https://${suffix}`
  if (resource === undefined) {
    throw invalid(
      "the host of an azure-keyvault key is one of Azure's, or one of the provider's option `hosts`",
    )
  }
  return { vaultUrl: `https://${host}`, resource, name, version }
}

/** @throws KeyfoldError `INVALID_ARGUMENT` */
export function checkKeyOptions(options: AzureKeyOptions): void {
  for (const name of Object.keys(options)) {
    if (name !== "algorithm" && name !== "tenantId")
      throw invalid(`an azure-keyvault key has no option ${name}`)
  }
  const { algorithm, tenantId } = options
  if (algorithm !== undefined && !ALGORITHMS.has(algorithm)) {
    throw invalid("the algorithm of an azure-keyvault key is RSA-OAEP-256, A256GCM or A256KW")
  }
  if (tenantId !== undefined && !TENANT_ID.test(tenantId)) {
    throw invalid("a tenant id is a UUID, or a domain name of the tenant")
  }
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

const ALGORITHMS: ReadonlySet<string> = new Set<AzureKeyAlgorithm>(["RSA-OAEP-256", "A256GCM", "A256KW"])
/** Azure Key Vault, "Keys, secrets, and certificates overview": object identifiers. */
const KEY_ID =
  /^https:\/\/([a-z0-9.-]{1,253}(?::(?!443\/)[1-9]\d{0,4})?)\/keys\/([0-9a-zA-Z-]{1,127})(?:\/([0-9a-f]{32}))?$/
/** The same page's DNS suffixes, of all of Azure's clouds; a token's resource has the same name. */
const AZURE_HOST = /^[a-z0-9-]{3,24}\.((?:vault|managedhsm)\.(?:azure\.net|azure\.cn|usgovcloudapi\.net))$/
const TENANT_ID = /^[0-9a-zA-Z.-]{1,253}$/
